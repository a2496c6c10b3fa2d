"""The programme of the study: every claim can be decided, every row is there, parents first."""

import pytest

from tests.records_by_hand import eval_path, eval_record, train_path, train_record
from vggrepro import UserError
from vggrepro.study import programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import FUSIONS, ROWS, RUNS, evaluations_of
from vggrepro.study.programme import CHAPTER_RUNS, DATA
from vggrepro.study.rules import POOLED
from vggrepro.study.status import status_lines


@pytest.mark.parametrize("claim", [c for c in CLAIMS.values() if programme.runs_of(c)])
def test_every_claim_has_its_seeds_but_for_the_one_that_says_so(claim):
    seeds = programme.seeds(claim.data)
    short = [run for run in programme.runs_of(claim) if seeds[run] < claim.seeds]
    assert set(short) <= set(programme.ONCE.get(claim.data, ()))
    assert not short or "one seed" in claim.cannot


def test_the_claims_name_these():
    assert programme.seeds("cifar10")["D-S256"] == CLAIMS["depth-a-to-d"].seeds == 3
    assert programme.seeds("cifar10")["D-short"] == 3, "the verdict on depth needs it"
    assert programme.seeds("cifar10")["E-he"] == 1, "shown, and named by no claim"
    assert programme.seeds("imagenette")["D-jitter"] == CLAIMS["several-q-jittered"].seeds == 3
    assert programme.seeds("imagenette")["A-S256"] == 3, "the jittered D starts from it"
    assert programme.seeds("imagenette")["A-LRN-S256"] == 3, "repeated on the other photos"
    assert programme.seeds("imagenette")["E-jitter"] == 1
    assert "D-jitter" not in programme.seeds("cifar10")
    with pytest.raises(UserError, match="cifar10, imagenette"):
        programme.tasks("synthetic")


def test_every_row_and_every_run_of_a_chapter_is_somewhere():
    everywhere = set().union(*(programme.seeds(data) for data in DATA))
    assert {row.run for row in ROWS} <= everywhere
    assert {run for runs in CHAPTER_RUNS.values() for run in runs} <= everywhere
    assert everywhere <= {*RUNS, *FUSIONS}


@pytest.mark.parametrize("data", DATA)
def test_what_a_task_needs_comes_before_it_and_seeds_do_too(data):
    tasks = programme.tasks(data)
    place = {task: i for i, task in enumerate(tasks)}
    assert len(place) == len(tasks), "nothing twice"
    assert [seed for _, seed in tasks] == sorted(seed for _, seed in tasks)
    for run, seed in tasks:
        parent = None if run in FUSIONS else RUNS[run].init_from
        assert parent is None or place[parent, seed] < place[run, seed]
        for member in FUSIONS[run].members(seed) if run in FUSIONS else ():
            assert member in place  # the second seed of one net comes with the next round


@pytest.mark.parametrize("data", DATA)
def test_one_seed_of_the_programme_is_a_part_of_it(data):
    by_seed = [task for seed in range(3) for task in programme.tasks(data, seed)]
    assert by_seed == programme.tasks(data)
    with pytest.raises(UserError, match=f"on {data} has seeds 0 to 2, not 3"):
        programme.tasks(data, 3)


@pytest.mark.parametrize("data", DATA)
def test_the_nets_whose_spread_is_pooled_have_seeds_to_show_it(data):
    assert all(programme.seeds(data)[run] >= 3 for run in POOLED[data])


def test_status_says_how_much_of_the_programme_is_complete(tmp_path):
    experiment = at_budget("A-S256", programme.BUDGET, "cifar10")
    store.write(train_record(experiment), train_path(tmp_path, experiment, 0))
    first, *others = evaluations_of("A-S256")
    tasks = len(programme.tasks("cifar10"))
    for tested, complete in (((first,), 0), (others, 1)):
        for evaluation in tested:
            path = eval_path(tmp_path, experiment, 0, evaluation)
            q = {"protocol": evaluation.protocol, "test_scales": evaluation.test_scales}
            store.write(eval_record(experiment, **q), path)
        said = "\n".join(status_lines(tmp_path))
        assert f"{complete} of the study's {tasks} trainings and fusions complete" in said
