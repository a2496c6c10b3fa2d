"""`vggrepro bench speed`: everything in `targets`, measured within five minutes."""

import copy
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from vggrepro import UserError, cost, data
from vggrepro.bench import rival
from vggrepro.bench.lrn import step_costs
from vggrepro.bench.turns import Geometry, Repeated, Side, Step, elapsed, resident_step, take_turns
from vggrepro.bench.workload import training_step
from vggrepro.data import ImageSet, cache
from vggrepro.data.sources import IMAGENETTE_FOLDERS
from vggrepro.device import Machine, choose
from vggrepro.evaluators import evaluate
from vggrepro.models import VGG, initialise
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import RUNS, Experiment, several_scales
from vggrepro.study.provenance import options, provenance
from vggrepro.study.records import BenchRecord, Measured
from vggrepro.study.run import build
from vggrepro.trainer import rescaled, sgd, train, train_one_epoch
from vggrepro.windows import scaled

# --- the photos, and how much is measured -------------------------------------------------

KNOWN = ("imagenette", "folder", "synthetic")
SIZE = "160px"


@dataclass(frozen=True)
class Photos:
    """A data set, where it lies, and the folder in which the measurements keep what they make."""

    name: str
    data_dir: Path | None
    scratch: Path
    counts: tuple[int, int] = (2000, 500)
    """How many images are drawn if the data set is `synthetic`."""

    @cached_property
    def opened(self) -> data.Photos:
        """The data set as the library reads it: decoded once into a cache of its own."""
        cache_dir, drawn = self.scratch / "cache", self.counts
        return data.load(self.name, self.data_dir, cache_dir=cache_dir, size=SIZE, counts=drawn)

    def experiment(self, run: str) -> Experiment:
        """The declaration of a run at `reduced` on these photos."""
        known = "imagenette" if self.name == "synthetic" else self.name
        return replace(at_budget(run, "reduced", known), data=self.name)

    def folder(self, split: str) -> Path:
        """The class folders of `train` or `val`. Drawn images are written there as JPEG files."""
        if self.name == "synthetic":
            return self._drawn(split)
        root = Path(self.data_dir)
        if self.name == "imagenette":
            root /= IMAGENETTE_FOLDERS[SIZE]
        found = root / split
        return found if found.is_dir() else root / "test"

    def _drawn(self, split: str) -> Path:
        root = self.scratch / "files" / split
        if not root.exists():
            images = getattr(self.opened, split)
            for i, (image, target) in enumerate(zip(images.images, images.targets, strict=True)):
                folder = root / images.classes[target].replace(" ", "-")
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i:05d}.jpg", quality=90)
        return root


def check(name: str, data_dir: Path | None) -> None:
    """Raise `UserError` unless photos of that name can be looked for."""
    if name not in KNOWN:
        raise UserError(f"bench speed runs on {', '.join(KNOWN)}; not on {name!r}")
    if name != "synthetic" and data_dir is None:
        raise UserError(
            f"bench speed needs photos: name the folder of {name} with --data-dir; or measure on "
            "drawn images with --data synthetic, which decides no target"
        )
    data.load(name, data_dir, size=SIZE)


def _of_sides(
    name: str, unit: str, rates: Mapping[str, tuple], **of: str | float
) -> list[Measured]:
    return [
        Measured(name=name, unit=unit, of={"side": side, **of}, values=found)
        for side, found in rates.items()
    ]


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, evenly spread over a set and its classes, shuffled."""
    return images.subset(np.random.default_rng(0).permutation(images.evenly(count)))


@dataclass(frozen=True)
class Plan:
    """How long and how often things are measured. The defaults keep the whole below 5 minutes."""

    rounds: int = 5
    rounds_at_full_width: int = 3
    seconds: float = 2.5
    """Of one turn, about."""
    seconds_at_full_width: float = 4.0
    starts: int = 5
    memory_images: int = 10**6
    """At most so many training images for the run whose memory is measured."""


# --- training -----------------------------------------------------------------------------

RUN = "D-S256"
PAPER_WIDTH = {"width": 1.0, "hidden": 4096}
PEAK_CHANNELS, PEAK_SIDE = 256, 32
MOST_BATCHES = 64


def geometry_of(experiment: Experiment, classes: int) -> Geometry:
    """The sizes of an experiment's training step."""
    e = experiment
    return Geometry(e.crop, e.width, e.hidden, e.batch_size, classes)


