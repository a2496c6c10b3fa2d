"""Budgets: how much of the paper's protocol is run, and what that changes.

`at_budget` returns a declaration at the size a machine can afford; `deviations` compares it
with the paper's own, so that the list of deviations cannot go stale.
"""

from dataclasses import dataclass, replace
from typing import Any

from vggrepro import UserError
from vggrepro.files import beside
from vggrepro.study.experiments import DECLARED, FUSIONS, RUNS, Experiment, run_named


@dataclass(frozen=True)
class Budget:
    """How much of the protocol is run: for each data set it knows, the fields it replaces."""

    name: str
    seeds: int
    data: dict[str, dict[str, Any]]  # `epochs` by the stage
    about: str = ""  # of a candidate for the recipe: what it is


def _epochs(scratch: int, fine_tune: int, jitter: int) -> dict[str, dict[str, int]]:
    return {"epochs": {"scratch": scratch, "fine-tune": fine_tune, "jitter": jitter}}


# Chosen once for every net. He's initialisation and inputs of unit scale let a narrow net
# train without net A; Section 3.1's own start is kept at `full` and is a chapter of its own.
_SMALL = {
    "recipe": "pilot-1",
    "init": "he",
    "input_divisor": 60.0,
    "schedule": "steps",
    "learning_rate": 0.02,
    "batch_size": 64,
}
_DRAWN = {**_SMALL, "recipe": "drawn", "crop": 32}
_CIFAR10_32 = {**_SMALL, "crop": 32, "width": 0.25, "hidden": 256, "batch_size": 128}
_IMAGENETTE_64 = {**_SMALL, "crop": 64, "width": 0.25, "hidden": 256, "data_size": "160px"}
# Frozen before the recorded study was run: the candidate that was best on minival for the worst of
# A, D and E (`programme`), trained for longer, since none was near fitting its training images.
_STUDY = {"recipe": "study-1", "dropout": 0.25}
_CALIBRATED: dict[str, dict[str, Any]] = {
    "cifar10": {**_CIFAR10_32, **_STUDY, **_epochs(25, 10, 10)},
    "imagenette": {**_IMAGENETTE_64, **_STUDY, "learning_rate": 0.01, **_epochs(50, 15, 30)},
}

_TINY = {**_DRAWN, "width": 1 / 16, "hidden": 32, "counts": (240, 60), **_epochs(2, 1, 1)}
# One recipe for all nets: easier images, and many small steps, since whether a narrow deep net
# leaves chance depends on their number more than on the images. At half this rate A stays at
# chance from Glorot's start; at a higher one it ends worse.
_QUICK = {
    **_DRAWN,
    "width": 0.125,
    "hidden": 128,
    "counts": (2000, 200),
    "data_size": "plain",
    "batch_size": 16,
    "learning_rate": 0.004,
    "dropout": 0.0,
    **_epochs(10, 3, 4),
}
# A tenth of the paper's rate: at full width A, D and E overshot at it from He's start on scaled
# pixels, and at a tenth D and E learned (chapter 10).
_WIDE = {"width": 1.0, "hidden": 4096, "learning_rate": 1e-3}
_FULL_SIZE = {**_SMALL, **_WIDE, "schedule": "plateau"}
_OWN_PHOTOS = {**_CALIBRATED["imagenette"], "data_size": ""}

BUDGETS: dict[str, Budget] = {
    budget.name: budget
    for budget in (
        # For tests: the whole study in about a minute.
        Budget("smoke", 1, {"synthetic": _TINY}),
        # Every net on drawn images, minutes on a laptop; no verdicts.
        Budget("quick", 1, {"synthetic": _QUICK}),
        # The recorded study: real photos, a quarter of the width.
        Budget("reduced", 3, {**_CALIBRATED, "folder": _OWN_PHOTOS}),
        # The paper's geometry and nets on one GPU, hours.
        Budget("gpu", 1, {"imagenette": {**_FULL_SIZE, "data_size": "full"}, "folder": _FULL_SIZE}),
        # The paper's protocol on ILSVRC-2012, several GPUs.
        Budget("full", 1, {"imagenet": {}}),
    )
}

# What the study began with, from trial runs that looked at val. Its records are pilots.
_BEGUN = {
    "cifar10": {**_CIFAR10_32, **_epochs(20, 10, 10)},
    "imagenette": {**_IMAGENETTE_64, **_epochs(30, 15, 30)},
}
BEGINNING = Budget("reduced", 3, _BEGUN, "as the study began")


def _candidate(name: str, about: str, **changed: float) -> Budget:
    """The recipe of the beginning with the named fields changed."""
    data = {key: {**fields, "recipe": name, **changed} for key, fields in _BEGUN.items()}
    return Budget(name, 1, data, about)


# Candidates for the recipe: one thing changed at a time, then what helped together. Which is taken
# is decided on minival, see `programme`; none of these is ever tested on val.
_BOTH = {"learning_rate": 0.01, "dropout": 0.25}
CALIBRATION: dict[str, Budget] = {
    budget.name: budget
    for budget in (
        _candidate("calibrate-rate", "twice the learning rate", learning_rate=0.04),
        _candidate("calibrate-half-rate", "half the learning rate", learning_rate=0.01),
        _candidate("calibrate-dropout", "half the dropout", dropout=0.25),
        _candidate(
            "calibrate-half-rate-dropout", "half the learning rate and half the dropout", **_BOTH
        ),
    )
}

