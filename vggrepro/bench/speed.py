"""`vggrepro bench speed`: everything in `targets`, measured within five minutes."""

import copy
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from vggrepro import UserError, data
from vggrepro.bench import rival, turns
from vggrepro.bench.lrn import step_costs
from vggrepro.bench.turns import Geometry, Repeated, Side, Step, elapsed, measured
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
    data.load(name, data_dir, size=SIZE)


def of_sides(name: str, unit: str, rates: Mapping[str, tuple], **of: str | float) -> list[Measured]:
    """The rates of `take_turns` as a record has them."""
    return [measured(name, unit, found, side=side, **of) for side, found in rates.items()]


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, evenly spread over a set and its classes, shuffled."""
    return images.subset(np.random.default_rng(0).permutation(images.evenly(count)))


@dataclass(frozen=True)
class Plan:
    """How long and how often things are measured. The defaults keep the whole below 5 minutes."""

    rounds: int = 4
    seconds: float = 3.0
    """Of one turn, about."""
    memory_images: int = 10**6
    """At most so many training images for the run whose memory is measured."""


# --- training -----------------------------------------------------------------------------

RUN = "D-S256"
PAPER_WIDTH = {"width": 1.0, "hidden": 4096}
PEAK_CHANNELS, PEAK_SIDE = 256, 32
MOST_BATCHES = 64


def sized(photos: Photos, *, full_width: bool = False) -> tuple[Experiment, Geometry]:
    """The training that is measured, and the sizes of its step."""
    e = photos.experiment(RUN)
    if full_width:
        e = replace(e, **PAPER_WIDTH)
    return e, Geometry(e.crop, e.width, e.hidden, e.batch_size, len(photos.opened.classes))


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


def training(
    photos: Photos, machine: Machine, plan: Plan, *, full_width: bool = False
) -> list[Measured]:
    """Images per second from photos to updated weights: ours, torchvision's, the step alone.

    Ours is the trainer itself on a part of an epoch, torchvision's in `rival`. On
    both sides the first pass is not on the clock: it starts workers and rescales photos.
    """
    (experiment, geometry), sets = sized(photos, full_width=full_width), photos.opened
    ours, plain = _nets(experiment, geometry.classes)
    alone = turns.resident_step(build(experiment, geometry.classes), geometry, machine)
    theirs = rival.Training(
        plain, experiment, photos.folder("train"), sets.pixels.mean, machine.device
    )
    sides = [
        Training(ours, experiment, sets, machine),
        Repeated("step alone", alone, geometry.batch),
        theirs,
    ]
    for side in sides:
        side.most = min(MOST_BATCHES, len(sets.train) // geometry.batch)
    try:
        rates = turns.take_turns(sides, plan.seconds, plan.rounds)
    finally:
        theirs.close()
    return of_sides("training", "images/s", rates, **geometry.of)


def arithmetic(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """TFLOP/s of full-width D's training step beside those of a convolution, by turns.

    A multiply-add is two operations. The model's are those of its forward and backward pass,
    whether the update is on the clock or not.
    """
    _, geometry = sized(photos, full_width=True)
    step = geometry.tera_operations("D")
    alone = turns.resident_step(geometry.model("D"), geometry, machine, update=False)
    sides = [
        convolution(machine, geometry.batch),
        Repeated("model", alone, step),
        Repeated(
            "model and update", turns.resident_step(geometry.model("D"), geometry, machine), step
        ),
    ]
    rates = turns.take_turns(sides, plan.seconds, plan.rounds)
    return of_sides("arithmetic", "TFLOP/s", rates)


def convolution(machine: Machine, batch: int) -> Repeated:
    """What the machine does best: one 3x3 convolution of many channels, forward alone."""
    dtype = torch.bfloat16 if machine.precision == "bf16" else torch.float32
    like = {"device": machine.device, "dtype": dtype}
    images = torch.randn(batch, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, **like)
    images = images.to(memory_format=torch.channels_last)
    layer = nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False, **like)
    layer = layer.to(memory_format=torch.channels_last)
    amount = 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2 * batch / 1e12
    return Repeated("convolution", torch.inference_mode()(lambda: layer(images)), amount)


def step_of_each_net(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Time and memory of a training step of every net."""
    return step_costs(NETS, sized(photos)[1], machine, plan.rounds)


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


