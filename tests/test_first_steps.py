"""First steps: what is recorded, what is not done twice, and what a kill leaves."""

import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock

from tests.image_folders import write_set
from tests.image_sets import CPU, Sets, coloured_set, statistics_of
from tests.running import PowerCutError, after_step, power_cut, snapshot
from vggrepro import UserError
from vggrepro.models import initialise
from vggrepro.study import first_steps, starts, store
from vggrepro.study.run import build
from vggrepro.trainer import rescaled, sgd, train_one_epoch

STEPS = 4


def tiny(*names, **changes):
    """Declarations of nets with a few channels, on a few drawn images."""
    found = starts.chosen(list(names), crop=32, batch_size=8, width=1 / 64)
    return [replace(e, counts=(40, 10), **changes) for e in found]


def run(where, *experiments, seed=0):
    first_steps.run(list(experiments), seed, STEPS, where)
    return {e.name: load(where, e, seed) for e in experiments}


def path_of(where, experiment, seed=0):
    return store.folder_of(where.results_dir, experiment, seed) / "first-steps.json"


def load(where, experiment, seed=0):
    return store.read(path_of(where, experiment, seed))


@pytest.fixture(scope="module")
def where(smoke, tmp_path_factory):
    return replace(smoke, results_dir=tmp_path_factory.mktemp("first-steps"))


@pytest.fixture(scope="module")
def made(where):
    """D from net A, and the net A that it starts from."""
    return run(where, *tiny("D-from-A"))


@pytest.fixture
def elsewhere(smoke, tmp_path):
    return replace(smoke, results_dir=tmp_path)


def digests(records):
    return {name: record.result_digest for name, record in records.items()}


def test_a_record_has_the_signal_before_each_loss_and_the_signal_after(made):
    parent, child = made["A-glorot"], made["D-from-A"]
    assert [signal.crop for signal in parent.before] == [32, 224]
    assert len(parent.losses) == parent.steps == STEPS
    assert len(parent.before[0].layers) == len(parent.after.gradient) == 11
    assert parent.after != parent.before[0]
    assert [signal.crop for signal in child.before] == [32]  # net A's fc6 fits no other crop
    assert child.parent_weights == parent.weights_digest
    assert child.before[0].layers[-1] == "fc8"
    # conv1_1 and fc8 are the trained net A's, conv1_2 is random
    weight = dict(zip(child.before[0].layers, child.before[0].weight, strict=True))
    trained = dict(zip(parent.after.layers, parent.after.weight, strict=True))
    assert weight["conv1_1"] == trained["conv1_1"]
    assert weight["fc8"] == trained["fc8"]
    assert weight["conv1_2"] == pytest.approx(0.01, rel=0.5)
    assert "vggrepro first-steps D-from-A" in child.provenance.command


def test_what_is_recorded_is_verified_and_not_done_again(where, made):
    paths = store.record_files(where.results_dir)
    assert len(paths) == 2
    assert store.verify(paths) == []
    before = snapshot(where.results_dir)
    run(where, *tiny("D-from-A"))
    assert snapshot(where.results_dir) == before


def test_other_steps_or_sizes_need_to_be_asked_for(where, made):
    for changed, message in (({}, "--steps 5"), ({"batch_size": 4}, "--batch 4")):
        with pytest.raises(UserError, match=message) as error:
            first_steps.run(tiny("A-glorot", **changed), 0, STEPS + 1, where)
        assert "--fresh" in str(error.value)


def test_another_seed_with_other_sizes_is_refused_before_anything_is_measured(
    where, made, monkeypatch
):
    monkeypatch.setattr(
        first_steps.FirstSteps, "measured", lambda *given: pytest.fail("it was measured")
    )
    for fresh in (False, True):
        with pytest.raises(UserError, match="--results-dir, or the same sizes") as error:
            elsewhere = replace(where, fresh=fresh)
            first_steps.run(tiny("A-glorot", crop=48), 1, STEPS + 1, elsewhere)
        assert f"--crop 32 --steps {STEPS}, this would be with --crop 48" in str(error.value)
        assert "A-glorot/seed0/first-steps.json" in str(error.value)


