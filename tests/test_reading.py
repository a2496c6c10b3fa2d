"""The numbers of a chapter's sentences, and what a sentence says when the records disagree."""

from dataclasses import replace

import pytest

from tests.records_by_hand import CENTRE_256, train_path, train_record, write
from vggrepro.pages.report import CONTRADICTED, Findings
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import Study
from vggrepro.study.rules import one_q


@pytest.fixture
def found(tmp_path):
    """A at 20 and 22 %, D at 18 and 19 % and, for one further seed, at 5 %."""
    write(tmp_path, "A-S256", CENTRE_256, {0: 20.0, 1: 22.0})
    write(tmp_path, "D-S256", CENTRE_256, {0: 18.0, 1: 19.0, 2: 5.0})
    return Findings(Study(tmp_path, "reduced"))


def test_a_difference_is_the_mean_over_seeds_that_both_sides_have(found):
    assert found.lower("cifar10", "D-S256", "A-S256") == "2.5"
    sides = (one_q(run, "centre-crop") for run in ("D-S256", "A-S256"))
    assert found.lower("cifar10", *sides) == "2.5"


def test_a_sentence_whose_direction_is_not_the_records_says_so(found):
    assert found.lower("cifar10", "A-S256", "D-S256") == f"-2.5 (**{CONTRADICTED}**)"


def test_what_rests_on_one_seed_is_marked(found):
    write(found.study.results_dir, "B-S256", CENTRE_256, {1: 17.0})
    assert found.lower("cifar10", "B-S256", "D-S256") == "2.0¹"
    assert found.error("cifar10", "B-S256") == "17.0¹"


def test_alike_is_unsigned_and_only_within_what_the_sentence_says(found):
    assert found.alike("cifar10", "A-S256", "D-S256", within=2.6) == "2.5"
    assert CONTRADICTED in found.alike("cifar10", "A-S256", "D-S256", within=2.0)


def test_what_is_not_recorded_is_not_run(found):
    assert found.lower("cifar10", "E-S256", "A-S256") == "not run"
    assert found.alike("imagenette", "D-S256", "A-S256", within=1) == "not run"
    assert found.error("cifar10", "E-S256") == "not run"
    assert found.train_error("cifar10", "E-S256") == "not run"
    assert found.fits_better("cifar10", "E-S256", "A-S256") == "not run"


def test_an_error_is_the_mean_over_all_seeds(found):
    assert found.error("cifar10", "D-S256") == "14.0"
    assert found.by_seed("cifar10", "D-S256") == "18.0, 19.0, 5.0"
    assert found.by_seed("cifar10", "E-S256") == "not run"


def test_the_basis_names_seeds_and_photos(found):
    assert "3 on CIFAR-10, 0 on Imagenette" in found.basis(cifar10="D-S256", imagenette="D-S256")
    assert "¹" not in found.basis(cifar10="D-S256")
    assert "¹ marks what has one" in found.basis(one_seed=True, cifar10="D-S256")


def test_errors_on_training_images_are_those_after_the_last_epoch(found):
    folder = found.study.results_dir
    for run, error in {"A-S256": 12.0, "D-S256": 11.0}.items():
        experiment = at_budget(run, "reduced", "cifar10")
        made = train_record(experiment)
        last = replace(made.curve[-1], train_error=error)
        made = train_record(experiment, curve=(*made.curve[:-1], last))
        store.write(made, train_path(folder, experiment, 0))
    assert found.train_error("cifar10", "A-S256") == "12.0¹"
    assert found.fits_better("cifar10", "D-S256", "A-S256") == "11.0¹ % against 12.0¹ %"
    assert CONTRADICTED in found.fits_better("cifar10", "A-S256", "D-S256")
