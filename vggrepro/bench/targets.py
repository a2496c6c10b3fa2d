"""How fast the study should be, written down beside what was measured; needs no torch.

A target is a ratio of two measurements of one record, or one measurement by itself. Every ratio
is taken within a round, in which both sides had a turn; the median over rounds is compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from vggrepro.study.records import BenchRecord

DECIDES = "imagenette"
"""The photos for which the targets are set. On others nothing is met or missed."""


@dataclass(frozen=True)
class Target:
    """What is measured, against what, and what should come out."""

    what: str
    against: str
    unit: str
    """As it stands behind a number: "×", " %"."""
    name: str
    of: Mapping[str, str | float]
    over: str = ""
    """The other side of a ratio."""
    goals: tuple[float, ...] = ()
    """One after the other: the first counts as met, the others are still to come."""

    def values(self, record: BenchRecord) -> np.ndarray | None:
        """Every round, as a ratio if there are two sides; None if it was not measured."""
        try:
            found = record.values(self.name, **self.of)
            if not self.over:
                return found
            other = record.values(self.name, **{**self.of, "side": self.over})
        except KeyError:
            return None
        return found / other * (100 if self.unit == " %" else 1)

    def said(self) -> str:
        """The goals: `at least 4×, then 5×`, or a dash where nothing was set."""
        limit = "at least " if self.over else "at most "
        goals = ", then ".join(f"{goal:g}{self.unit}" for goal in self.goals)
        return limit + goals if goals else "–"

    def shown(self, values: np.ndarray) -> str:
        """`4.3× (4.1 to 4.5)`: the median, and the range if there were several rounds."""
        middle = f"{_short(np.median(values))}{self.unit}"
        if len(values) == 1:
            return middle
        return f"{middle} ({_short(values.min())} to {_short(values.max())})"

    def met(self, values: np.ndarray) -> str:
        """`yes` for every goal, `the first`, or `no`."""
        middle = np.median(values)
        reached = [middle >= goal if self.over else middle <= goal for goal in self.goals]
        if not reached:
            return "–"
        return "yes" if all(reached) else "the first" if reached[0] else "no"


def _short(value: float) -> str:
    """Three digits: 0.412, 4.31, 43.1, 1,431."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 - int(np.floor(np.log10(value)))}f}" if value >= 0.1 else f"{value:.2g}"


_ALONE, _D = "–", "training D at {}, photos to updated weights"
_TORCHVISION = (
    "the same net and photos through torchvision: `ImageFolder`, `transforms`, `DataLoader` with "
    "2 workers, float32, default layout"
)
_QUARTER, _FULL = ({"side": "vggrepro", "width": width} for width in (0.25, 1.0))
_DENSE, _CROPS = ({"side": "vggrepro", "protocol": name} for name in ("dense", "multi-crop"))
# fmt: off
TARGETS: tuple[Target, ...] = (
    Target(_D.format("`reduced`"), _TORCHVISION, "×",
           "training", _QUARTER, "torchvision", (4.0, 5.0)),
    Target(_D.format("full width"), "the same", "×", "training", _FULL, "torchvision", (6.0,)),
    Target(_D.format("`reduced`"), "the step alone on one batch in memory", " %",
           "training", _QUARTER, "step alone", (92.0,)),
    Target(_D.format("full width"), "its step alone, likewise", " %",
           "training", _FULL, "step alone", (97.0,)),
    Target("full-width D at 64 px, forward and backward",
           "the fastest convolution of this machine in the same precision", " %",
           "arithmetic", {"side": "model"}, "convolution", (65.0,)),
    Target("the same with the update of the weights", "the same", " %",
           "arithmetic", {"side": "model and update"}, "convolution"),
    Target("dense evaluation at three Q with flips",
           "one photo at a time, float32, default layout", "×",
           "testing", _DENSE, "one at a time", (8.0,)),
    Target("150 crops of each image",
           "one photo's crops at a time through `transforms`, float32, default layout", "×",
           "testing", _CROPS, "one at a time", (5.0,)),
    Target("decoding Imagenette-160 into the cache, once", _ALONE, " s",
           "decoding", {"data": DECIDES}, goals=(25.0,)),
    Target("opening it from there", _ALONE, " s", "opening", {"data": DECIDES}, goals=(1.0,)),
    Target("peak anonymous memory of a run at `reduced`", _ALONE, " MiB",
           "memory", {}, goals=(2048.0,)),
    Target("`vggrepro --help`", _ALONE, " s", "starting", {"what": "--help"}, goals=(0.5,)),
    Target("opening a chapter: what it imports", _ALONE, " s",
           "starting", {"what": "a chapter"}, goals=(0.5,)),
)
# fmt: on


def rows(record: BenchRecord) -> list[dict[str, str]]:
    """A row for each target: measured, target, met, what, against."""
    decides = record.settings["data"] == DECIDES
    found = []
    for target in TARGETS:
        values = target.values(record)
        row = {"measured": "not measured", "target": target.said(), "met": "–"}
        if values is not None:
            row["measured"] = target.shown(values)
            row["met"] = target.met(values) if decides else "–"
        found.append(row | {"what": target.what, "against": target.against})
    return found


def lines(record: BenchRecord) -> Iterator[str]:
    """The rows for a terminal, and on what they were measured."""
    settings, p = record.settings, record.provenance
    yield (
        f"{settings['data']}, {settings['train_images']:,} training images; {p.processor}, "
        f"{p.threads} threads, {settings['precision']}; {p.wall_seconds:.0f} s in all"
    )
    if settings["data"] != DECIDES:
        yield f"the targets are set for {DECIDES}: none is met or missed here"
    for row in rows(record):
        line = "{measured:28}{target:24}met: {met:11}{what}, against: {against}".format(**row)
        yield line.replace("`", "")