def _nets(experiment: Experiment, classes: int) -> tuple[VGG, rival.PlainVGG]:
    """Our net and torchvision's way of writing it, with the same weights."""
    ours, plain = build(experiment, classes), rival.PlainVGG(experiment, classes)
    initialise(ours, "he", seed=0)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


class Training(Side):
    """The trainer's own pass over so many batches of photos, no two alike."""

    name = "vggrepro"

    def __init__(self, model: VGG, experiment: Experiment, sets: data.Photos, machine: Machine):
        model.set_pixel_mean(sets.pixels.mean)
        self.model = model.to(machine.device, memory_format=torch.channels_last)
        self.experiment, self.sets, self.machine = experiment, sets, machine
        self.optimizer = sgd(model, experiment)
        self.amount = experiment.batch_size
        self.part = copy.copy(sets)
        self.part.train = sets.train.subset([])
        self.epoch = 0

    def run(self, times: int) -> None:
        """A part of an epoch. Its photos are rescaled the first time that they are seen."""
        if len(self.part.train) != times * self.amount:
            self.part.train = spread(self.sets.train, times * self.amount)
            self.cut = rescaled(self.part, self.experiment, self.model)
        self.epoch += 1
        train_one_epoch(
            self.model, self.optimizer, self.cut, self.experiment, 0, self.epoch, self.machine
        )


