"""Runs at `smoke`, really trained: parents first, nothing twice, nothing mixed."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.image_folders import write_set
from tests.image_sets import CPU
from tests.records_by_hand import eval_path, eval_record, train_path, train_record
from tests.running import (
    EXPERIMENTS,
    PowerCutError,
    after_step,
    digests,
    folder,
    power_cut,
    snapshot,
)
from vggrepro import UserError, checkpoints, data
from vggrepro.configs import CONFIGS
from vggrepro.device import choose
from vggrepro.models import FROM_NET_A, initialise, named_layers
from vggrepro.study import run, runner, store
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.experiments import evaluations_of
from vggrepro.study.provenance import describe
from vggrepro.study.records import summarise
from vggrepro.study.run import Run, Where, build, used

# --- what a run leaves ----------------------------------------------------------------------


def test_parents_run_first(monkeypatch, smoke):
    seen = []
    monkeypatch.setattr(
        runner, "run_one", lambda this: seen.append((this.experiment.name, this.seed))
    )
    runner.run(["C-jitter", "B-he"], "smoke", None, [0, 1], smoke)
    order = ["A-S256", "C-S256", "C-S384", "C-jitter", "B-he"]
    assert seen == [(name, 0) for name in order] + [(name, 1) for name in order]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_run_leaves_its_records_and_weights(study, name):
    found = {path.name for path in folder(study, name).iterdir()} - {".lock"}
    expected = {f"eval-{e.name}.json" for e in evaluations_of(name)}
    assert found == {"train.json", "weights.pt", "posteriors"} | expected
    assert store.verify(store.record_files(study)) == []
    trained = store.trainings(study, EXPERIMENTS[name])[0]
    assert trained.status == "ok"
    assert len(trained.curve) == EXPERIMENTS[name].epochs
    weights = checkpoints.read(folder(study, name) / "weights.pt")
    assert checkpoints.weights_digest(weights) == trained.weights_digest
    assert trained.parameters == sum(w.numel() for w in weights.values())
    for evaluation in evaluations_of(name):
        tested = store.evaluations(study, EXPERIMENTS[name], evaluation)[0]
        assert tested.weights_digest == trained.weights_digest
        assert tested.data.count == EXPERIMENTS[name].counts[1]
        assert tested.test_scales == evaluation.test_scales


def test_a_child_starts_from_its_parent(study):
    parent = store.trainings(study, EXPERIMENTS["A-S256"])[0]
    child = store.trainings(study, EXPERIMENTS["C-S256"])[0]
    assert parent.parent_weights is None
    assert child.parent_weights == parent.weights_digest


class StartedError(Exception):
    """A training would begin now."""


@pytest.fixture
def start_of(copied, smoke, monkeypatch):
    """The weights with which a run begins, in the copied study."""

    def start(name, seed=0):
        begun = []

        def train(model, *_, **options):
            begun.append({key: w.clone() for key, w in model.state_dict().items()})
            raise StartedError

        monkeypatch.setattr(run, "train", train)
        experiment = at_budget(name, "smoke")
        where = replace(smoke, results_dir=copied)
        with pytest.raises(StartedError):
            Run(experiment, seed, where, CPU).with_weights(None)
        return begun[0]

    return start


def test_a_run_starts_from_what_it_declares(copied, start_of):
    fresh = build(at_budget("A-glorot", "smoke"), 10)
    initialise(fresh, "glorot", seed=1)
    assert checkpoints.weights_digest(start_of("A-glorot", 1)) == checkpoints.weights_digest(
        fresh.state_dict()
    )
    net_a = checkpoints.read(folder(copied, "A-S256") / "weights.pt")
    child = start_of("C-S256")
    plain = build(at_budget("C-S256", "smoke"), 10)
    initialise(plain, at_budget("C-S256", "smoke").init, seed=0)
    taken = named_layers(plain)
    for name, key in FROM_NET_A.items():
        taken[name].load_state_dict({part: net_a[f"{key}.{part}"] for part in ("weight", "bias")})
    assert checkpoints.weights_digest(child) == checkpoints.weights_digest(plain.state_dict())


def test_a_run_that_goes_on_starts_from_all_of_its_parent(copied, start_of):
    parent = checkpoints.read(folder(copied, "C-S256") / "weights.pt")
    assert checkpoints.weights_digest(start_of("C-S384")) == checkpoints.weights_digest(parent)


def test_a_child_asks_for_the_parent_of_its_own_seed(copied, smoke):
    experiment = at_budget("C-S256", "smoke")
    this = Run(experiment, 3, replace(smoke, results_dir=copied), CPU)
    asked = []

    def of(name, seed):
        asked.append((name, seed))
        raise StartedError

    object.__setattr__(this, "of", of)
    with pytest.raises(StartedError):
        this._parent()
    assert asked == [("A-S256", 3)]


def test_records_say_what_a_plain_reading_of_photos_and_weights_gives(study, smoke):
    """Mean of the training pixels, centre crops, soft-max: by numpy, PIL and plain PyTorch."""
    experiment = EXPERIMENTS["A-S256"]
    options = {"cache_dir": smoke.cache_dir, "counts": experiment.counts}
    every = data.load("synthetic", **options).train.images
    mean = np.concatenate([image.reshape(-1, 3) for image in every]).mean(0)
    trained = store.trainings(study, experiment)[0]
    np.testing.assert_allclose(trained.pixel_mean, mean, atol=1e-4)

    tested = store.evaluations(study, experiment, evaluations_of("A-S256")[0])[0]
    assert (tested.protocol, tested.test_pixels) == ("centre-crop", (37,))
    val = data.load("synthetic", **options).val
    weights = checkpoints.read(folder(study, "A-S256") / "weights.pt")
    model = build(experiment, len(val.classes)).eval()
    model.load_state_dict(weights)
    crops = []
    for image in val.images:
        photo = Image.fromarray(image)
        factor = 37 / min(photo.size)
        wide, high = (int(factor * side) for side in photo.size)
        left, top = (wide - 32) // 2, (high - 32) // 2
        place = tuple(edge / factor for edge in (left, top, left + 32, top + 32))
        crop = photo.resize((32, 32), Image.Resampling.BILINEAR, place)
        crops.append(np.asarray(crop).transpose(2, 0, 1))
    x = (torch.tensor(np.stack(crops)).float() - torch.tensor(mean).float()[:, None, None]) / (
        experiment.input_divisor
    )
    with torch.inference_mode():
        posteriors = (model(x).softmax(1) + model(x.flip(3)).softmax(1)) / 2
    expected = posteriors[torch.arange(len(val)), torch.tensor(val.targets)].log()
    np.testing.assert_allclose(tested.outcomes()[2], expected, atol=5e-3)


def test_no_record_tells_user_or_place(study, smoke):
    for path in store.record_files(study):
        text = path.read_text()
        assert str(smoke.cache_dir) not in text
        assert str(study) not in text
        assert os.uname().nodename not in json.loads(text)["provenance"].values()


def test_what_is_recorded_is_skipped(copied, smoke, capsys):
    before = snapshot(copied)
    runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert snapshot(copied) == before
    assert capsys.readouterr().err.count("already recorded") == 2


def test_a_missing_evaluation_is_made_without_training(copied, smoke):
    before = digests(copied, "A-S256")
    (folder(copied, "A-S256") / "eval-dense-256.json").unlink()
    with after_step(1, power_cut):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert digests(copied, "A-S256") == before


def test_fresh_replaces_the_run_but_not_its_parent(copied, smoke):
    good = digests(copied, "C-S256")
    parent = snapshot(folder(copied, "A-S256"))
    for path in folder(copied, "C-S256").glob("*.json"):
        store.write(store.read(path).model_copy(update={"reason": "old"}), path)
    assert not digests(copied, "C-S256").items() & good.items()
    runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied, fresh=True))
    assert digests(copied, "C-S256") == good
    assert snapshot(folder(copied, "A-S256")) == parent


# --- photos of one's own --------------------------------------------------------------------


def test_a_record_about_other_photos_is_not_taken_for_these(tmp_path):
    """The classes or the labels may be others: the net is neither reused nor tested on them."""
    experiment = at_budget("A-S256", "reduced", "folder")
    for name, classes in (("mine", ("cat", "dog")), ("others", ("cat", "dog", "owl"))):
        write_set(tmp_path / name, classes)
    where = Where(tmp_path / "results", tmp_path / "mine", cache_dir=tmp_path / "cache")
    this = Run(experiment, 0, where, CPU)
    record = train_record(experiment, data=(used(this.load("train")),))
    store.write(record, train_path(where.results_dir, experiment, 0))
    assert this.trained().data == record.data
    other = replace(this, where=replace(where, data_dir=tmp_path / "others"))
    with pytest.raises(UserError, match=r"other photos.*--results-dir, or --fresh"):
        other.trained()
    # The same photos to train on, and one other to be tested on.
    evaluation = evaluations_of("A-S256")[0]
    val = this.load("val")
    right = np.ones(len(val), bool)
    tested = eval_record(experiment, data=used(val), **summarise(right, right, -1.0 * right))
    tested = tested.model_copy(update={"weights_digest": record.weights_digest})
    store.write(tested, eval_path(where.results_dir, experiment, 0, evaluation))
    assert this._evaluated(evaluation, record)
    photo = next((tmp_path / "mine" / "val" / "cat").iterdir())
    Image.new("RGB", (48, 40), (9, 8, 7)).save(photo)
    later = replace(this)
    assert later.trained().data == record.data
    with pytest.raises(UserError, match=r"other photos.*--results-dir, or --fresh"):
        later._evaluated(evaluation, record)


@pytest.mark.parametrize("damage", ["a file that is no image", "an empty class"])
def test_what_is_wrong_with_val_is_said_before_the_training(tmp_path, smoke, monkeypatch, damage):
    def trained(*_):
        raise AssertionError("trained for nothing")

    photos = write_set(tmp_path / "photos")
    if damage == "an empty class":
        for photo in (photos / "val" / "cat").iterdir():
            photo.unlink()
    else:
        next((photos / "val" / "cat").iterdir()).write_bytes(b"no image")
    monkeypatch.setattr(run, "train", trained)
    monkeypatch.setitem(BUDGETS["smoke"].data, "folder", BUDGETS["smoke"].data["synthetic"])
    where = replace(
        smoke, results_dir=tmp_path / "results", data_dir=photos, cache_dir=tmp_path / "cache"
    )
    with pytest.raises(UserError, match=r"holds no images|cannot be read as an image"):
        runner.run(["A-S256"], "smoke", "folder", [0], where)


def _another_row(monkeypatch):
    monkeypatch.setitem(CONFIGS, "A", CONFIGS["B"])


def test_weights_of_a_net_whose_row_has_changed_are_refused(copied, smoke, monkeypatch):
    (folder(copied, "A-S256") / "eval-dense-256.json").unlink()
    _another_row(monkeypatch)
    with pytest.raises(UserError, match=r"net with other layers: the row of A in CONFIGS.*--fresh"):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))


def test_a_training_does_not_go_on_as_another_net(tmp_path, smoke, monkeypatch):
    where = replace(smoke, results_dir=tmp_path)
    with after_step(6, power_cut), pytest.raises(PowerCutError):
        runner.run(["A-S256"], "smoke", None, [0], where)
    _another_row(monkeypatch)
    with pytest.raises(UserError, match=r"left by another training.*--fresh"):
        runner.run(["A-S256"], "smoke", None, [0], where)


# --- weights that are gone or damaged -------------------------------------------------------


def test_weights_that_are_gone_are_trained_again(copied, smoke):
    """A's for C, and C's, whose record is gone too: all as before, A's record untouched."""
    before = digests(copied, "C-S256")
    (folder(copied, "A-S256") / "weights.pt").unlink()
    records = snapshot(folder(copied, "A-S256"))
    shutil.rmtree(folder(copied, "C-S256"))
    runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert digests(copied, "C-S256") == before
    assert (folder(copied, "A-S256") / "weights.pt").exists()
    assert snapshot(folder(copied, "A-S256")).items() >= records.items()