_BESIDE = (
    # A second look at what a map of 2x2 positions may hide (spatial context): Imagenette on crops
    # of 96 px, with S = 110 px, for which no photo of 160 px is enlarged. Decides nothing.
    Budget("reduced-96", 3, {"imagenette": {**_CALIBRATED["imagenette"], "crop": 96}}),
    # The second round's nets once more with the paper's channels, on one GPU: see `gpu_round`.
    Budget("gpu-32", 5, {"cifar10": {**_CALIBRATED["cifar10"], **_WIDE}}),
    Budget("gpu-128", 3, {"imagenette": {**_CALIBRATED["imagenette"], **_WIDE, "crop": 128}}),
)
ALL_BUDGETS = {**BUDGETS, **{budget.name: budget for budget in _BESIDE}, **CALIBRATION}


def budget_named(name: str | Budget) -> Budget:
    """The budget of that name, the second look or a candidate of the calibration.

    A budget itself is taken as it is. Raises `UserError`, naming the budgets for everyday use.
    """
    if isinstance(name, Budget):
        return name
    if name not in ALL_BUDGETS:
        raise UserError(f"unknown budget {name!r}; choose one of: {', '.join(BUDGETS)}")
    return ALL_BUDGETS[name]


def data_of(budget: str | Budget, data: str | None = None) -> str:
    """`data` if the budget knows it, the budget's first data set if None.

    Raises `UserError`, naming the data sets of that budget.
    """
    known = budget_named(budget).data
    if data is None:
        return next(iter(known))
    if data not in known:
        name = budget_named(budget).name
        others = [b.name for b in BUDGETS.values() if data in b.data]
        hint = f"; {data} is for --budget {' or '.join(others)}" if others else ""
        raise UserError(
            f"budget {name!r} does not run on {data!r}; choose: {', '.join(known)}{hint}"
        )
    return data


def data_dir_option(data: str) -> str:
    """What a command to be copied says of the folder of photos; drawn images need none."""
    return "" if data == "synthetic" else " --data-dir DATA"


def at_budget(run: str, budget: str | Budget, data: str | None = None) -> Experiment:
    """The declaration of `run` as `budget` runs it on `data`: a new frozen object.

    Fine-tuning keeps the paper's ratio to the rate from scratch (1e-3 against 1e-2). A fusion
    trains nothing: it has its first net's declaration, with its own name and the configs of all.
    Raises `UserError` for an unknown run, budget or data set.
    """
    if run in FUSIONS:
        runs = FUSIONS[run].runs
        configs = "+".join(RUNS[member].config for member in runs)
        return replace(at_budget(runs[0], budget, data), name=run, config=configs)
    declared = run_named(run)
    chosen, data = budget_named(budget), data_of(budget, data)
    changes = dict(chosen.data[data])
    if "learning_rate" in changes:
        changes["learning_rate"] *= declared.learning_rate / Experiment.learning_rate
    stages = changes.get("epochs", {})
    changes["epochs"] = round(stages.get(declared.stage, declared.epochs) * declared.length)
    changes = {name: value for name, value in changes.items() if name not in declared.keeps}
    return replace(declared, budget=chosen.name, data=data, **changes)


@dataclass(frozen=True)
class Deviation:
    """One way in which a budget differs from the paper."""

    field: str
    paper: Any
    ours: Any
    why: str


# In the order in which tables name them.
WHY: dict[str, str] = beside(__file__)["why"]
# What names a run rather than changes it.
_IDENTITY = {"name", "config", "budget"}


def deviations(experiment: Experiment) -> tuple[Deviation, ...]:
    """What `experiment` changes against the paper, from the two declarations themselves."""
    declared = DECLARED[experiment.name]
    declared = replace(declared, epochs=round(declared.epochs * declared.length))
    paper, ours = vars(declared), vars(experiment)
    changed = [name for name in ours if name not in _IDENTITY and ours[name] != paper[name]]
    return tuple(
        Deviation(name, paper[name], ours[name], WHY[name])
        for name in sorted(changed, key=[*WHY].index)
    )


# --- how many images -----------------------------------------------------------------------


@dataclass(frozen=True)
class DataSize:
    """How many images a data set has, and the (height, width) that stands for all of them."""

    train: int
    minival: int
    val: int
    classes: int
    typical: tuple[int, int]


# ASSUMPTION: photos are taken as 4:3, the commonest shape, and a portrait costs what the same
# landscape costs. Only the shape matters: images are rescaled to Q.
PUBLISHED = {
    "imagenet": DataSize(1_281_167 - 10_000, 10_000, 50_000, 1000, (375, 500)),
    "imagenette": DataSize(9469 - 947, 947, 3925, 10, (375, 500)),
    "cifar10": DataSize(45_000, 5000, 10_000, 10, (32, 32)),
}


def data_size(experiment: Experiment) -> DataSize:
    """The size of the experiment's data set; minival is held out of the training images.

    Raises `UserError` for a folder, whose photos only its owner can count.
    """
    if experiment.data == "synthetic":
        drawn, val = experiment.counts
        held_out = 10 * max(1, (drawn // 10 + 5) // 10)  # per class, as `data.hold_out`
        return DataSize(drawn - held_out, held_out, val, 10, (160, 208))
    if experiment.data not in PUBLISHED:
        raise UserError(
            f"nothing is known about the size of {experiment.data!r}; "
            f"plan for one of: {', '.join(PUBLISHED)}, synthetic"
        )
    return PUBLISHED[experiment.data]