def training(photos: Photos, machine: Machine, plan: Plan, *, full_width: bool) -> list[Measured]:
    """Images per second from photos to updated weights: ours, torchvision's, the step alone.

    Ours is the trainer itself on a part of an epoch, torchvision's in `rival`. On
    both sides the first pass is not on the clock: it starts workers and rescales photos.
    """
    experiment, sets = photos.experiment(RUN), photos.opened
    if full_width:
        experiment = replace(experiment, **PAPER_WIDTH)
    geometry = geometry_of(experiment, len(sets.train.classes))
    ours, plain = _nets(experiment, geometry.classes)
    alone = resident_step(build(experiment, geometry.classes), geometry, machine)
    mean = tuple(map(float, sets.pixels.mean))
    theirs = rival.Training(plain, experiment, photos.folder("train"), mean, machine.device)
    sides = [
        Training(ours, experiment, sets, machine),
        Repeated("step alone", alone, geometry.batch),
        theirs,
    ]
    for side in sides:
        side.most = min(MOST_BATCHES, len(sets.train) // geometry.batch)
    seconds = plan.seconds_at_full_width if full_width else plan.seconds
    try:
        rounds = plan.rounds_at_full_width if full_width else plan.rounds
        rates = take_turns(sides, seconds, rounds)
    finally:
        theirs.close()
    return _of_sides("training", "images/s", rates, **geometry.of)


def share_of_peak(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """TFLOP/s of full-width D's training step beside those of a convolution, by turns.

    A multiply-add is two operations. The model's are those of its forward and backward pass,
    whether the update is on the clock or not.
    """
    wide = replace(photos.experiment(RUN), **PAPER_WIDTH)
    geometry = geometry_of(wide, len(photos.opened.classes))
    size = {"width": geometry.width, "crop": geometry.crop, "hidden": geometry.hidden}
    net = cost.layers("D", num_classes=geometry.classes, **size)
    step = 2 * training_step(net).multiply_adds * geometry.batch / 1e12
    peak = 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2 * geometry.batch / 1e12
    alone = resident_step(geometry.model("D"), geometry, machine, update=False)
    sides = [
        Repeated("convolution", _convolution(machine, geometry.batch), peak),
        # What torchvision's way computes with.
        Repeated("float32 convolution", _convolution(machine, geometry.batch, plain=True), peak),
        Repeated("model", alone, step),
        Repeated("model and update", resident_step(geometry.model("D"), geometry, machine), step),
    ]
    rates = take_turns(sides, plan.seconds, plan.rounds_at_full_width)
    return _of_sides("arithmetic", "TFLOP/s", rates)


def _convolution(machine: Machine, batch: int, *, plain: bool = False) -> Step:
    """What the machine does best: one 3x3 convolution of many channels, forward alone.

    In the machine's precision and channels-last, or, `plain`, in float32 and the default layout.
    """
    narrow = machine.precision == "bf16" and not plain
    like = {"device": machine.device, "dtype": torch.bfloat16 if narrow else torch.float32}
    layout = torch.contiguous_format if plain else torch.channels_last
    images = torch.randn(batch, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, **like)
    images = images.to(memory_format=layout)
    layer = nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False, **like)
    layer = layer.to(memory_format=layout)
    return torch.inference_mode()(lambda: layer(images))


# --- testing ------------------------------------------------------------------------------

TESTED = "D-jitter"  # the net of Tables 4 and 5: three Q far apart
FIRST = 32  # images of the first trial: fewer would not fill a batch


class Testing(Side):
    """The evaluator on so many images at once, spread over a set."""

    name, amount = "vggrepro", 1

    def __init__(self, val: ImageSet, test: Callable[[ImageSet], object]) -> None:
        self.val, self.test = val, test
        self.first, self.most, self.some = FIRST, len(val), val.subset([])

    def run(self, times: int) -> None:
        """So many images, chosen the first time."""
        if len(self.some) != times:
            self.some = spread(self.val, times)
        self.test(self.some)


def evaluation(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Images per second under dense evaluation and with 150 crops, both at three Q with flips.

    Ours is `evaluators.evaluate` on as many images as a turn has room for, the other side takes
    one photo after the other from its file, as in `rival`.
    """
    experiment, sets, val = photos.experiment(TESTED), photos.opened, photos.opened.val
    ours, plain = (net.to(machine.device).eval() for net in _nets(experiment, len(val.classes)))
    ours.set_pixel_mean(sets.pixels.mean)
    scales = several_scales(experiment)
    to_input = rival.normalised(tuple(map(float, sets.pixels.mean)), experiment.input_divisor)
    pixels = tuple(scaled(scale, experiment.crop) for scale in scales)
    whole, last = plain.fully_convolutional(), (to_input, machine.device)
    one_by_one = {
        "dense": lambda image: rival.dense(whole, image, pixels, *last),
        "multi-crop": lambda image: rival.crops(plain, image, pixels, experiment.crop, *last),
    }
    measured = []
    for protocol, posterior in one_by_one.items():

        def test(some: ImageSet, protocol: str = protocol) -> None:
            evaluate(ours, some, protocol, scales, device=machine, progress=False)

        sides = [Testing(val, test), rival.Testing(photos.folder("val"), posterior)]
        rates = take_turns(sides, plan.seconds, plan.rounds_at_full_width)
        measured += _of_sides("testing", "images/s", rates, protocol=protocol)
    return measured


# --- by the kind of operation -------------------------------------------------------------

# What the operations of PyTorch that do the work belong to, by a part of their names; the first
# that fits counts.
KINDS: tuple[tuple[str, str], ...] = (
    ("convolution_backward", "convolution, backward"),
    ("conv", "convolution, forward"),
    ("max_pool", "pooling"),
    ("fill_", "pooling"),  # zeroes the gradient before pooling's backward pass writes into it
    ("zero_", "pooling"),
    ("threshold", "ReLU"),
    ("clamp", "ReLU"),
    ("relu", "ReLU"),
    ("mm", "fully connected"),
    ("bernoulli", "dropout"),
    ("native_dropout", "dropout"),
    ("fused_sgd", "update"),
    ("copy_", "casts and copies"),
)
OTHER = "everything else"
STEPS = 5


def kind_of(operation: str) -> str:
    """What kind of work an operation such as `aten::convolution_backward` is."""
    return next((kind for part, kind in KINDS if part in operation), OTHER)


def profile(geometries: Sequence[Geometry], machine: Machine) -> list[Measured]:
    """Percent of a step of D by kind of operation, at each size."""
    measured = []
    for geometry in geometries:
        sizes = {"width": geometry.width, "crop": geometry.crop}
        step = resident_step(geometry.model("D"), geometry, machine)
        step()
        for kind, share in _shares(step, machine).items():
            of, values = {"kind": kind, **sizes}, (round(share, 4),)
            measured.append(Measured(name="profile", unit="%", of=of, values=values))
    return measured


def _shares(step: Step, machine: Machine) -> dict[str, float]:
    with torch.profiler.profile() as found:
        for _ in range(STEPS):
            step()
    on_gpu = machine.device.type == "cuda"  # not yet run on one
    seconds: dict[str, float] = {}
    for event in found.key_averages():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        seconds[kind_of(event.key)] = seconds.get(kind_of(event.key), 0.0) + own
    total = sum(seconds.values())
    return {kind: 100 * own / total for kind, own in seconds.items()}


# --- decoding, starting, memory -----------------------------------------------------------

SAMPLE_SECONDS = 0.02
STARTS = {
    "--help": ("-m", "vggrepro", "--help"),
    "a chapter": ("-c", "from vggrepro.pages import figures, report, verdicts"),
}


def decoding(photos: Photos, plan: Plan) -> list[Measured]:
    """Seconds to decode a data set into an empty cache, and to open it again from there."""

    def load() -> None:
        opened = replace(photos).opened  # anew
        for split in data.SPLITS:
            getattr(opened, split)

    of = {"data": photos.name}
    once = (round(elapsed(load), 2),)
    again = tuple(round(elapsed(load), 3) for _ in range(plan.rounds))
    return [
        Measured(name="decoding", unit="s", of=of, values=once),
        Measured(name="opening", unit="s", of=of, values=again),
    ]


def starting(plan: Plan) -> list[Measured]:
    """Seconds until a new process has printed the help, or has imported what a chapter imports."""
    measured = []
    for what, arguments in STARTS.items():
        command = [sys.executable, *arguments]

        def start(command: list[str] = command) -> None:
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

        values = tuple(round(elapsed(start), 3) for _ in range(plan.starts))
        measured.append(Measured(name="starting", unit="s", of={"what": what}, values=values))
    return measured


# --- memory ---------------------------------------------------------------------------------


def memory(photos: Photos, chosen: Machine, threads: int, plan: Plan) -> list[Measured]:
    """Peak anonymous memory of a run at `reduced`, MiB, in a process of its own.

    One epoch on all training images with the measurements after it, then dense evaluation and
    crops at the largest Q on some of val. Memory-mapped pixels are not anonymous: the system
    may take them back. Nothing is measured where there is no /proc, as on macOS.
    """
    if _anonymous(multiprocessing.current_process().pid) is None:
        return []
    arguments = (replace(photos), chosen.device.type, chosen.precision, threads, plan.memory_images)
    process = multiprocessing.get_context("spawn").Process(target=_reduced_run, args=arguments)
    process.start()
    peak = 0.0
    while process.exitcode is None:
        peak = max(peak, _anonymous(process.pid) or 0.0)
        process.join(SAMPLE_SECONDS)
    if process.exitcode:
        raise UserError(f"the run whose memory was to be measured ended with {process.exitcode}")
    return [Measured(name="memory", unit="MiB", of={"run": "D-S256"}, values=(round(peak, 1),))]


def _anonymous(pid: int | None) -> float | None:
    """Anonymous memory of a process now, MiB; None if the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0]) / 1024 if found else None