def test_weights_trained_again_must_match_the_record(copied, smoke):
    path = folder(copied, "A-S256") / "train.json"
    other = store.read(path).model_copy(update={"weights_digest": "0" * 64})
    store.write(other, path)
    (path.parent / "weights.pt").unlink()
    record = path.read_bytes()
    with pytest.raises(UserError, match="not the weights of the record"):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert path.read_bytes() == record


def test_a_retraining_that_is_stopped_says_nothing_against_the_record(copied, smoke):
    """Its weights are of an earlier epoch: no mismatch, and the record stays."""
    path = folder(copied, "A-S256") / "train.json"
    before = path.read_bytes()
    (path.parent / "weights.pt").unlink()
    path.with_name("eval-dense-256.json").unlink()

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), after_step(6, stop):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert path.read_bytes() == before


def _as_if_elsewhere(path, processor):
    """A's records as another machine's rounding would have left them, without its weights."""
    here = store.read(path).weights_digest
    for each in path.parent.glob("*.json"):
        record = store.read(each)
        other = record.provenance.model_copy(update={"processor": processor})
        changed = {"weights_digest": "0" * 64, "provenance": other}
        store.write(record.model_copy(update=changed), each)
    (path.parent / "weights.pt").unlink()
    return here


def test_a_child_starts_from_a_twin_of_a_parent_made_on_another_machine(copied, smoke):
    """A's record stays, what A ends in here stands beside it, and C says which it started from."""
    path = folder(copied, "A-S256") / "train.json"
    here = _as_if_elsewhere(path, "another processor")
    twin = store.twin_path(path, here)
    recorded = path.read_bytes()
    shutil.rmtree(folder(copied, "C-S256"))
    again = replace(smoke, results_dir=copied)
    runner.run(["C-S256"], "smoke", None, [0], again)
    assert path.read_bytes() == recorded
    child = folder(copied, "C-S256") / "train.json"
    assert store.read(child).parent_weights == store.read(twin).weights_digest == here
    assert store.verify([twin, child]) == []
    assert [t.weights_digest for t in store.twins(copied, at_budget("A-S256", "smoke"), 0)] == [
        here
    ]

    # Its weights are kept: the next child trains no parent.
    written = snapshot(folder(copied, "A-S256"))
    shutil.rmtree(folder(copied, "C-S256"))
    runner.run(["C-S256"], "smoke", None, [0], again)
    assert snapshot(folder(copied, "A-S256")) == written
    assert store.read(child).parent_weights == here

    # Without the twin's record nobody knows what the child rests on; under another name neither.
    twin.rename(twin.with_name("train-00000000.json"))
    assert "rests on other weights" in store.verify([child])[0]
    assert "not of this place" in store.verify([twin.with_name("train-00000000.json")])[0]


