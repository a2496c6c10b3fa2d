"""`vggrepro bench`: time and memory of training and testing (`speed`), and of LRN (`lrn`)."""

import copy
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from vggrepro import UserError, data
from vggrepro.bench import rival, turns
from vggrepro.bench.turns import Geometry, Repeated, Side, Step, elapsed, measured, saved_bytes
from vggrepro.data import ImageSet, Photos, cache
from vggrepro.device import Machine, choose
from vggrepro.evaluators import evaluate
from vggrepro.models import LRN, VGG, initialise
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import RUNS, Experiment, several_scales
from vggrepro.study.provenance import memory_mib, options, provenance
from vggrepro.study.records import BenchRecord, Measured
from vggrepro.study.run import build
from vggrepro.trainer import rescaled, sgd, train, train_one_epoch
from vggrepro.windows import scaled

# --- the photos, and how much is measured -------------------------------------------------

DRAWN = (2000, 500)
"""How many images are drawn for train and val if the data set is `synthetic`."""


def declared(photos: Photos, run: str, **size: float) -> Experiment:
    """A run at `reduced` on these photos, but for the size of the net."""
    known = "imagenette" if photos.name == "synthetic" else photos.name
    return replace(at_budget(run, "reduced", known), data=photos.name, **size)


def files(photos: Photos, split: str) -> Path:
    """Class folders of the images of a split, each written as a JPEG file of its own size."""
    root, images = Path(photos.cache_dir) / "files" / split, getattr(photos, split)
    if not root.exists():
        for i, (image, target) in enumerate(zip(images.images, images.targets, strict=True)):
            folder = root / f"{target:04d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:05d}.jpg", quality=90)
    return root


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` images, evenly spread over a set and its classes, shuffled."""
    return images.subset(np.random.default_rng(0).permutation(images.evenly(count)))


@dataclass(frozen=True)
class Plan:
    """How long and how often things are measured. The defaults keep the whole below 5 minutes."""

    rounds: int = 4
    seconds: float = 2.5
    """Of one turn, about."""


def compared(
    name: str, unit: str, sides: Sequence[Side], plan: Plan, **of: str | float
) -> list[Measured]:
    """The rates of sides that take turns, as a record has them."""
    rates = turns.take_turns(sides, plan.seconds, plan.rounds)
    return [measured(name, unit, found, side=side, **of) for side, found in rates.items()]


# --- training -----------------------------------------------------------------------------

RUN = "D-S256"
PAPER_WIDTH = {"width": 1.0, "hidden": 4096}
PEAK_CHANNELS, PEAK_SIDE = 256, 32
MOST_BATCHES = 64


def geometry_of(experiment: Experiment, photos: Photos) -> Geometry:
    """The sizes of an experiment's training step."""
    e = experiment
    return Geometry(e.crop, e.width, e.hidden, e.batch_size, len(photos.classes))


def _nets(experiment: Experiment, classes: int) -> tuple[VGG, rival.PlainVGG]:
    """Our net and torchvision's way of writing it, with the same weights."""
    ours, plain = build(experiment, classes), rival.PlainVGG(experiment, classes)
    initialise(ours, "he", seed=0)
    plain.load_state_dict(ours.state_dict())
    return ours, plain


class Training(Side):
    """The trainer's own pass over so many batches of photos, no two alike."""

    name = "vggrepro"

    def __init__(self, model: VGG, experiment: Experiment, sets: Photos, machine: Machine):
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


def training(photos: Photos, machine: Machine, plan: Plan, **size: float) -> list[Measured]:
    """Images per second from photos to updated weights: ours, torchvision's, the step alone.

    Ours is the trainer itself on a part of an epoch, torchvision's in `rival`. On
    both sides the first pass is not on the clock: it starts workers and rescales photos.
    """
    experiment = declared(photos, RUN, **size)
    geometry = geometry_of(experiment, photos)
    ours, plain = _nets(experiment, geometry.classes)
    alone = turns.resident_step(build(experiment, geometry.classes), geometry, machine)
    mean, folder = photos.pixels.mean, files(photos, "train")
    theirs = rival.Training(plain, experiment, folder, mean, machine.device)
    sides = [
        Training(ours, experiment, photos, machine),
        Repeated("step alone", alone, geometry.batch),
        theirs,
    ]
    for side in sides:
        side.most = min(MOST_BATCHES, len(photos.train) // geometry.batch)
    try:
        return compared("training", "images/s", sides, plan, **geometry.of)
    finally:
        theirs.close()


def arithmetic(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """TFLOP/s of full-width D's training step beside those of a convolution, by turns.

    A multiply-add is two operations. The model's are those of its forward and backward pass,
    whether the update is on the clock or not.
    """
    geometry = geometry_of(declared(photos, RUN, **PAPER_WIDTH), photos)
    step = geometry.tera_operations("D")
    alone, updated = (
        turns.resident_step(geometry.model("D"), geometry, machine, update=update)
        for update in (False, True)
    )
    sides = [convolution(machine, geometry.batch), Repeated("model", alone, step)]
    sides.append(Repeated("model and update", updated, step))
    return compared("arithmetic", "TFLOP/s", sides, plan)


def convolution(machine: Machine, batch: int) -> Repeated:
    """What the machine does best: one 3x3 convolution of many channels, forward alone."""
    dtype = torch.bfloat16 if machine.precision == "bf16" else torch.float32
    like = {"device": machine.device, "dtype": dtype}
    images = torch.randn(batch, PEAK_CHANNELS, PEAK_SIDE, PEAK_SIDE, **like)
    layer = nn.Conv2d(PEAK_CHANNELS, PEAK_CHANNELS, 3, padding=1, bias=False, **like)
    images, layer = (x.to(memory_format=torch.channels_last) for x in (images, layer))
    amount = 2 * 9 * PEAK_CHANNELS**2 * PEAK_SIDE**2 * batch / 1e12
    return Repeated("convolution", torch.inference_mode()(lambda: layer(images)), amount)


def step_of_each_net(photos: Photos, machine: Machine, plan: Plan) -> list[Measured]:
    """Time and memory of a training step of every net."""
    geometry = geometry_of(declared(photos, RUN), photos)
    return step_costs(NETS, geometry, machine, plan.rounds)


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


def testing(photos: Photos, machine: Machine, plan: Plan, **size: float) -> list[Measured]:
    """Images per second under dense evaluation and with 150 crops, both at three Q with flips.

    Ours is `evaluators.evaluate` on as many images as a turn has room for, the other side takes
    one photo after the other from its file, as in `rival`.
    """
    experiment, val = declared(photos, TESTED, **size), photos.val
    ours, plain = (net.to(machine.device).eval() for net in _nets(experiment, len(val.classes)))
    ours.set_pixel_mean(photos.pixels.mean)
    scales = several_scales(experiment)
    pixels = [scaled(scale, experiment.crop) for scale in scales]
    to_input = rival.normalised(photos.pixels.mean, experiment.input_divisor)
    photo = rival.OneByOne(plain, pixels, experiment.crop, to_input, machine.device)
    found = []
    for protocol, posterior in {"dense": photo.dense, "multi-crop": photo.crops}.items():
        options = {"protocol": protocol, "scales": scales, "device": machine, "progress": False}
        test = partial(evaluate, ours, **options)
        sides = [Testing(val, test), rival.Testing(files(photos, "val"), posterior)]
        found += compared("testing", "images/s", sides, plan, protocol=protocol)
    return found


# --- decoding and starting ----------------------------------------------------------------

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
        anew = replace(photos)
        for split in data.images.SPLITS:
            getattr(anew, split)

    once = _seconds("decoding", load, 1, data=photos.name)
    batch, count = declared(photos, RUN).batch_size, len(photos.train)
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


# --- memory -------------------------------------------------------------------------------


def memory(photos: Photos, machine: Machine, plan: Plan, images: int = 10**6) -> list[Measured]:
    """Peak anonymous memory of a run at `reduced`, MiB, in a process of its own.

    One epoch on at most so many training images with the measurements after it, then dense
    evaluation and crops at the largest Q on some of val. Memory-mapped pixels are not anonymous:
    the system may take them back. Nothing is measured where there is no /proc, as on macOS.
    """
    if memory_mib("RssAnon") is None:
        return []
    chosen = (machine.device.type, machine.precision, torch.get_num_threads())
    arguments = (replace(photos), *chosen, images)
    process = multiprocessing.get_context("spawn").Process(target=_reduced_run, args=arguments)
    process.start()
    peak = 0.0
    while process.exitcode is None:
        peak = max(peak, memory_mib("RssAnon", process.pid) or 0.0)
        process.join(SAMPLE_SECONDS)
    if process.exitcode:
        raise UserError(f"the run whose memory was to be measured ended with {process.exitcode}")
    return [measured("memory", "MiB", [peak], run="D-S256")]


def _reduced_run(photos: Photos, device: str, precision: str, threads: int, images: int) -> None:
    """What a run does, once: runs in the child."""
    chosen = choose(device, precision, threads)
    val, _ = photos.val, photos.pixels
    photos.train = spread(photos.train, images)
    experiment = replace(declared(photos, RUN), epochs=1)
    model = build(experiment, len(photos.classes))
    initialise(model, experiment.init, seed=0)
    checkpoint = Path(photos.cache_dir) / "checkpoint.pt"
    train(model, photos, experiment, device=chosen, checkpoint=checkpoint, progress=False)
    some, q = spread(val, min(256, images)), several_scales(RUNS[TESTED])[-1]
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
    "training at full width": lambda *on: training(*on, **PAPER_WIDTH),
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
    """Measure everything in `PARTS`.

    Photos are decoded into a folder of their own in `cache_dir`, which is removed at the end:
    about 1.4 GB for Imagenette. Raises `UserError` for photos that are not there, or a folder
    that cannot be written.
    """
    plan, started, found = plan or Plan(), time.perf_counter(), []
    root = Path(cache_dir or cache.default_cache_dir())
    with cache.writing(root):
        folder = tempfile.TemporaryDirectory(prefix="bench-", dir=root)
    with folder as scratch, tqdm(total=len(PARTS), unit="part", leave=False) as bar:
        photos = data.load(name, data_dir, cache_dir=scratch, counts=DRAWN)
        for what, measure in PARTS.items():
            bar.set_description(what)
            found += measure(photos, machine, plan)
            bar.update()
        train, val = photos.train, photos.val
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
        provenance=provenance(machine, command, seconds),
    )


# --- LRN (Section 2.1) ----------------------------------------------------------------------

TURN_SECONDS = 0.5
LRN_NETS = ("A", "A-LRN", "A-LRN (torch)")
GEOMETRIES = (
    Geometry(crop=32, width=0.25, hidden=256, batch=128, classes=10),
    Geometry(crop=64, width=0.25, hidden=256, batch=64, classes=10),
    Geometry(crop=224, width=1.0, hidden=4096, batch=4, classes=1000),
)


def lrn(
    machine: Machine, rounds: int = 12, geometries: tuple[Geometry, ...] = GEOMETRIES
) -> BenchRecord:
    """A against A-LRN: milliseconds and bytes for one image of a training step (Section 2.1).

    A-LRN is measured with our LRN, and with torch's `LocalResponseNorm` in its place, so that
    the cost of the idea can be told from the cost of one implementation. Takes a few minutes.
    """
    started = time.perf_counter()
    found = [
        one for geometry in geometries for one in step_costs(LRN_NETS, geometry, machine, rounds)
    ]
    seconds, command = time.perf_counter() - started, f"vggrepro bench lrn {options(machine)}"
    return BenchRecord(
        name="lrn",
        settings={"rounds": rounds, "precision": machine.precision},
        measured=tuple(found),
        provenance=provenance(machine, command, seconds),
    )


def lrn_lines(record: BenchRecord) -> list[str]:
    """The medians for a terminal."""
    rows = [{**one.of, f"{one.name}, {one.unit}": np.median(one.values)} for one in record.measured]
    return [pd.DataFrame(rows).groupby(["crop", "net"]).first().to_string()]


def step_costs(
    nets: tuple[str, ...], geometry: Geometry, machine: Machine, rounds: int
) -> list[Measured]:
    """Of each net the bytes kept for the backward pass, then the milliseconds of a step, by turns.

    Both for one image: bytes that do not grow with the batch, as those of weights in bfloat16,
    are not counted. A name may end in "(torch)": then LRN is torch's own.
    """
    kept, sides = [], []
    half = replace(geometry, batch=geometry.batch // 2)
    for net in nets:
        step, smaller = (turns.resident_step(_model(net, g), g, machine) for g in (geometry, half))
        more = (saved_bytes(step) - saved_bytes(smaller)) / (geometry.batch - half.batch)
        kept.append(measured("kept", "bytes/image", [more], net=net, **geometry.of))
        sides.append(Repeated(net, step, geometry.batch))
    with tqdm(total=rounds, desc=f"{geometry.crop} px", unit="round", leave=False) as bar:
        rates = turns.take_turns(sides, TURN_SECONDS, rounds, bar.update)
    return kept + [
        measured("training step", "ms/image", 1000 / np.array(found), net=net, **geometry.of)
        for net, found in rates.items()
    ]


def _model(net: str, geometry: Geometry) -> VGG:
    model = geometry.model(net.split()[0])
    if net.endswith("(torch)"):
        for i, module in enumerate(model.features):
            if isinstance(module, LRN):
                # torch divides alpha by the window, the paper's formula does not
                rest = {"beta": module.beta, "k": module.k}
                alpha = module.alpha * module.size
                model.features[i] = nn.LocalResponseNorm(module.size, alpha=alpha, **rest)
    return model