def _reduced_run(photos: Photos, device: str, precision: str, threads: int, images: int) -> None:
    """What a run does, once: runs in the child."""
    chosen = choose(device, precision, threads)
    opened = photos.opened
    val, _ = opened.val, opened.pixels
    opened.train = spread(opened.train, images)
    experiment = replace(photos.experiment("D-S256"), epochs=1)
    model = build(experiment, len(opened.classes))
    initialise(model, experiment.init, seed=0)
    checkpoint = photos.scratch / "checkpoint.pt"
    train(model, opened, experiment, device=chosen, checkpoint=checkpoint, progress=False)
    some, q = spread(val, min(256, images)), several_scales(RUNS["D-jitter"])[-1]
    for protocol in ("dense", "multi-crop"):
        evaluate(model, some, protocol, q, device=chosen, progress=False)


# --- all of it ----------------------------------------------------------------------------

NETS = ("A", "A-LRN", "B", "C", "D", "E")


def speed(
    machine: Machine,
    name: str = "imagenette",
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    plan: Plan | None = None,
) -> BenchRecord:
    """Measure every quantity that a target of `targets` rests on, and a step of each net.

    Photos are decoded into a folder of their own in `cache_dir`, which is removed at the end:
    about 1.4 GB for Imagenette. Raises `UserError` for photos that are not there, or a folder
    that cannot be written.
    """
    check(name, data_dir)
    started = time.perf_counter()
    root = Path(cache_dir or cache.default_cache_dir())
    with cache.writing(root):
        folder = tempfile.TemporaryDirectory(prefix="bench-", dir=root)
    with folder as scratch:
        photos = Photos(name, data_dir, Path(scratch))
        measured, settings = _measure(machine, photos, plan or Plan())
    where = "" if data_dir is None else " --data-dir DATA"
    command = f"vggrepro bench speed --data {name}{where} {options(machine)}"
    seconds = time.perf_counter() - started
    return BenchRecord(
        name="speed",
        settings=settings,
        measured=tuple(measured),
        provenance=provenance(machine, command, wall_seconds=seconds, images_per_second=0.0),
    )


