"""What a run has to compute: images, multiply-adds and values moved, from its declaration alone.

The counts of images are those of the published data sets; nothing is read from a disk. The planner
and the progress bar go by it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import cache
from operator import add

from vggrepro import cost
from vggrepro.cost import Layer
from vggrepro.study.budgets import at_budget, data_size
from vggrepro.study.experiments import (
    FUSIONS,
    RUNS,
    Experiment,
    evaluation_in,
    evaluations_of,
    with_needs,
)
from vggrepro.study.progress import TRAINING, Part, Task
from vggrepro.windows import PROTOCOLS, scaled

# Each value of a layer's output is written and read again in the forward pass. In the backward
# pass it is read once more, and its gradient written and read.
FORWARD_MOVES, TRAINING_MOVES = 2, 5


@dataclass(frozen=True)
class Work:
    """What can take time: each a number that adds up over images, windows and epochs.

    Pools, ReLU and LRN have no multiply-adds, yet they take time: on a processor it goes with
    the values they pass through memory, and LRN's are the most expensive.
    """

    multiply_adds: float = 0
    values: float = 0
    """Values moved to or from memory, at least."""
    lrn_values: float = 0
    """Those of LRN, counted in `values` too."""
    crops: float = 0
    """Windows cut out of an image and rescaled."""

    def __add__(self, other: "Work") -> "Work":
        return Work(*map(add, astuple(self), astuple(other)))

    def times(self, n: float) -> "Work":
        """The work for `n` of it."""
        return Work(*(n * amount for amount in astuple(self)))


def net_of(experiment: Experiment) -> tuple[Layer, ...]:
    """The layers of the experiment's net, for one training crop."""
    return cost.layers(
        experiment.config,
        num_classes=data_size(experiment).classes,
        width=experiment.width,
        crop=experiment.crop,
        hidden=experiment.hidden,
    )


def forward(net: tuple[Layer, ...], height: int, width: int, *, every_offset: bool = False) -> Work:
    """One forward pass over a window of height x width pixels, fully convolutional (Section 3.2).

    With `every_offset` the last pooling moves by one, as in OverFeat's protocol. Over a window of
    the crop's size it is the pass of training.
    """
    last_pool = max(i for i, layer in enumerate(net) if layer.kind == "pool")
    work, step = Work(), 1
    for i, layer in enumerate(net):
        if layer.kind == "pool" and i == last_pool and every_offset:
            # fc6 then takes every other unit of the finer map.
            height, width, step = height - 1, width - 1, 2
        elif layer.kind == "pool":
            height, width = height // 2, width // 2
        elif layer.kind == "fc":
            reach = step * (layer.kernel - 1)
            height, width = height - reach, width - reach
        values = FORWARD_MOVES * layer.out_channels * height * width
        lrn_values = values if layer.kind == "lrn" else 0
        work += Work(layer.weights * height * width, values, lrn_values)
    return work


def training_step(net: tuple[Layer, ...]) -> Work:
    """Forward and backward pass of one image, the update of the weights not counted.

    The backward pass takes each layer's multiply-adds twice, for the gradients of its weights and
    of its input; only the images need no gradient. So it is three times the forward pass less the
    first layer once.
    """
    _, crop, _ = net[0].output_shape
    once = forward(net, crop, crop)
    more = TRAINING_MOVES / FORWARD_MOVES
    return Work(
        3 * once.multiply_adds - net[0].multiply_adds,
        more * once.values,
        more * once.lrn_values,
        crops=1,
    )


def training(experiment: Experiment) -> Work:
    """All epochs, with the evaluation after each: minival and as many training images.

    They are seen in a centre crop and its mirror image.
    """
    net, size = net_of(experiment), data_size(experiment)
    seen = forward(net, experiment.crop, experiment.crop).times(2) + Work(crops=1)
    measured = size.minival + min(size.minival, size.train)
    epoch = training_step(net).times(size.train) + seen.times(measured)
    return epoch.times(experiment.epochs)


def parts_of(run: str) -> tuple[tuple[str, int], ...]:
    """(protocol, Q) of all that a run's net is tested under, once each.

    What fusions need of it is included; the fusions themselves then only average.
    """
    needed = list(evaluations_of(run))
    for fusion in FUSIONS.values():
        if run in fusion.runs:
            needed += [evaluation_in(evaluation, run) for evaluation in fusion.evaluations]
    return tuple(dict.fromkeys(part for evaluation in needed for part in evaluation.parts))


def per_image(experiment: Experiment, protocol: str, test_scale: int) -> Work:
    """One protocol at one Q (the paper's number) on one typical image.

    Every window is seen twice, as it is and mirrored.
    """
    net, size = net_of(experiment), data_size(experiment)
    q = scaled(test_scale, experiment.crop)
    work, overfeat = Work(), protocol == "overfeat"
    windows = PROTOCOLS[protocol](size.typical, q, experiment.crop)
    for (height, width), n in Counter((w.height, w.width) for w in windows).items():
        seen = forward(net, height, width, every_offset=overfeat)
        work += (seen.times(2) + Work(crops=1)).times(n)
    return work


def countable(experiment: Experiment) -> Experiment:
    """The experiment on photos whose number and shape are known.

    ASSUMPTION: a folder of the reader's own is like Imagenette, also in its ten classes, which
    matter only in the last layer.
    """
    return replace(experiment, data="imagenette") if experiment.data == "folder" else experiment


@cache
def multiply_adds(experiment: Experiment, part: Part) -> float:
    """Of the training of a run, or of its test under a protocol at one Q on the whole of val."""
    experiment = countable(experiment)
    if part == TRAINING:
        return training(experiment).multiply_adds
    return per_image(experiment, *part).multiply_adds * data_size(experiment).val


def expected(tasks: Iterable[Task], budget: str, data: str) -> dict[Task, float]:
    """The multiply-adds of every run and fusion. A fusion only averages."""
    found: dict[Task, float] = {}
    for name, seed in tasks:
        experiment = at_budget(name, budget, data)
        parts = () if name in FUSIONS else (TRAINING, *parts_of(name))
        found[name, seed] = sum(multiply_adds(experiment, part) for part in parts)
    return found


def tested(experiment: Experiment, parts: Iterable[tuple[str, int]]) -> Work:
    """One typical image under each (protocol, Q)."""
    return sum((per_image(experiment, *part) for part in parts), Work())


def evaluation(experiment: Experiment) -> Work:
    """Everything that the run's net is tested under, on the whole of val."""
    return tested(experiment, parts_of(experiment.name)).times(data_size(experiment).val)


def trainings(seeds: int) -> dict[str, int]:
    """How often each run is trained for the whole study with `seeds` seeds.

    A fusion of a run with itself takes a seed more of it and of what it starts from.
    """
    every = with_needs((run, seed) for seed in range(seeds) for run in (*RUNS, *FUSIONS))
    return {run: sum(of == run for of, _ in every) for run in RUNS}