def test_a_twin_is_not_tested_as_the_run_itself(copied, smoke):
    path = folder(copied, "A-S256") / "train.json"
    _as_if_elsewhere(path, "another processor")
    path.with_name("eval-dense-256.json").unlink()
    with pytest.raises(UserError, match="not the weights of the record"):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert not path.with_name("eval-dense-256.json").exists()


def test_a_child_starts_from_no_twin_made_on_the_same_machine(copied, smoke):
    path = folder(copied, "A-S256") / "train.json"
    _as_if_elsewhere(path, store.read(path).provenance.processor)
    shutil.rmtree(folder(copied, "C-S256"))
    with pytest.raises(UserError, match="not the weights of the record"):
        runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def _change_one_weight(path):
    state = checkpoints.read(path)
    next(iter(state.values())).view(-1)[0] += 1
    torch.save(state, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "weights.pt is not a readable checkpoint .*: delete it"),
        (_change_one_weight, "weights.pt does not hold the weights of the record .*: delete it"),
    ],
)
def test_damaged_weights_are_not_evaluated(copied, smoke, damage, message):
    path = folder(copied, "A-S256") / "weights.pt"
    damage(path)
    missing = path.with_name("eval-dense-256.json")
    missing.unlink()
    with pytest.raises(UserError, match=message):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert not missing.exists()