def test_other_sizes_for_two_seeds_take_what_the_message_advises(elsewhere):
    (first,), (other,) = tiny("A-he"), tiny("A-he", crop=48)
    for seed in (0, 1):
        run(elsewhere, first, seed=seed)
    with pytest.raises(UserError) as error:
        run(elsewhere, other)
    folder = path_of(elsewhere, first, 1).parent
    assert f": remove {folder}, then --fresh measures again, or" in str(error.value)
    anew = replace(elsewhere, fresh=True)
    with pytest.raises(UserError, match=f": remove {folder}, or") as error:
        run(anew, other)
    assert "--fresh" not in str(error.value)
    shutil.rmtree(folder)
    assert run(anew, other)["A-he"].experiment["crop"] == 48
    assert run(elsewhere, other, seed=1)["A-he"].experiment["crop"] == 48


def test_a_killed_command_goes_on_to_the_same_records(elsewhere, made):
    with pytest.raises(PowerCutError), after_step(STEPS + 2, power_cut):
        run(elsewhere, *tiny("D-from-A"))
    assert [p.parent.parent.name for p in store.record_files(elsewhere.results_dir)] == ["A-glorot"]
    assert digests(run(elsewhere, *tiny("D-from-A"))) == digests(made)


def test_a_parent_without_its_weights_is_trained_again_and_compared(elsewhere, made):
    parent, child = tiny("D-from-A")
    run(elsewhere, parent)
    weights = path_of(elsewhere, parent).with_name("weights.pt")
    weights.unlink()
    found = run(elsewhere, parent, child)
    assert digests(found) == digests(made)
    state = torch.load(weights, weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in state.items()}, weights)
    with pytest.raises(UserError, match="does not hold the weights of the record"):
        path_of(elsewhere, child).unlink()
        run(elsewhere, parent, child)


def test_a_start_that_diverges_is_recorded_and_its_children_are_left_out(elsewhere):
    parent, child = tiny("D-from-A", learning_rate=1e30)
    other = tiny("A-he")[0]
    with pytest.raises(UserError, match="D-from-A starts from A-glorot, which diverged"):
        run(elsewhere, parent, replace(child, learning_rate=0.01), other)
    record = load(elsewhere, parent)
    assert record.status == "diverged"
    assert record.reason == f"the loss was no longer finite at step {len(record.losses) + 1}"
    assert record.after is None
    assert np.isfinite(record.losses).all()
    assert load(elsewhere, other).status == "ok"  # the others were measured all the same
    assert store.verify(store.record_files(elsewhere.results_dir)) == []


def test_what_another_process_is_at_is_left_out(elsewhere):
    busy, free = tiny("A-normal-std", "A-he")
    folder = store.folder_of(elsewhere.results_dir, busy, 0)
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(UserError, match="is at A-normal-std"):
        run(elsewhere, busy, free)
    assert load(elsewhere, free).status == "ok"
    assert [p.parts[-3] for p in store.record_files(elsewhere.results_dir)] == ["A-he"]


def test_an_edited_loss_is_found(elsewhere):
    (experiment,) = tiny("A-pytorch")
    record = run(elsewhere, experiment)["A-pytorch"]
    path = path_of(elsewhere, experiment)
    path.write_text(path.read_text().replace(str(record.losses[-1]), "0.25"))
    (problem,) = store.verify([path])
    assert "edited after it was written" in problem


