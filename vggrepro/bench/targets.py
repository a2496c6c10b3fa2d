"""How fast the study should be, written down beside what was measured; needs no torch.

A target is a ratio of two measurements of one record, or one measurement by itself. Every ratio
is taken within a round, in which both sides had a turn; the median over rounds is compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vggrepro.study.records import BenchRecord

DECIDES = "imagenette"
"""The photos for which the targets are set. On others nothing is met or missed."""
QUARTER, FULL = {"width": 0.25}, {"width": 1.0}


@dataclass(frozen=True)
class Side:
    """One measurement of a record: its name, and what it is of."""

    name: str
    of: Mapping[str, str | float] = field(default_factory=dict)

    def values(self, record: BenchRecord) -> np.ndarray | None:
        """Every round of it; None if it was not measured."""
        try:
            return record.values(self.name, **self.of)
        except KeyError:
            return None


@dataclass(frozen=True)
class Target:
    """What is measured, against what, and what should come out."""

    what: str
    against: str
    side: Side
    over: Side | None = None
    unit: str = "×"
    goals: tuple[float, ...] = ()
    """One after the other: the first counts as met, the others are still to come."""
    at_most: bool = False

    def values(self, record: BenchRecord) -> np.ndarray | None:
        """Every round, as a ratio if there are two sides; None if it was not measured."""
        found = self.side.values(record)
        if self.over is None or found is None:
            return found
        other = self.over.values(record)
        if other is None:
            return None
        return found / other * (100 if self.unit == "%" else 1)

    def said(self) -> str:
        """The goals: `at least 4×, then 5×`, or a dash where nothing was set."""
        if not self.goals:
            return "–"
        limit = "at most " if self.at_most else "at least "
        return limit + ", then ".join(f"{goal:g}{self._unit()}" for goal in self.goals)

    def _unit(self) -> str:
        return self.unit if self.unit == "×" else f" {self.unit}"

    def shown(self, values: np.ndarray) -> str:
        """`4.3× (4.1 to 4.5)`: the median, and the range if there were several rounds."""
        middle = f"{_short(np.median(values))}{self._unit()}"
        if len(values) == 1:
            return middle
        return f"{middle} ({_short(values.min())} to {_short(values.max())})"

    def met(self, values: np.ndarray) -> str:
        """`yes` for every goal, `the first`, or `no`."""
        middle = np.median(values)
        reached = [middle <= goal if self.at_most else middle >= goal for goal in self.goals]
        if not reached:
            return "–"
        return "yes" if all(reached) else "the first" if reached[0] else "no"


def _short(value: float) -> str:
    """Three digits: 0.412, 4.31, 43.1, 1,431."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 - int(np.floor(np.log10(value)))}f}" if value >= 0.1 else f"{value:.2g}"


def _training(side: str, width: Mapping[str, float]) -> Side:
    return Side("training", {"side": side, **width})


def _testing(protocol: str) -> dict[str, Side]:
    ours, theirs = (
        Side("testing", {"side": s, "protocol": protocol}) for s in ("vggrepro", "one at a time")
    )
    return {"side": ours, "over": theirs}


_TORCHVISION = (
    "the same net and photos through torchvision: `ImageFolder`, `transforms`, `DataLoader` with "
    "2 workers, float32, default layout"
)
TARGETS: tuple[Target, ...] = (
    Target(
        "training D at `reduced`, photos to updated weights",
        _TORCHVISION,
        _training("vggrepro", QUARTER),
        _training("torchvision", QUARTER),
        goals=(4.0, 5.0),
    ),
    Target(
        "training D at full width, photos to updated weights",
        "the same",
        _training("vggrepro", FULL),
        _training("torchvision", FULL),
        goals=(6.0,),
    ),
    Target(
        "training D at `reduced`, photos to updated weights",
        "the step alone on one batch in memory",
        _training("vggrepro", QUARTER),
        _training("step alone", QUARTER),
        unit="%",
        goals=(92.0,),
    ),
    Target(
        "training D at full width, photos to updated weights",
        "its step alone, likewise",
        _training("vggrepro", FULL),
        _training("step alone", FULL),
        unit="%",
        goals=(97.0,),
    ),
    Target(
        "full-width D at 64 px, forward and backward",
        "the fastest convolution of this machine in the same precision",
        Side("arithmetic", {"side": "model"}),
        Side("arithmetic", {"side": "convolution"}),
        unit="%",
        goals=(65.0,),
    ),
    Target(
        "the same with the update of the weights",
        "the same",
        Side("arithmetic", {"side": "model and update"}),
        Side("arithmetic", {"side": "convolution"}),
        unit="%",
    ),
    Target(
        "dense evaluation at three Q with flips",
        "one photo at a time, float32, default layout",
        **_testing("dense"),
        goals=(8.0,),
    ),
    Target(
        "150 crops of each image",
        "one photo's crops at a time through `transforms`, float32, default layout",
        **_testing("multi-crop"),
        goals=(5.0,),
    ),
    Target(
        "decoding Imagenette-160 into the cache, once",
        "–",
        Side("decoding", {"data": DECIDES}),
        unit="s",
        goals=(25.0,),
        at_most=True,
    ),
    Target(
        "opening it from there",
        "–",
        Side("opening", {"data": DECIDES}),
        unit="s",
        goals=(1.0,),
        at_most=True,
    ),
    Target(
        "peak anonymous memory of a run at `reduced`",
        "–",
        Side("memory"),
        unit="MiB",
        goals=(2048.0,),
        at_most=True,
    ),
    Target(
        "`vggrepro --help`",
        "–",
        Side("starting", {"what": "--help"}),
        unit="s",
        goals=(0.5,),
        at_most=True,
    ),
    Target(
        "opening a chapter: what it imports",
        "–",
        Side("starting", {"what": "a chapter"}),
        unit="s",
        goals=(0.5,),
        at_most=True,
    ),
)


def rows(record: BenchRecord | None) -> list[dict[str, str]]:
    """A row for each target: what, against, measured, target, met."""
    found = []
    for target in TARGETS:
        values = None if record is None else target.values(record)
        decides = record is not None and record.settings["data"] == DECIDES
        found.append(
            {
                "what": target.what,
                "against": target.against,
                "measured": "not measured" if values is None else target.shown(values),
                "target": target.said(),
                "met": target.met(values) if values is not None and decides else "–",
            }
        )
    return found


def lines(record: BenchRecord) -> list[str]:
    """The rows for a terminal, and on what they were measured."""
    settings, p = record.settings, record.provenance
    found = [
        f"{settings['data']}, {settings['train_images']:,} training images; {p.device} "
        f"({p.processor}), {settings['threads']} threads, {settings['precision']}; "
        f"{p.wall_seconds:.0f} s in all"
    ]
    if settings["data"] != DECIDES:
        found.append(f"the targets are set for {DECIDES}: none is met or missed here")
    found.append(f"{'':53}{'measured':28}{'target':24}met")
    for row in rows(record):
        found.append(f"{row['what']:53}{row['measured']:28}{row['target']:24}{row['met']}")
        if row["against"] != "–":
            found.append(f"    against {row['against']}")
    return [line.replace("`", "") for line in found]