def _measure(
    machine: Machine, photos: Photos, plan: Plan
) -> tuple[list[Measured], dict[str, str | int | float]]:
    threads, rounds = torch.get_num_threads(), plan.rounds_at_full_width
    with tqdm(total=9, unit="part", leave=False) as bar:

        def part(what: str, measure: Callable[..., list[Measured]], *on, **how) -> list[Measured]:
            bar.set_description(what)
            found = measure(*on, **how)
            bar.update()
            return found

        # First, so that photos that are missing are missed at once.
        measured = part("decoding photos", decoding, photos, plan)
        trained_on, val = photos.opened.train, photos.opened.val
        geometry = geometry_of(photos.experiment(RUN), len(trained_on.classes))
        if len(trained_on) < geometry.batch:
            raise UserError(
                f"bench speed needs {geometry.batch} training images for one batch; there are "
                f"{len(trained_on)} (a tenth is held out): add photos, or use --data synthetic"
            )
        measured += part("starting the program", starting, plan)
        measured += part("memory of a run", memory, photos, machine, threads, plan)
        on = (photos, machine, plan)
        measured += part("training at a quarter of the width", training, *on, full_width=False)
        measured += part("training at full width", training, *on, full_width=True)
        measured += part("the convolution peak", share_of_peak, *on)
        measured += part("testing", evaluation, *on)
        with tqdm(total=rounds, leave=False, unit="round") as bar_of_nets:
            on = (NETS, geometry, machine, rounds, bar_of_nets)
            measured += part("a step of each net", step_costs, *on)
        wide = geometry_of(replace(photos.experiment(RUN), **PAPER_WIDTH), geometry.classes)
        measured += part("where a step's time goes", profile, (geometry, wide), machine)
    settings = {
        "data": photos.name,
        "train_images": len(trained_on),
        "train_fingerprint": trained_on.fingerprint,
        "val_images": len(val),
        "val_fingerprint": val.fingerprint,
        "precision": machine.precision,
        "threads": threads,
        "workers": rival.WORKERS,
        "rounds": plan.rounds,
        "rounds_at_full_width": rounds,
        "seconds": plan.seconds,
        "seconds_at_full_width": plan.seconds_at_full_width,
    }
    return measured, settings