def testing(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Images per second under dense evaluation and with 150 crops, both at three Q with flips.

    Ours is `evaluators.evaluate` on as many images as a turn has room for, the other side takes
    one photo after the other from its file, as in `rival`.
    """
    experiment, sets, val = photos.experiment(TESTED), photos.opened, photos.opened.val
    ours, plain = (net.to(machine.device).eval() for net in _nets(experiment, len(val.classes)))
    ours.set_pixel_mean(sets.pixels.mean)
    scales = several_scales(experiment)
    pixels = [scaled(scale, experiment.crop) for scale in scales]
    to_input = rival.normalised(sets.pixels.mean, experiment.input_divisor)
    photo = rival.OneByOne(plain, pixels, experiment.crop, to_input, machine.device)
    found = []
    for protocol, posterior in {"dense": photo.dense, "multi-crop": photo.crops}.items():

        def test(some: ImageSet, protocol: str = protocol) -> None:
            evaluate(ours, some, protocol, scales, device=machine, progress=False)

        sides = [Testing(val, test), rival.Testing(photos.folder("val"), posterior)]
        rates = turns.take_turns(sides, plan.seconds, plan.rounds)
        found += of_sides("testing", "images/s", rates, protocol=protocol)
    return found


# --- decoding, starting, memory -----------------------------------------------------------

SAMPLE_SECONDS = 0.02
STARTS = {
    "--help": (sys.executable, "-m", "vggrepro", "--help"),
    "a chapter": (sys.executable, "-c", "from vggrepro.pages import figures, report, verdicts"),
}


def decoding(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Seconds to decode a data set into an empty cache, and to open it again from there.

    Raises `UserError` if its training images do not fill a batch.
    """

    def load() -> None:
        opened = replace(photos).opened  # anew
        for split in data.SPLITS:
            getattr(opened, split)

    once = _seconds("decoding", load, 1, data=photos.name)
    batch, count = photos.experiment(RUN).batch_size, len(photos.opened.train)
    if count < batch:
        raise UserError(
            f"bench speed needs {batch} training images for one batch; there are {count} "
            "(a tenth is held out): add photos, or use --data synthetic"
        )
    return [once, _seconds("opening", load, plan.rounds, data=photos.name)]


def starting(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Seconds until a new process has printed the help, or has imported what a chapter imports."""
    return [
        _seconds("starting", partial(subprocess.check_output, command), plan.rounds, what=what)
        for what, command in STARTS.items()
    ]


def _seconds(name: str, step: Step, times: int, **of: str) -> Measured:
    return measured(name, "s", [elapsed(step) for _ in range(times)], **of)


# --- memory ---------------------------------------------------------------------------------


def memory(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Peak anonymous memory of a run at `reduced`, MiB, in a process of its own.

    One epoch on all training images with the measurements after it, then dense evaluation and
    crops at the largest Q on some of val. Memory-mapped pixels are not anonymous: the system
    may take them back. Nothing is measured where there is no /proc, as on macOS.
    """
    if _anonymous(os.getpid()) is None:
        return []
    chosen = (machine.device.type, machine.precision, torch.get_num_threads())
    arguments = (replace(photos), *chosen, plan.memory_images)
    process = multiprocessing.get_context("spawn").Process(target=_reduced_run, args=arguments)
    process.start()
    peak = 0.0
    while process.exitcode is None:
        peak = max(peak, _anonymous(process.pid) or 0.0)
        process.join(SAMPLE_SECONDS)
    if process.exitcode:
        raise UserError(f"the run whose memory was to be measured ended with {process.exitcode}")
    return [measured("memory", "MiB", [peak], run="D-S256")]


def _anonymous(pid: int) -> float | None:
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
PARTS: dict[str, Callable[[Photos, Machine, Plan], list[Measured]]] = {
    # First, so that photos that are missing are missed at once.
    "decoding photos": decoding,
    "starting the program": starting,
    "memory of a run": memory,
    "training at a quarter of the width": training,
    "training at full width": partial(training, full_width=True),
    "the convolution peak": arithmetic,
    "testing": testing,
    "a step of each net": step_of_each_net,
}


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
    plan, started, found = plan or Plan(), time.perf_counter(), []
    root = Path(cache_dir or cache.default_cache_dir())
    with cache.writing(root):
        folder = tempfile.TemporaryDirectory(prefix="bench-", dir=root)
    with folder as scratch, tqdm(total=len(PARTS), unit="part", leave=False) as bar:
        photos = Photos(name, data_dir, Path(scratch))
        for what, measure in PARTS.items():
            bar.set_description(what)
            found += measure(photos, machine, plan)
            bar.update()
        train, val = photos.opened.train, photos.opened.val
    settings = {
        "data": name,
        "train_images": len(train),
        "train_fingerprint": train.fingerprint,
        "val_images": len(val),
        "val_fingerprint": val.fingerprint,
        "precision": machine.precision,
        "workers": rival.WORKERS,
        **asdict(plan),
    }
    where = "" if data_dir is None else " --data-dir DATA"
    command = f"vggrepro bench speed --data {name}{where} {options(machine)}"
    seconds = time.perf_counter() - started
    return BenchRecord(
        name="speed",
        settings=settings,
        measured=tuple(found),
        provenance=provenance(machine, command, wall_seconds=seconds, images_per_second=0.0),
    )