# --- refusals -------------------------------------------------------------------------------


def test_a_changed_declaration_is_not_silently_run_again(copied, smoke, monkeypatch):
    monkeypatch.setitem(BUDGETS["smoke"].data["synthetic"], "learning_rate", 0.03)
    before = snapshot(copied)
    with pytest.raises(UserError, match=r"learning_rate changed.*--fresh"):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert snapshot(copied) == before


def test_precisions_are_not_mixed(copied, smoke):
    before = snapshot(copied)
    where = replace(smoke, results_dir=copied, precision="bf16")
    with pytest.raises(UserError, match="recorded in float32, this would be bf16"):
        runner.run(["A-S256"], "smoke", None, [0], where)
    assert snapshot(copied) == before


def test_a_damaged_record_stops_the_run(copied, smoke):
    path = folder(copied, "A-S256") / "train.json"
    _truncate(path)
    with pytest.raises(UserError, match=r"train\.json: not a readable record"):
        runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))


def test_a_file_in_place_of_the_folder(smoke, tmp_path):
    (tmp_path / "smoke").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=tmp_path))


def test_a_checkpoint_of_another_declaration_is_refused(smoke, tmp_path, monkeypatch):
    where = replace(smoke, results_dir=tmp_path)
    with after_step(5, power_cut), pytest.raises(PowerCutError):
        runner.run(["A-S256"], "smoke", None, [0], where)
    monkeypatch.setitem(BUDGETS["smoke"].data["synthetic"], "learning_rate", 0.03)
    with pytest.raises(UserError, match="was left by another training"):
        runner.run(["A-S256"], "smoke", None, [0], where)


def test_a_diverged_run_is_recorded_once_and_has_no_children(smoke, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(BUDGETS["smoke"].data["synthetic"], "learning_rate", 1e30)
    where = replace(smoke, results_dir=tmp_path)
    runner.run(["A-S256"], "smoke", None, [0], where)
    path = folder(tmp_path, "A-S256") / "train.json"
    record = store.read(path)
    assert record.status == "diverged"
    assert "no longer finite" in record.reason
    assert store.verify([path]) == []
    assert {p.name for p in path.parent.glob("*.*")} <= {"train.json", ".lock"}
    before = path.read_bytes()
    capsys.readouterr()
    with pytest.raises(UserError, match="C-S256 starts from A-S256, which is recorded as diverged"):
        runner.run(["C-S256"], "smoke", None, [0], where)
    assert "recorded as diverged" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_threads_are_set_and_told():
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):  # no machine starts with both
            chosen = choose("cpu", "float32", threads)
            assert torch.get_num_threads() == threads
            assert f"{threads} threads), float32" in describe(chosen)
    finally:
        torch.set_num_threads(before)
