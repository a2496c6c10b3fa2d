"""`vggrepro bench`: turns, the other side, and the whole table at a tiny size."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

from tests import children
from tests.image_folders import write_set
from tests.image_sets import CPU, image_set, noise
from tests.records_by_hand import PROVENANCE
from vggrepro import UserError
from vggrepro.bench import rival
from vggrepro.bench import speed as bench_speed
from vggrepro.bench import turns as bench
from vggrepro.bench.speed import Plan, files, spread
from vggrepro.data import Photos
from vggrepro.evaluators import evaluate
from vggrepro.models import initialise, to_dense
from vggrepro.pages.costs import SPEEDS, speed_lines, speeds
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.provenance import memory_mib
from vggrepro.study.records import BenchRecord, Measured
from vggrepro.study.run import build

SMALL = replace(at_budget("D-S256", "reduced", "imagenette"), crop=32, hidden=16, batch_size=2)
PLAN = Plan(rounds=2, seconds=1e-4)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Forty drawn images, and nets of 32 px with sixteen hidden units."""
    monkeypatch.setattr(
        bench_speed, "declared", lambda photos, run, **size: replace(SMALL, name=run, **size)
    )
    monkeypatch.setattr(bench_speed, "PAPER_WIDTH", {"width": 1.0})
    monkeypatch.setattr(bench_speed, "PEAK_CHANNELS", 8)
    return Photos("synthetic", None, tmp_path, counts=(40, 12))


# --- turns ----------------------------------------------------------------------------------


