"""Training: this library's way against torchvision's, the step alone, and the machine's peak."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from vggrepro import cost, trainer
from vggrepro.bench import bench_torchvision
from vggrepro.bench.bench_data import Photos, Plan, spread
from vggrepro.bench.turns import (
    Contestant,
    Geometry,
    Turn,
    fitted,
    repeated,
    resident_step,
    take_turns,
)
from vggrepro.bench.workload import training_step
from vggrepro.device import Machine
from vggrepro.models import initialise
from vggrepro.study.experiments import Experiment
from vggrepro.study.records import Measured

RUN = "D-S256"
PAPER_WIDTH = {"width": 1.0, "hidden": 4096}
PEAK_CHANNELS, PEAK_SIDE = 256, 32
MOST_BATCHES = 64


def geometry_of(experiment: Experiment, classes: int) -> Geometry:
    """The sizes of an experiment's training step."""
    e = experiment
    return Geometry(e.crop, e.width, e.hidden, e.batch_size, classes)


def training(
    photos: Photos, sets: trainer.Sets, machine: Machine, plan: Plan, *, full_width: bool
) -> list[Measured]:
    """Images per second from photos to updated weights: ours, torchvision's, the step alone.

    Ours is the trainer itself on a part of an epoch, torchvision's in `bench_torchvision`. On
    both sides the first pass is not on the clock: it starts workers and rescales photos.
    """
    experiment = photos.experiment(RUN)
    if full_width:
        experiment = replace(experiment, **PAPER_WIDTH)
    classes = len(sets.train.classes)
    seconds = plan.seconds_at_full_width if full_width else plan.seconds
    ours = trainer.build(experiment, classes)
    initialise(ours, "he", seed=0)
    plain = bench_torchvision.PlainVGG(experiment, classes)
    plain.load_state_dict(ours.state_dict())
    mean = tuple(float(value) for value in sets.pixels.mean)
    theirs = bench_torchvision.Training(
        plain, experiment, photos.folder("train"), mean, machine.device
    )
    geometry = geometry_of(experiment, classes)
    alone = resident_step(trainer.build(experiment, classes), geometry, machine)
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
    model: nn.Module, experiment: Experiment, sets: trainer.Sets, machine: Machine
) -> Callable[[int], Turn]:
    """For `fitted`: the trainer's own pass over so many batches of photos, no two alike."""
    model.to(machine.device, memory_format=torch.channels_last)
    optimizer = trainer.sgd(model, experiment, machine)
    epoch = 0

    def make(batches: int) -> Turn:
        some = spread(sets.train, batches * experiment.batch_size)
        part = replace(sets, train=some)
        rescaled = part.rescaled(experiment)

        def turn() -> None:
            nonlocal epoch
            epoch += 1
            trainer.train_one_epoch(
                model,
                optimizer,
                experiment,
                0,
                epoch,
                part,
                rescaled,
                machine,
                lambda stage, images: None,
            )

        return turn

    return make


def share_of_peak(
    sets: trainer.Sets, photos: Photos, machine: Machine, plan: Plan
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
