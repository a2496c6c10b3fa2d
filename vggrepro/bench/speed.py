"""`vggrepro bench speed`: everything in `targets`, measured within five minutes."""

import copy
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder
from tqdm import tqdm

from vggrepro import UserError, cost, data
from vggrepro.bench import rival
from vggrepro.bench.lrn import step_costs
from vggrepro.bench.turns import (
    Contestant,
    Geometry,
    Turn,
    elapsed,
    fitted,
    repeated,
    resident_step,
    take_turns,
)
from vggrepro.bench.workload import training_step
from vggrepro.data import ImageSet, cache
from vggrepro.data.sources import IMAGENETTE_FOLDERS
from vggrepro.device import Machine, choose
from vggrepro.evaluators import evaluate
from vggrepro.models import VGG, initialise
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import RUNS, Experiment, several_scales
from vggrepro.study.provenance import provenance
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

    def opened(self) -> data.Photos:
        """The data set as the library reads it: decoded once into a cache of its own."""
        cache_dir = self.scratch / "cache"
        return data.load(
            self.name, self.data_dir, cache_dir=cache_dir, size=SIZE, counts=self.counts
        )

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
            images = getattr(self.opened(), split)
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


def training(
    photos: Photos, sets: data.Photos, machine: Machine, plan: Plan, *, full_width: bool
) -> list[Measured]:
    """Images per second from photos to updated weights: ours, torchvision's, the step alone.

    Ours is the trainer itself on a part of an epoch, torchvision's in `rival`. On
    both sides the first pass is not on the clock: it starts workers and rescales photos.
    """
    experiment = photos.experiment(RUN)
    if full_width:
        experiment = replace(experiment, **PAPER_WIDTH)
    classes = len(sets.train.classes)
    seconds = plan.seconds_at_full_width if full_width else plan.seconds
    ours = build(experiment, classes)
    initialise(ours, "he", seed=0)
    plain = rival.PlainVGG(experiment, classes)
    plain.load_state_dict(ours.state_dict())
    mean = tuple(float(value) for value in sets.pixels.mean)
    theirs = rival.Training(plain, experiment, photos.folder("train"), mean, machine.device)
    geometry = geometry_of(experiment, classes)
    alone = resident_step(build(experiment, classes), geometry, machine)
    size = experiment.batch_size
    makers: dict[str, Callable[[int], Turn]] = {
        "vggrepro": _epochs(ours, experiment, sets, machine),
        "step alone": repeated(alone),
        "torchvision": lambda batches: lambda: theirs.train(batches),
    }
    try:
        contestants = []
        for side, make in makers.items():
            turn, batches = fitted(make, seconds, most=min(MOST_BATCHES, len(sets.train) // size))
            around = (theirs.settle, theirs.rest) if side == "torchvision" else ()
            contestants.append(Contestant(side, turn, batches * size, *around))
        theirs.rest()
        rounds = plan.rounds_at_full_width if full_width else plan.rounds
        rates = take_turns(contestants, rounds)
    finally:
        theirs.close()
    return [
        Measured(name="training", unit="images/s", of={"side": side, **geometry.of}, values=found)
        for side, found in rates.items()
    ]


def _epochs(
    model: VGG, experiment: Experiment, sets: data.Photos, machine: Machine
) -> Callable[[int], Turn]:
    """For `fitted`: the trainer's own pass over so many batches of photos, no two alike."""
    model.to(machine.device, memory_format=torch.channels_last)
    model.set_pixel_mean(sets.pixels.mean)
    optimizer = sgd(model, experiment)
    epoch = 0

    def make(batches: int) -> Turn:
        part = copy.copy(sets)
        part.train = spread(sets.train, batches * experiment.batch_size)
        cut = rescaled(part, experiment, model)

        def turn() -> None:
            nonlocal epoch
            epoch += 1
            train_one_epoch(model, optimizer, cut, experiment, 0, epoch, machine)

        return turn

    return make


def share_of_peak(
    sets: data.Photos, photos: Photos, machine: Machine, plan: Plan
) -> list[Measured]:
    """TFLOP/s of full-width D's training step beside those of a convolution, by turns.

    A multiply-add is two operations. The model's are those of its forward and backward pass,
    whether the update is on the clock or not.
    """
    classes = len(sets.train.classes)
    geometry = geometry_of(replace(photos.experiment(RUN), **PAPER_WIDTH), classes)
    net = cost.layers(
        "D",
        num_classes=classes,
        width=geometry.width,
        crop=geometry.crop,
        hidden=geometry.hidden,
    )
    step = 2 * training_step(net).multiply_adds * geometry.batch
    flop = _convolution_flop(geometry.batch)
    makers = {
        "convolution": (_convolution(machine, geometry.batch), flop),
        # What torchvision's way computes with.
        "float32 convolution": (_convolution(machine, geometry.batch, plain=True), flop),
        "model": (resident_step(geometry.model("D"), geometry, machine, update=False), step),
        "model and update": (resident_step(geometry.model("D"), geometry, machine), step),
    }
    contestants = []
    for side, (once, operations) in makers.items():
        turn, times = fitted(repeated(once), plan.seconds)
        contestants.append(Contestant(side, turn, times * operations / 1e12))
    rates = take_turns(contestants, plan.rounds_at_full_width)
    return [
        Measured(name="arithmetic", unit="TFLOP/s", of={"side": side}, values=found)
        for side, found in rates.items()
    ]


def _convolution(machine: Machine, batch: int, *, plain: bool = False) -> Turn:
    """What the machine does best: one 3x3 convolution of many channels, forward alone.

    In the machine's precision and channels-last, or, `plain`, in float32 and the default layout.
    """
    narrow = machine.precision == "bf16" and not plain
    dtype = torch.bfloat16 if narrow else torch.float32
    layout = torch.contiguous_format if plain else torch.channels_last
    like = {"device": machine.device, "dtype": dtype}
    images = torch.randn(batch, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, **like)
    images = images.to(memory_format=layout)
    layer = nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False, **like)
    layer = layer.to(memory_format=layout)

    def once() -> None:
        with torch.inference_mode():
            layer(images)

    return once


def _convolution_flop(batch: int) -> int:
    return 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2 * batch


# --- testing ------------------------------------------------------------------------------

TESTED = "D-jitter"  # the net of Tables 4 and 5: three Q far apart
PROTOCOLS = ("dense", "multi-crop")
FIRST = 32  # images of the first trial: fewer would not fill a batch


def evaluation(
    photos: Photos, sets: data.Photos, val: ImageSet, machine: Machine, plan: Plan
) -> list[Measured]:
    """Images per second under dense evaluation and with 150 crops, both at three Q with flips.

    Ours is `evaluators.evaluate` on as many images as a turn has room for, the other side takes
    one photo after the other from its file, as in `rival`.
    """
    experiment = photos.experiment(TESTED)
    ours = build(experiment, len(val.classes))
    initialise(ours, "he", seed=0)
    plain = rival.PlainVGG(experiment, len(val.classes))
    plain.load_state_dict(ours.state_dict())
    plain.to(machine.device).eval()
    ours.to(machine.device)
    ours.set_pixel_mean(sets.pixels.mean)
    scales = several_scales(experiment)
    mean = tuple(float(value) for value in sets.pixels.mean)
    to_input = rival.normalised(mean, experiment.input_divisor)
    pixels = tuple(scaled(scale, experiment.crop) for scale in scales)
    files = ImageFolder(str(photos.folder("val")))
    whole, device = plain.fully_convolutional(), machine.device
    of_one = {
        "dense": lambda image: rival.dense(whole, image, pixels, to_input, device),
        "multi-crop": lambda image: rival.crops(
            plain, image, pixels, experiment.crop, to_input, device
        ),
    }

    def batched(protocol: str) -> Callable[[int], Turn]:
        def make(count: int) -> Turn:
            some = spread(val, count)

            def turn() -> None:
                evaluate(ours, some, protocol, scales, device=machine, progress=False)

            return turn

        return make

    def one_by_one(protocol: str) -> Callable[[int], Turn]:
        def make(count: int) -> Turn:
            chosen = [i * len(files) // count for i in range(count)]

            def turn() -> None:
                for i in chosen:
                    of_one[protocol](files[i][0])

            return turn

        return make

    measured = []
    for protocol in PROTOCOLS:
        turn, images = fitted(batched(protocol), plan.seconds, first=FIRST, most=len(val))
        contestants = [Contestant("vggrepro", turn, min(images, len(val)))]
        turn, images = fitted(one_by_one(protocol), plan.seconds, most=len(files))
        contestants.append(Contestant("one at a time", turn, images))
        rates = take_turns(contestants, plan.rounds_at_full_width)
        measured += [
            Measured(
                name="testing",
                unit="images/s",
                of={"side": side, "protocol": protocol},
                values=found,
            )
            for side, found in rates.items()
        ]
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
        step = resident_step(geometry.model("D"), geometry, machine)
        step()
        for kind, share in _shares(step, machine).items():
            of = {"kind": kind, "width": geometry.width, "crop": geometry.crop}
            measured.append(Measured(name="profile", unit="%", of=of, values=(round(share, 4),)))
    return measured


def _shares(step: Turn, machine: Machine) -> dict[str, float]:
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
        opened = photos.opened()
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
    return [
        Measured(
            name="starting",
            unit="s",
            of={"what": what},
            values=tuple(round(_run(arguments), 3) for _ in range(plan.starts)),
        )
        for what, arguments in STARTS.items()
    ]


def _run(arguments: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


# --- memory ---------------------------------------------------------------------------------


def memory(photos: Photos, chosen: Machine, threads: int, plan: Plan) -> list[Measured]:
    """Peak anonymous memory of a run at `reduced`, MiB, in a process of its own.

    One epoch on all training images with the measurements after it, then dense evaluation and
    crops at the largest Q on some of val. Memory-mapped pixels are not anonymous: the system
    may take them back. Nothing is measured where there is no /proc, as on macOS.
    """
    if _anonymous(multiprocessing.current_process().pid) is None:
        return []
    arguments = (photos, chosen.device.type, chosen.precision, threads, plan.memory_images)
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
    opened = photos.opened()
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
    return BenchRecord(
        name="speed",
        settings=settings,
        measured=tuple(measured),
        provenance=provenance(
            machine,
            f"vggrepro bench speed --data {name}{where} --precision {machine.precision} "
            f"--threads {torch.get_num_threads()}",
            wall_seconds=time.perf_counter() - started,
            images_per_second=0.0,
        ),
    )


def _measure(
    machine: Machine, photos: Photos, plan: Plan
) -> tuple[list[Measured], dict[str, str | int | float]]:
    measured = []
    with tqdm(total=9, unit="part", leave=False) as bar:

        def part(what: str, measure: Callable[[], list[Measured]]) -> None:
            bar.set_description(what)
            measured.extend(measure())
            bar.update()

        # First, so that photos that are missing are missed at once.
        part("decoding photos", lambda: decoding(photos, plan))
        sets = photos.opened()
        trained_on, val = sets.train, sets.val
        batch = photos.experiment(RUN).batch_size
        if len(trained_on) < batch:
            raise UserError(
                f"bench speed needs {batch} training images for one batch; there are "
                f"{len(trained_on)} (a tenth is held out): add photos, or use --data synthetic"
            )
        part("starting the program", lambda: starting(plan))
        part("memory of a run", lambda: memory(photos, machine, torch.get_num_threads(), plan))
        for full, what in ((False, "a quarter of the width"), (True, "full width")):
            part(
                f"training at {what}",
                lambda full=full: training(photos, sets, machine, plan, full_width=full),
            )
        part("the convolution peak", lambda: share_of_peak(sets, photos, machine, plan))
        part("testing", lambda: evaluation(photos, sets, val, machine, plan))
        geometry = geometry_of(photos.experiment(RUN), len(trained_on.classes))
        with tqdm(total=plan.rounds_at_full_width, leave=False, unit="round") as rounds:
            part(
                "a step of each net",
                lambda: step_costs(NETS, geometry, machine, plan.rounds_at_full_width, rounds),
            )
        wide = geometry_of(replace(photos.experiment(RUN), **PAPER_WIDTH), geometry.classes)
        part("where a step's time goes", lambda: profile((geometry, wide), machine))
    settings = {
        "data": photos.name,
        "train_images": len(trained_on),
        "train_fingerprint": trained_on.fingerprint,
        "val_images": len(val),
        "val_fingerprint": val.fingerprint,
        "precision": machine.precision,
        "threads": torch.get_num_threads(),
        "workers": rival.WORKERS,
        "rounds": plan.rounds,
        "rounds_at_full_width": plan.rounds_at_full_width,
        "seconds": plan.seconds,
        "seconds_at_full_width": plan.seconds_at_full_width,
    }
    return measured, settings
