"""The recorded `make`: every run of it, and every net that is to train has left chance."""

import pytest

from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import FUSIONS, centre_crop, evaluations_of, with_needs
from vggrepro.study.programme import CHAPTER_RUNS
from vggrepro.study.runner import asked

NAMES = list(dict.fromkeys(name for names in CHAPTER_RUNS.values() for name in names))
TASKS = with_needs(asked(NAMES, range(1)))
# They show what does not train. Glorot's rule fails E at `reduced` too, and D in one seed. A
# variance of 10^-2 suits nets as narrow as these.
AT_CHANCE = ("-normal-std", "D-glorot", "E-glorot")


@pytest.mark.parametrize(("run", "seed"), TASKS, ids=lambda value: str(value))
def test_every_run_of_a_make_is_recorded(run, seed):
    experiment = at_budget(run, "quick")
    for evaluation in evaluations_of(run):
        assert seed in store.evaluations(store.RECORDED, experiment, evaluation), evaluation.name


def test_every_net_that_is_to_train_errs_less_than_a_third_of_chance():
    errors = {
        (run, seed): store.evaluations(store.RECORDED, at_budget(run, "quick"), centre_crop(run))[
            seed
        ].top1_error
        for run, seed in TASKS
        if run not in FUSIONS and not run.endswith(AT_CHANCE)
    }
    assert {task: error for task, error in errors.items() if error >= 30.0} == {}


def test_the_recorded_make_is_no_part_of_the_study():
    table = store.frame()
    assert set(table[table.budget == "quick"]["round"]) == {"quick"}
    assert "quick" not in set(table[table.budget != "quick"]["round"])
