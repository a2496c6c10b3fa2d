"""Two folders side by side: what moved, what is not comparable and why, which verdicts changed."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records_by_hand import eval_path, eval_record, train_record, written
from vggrepro import UserError
from vggrepro.pages.comparison import lines, verdict_changes
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.compare import Key, compare, evaluations, only
from vggrepro.study.experiments import RUNS, Evaluation, single_scale
from vggrepro.study.records import DataUsed, summarise
from vggrepro.study.rules import POOLED

CIFAR = {"name": "cifar10", "split": "val", "count": 1000, "fingerprint": "cd" * 32}
A_CENTRE = Key("reduced", "cifar10", "A-S256", "centre-crop-256")


def net(
    folder, run, error, seed=0, budget="reduced", data="cifar10", protocol="centre-crop", **fields
):
    """Write the training and one evaluation of a run that errs on so many of 1000 images."""
    e = replace(at_budget(run, budget, data), **fields.pop("declared", {}))
    declared = json.loads(json.dumps(asdict(e)))
    wrong = round(10 * error)
    correct = np.arange(1000) >= wrong
    outcome = summarise(correct, correct, np.where(correct, -0.1, -2.0))
    evaluation = Evaluation(protocol, (single_scale(RUNS[run]),))
    about = {"protocol": protocol, "test_scales": evaluation.test_scales}
    used = DataUsed(**{**CIFAR, "fingerprint": fields.pop("images", CIFAR["fingerprint"])})
    about |= {"data": used, **outcome, **fields}
    record = eval_record(e, seed, **{k: v for k, v in about.items() if k != "experiment"})
    record = record.model_copy(update={"experiment": about.get("experiment", declared)})
    trained = train_record(e, seed).model_copy(update={"experiment": declared})
    written(trained, folder, e)
    return store.write(record, eval_path(folder, e, seed, evaluation))


@pytest.fixture
def one(tmp_path):
    """A recorded study: two nets with three seeds, a spread of a tenth of a point."""
    for seed in range(3):
        net(tmp_path / "one", "A-S256", 20.0 + 0.1 * seed, seed)
        net(tmp_path / "one", "B-S256", 19.1 - 0.1 * seed, seed)
    return tmp_path / "one"


@pytest.fixture
def other(tmp_path):
    return tmp_path / "other"


def rows(first, second):
    return {row.key.run: row for row in compare(first, second).like}


# --- which numbers moved ----------------------------------------------------------------------


def test_a_folder_is_the_same_as_itself(one):
    found = compare(one, one)
    assert {row.moved for row in found.like} == {"the same"}
    assert [row.difference for row in found.like] == [0, 0]
    assert found.unlike == only(found.first, found.second) == []


def test_the_recorded_study_is_the_same_as_itself():
    found = compare(store.RECORDED, store.RECORDED)  # with records of every kind there are
    assert found.like and all(compared.same for compared in found.like)


def test_what_moved_and_how_far(one, other):
    net(other, "A-S256", 20.1, 0)  # 20.0 there
    net(other, "A-S256", 20.1, 1)  # the same
    net(other, "B-S256", 25.0, 2)  # 18.9 there
    net(other, "B-S256", 25.0, 7)
    found = rows(one, other)
    a, b = found["A-S256"], found["B-S256"]
    assert (list(a.by_seed), a.equal, a.same) == ([0, 1], 1, False)
    assert a.difference == pytest.approx(0.05)
    assert a.moved == "moved within the spread over seeds"
    assert (list(b.by_seed), b.equal) == ([2], 0)
    assert b.difference == pytest.approx(6.1)
    assert b.moved == "moved beyond the spread over seeds"
    # By hand: rests of net and seed effects are +-0.1, 0, so s = sqrt(0.04 / 2); two df.
    assert b.interval.standard_error == pytest.approx(np.sqrt(0.02 * 2))


def test_without_a_spread_or_a_seed_in_common(tmp_path, other):
    net(tmp_path / "single", "A-S256", 20.0, 0)
    net(other, "A-S256", 21.0, 0)
    assert rows(tmp_path / "single", other)["A-S256"].moved == "moved; spread over seeds unknown"
    net(tmp_path / "third", "A-S256", 20.0, 1)
    found = rows(tmp_path / "third", other)["A-S256"]
    assert (found.moved, found.difference, found.same) == ("no seed in common", None, False)


@settings(max_examples=20)  # each writes some files
@given(errors=st.lists(st.integers(0, 999), min_size=2, max_size=4), moved=st.integers(-50, 50))
def test_swapped_sides_flip_the_sign(tmp_path_factory, errors, moved):
    folder = tmp_path_factory.mktemp("swapped")
    for seed, wrong in enumerate(errors):
        net(folder / "a", "A-S256", wrong / 10, seed)
        net(folder / "b", "A-S256", min(999, max(0, wrong + moved)) / 10, seed)
    there, back = rows(folder / "a", folder / "b"), rows(folder / "b", folder / "a")
    assert there["A-S256"].difference == pytest.approx(-back["A-S256"].difference)
    assert there["A-S256"].equal == back["A-S256"].equal


# --- only like with like ----------------------------------------------------------------------


def test_another_declaration_is_not_compared(one, other):
    net(other, "A-S256", 20.0, 0, declared={"epochs": 3, "recipe": "mine"})
    found = compare(one, other)
    assert found.like == []
    (unlike,) = found.unlike
    assert unlike.first == unlike.second == A_CENTRE
    epochs = at_budget("A-S256", "reduced", "cifar10").epochs
    assert f"epochs ({epochs}, 3)" in unlike.reason
    assert "recipe (" in unlike.reason and "batch" not in unlike.reason
    # It is no number that the first folder has and the second lacks.
    assert {key.run for key in only(found.first, found.second)} == {"B-S256"}


def test_other_images_are_not_compared(one, other):
    net(other, "A-S256", 20.0, 0, images="00" * 32)
    found = compare(one, other)
    assert found.like == []
    assert found.unlike[0].reason == "images (other photos, or others left out)"


def test_another_budget_is_not_compared(one, other):
    net(other, "A-S256", 50.0, budget="quick", data="synthetic")
    (unlike,) = compare(one, other).unlike
    assert unlike.first == A_CENTRE and unlike.second.place == ("quick", "synthetic")
    assert "budget (reduced, quick)" in unlike.reason
    assert "data (cifar10, synthetic)" in unlike.reason
    assert "images" not in unlike.reason  # of another data set they are others, no need to say it


def test_a_field_that_came_later_had_its_default(one, other):
    declared = asdict(at_budget("A-S256", "reduced", "cifar10"))
    del declared["momentum"]  # as in a record made before there was such a field
    net(other, "A-S256", 20.0, 0, experiment=json.loads(json.dumps(declared)))
    assert set(rows(one, other)) == {"A-S256"}


def test_several_declarations_in_one_folder(one, other):
    net(other, "A-S256", 20.0, 0)
    net(other, "A-S256", 20.1, 1, declared={"epochs": 3})
    (unlike,) = compare(one, other).unlike
    assert unlike.reason == "several declarations in one folder"


def test_what_one_side_lacks(one, other, capsys):
    net(other, "A-S256", 20.0)
    net(other, "A-S256", 20.0, protocol="dense")
    diverged = at_budget("B-S256", "reduced", "cifar10")
    written(train_record(diverged, status="diverged", reason="no longer finite"), other, diverged)
    found = compare(one, other)
    assert {key.run for key in only(found.first, found.second)} == {"B-S256"}
    assert [key.evaluation for key in only(found.second, found.first)] == ["dense-256"]
    text = list(lines(one, other))
    assert "only in A (CIFAR-10, reduced): B-S256 centre-crop-256 (seed 0 diverged in B)" in text
    assert "only in B (CIFAR-10, reduced): A-S256 dense-256" in text


# --- verdicts ---------------------------------------------------------------------------------


def test_verdicts_that_changed(tmp_path):
    """A study in which D beats C by two points, and one in which C beats D."""
    for name, of_d in (("one", 18.0), ("other", 22.0)):
        for i, run in enumerate(POOLED["cifar10"]):
            for seed in range(5):
                error = of_d if run == "D-S256" else 20.0
                noise = 0.1 * ((i + seed) % 3)
                net(tmp_path / name, run, error + noise, seed)
    changes = verdict_changes(tmp_path / "one", tmp_path / "other")
    (changed,) = changes.values()
    found = {one.claim.key: (one.word, other.word) for one, other in changed}
    assert found["d-beats-c"] == ("holds and matters", "contradicted")
    assert "lrn-does-not-help" not in found
    text = "\n".join(lines(tmp_path / "one", tmp_path / "other"))
    assert "  d-beats-c: holds and matters (n = 3) -> contradicted (n = 3)" in text


def test_drawn_images_have_no_verdicts_to_change(tmp_path):
    for name in ("one", "other"):
        net(tmp_path / name, "A-S256", 50.0, budget="quick", data="synthetic")
    assert verdict_changes(tmp_path / "one", tmp_path / "other") == {}


# --- the command --------------------------------------------------------------------------------


def test_the_command_shows_what_moved(vggrepro, one, other):
    net(other, "A-S256", 20.3, 0)
    net(other, "B-S256", 19.1, 0)
    status, out, err = vggrepro("compare", one, other)
    assert (status, err) == (0, "")
    (row,) = [line for line in out.splitlines() if "A-S256, centre-crop-256" in line]
    assert "20.1 ± 0.1, n = 3" in row and "20.3, n = 1" in row
    assert "+0.3 [" in row and "0 of 1" in row
    assert "B-S256" not in out
    assert "2 can be compared: 1 moved within the spread over seeds, 1 the same." in out
    status, out, _ = vggrepro("compare", one, other, "--all")
    (row,) = [line for line in out.splitlines() if "B-S256" in line]
    assert "the same" in row and "1 of 1" in row
    assert "<" not in out


def test_the_command_says_why_the_rest_is_not_compared(vggrepro, one, other):
    net(other, "A-S256", 20.3, 0)
    net(other, "B-S256", 20.0, 0, declared={"epochs": 3})
    out = vggrepro("compare", one, other)[1]
    epochs = at_budget("B-S256", "reduced", "cifar10").epochs
    (row,) = [line for line in out.splitlines() if f"epochs ({epochs}, 3)" in line]
    assert row.count("CIFAR-10, reduced") == 2 and " 1 " in row


def test_nothing_in_common_says_how_to_make_it(vggrepro, one, other):
    net(other, "A-S256", 50.0, budget="quick", data="synthetic")
    status, out, err = vggrepro("compare", one, other)
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("vggrepro: nothing to compare: ")
    assert "2 evaluations (CIFAR-10, reduced)" in line
    assert "1 evaluations (drawn images, quick)" in line
    assert "budget (reduced, quick)" in line
    command = "vggrepro run A-S256 --budget reduced --data cifar10 --data-dir DATA"
    assert f"{command} --results-dir {other}" in line


def test_folders_without_records(vggrepro, one, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, message in (
        ("nowhere", "no folder"),
        ("file", "no folder"),
        ("empty", "holds no evaluation"),
    ):
        for folders in ((one, tmp_path / name), (tmp_path / name, one)):
            status, out, err = vggrepro("compare", *folders)
            assert (status, out) == (1, "")
            (line,) = err.splitlines()
            assert str(tmp_path / name) in line and message in line


def test_a_damaged_record_is_named(one):
    path = next(one.rglob("eval-*.json"))
    path.write_text("{")
    with pytest.raises(UserError, match=path.name):
        evaluations(one)
