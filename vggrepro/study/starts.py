"""How a net may start, declared: random by four rules, or from net A.

Section 3.1 at full width on pixels of 0 to 255. `first_steps` measures these declarations. Last,
what is wrong with a net that does not learn, and what to do about it.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from vggrepro import UserError, check_known
from vggrepro.files import beside
from vggrepro.study.experiments import Experiment

if TYPE_CHECKING:
    from vggrepro.study.records import FirstStepsRecord

FIRST_STEPS = "first-steps"
"""Stands in place of a budget: of these nets only the first steps are trained."""
CROP, BATCH, STEPS = 64, 32, 300
WIDTHS = (1 / 64, 8)
"""From one channel in the first layer to billions of weights in all."""


class Start(NamedTuple):
    """One way to start nets: the rule for weights, the nets, what divides the pixels, the rate."""

    name: str
    label: str
    init: str
    nets: str
    input_divisor: float = 1.0
    learning_rate: float = 0.01


_WRITTEN = beside(__file__)
STARTS = {name: Start(name, **written) for name, written in _WRITTEN["starts"].items()}
NETS = ("A", "D", "E")
DATA = ("synthetic", "cifar10", "imagenette", "folder")
PARENT = "A-glorot"
"""Net A of which "from-A" takes layers."""


def _declare(net: str, start: Start) -> Experiment:
    # DEVIATION: the paper's crop of 224 px takes twelve times as long as 64 px; fc6 then sees 49
    # positions instead of 4, so the signal before the first step is measured at 224 px as well.
    # DEVIATION: 32 images a step instead of 256, and drawn ones unless others are named.
    # DEVIATION: the paper's net A had its whole training. This one has had these first steps, and
    # from a start that needs no more of them to learn.
    of_a = {"init_from": PARENT, "inherit": "net-a"} if start.name == "from-A" else {}
    return Experiment(
        f"{net}-{start.name}",
        net,
        init=start.init,
        **of_a,
        crop=CROP,
        batch_size=BATCH,
        input_divisor=start.input_divisor,
        learning_rate=start.learning_rate,
        epochs=0,  # counted in steps
        schedule="steps",
        budget=FIRST_STEPS,
        data="synthetic",
        counts=(4000, 500),
    )


DECLARED: dict[str, Experiment] = {
    f"{net}-{start.name}": _declare(net, start) for start in STARTS.values() for net in start.nets
}
"""Every net from every start; a net's parent comes before it."""


def chosen(names: list[str], data: str = "synthetic", **sizes: object) -> list[Experiment]:
    """The declarations of these names (of all if there are none) and of their parents, in order.

    Raises `UserError` for a name or a data set that is not there, and a width that no net has.
    """
    low, high = WIDTHS
    if not low <= sizes.get("width", 1) <= high:  # `nan` is not, either
        raise UserError(f"--width must be from {low:g} to {high}, not {sizes['width']}")
    check_known("data", data, DATA)
    if data != "synthetic":
        sizes |= {"data": data, "counts": (0, 0)}
    if data == "imagenette":
        sizes |= {"data_size": "160px"}
    if "width" in sizes:
        sizes |= {"hidden": max(1, round(Experiment.hidden * sizes["width"]))}
    for name in names:
        check_known("start", name, DECLARED)
    wanted = set(names or DECLARED)
    wanted |= {DECLARED[name].init_from for name in wanted}
    return [replace(e, **sizes) for name, e in DECLARED.items() if name in wanted]


def sizes(experiment: Mapping[str, Any], steps: int, precision: str) -> dict[str, Any]:
    """What has to be alike where first steps stand side by side, by the options that set it."""
    return {
        "--crop": experiment["crop"],
        "--batch": experiment["batch_size"],
        "--width": experiment["width"],
        "--steps": steps,
        "--precision": precision,
    }


# --- what to do about it --------------------------------------------------------------------

LEARNED = ("A-glorot", "D-he-scaled-slow", "D-glorot", "E-he-scaled-slow")
"""All that learned in the recorded first steps, the best of each net first: Glorot's start of D
stalled in one of its whole trainings, He's in none."""
SATURATED, OVERSHOT = 10, 2
"""Times chance: a first loss above the one, a later loss above the other."""
FADED = 1e-4
"""A share of a weight's size. Where the signal fades the first step moves a weight by less."""
WRONG: dict[str, str] = _WRITTEN["wrong"]
"""What is wrong with a net, in a word and in a sentence."""


def wrong(record: "FirstStepsRecord") -> str:
    """What is wrong with the net of these first steps: a word of `WRONG`."""
    if record.outcome in ("learns", "dead"):
        return record.outcome
    if not record.losses or record.losses[0] > SATURATED * record.chance:
        return "saturated"
    if record.outcome == "diverged":
        return "diverges"
    if max(record.losses) > OVERSHOT * record.chance:
        return "overshoots"
    return "fades" if record.first_step < FADED else "at chance"


def advice(record: "FirstStepsRecord") -> str:
    """A sentence that says what is wrong with a net, and one with the start and rate to take."""
    word, losses = wrong(record), record.losses or (math.inf,)
    last = record.last_loss if record.losses else math.inf
    numbers = {"first": losses[0], "peak": max(losses), "last": last, "chance": record.chance}
    said = WRONG[word].format(**numbers, moved=record.first_step)
    return f"{record.run} {word}: {said}. {_to_take(record, word)}"


def _to_take(record: "FirstStepsRecord", word: str) -> str:
    net = record.run[0]
    if word == "learns":
        return f"Train with it: {_described(record.run)}."
    take = "take more --steps, or" if word == "at chance" else "take"
    for name in LEARNED:
        if name[0] == net and name != record.run:
            known = f"from which {net} learned at full width in chapter 10"
            return f"{take.capitalize()} {name}, {known}: {_described(name)}."
    if word in ("fades", "at chance"):
        return "Take more --steps, and look whether each photo lies in the folder of its class."
    return f"Take a tenth of the rate: {record.experiment['learning_rate'] / 10:g}."


def _described(name: str) -> str:
    """Rule, pixels and rate of a start, and the command that trains so, if there is one."""
    net, _, start = name.partition("-")
    one = STARTS[start]
    rule, rate = one.label.partition(", rate")[0], f"{one.learning_rate:g}"
    if one.input_divisor == 1:  # which `train` has not
        return f"{rule}, pixels from 0 to 255, rate {rate}"
    if one.init == "pytorch":
        return f"{rule}, rate {rate}"
    command = f"vggrepro train {net} PHOTOS --start {one.init} --learning-rate {rate} --out FILE"
    return f"{rule}, rate {rate} ({command})"