class Clock:
    """A clock that only `work` moves on."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(bench.time, "perf_counter", lambda: self.now)

    def work(self, seconds):
        self.now += seconds


class Worker(bench.Side):
    """A side that takes `each` seconds for one piece of work, and five before and after a turn."""

    def __init__(self, clock, log, name, each, amount=10, first=1, most=10**6):
        self.clock, self.log, self.name, self.each = clock, log, name, each
        self.amount, self.first, self.most = amount, first, most

    def note(self, what, seconds):
        self.log.append(f"{self.name} {what}")
        self.clock.work(seconds)

    def run(self, times):
        self.note("turn", times * self.each)

    def settle(self):
        self.note("before", 5)

    def rest(self):
        self.note("after", 5)


def test_sides_take_turns_and_only_turns_are_timed(monkeypatch):
    clock, log = Clock(monkeypatch), []
    pair = [Worker(clock, log, "a", 2.0), Worker(clock, log, "b", 0.5)]
    rates = bench.take_turns(pair, 2.0, 3, lambda: log.append("done"))
    assert rates == {"a": (5.0,) * 3, "b": (20.0,) * 3}
    fitted = [f"{name} {what}" for name in "ab" for what in ("turn", "turn", "turn", "after")]
    once = [f"{name} {what}" for name in "ab" for what in ("before", "turn", "after")]
    assert log == fitted + [*once, "done"] * 3


@given(
    each=st.floats(0.01, 10),
    seconds=st.floats(0.01, 10),
    first=st.integers(1, 9),
    most=st.integers(1, 50),
)
def test_a_turn_is_as_long_as_was_asked_for(each, seconds, first, most):
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock = Clock(monkeypatch)
        side = Worker(clock, [], "a", each, first=first, most=most)
        count = bench.fitted(side, seconds)
        took = bench.elapsed(lambda: side.run(count))
    assert 1 <= count <= most
    assert took == pytest.approx(count * each)
    if 1 < count < most:
        assert abs(took - seconds) <= each / 2 + 1e-6
    elif count < most:
        assert took >= seconds / 1.5


def test_saved_bytes_counts_what_autograd_keeps_once():
    x = torch.zeros(100, requires_grad=True)

    def step():
        y = x.exp()  # keeps its result
        (y * y).sum().backward()  # keeps y twice: the same 400 bytes

    assert bench.saved_bytes(step) == 400


# --- the other side does the same work ------------------------------------------------------


@pytest.fixture(scope="module")
def nets():
    """The library's net and torchvision's way of writing it, with the same weights."""
    ours = build(replace(SMALL, width=1 / 16), 4).eval()
    initialise(ours, "he", seed=3)
    plain = rival.PlainVGG(replace(SMALL, width=1 / 16), 4).eval()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def test_both_nets_compute_the_same(nets):
    ours, plain = nets
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(x), ours(x), rtol=1e-4, atol=1e-5)
    kinds = [type(module).__name__ for module in plain.features]
    assert kinds[:5] == ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]
    x = torch.randn(2, 3, 64, 96)
    maps = plain.fully_convolutional()(x)
    assert maps.shape == (2, 4, 2, 3)
    torch.testing.assert_close(maps, to_dense(ours)(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("protocol", "size", "q"), [("dense", (64, 96), 448), ("multi-crop", (40, 56), 280)]
)
def test_both_sides_test_alike(nets, protocol, size, q):
    # At this Q the photos have their own size, so that no resampling differs.
    ours, plain = nets
    images, mean = image_set(1, sizes=(size,)), (120.0, 110.0, 100.0)
    ours.set_pixel_mean(mean)
    expected = evaluate(ours, images, protocol, q, device=CPU, progress=False).posteriors[0]
    image, to_input = Image.fromarray(images.images[0]), rival.normalised(mean, 60.0)
    photo = rival.OneByOne(plain, (size[0],), 32, to_input, CPU.device)
    found = photo.dense(image) if protocol == "dense" else photo.crops(image)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert np.ptp(expected) > 0.01  # no uniform posterior that anything would equal


def test_both_sides_feed_the_same_inputs(nets):
    image, mean = noise(8, 9), (120.0, 110.0, 100.0)
    found = rival.normalised(mean, 60.0)(Image.fromarray(image))
    batch = torch.from_numpy(image).permute(2, 0, 1)[None]
    ours = nets[0]
    ours.set_pixel_mean(mean)
    expected = ours.normalised(batch)[0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_torchvisions_training_trains_on_whole_batches_and_ends_its_workers(tmp_path):
    write_set(tmp_path, n=9)
    experiment = replace(SMALL, width=1 / 16, batch_size=4)
    plain = rival.PlainVGG(experiment, 2)
    before = [parameter.clone() for parameter in plain.parameters()]
    sizes = []
    plain.register_forward_hook(lambda net, args, logits: sizes.append(tuple(args[0].shape)))
    side = rival.Training(plain, experiment, tmp_path / "train", (120.0,) * 3, CPU.device)
    side.run(3)
    side.settle()
    workers = side.loader._iterator._workers
    assert len(workers) == rival.WORKERS
    side.close()
    assert sizes == [(4, 3, 32, 32)] * 4
    assert any((a != b).any() for a, b in zip(before, plain.parameters(), strict=True))
    assert not any(worker.is_alive() for worker in workers)


def test_photos_one_by_one_are_spread_over_the_folder(tmp_path):
    write_set(tmp_path, n=9)
    seen = []
    side = rival.Testing(tmp_path / "train", seen.append)
    files = [np.asarray(image) for image, _ in side.files]
    side.run(3)
    for image, place in zip(seen, (0, len(files) // 3, 2 * len(files) // 3), strict=True):
        assert (np.asarray(image) == files[place]).all()
    assert side.most == len(files)


# --- photos ---------------------------------------------------------------------------------


def test_a_spread_of_a_set_has_all_its_classes_and_nothing_twice():
    images = image_set(40)
    some = spread(images, 8)
    chosen = [next(i for i in range(40) if images.images[i] is image) for image in some.images]
    assert len(set(chosen)) == 8
    assert max(chosen) == 39 and min(chosen) == 0
    assert chosen != sorted(chosen)
    assert some.targets.tolist() == [i % 4 for i in chosen]
    assert len(spread(images, 99)) == 40


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_of_photos_are_the_photos(photos, split):
    images, folder = getattr(photos, split), files(photos, split)
    found = ImageFolder(str(folder))
    assert files(photos, split) == folder and len(found) == len(images)
    for (image, target), ours, expected in zip(found, images.images, images.targets, strict=True):
        assert (int(found.classes[target]), image.size[::-1]) == (expected, ours.shape[:2])
        assert np.abs(np.asarray(image, float) - ours).mean() < 8  # but for JPEG


def test_photos_for_less_than_a_batch(tmp_path):
    write_set(tmp_path / "own", n=60)
    with pytest.raises(UserError, match="64 training images for one batch; there are 54"):
        bench_speed.speed(CPU, "folder", tmp_path / "own", tmp_path / "here", PLAN)


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.skipif(memory_mib("RssAnon") is None, reason="no /proc here")
def test_memory_is_anonymous_memory(tmp_path, monkeypatch):
    photos = Photos("synthetic", None, tmp_path)

    def seen(kind, pid="self"):
        taken = (tmp_path / "taken").exists()
        found = memory_mib(kind, pid)
        if taken:
            (tmp_path / "seen").touch()
        return found

    monkeypatch.setattr(bench_speed, "memory_mib", seen)
    monkeypatch.setattr(bench_speed, "_reduced_run", children.allocate)
    peaks = []
    for mib in (1, 201):
        (found,) = bench_speed.memory(photos, CPU, PLAN, mib)
        peaks += found.values
        for file in ("taken", "seen"):
            (tmp_path / file).unlink()
    assert peaks[1] - peaks[0] == pytest.approx(200, abs=50)  # not 400: mapped pages do not count
    monkeypatch.setattr(bench_speed, "_reduced_run", children.fail)
    with pytest.raises(UserError, match="ended with 3"):
        bench_speed.memory(photos, CPU, PLAN)


def test_the_run_whose_memory_is_measured(photos):
    bench_speed._reduced_run(photos, "cpu", "float32", torch.get_num_threads(), 8)
    assert (photos.cache_dir / "checkpoint.pt").exists()


# --- the whole ------------------------------------------------------------------------------


@pytest.fixture
def speed(photos, monkeypatch, tmp_path):
    """The record of everything, but for the memory of a run."""
    monkeypatch.setattr(bench_speed, "DRAWN", photos.counts)
    monkeypatch.setitem(bench_speed.PARTS, "memory of a run", lambda *a: [])
    monkeypatch.setattr(bench_speed, "NETS", ("A", "A-LRN"))
    monkeypatch.setattr(
        bench_speed, "STARTS", dict.fromkeys(bench_speed.STARTS, (sys.executable, "-V"))
    )
    monkeypatch.setattr(rival, "REST_SECONDS", 0)
    monkeypatch.setattr(bench_speed, "FIRST", 1)
    monkeypatch.setattr(bench_speed, "TURN_SECONDS", 1e-4)
    return lambda: bench_speed.speed(CPU, "synthetic", None, tmp_path / "here", PLAN)


def test_everything_that_is_shown_is_measured(speed, tmp_path):
    record = speed()
    assert list((tmp_path / "here").iterdir()) == []  # nothing stays in the user's cache
    missing = {said["what"] for said in SPEEDS} - set(speeds(record).what)
    assert missing == {"peak anonymous memory of a run at `reduced`"}
    assert len(list(speed_lines(record))) == len(SPEEDS)
    for measured in record.measured:
        assert min(measured.values) > 0, measured
    assert record.settings["data"] == "synthetic"
    assert record.settings["train_images"] == 30
    path = store.bench_path(tmp_path, "speed")
    store.write(record, path)
    assert list(store.problems(path)) == []
    assert store.read(path).values("training", side="vggrepro", width=1.0).shape == (2,)


def test_lrn_has_the_fields_of_the_record_that_is_committed():
    geometry = bench.Geometry(crop=32, width=1 / 16, hidden=8, batch=2, classes=3)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(bench_speed, "TURN_SECONDS", 1e-4)
        record = bench_speed.lrn(CPU, rounds=2, geometries=(geometry,))
    committed = store.read(store.bench_path(store.RECORDED, "lrn"))

    def fields(of_record):
        return {(m.name, m.unit, *sorted(m.of), m.of["net"]) for m in of_record.measured}

    assert fields(record) == fields(committed)
    assert record.settings.keys() == committed.settings.keys()
    kept = [record.values("kept", net=net)[0] for net in bench_speed.LRN_NETS]
    assert kept[0] < kept[1] < kept[2]
    assert all(net in bench_speed.lrn_lines(record)[0] for net in bench_speed.LRN_NETS)


# --- the command ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fast"], "unknown benchmark 'fast'; choose one of: speed, lrn"),
        ([], "--data-dir"),
        (["--data", "folder"], "--data-dir"),
        (["--data", "cifar10"], "--data-dir"),
        (["--data", "photos"], "'photos'; it is one of"),
        (["--data-dir", "/no/such/folder"], "/no/such/folder does not exist: name the folder"),
    ],
)
def test_bad_input_is_one_line(vggrepro, tmp_path, arguments, message):
    where = ("--results-dir", tmp_path / "results", "--cache-dir", tmp_path / "cache")
    status, out, err = vggrepro("bench", *arguments, *where, "--device", "cpu")
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("vggrepro: ")
    assert message in last
    assert "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_a_record_is_kept_unless_asked(vggrepro, tmp_path, monkeypatch):
    settings = {"data": "synthetic", "train_images": 30, "threads": 1, "precision": "bf16"}
    measured = Measured(name="memory", unit="MiB", of={}, values=(1500.0,))
    made = BenchRecord(
        name="speed",
        settings=settings,
        measured=(measured,),
        provenance=PROVENANCE,
    )
    monkeypatch.setattr(bench_speed, "speed", lambda *arguments: made)
    where = ("bench", "--data", "synthetic", "--results-dir", tmp_path, "--device", "cpu")
    status, out, _ = vggrepro(*where)
    assert status == 0
    assert "\n1,500 MiB" in out
    status, _, err = vggrepro(*where)
    assert status == 1
    assert "--fresh" in err
    assert vggrepro(*where, "--fresh")[0] == 0
    assert vggrepro("verify", "--results-dir", tmp_path)[0] == 0


@pytest.fixture
def unmeasured(monkeypatch):
    """What was about to be measured; nothing is."""
    begun = []

    def stopped(*arguments):
        begun.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_speed, "lrn", stopped)
    monkeypatch.setattr(bench_speed, "elapsed", stopped)
    return begun


@pytest.mark.parametrize("what", [["lrn"], ["speed", "--data", "synthetic"]])
def test_a_folder_that_cannot_be_written_is_known_before_measuring(
    vggrepro, tmp_path, unmeasured, what
):
    (tmp_path / "file").touch()
    where = ("--results-dir", tmp_path / "file", "--device", "cpu")
    status, out, err = vggrepro("bench", *what, *where)
    assert (status, out, unmeasured) == (1, "", [])
    assert err == (
        f"vggrepro: cannot write to {tmp_path}/file/bench: Not a directory. Give permission or "
        "free some space, or choose another folder.\n"
    )


def test_a_cache_that_cannot_be_written_is_one_line(vggrepro, tmp_path, unmeasured):
    (tmp_path / "file").touch()
    where = ("--results-dir", tmp_path, "--cache-dir", tmp_path / "file", "--device", "cpu")
    status, _, err = vggrepro("bench", "--data", "synthetic", *where)
    assert (status, unmeasured, len(err.splitlines())) == (1, [], 1)
    assert f"image cache in {tmp_path}/file cannot be written" in err


@pytest.mark.parametrize("what", [["lrn"], ["speed", "--data", "synthetic"]])
def test_ctrl_c_keeps_nothing_and_says_so(vggrepro, tmp_path, unmeasured, what):
    where = ("--results-dir", tmp_path / "r", "--device", "cpu")
    status, _, err = vggrepro("bench", *what, *where)
    assert (status, len(unmeasured)) == (130, 1)
    said = "vggrepro: stopped; nothing measured is kept, and the same command begins anew"
    assert err.splitlines()[-1] == said
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
