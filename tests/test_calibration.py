"""Candidates for the recipe: what each changes, who wins, and that val is never looked at."""

from dataclasses import asdict

import numpy as np
import pytest

from tests.image_sets import CPU
from tests.records_by_hand import train_record, written
from vggrepro.pages.method import candidates_sentence, candidates_table
from vggrepro.study import programme, store
from vggrepro.study.budgets import BEGINNING, CALIBRATION, at_budget
from vggrepro.study.experiments import NOT_FROZEN, RUNS
from vggrepro.study.programme import CALIBRATED, best, candidates, is_out
from vggrepro.study.run import Run
from vggrepro.study.store import Where


@pytest.mark.parametrize("data", ["cifar10", "imagenette"])
@pytest.mark.parametrize("run", CALIBRATED)
@pytest.mark.parametrize(
    ("candidate", "changed"),
    [
        ("calibrate-rate", {"learning_rate": 2}),
        ("calibrate-half-rate", {"learning_rate": 0.5}),
        ("calibrate-dropout", {"dropout": 0.5}),
        ("calibrate-half-rate-dropout", {"learning_rate": 0.5, "dropout": 0.5}),
    ],
)
def test_a_candidate_changes_what_it_says_and_nothing_else(candidate, changed, data, run):
    base = asdict(at_budget(run, BEGINNING, data))
    found = asdict(at_budget(run, candidate, data))
    different = {key for key in base if base[key] != found[key]}
    assert different == {"budget", "recipe", *changed}
    for key, factor in changed.items():
        assert found[key] == pytest.approx(factor * base[key])


def record_of(results_dir, run, budget, minival_error, seed=0, **changes):
    """A training of a candidate, or of the BEGINNING, whose records lie apart."""
    if budget == "reduced":
        results_dir, budget = results_dir / store.PILOTS, BEGINNING
    experiment = at_budget(run, budget, "cifar10")
    record = train_record(experiment, seed, minival_error=minival_error, **changes)
    return written(record, results_dir, experiment)


def by_name(results_dir):
    return {candidate.name: candidate for candidate in candidates(results_dir, "cifar10")}


def test_the_worst_net_decides(tmp_path):
    for run, error in zip(CALIBRATED, (10.0, 20.0, 30.0), strict=True):
        record_of(tmp_path, run, "calibrate-rate", error)
    for run, error in zip(CALIBRATED, (24.0, 25.0, 29.0), strict=True):
        record_of(tmp_path, run, "calibrate-half-rate-dropout", error)
    record_of(tmp_path, CALIBRATED[0], "calibrate-half-rate", 1.0)  # not all nets: no candidate yet
    found = by_name(tmp_path)
    assert found["calibrate-rate"].worst == 30.0
    assert not found["calibrate-half-rate"].complete
    assert best(list(found.values())).name == "calibrate-half-rate-dropout"


def test_seeds_are_averaged_and_divergence_loses(tmp_path):
    for run in CALIBRATED:
        record_of(tmp_path, run, "reduced", 40.0)
        record_of(tmp_path, run, "reduced", 50.0, seed=1)
        record_of(tmp_path, run, "calibrate-rate", 1.0)
    record_of(
        tmp_path,
        CALIBRATED[2],
        "calibrate-rate",
        1.0,
        status="diverged",
        reason="not finite",
        curve=(),
    )
    found = by_name(tmp_path)
    assert {net: minival for net, (minival, _) in found["reduced"].errors.items()} == dict.fromkeys(
        CALIBRATED, 45.0
    )
    assert found["calibrate-rate"].errors[CALIBRATED[2]] == (np.inf, np.inf)
    assert found["calibrate-rate"].complete and found["calibrate-rate"].worst == np.inf
    assert best(list(found.values())).name == "reduced"


def test_without_records_nothing_is_best(tmp_path):
    found = candidates(tmp_path, "imagenette")
    assert [candidate.name for candidate in found] == ["reduced", *CALIBRATION]
    assert best(found) is None


@pytest.mark.parametrize("run", RUNS)
def test_a_candidate_is_never_tested_on_val(run, tmp_path):
    experiment = at_budget(run, "calibrate-rate", "imagenette")
    task = Run(experiment, 0, Where(tmp_path), CPU)
    assert task._missing(None) == []
    assert experiment.recipe.startswith(NOT_FROZEN)  # and decides no claim


def test_the_nets_are_those_of_the_method():
    assert [RUNS[name].config for name in programme.CALIBRATED] == ["A", "D", "E"]


def test_the_table_says_what_each_candidate_changed_and_reached(tmp_path):
    for run, error in zip(CALIBRATED, (10.0, 20.0, 30.0), strict=True):
        record_of(tmp_path, run, "reduced", error)
    record_of(tmp_path, CALIBRATED[0], "calibrate-rate", 9.0)
    found = candidates(tmp_path, "cifar10")
    table = candidates_table(found, programme.frozen(tmp_path, "cifar10"))
    first = table.loc["as the study began (smallest worst)"]
    assert (first["A"], first["E"], first["worst"]) == ("10.0<br>(55.0)", "30.0<br>(55.0)", "30.0")
    second = table.loc["twice the learning rate"]
    assert second.iloc[0] == "0.04, 128,<br>0.5, 20"
    assert (second["A"], second["D"]) == ("9.0<br>(55.0)", "not run")
    assert second["worst"] == "≥ 9.0"
    assert table.loc["half the dropout", "worst"] == "–"
    assert list(table.index)[-1] == "<b>frozen for the study</b>"


def test_the_frozen_recipe_is_shown_and_competes_with_none(tmp_path):
    for run in CALIBRATED:
        record_of(tmp_path, run, "calibrate-rate", 20.0)
        experiment = at_budget(run, "reduced", "cifar10")
        written(train_record(experiment, minival_error=5.0), tmp_path, experiment)
    found = candidates(tmp_path, "cifar10")
    assert best(found).name == "calibrate-rate"
    shown = programme.frozen(tmp_path, "cifar10")
    assert (shown.worst, shown.experiment.recipe) == (5.0, "study-1")


def test_a_candidate_with_a_net_worse_than_the_winner_is_out(tmp_path):
    for run in CALIBRATED:
        record_of(tmp_path, run, "calibrate-half-rate", 20.0)
    record_of(tmp_path, CALIBRATED[2], "calibrate-rate", 20.1)
    record_of(
        tmp_path, CALIBRATED[0], "calibrate-half-rate-dropout", 19.9
    )  # its other nets may still win
    found = candidates(tmp_path, "cifar10")
    out = [candidate.name for candidate in found if is_out(candidate, best(found))]
    assert out == ["calibrate-rate"]
    table = candidates_table(found, programme.frozen(tmp_path, "cifar10"))
    assert table.loc["twice the learning rate", "D"] == "not needed"
    assert table.loc["half the learning rate and half the dropout", "D"] == "not run"
    text = candidates_sentence(found)
    assert "1 of 5 lost before all its nets" in text
    assert "3 of 5 were never trained" in text


def test_the_sentence_claims_no_winner_of_one(tmp_path):
    assert "nothing to compare" in candidates_sentence(candidates(tmp_path, "cifar10"))
    for run in CALIBRATED:
        record_of(tmp_path, run, "reduced", 30.0)
        record_of(tmp_path, run, "calibrate-half-rate", 20.0)
    text = candidates_sentence(candidates(tmp_path, "cifar10"))
    assert "half the learning rate" in text
    assert "20.0 %" in text
    assert "3 of 5 were never trained" in text