def test_the_steps_of_an_epoch_are_those_of_a_training():
    sets = Sets(coloured_set(24), coloured_set(8, split="minival", seed=1), pixels())
    experiment = replace(tiny("A-he-scaled")[0], data="hand-made")

    def started():
        model = build(experiment, 4)
        initialise(model, "he", seed=0)
        model.set_pixel_mean(sets.pixels.mean)
        return model

    model = started()
    optimizer, cut = sgd(model, experiment), rescaled(sets, experiment, model)
    loss, _ = train_one_epoch(model, optimizer, cut, experiment, 0, 0, CPU)
    other = started()
    losses, _ = first_steps.take_steps(other, experiment, 0, sets, CPU, 3)
    assert np.mean(losses) == pytest.approx(loss, rel=1e-5)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


def pixels():
    rng = np.random.default_rng(0)
    return statistics_of(rng.uniform(0, 255, (1000, 3)))


# --- the command ------------------------------------------------------------------------------


def test_the_command_on_ones_own_photos(vggrepro, tmp_path, smoke):
    photos = write_set(tmp_path / "photos", n=40)
    sizes = ["--crop", "32", "--batch", "4", "--width", "0.02", "--steps", "2"]
    place = ["--data-dir", photos, "--results-dir", tmp_path / "r", "--cache-dir", tmp_path / "c"]
    fixed = ["--threads", "1", "--precision", "float32"]
    status, out, err = vggrepro(
        "first-steps", "D-normal-std", "A-he", "--data", "folder", *sizes, *place, *fixed
    )
    assert status == 0, err
    _, std, he, _, of_std, _, of_he = out.splitlines()
    assert (std.split()[0], he.split()[0]) == ("D-normal-std", "A-he")
    assert of_std.startswith("D-normal-std fades: the loss stays near chance")
    assert "Take D-he-scaled-slow" in of_std
    assert re.match("A-he [a-z ]+: .*[.] (Take|Train)", of_he)
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "r").rglob("*.json"))
    status, out, _ = vggrepro("status", "--results-dir", tmp_path / "r")
    assert f"first-steps on folder: 2 of {len(starts.DECLARED)} starts" in out
    status, out, _ = vggrepro("verify", "--results-dir", tmp_path / "r")
    assert (status, out) == (0, "2 records, all as they were written\n")


@pytest.mark.parametrize("width", [math.inf, math.nan, 0.0, 9.0])
def test_a_width_that_no_net_has(width):
    with pytest.raises(UserError, match=f"--width must be .* not {width}"):
        starts.chosen(["A-he"], width=width)


def test_each_net_may_have_its_own_sizes(vggrepro, tmp_path, smoke):
    fixed = ["--threads", "1", "--precision", "float32", "--cache-dir", smoke.cache_dir]
    place = ["--crop", "32", "--width", "0.02", "--steps", "1", "--results-dir", tmp_path, *fixed]
    for name, batch in (("A-he", "4"), ("A-he-scaled", "2"), ("A-he", "4")):
        status, out, err = vggrepro("first-steps", name, "--batch", batch, *place)
        assert status == 0, err
        assert [line.split()[0] for line in out.splitlines()[1:] if line] == [name, name]
    status, out, err = vggrepro("first-steps", "A-he", "A-he-scaled", "--batch", "2", *place)
    assert (status, out) == (1, "")
    assert (
        "with --batch 4, this would be with --batch 2" in err
        and "--fresh" in err
        and "--results-dir" in err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A-he", "--width", "inf"], "--width must be from 0.015625 to 8, not inf"),
        (["A-he", "--width", "nan"], "--width"),
        (["D-xavier"], "unknown start 'D-xavier'"),
        (["--data", "mnist"], "unknown data 'mnist'"),
        (["A-he", "--data", "folder"], "--data-dir"),
        (["--crop", "16"], "--crop"),
        (["--steps", "0"], "--steps"),
    ],
)
def test_bad_input_is_one_message(vggrepro, tmp_path, arguments, message):
    status, _, err = vggrepro("first-steps", *arguments, "--results-dir", tmp_path)
    assert status in (1, 2)
    assert message in err
    assert "Traceback" not in err
