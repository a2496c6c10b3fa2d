"""The whole study in one figure: a line per claim, the paper's difference beside ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vggrepro.pages.differences import Found, found_in, studies_of
from vggrepro.pages.figures import plt
from vggrepro.pages.figures_method import COLOURS
from vggrepro.pages.method import DECIDING
from vggrepro.pages.report import DATA_NAMES
from vggrepro.pages.verdicts import chapter_title, label
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import decide_all
from vggrepro.study.rules import Claim, Word

MARKERS: dict[Word, str] = {
    "holds and matters": "^",
    "holds": "o",
    "negligible": "s",
    "inconclusive": "P",
    "contradicted": "v",
    "too few seeds": "X",
}
PAPER = {"marker": "D", "color": "black", "markerfacecolor": "none", "linestyle": "none"}
BESIDE, PILOT = "0.62", "0.35"

LINEAR = 0.5
"""Points up to which the axis is about linear; beyond, it is logarithmic."""
LIMIT = 8.0
"""Points at which the axis ends: what lies beyond is an arrow with its number."""
BESIDE_ENDS = 3.4
"""Where such a number of the other photos stands: beside that of the line above, not on it."""
TICKS = (-5, -2, -1, -0.5, 0, 0.5, 1, 2, 5)

WIDTH = 4.3  # inches: narrow, so that it is not shrunk to nothing on a phone
ROW, HEAD, REST = 0.44, 0.40, 1.75  # inches: a claim, a chapter's title, axis and legend
BAND = (-0.42, 0.20)  # of a row, in rows, below its label


@dataclass(frozen=True)
class Line:
    """A claim as the figure shows it: the deciding difference, and that on the other data set."""

    claim: Claim
    word: Word
    here: Found | None
    beside: Found | None


def lines(results_dir: Path, budget: str = "reduced") -> list[Line]:
    """The claims about errors in the order of chapters, with what is recorded of each."""
    decisions, studies = decide_all(results_dir, budget), studies_of(results_dir, budget)
    found = []
    for claim in about_errors():
        other = next((data for data in DECIDING if data != claim.data), None)
        here = found_in(studies, claim, claim.data)
        beside = found_in(studies, claim, other) if other else None
        found.append(Line(claim, decisions[claim.key].word, here, beside))
    return found


def about_errors() -> list[Claim]:
    """All claims about differences in error, by chapter."""
    about = [claim for claim in CLAIMS.values() if claim.about_errors]
    return sorted(about, key=lambda claim: claim.chapter)


def note(line: Line) -> str:
    """What stands at the right of a line: the verdict and n, or why there is none."""
    if line.here is None:
        return "not run"
    seeds = len(line.here.by_seed)
    n = f"n = {seeds}"
    if seeds < line.claim.seeds and not line.here.pilot:
        return f"{seeds} of {line.claim.seeds} seeds"
    return f"pilot, {n}" if line.here.pilot else f"{line.word}, {n}"


# --- the figure ---------------------------------------------------------------------------


def overview(found: Sequence[Line]) -> Figure:
    """The paper's difference and ours for each claim, in points of top-1 error, by chapter.

    Ours with its 95 % interval and a dot for each seed on the data set that decides, and fainter
    below it on the other one. A pilot is hollow and has no interval.
    """
    # A claim's place by chapter and data set; the axis counts rows downwards.
    groups = [
        (key, list(group))
        for key, group in groupby(found, key=lambda line: (line.claim.chapter, line.claim.data))
    ]
    rows = len(found) + len(groups) * HEAD / ROW
    fig, ax = plt.subplots(figsize=(WIDTH, rows * ROW + REST))
    top = 0.0
    for (chapter, data), group in groups:
        top -= HEAD / ROW
        _at_left(ax, top + 0.3, f"{_title(chapter)} ({DATA_NAMES[data]})", size=9.5, weight="bold")
        for line in group:
            top -= 1
            _draw(ax, top + 0.5, line)
    _axis(ax, top)
    fig.legend(handles=_legend(found), loc="outside lower left", ncols=2, fontsize=8.5)
    return fig


def _title(chapter: str) -> str:
    number, _, _ = chapter.partition("_")
    return f"{int(number)}. {chapter_title(chapter).split(':')[0]}"


def _at_left(ax: Axes, y: float, text: str, **options) -> None:
    ax.text(0, y, text, transform=ax.get_yaxis_transform(), va="center", **options)


def _draw(ax: Axes, y: float, line: Line) -> None:
    claim, middle = line.claim, y - 0.06
    primary = {"weight": "bold"} if claim.primary else {}
    _at_left(ax, y + 0.35, label(claim) + (" *" if claim.primary else ""), size=8.5, **primary)
    right = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
    ax.text(1, y + 0.35, note(line), size=8.5, **right)
    bottom, height = y + BAND[0], BAND[1] - BAND[0]
    ax.fill_between((-claim.matters, claim.matters), bottom, bottom + height, color="0.91", lw=0)
    ax.vlines(TICKS, bottom, bottom + height, color="0.85", linewidth=0.7, zorder=1)
    ax.vlines(0, bottom, bottom + height, color="0.3", linewidth=1, zorder=1)
    if line.beside:
        _difference(ax, y - 0.29, line.beside, BESIDE, "o", 3)
    if line.here:
        _difference(ax, middle, line.here, _colour(line), MARKERS.get(line.word, "o"), 6)
    said = claim.paper.difference
    if said is not None and _inside(ax, middle, said, "black"):
        ax.plot(said, middle, markersize=8, zorder=4, **PAPER)


def _colour(line: Line) -> str:
    if line.here is None or line.here.pilot:
        return PILOT
    return COLOURS.get(line.word, PILOT)


def _difference(ax: Axes, y: float, found: Found, colour: str, marker: str, size: float) -> None:
    """A mean with its interval and its seeds; a pilot hollow."""
    end = LIMIT if colour != BESIDE else BESIDE_ENDS
    if found.interval:
        ends = np.clip((found.interval.low, found.interval.high), -LIMIT, LIMIT)
        ax.hlines(y, *ends, color=colour, linewidth=size / 3, zorder=2)
    seeds = [value for value in found.by_seed.values() if abs(value) <= LIMIT]
    ax.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.45, markersize=2.2, zorder=2)
    if found.stalled:  # seeds only: the mean is that of no net
        for value in found.by_seed.values():
            _inside(ax, y, value, colour, end)
    elif _inside(ax, y, found.mean, colour, end):
        face = {"marker": "o", "markerfacecolor": "white"} if found.pilot else {"marker": marker}
        ax.plot(found.mean, y, color=colour, markersize=size, zorder=3, **face)


def _inside(ax: Axes, y: float, value: float, colour: str, end: float = LIMIT) -> bool:
    """Whether the axis has room for `value`; if not, its number and an arrow stand at `end`."""
    if abs(value) <= LIMIT:
        return True
    side, text = ("right", f"{value:+.1f} →") if value > 0 else ("left", f"← −{-value:.1f}")
    plain = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # over its own interval
    where = {"ha": side, "va": "center", "zorder": 5, "bbox": plain}
    ax.text(np.copysign(end, value), y, text, size=8, color=colour, **where)
    return False


def _axis(ax: Axes, bottom: float) -> None:
    ax.set_xscale("asinh", linear_width=LINEAR)
    ax.set_xlim(-LIMIT, LIMIT)
    ax.set_xticks(TICKS, [f"{tick:+g}".replace("-", "−") if tick else "0" for tick in TICKS])
    ax.set_xticks([], minor=True)
    ax.tick_params(axis="x", top=True, labeltop=True, labelsize=8.5)
    ax.set_ylim(bottom, 0)
    ax.set_yticks([])
    ax.spines[["left", "right"]].set_visible(False)
    ax.spines["top"].set_visible(True)
    ax.set_xlabel(
        "difference in top-1 error, points\n← the other way        as the paper says →", size=9
    )


def _legend(found: Sequence[Line]) -> list[Line2D | Patch]:
    """What the marks mean, of those that may be there."""
    words = {line.word for line in found if line.here and not line.here.pilot}
    handles: list[Line2D | Patch] = [
        Line2D([], [], markersize=8, label="the paper", **PAPER),
        Patch(color="0.91", label="smaller than what matters"),
        *(
            Line2D([], [], color=COLOURS[word], marker=marker, markersize=6, label=f"here: {word}")
            for word, marker in MARKERS.items()
            if word in words
        ),
        Line2D(
            [], [], color=BESIDE, marker="o", markersize=3, label="other photos, decide nothing"
        ),
    ]
    if any(one and one.pilot for line in found for one in (line.here, line.beside)):
        hollow = {"marker": "o", "markerfacecolor": "white", "linestyle": "none"}
        handles.append(Line2D([], [], color=PILOT, label="pilot, decides nothing", **hollow))
    return handles
