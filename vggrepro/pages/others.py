"""Other people's retrainings as the book shows them: figures, tables, the finding in words."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vggrepro.pages.figures import beside, ink, net_colour
from vggrepro.study import paper
from vggrepro.study.others import (
    DIFFERENCES,
    Analysis,
    Row,
    Summary,
    differences,
    leave_one_out,
    summarise,
)

LAYERS = {"A": 11, "B": 13, "D": 16, "E": 19}
PAPER = {"marker": "D", "color": "black", "markerfacecolor": "none", "linestyle": "none"}
OTHERS, MEAN = "C0", "C3"  # colours of families and of their mean

#: Scales of Table 3: the one that A, B, D and E share, and jitter, which only D and E have.
FIXED, JITTER = 256, "[256;512]"


# --- numbers and words ----------------------------------------------------------------------


def paper_difference(first: str, second: str, train_scale: int | str = FIXED) -> float:
    """The paper's difference in points, dense evaluation (Table 3), signed as ours are."""
    errors = [paper.value(3, net=net, train_scale=train_scale) for net in (first, second)]
    return errors[0] - errors[1]


def number(value: float, decimals: int = 1) -> str:
    """A number with a minus sign that is one."""
    return f"{value:.{decimals}f}".replace("-", "−")


def mean_of(rows: Sequence[Row], first: str, second: str, **options) -> Summary:
    """The mean over families of `differences`, whose options it takes."""
    return summarise(list(differences(rows, first, second, **options).values()))


def finding(rows: Sequence[Row]) -> str:
    """What others found at full scale, in two sentences, each beside the paper's number."""
    to_sixteen, to_nineteen = mean_of(rows, "A", "D"), mean_of(rows, "D", "E")
    beyond = differences(rows, "D", "E")
    lower = sum(value > 0 for value in beyond.values())
    return (
        f"Trained at full size by other people, sixteen layers err {number(to_sixteen.mean)} "
        f"points less than eleven; in the paper it is {number(paper_difference('A', 'D'))}. "
        f"Nineteen err {_less_or_more(to_nineteen.mean)} than sixteen, in {lower} of "
        f"{len(beyond)} families; in the paper they err "
        f"{_less_or_more(paper_difference('D', 'E'))}, or "
        f"{_less_or_more(paper_difference('D', 'E', JITTER))} with scale jitter."
    )


def in_one_sentence(rows: Sequence[Row]) -> str:
    """The same for the front page, where it stands beside verdicts."""
    to_sixteen, to_nineteen = mean_of(rows, "A", "D"), mean_of(rows, "D", "E")
    return (
        "in other people's trainings, which we collected afterwards and which decide nothing here, "
        f"sixteen layers err {_less_or_more(to_sixteen.mean)} than eleven (the paper: "
        f"{_less_or_more(paper_difference('A', 'D'))}), and nineteen "
        f"{_less_or_more(to_nineteen.mean)} than sixteen (the paper: "
        f"{_less_or_more(paper_difference('D', 'E'))}, or "
        f"{_less_or_more(paper_difference('D', 'E', JITTER))} with scale jitter)."
    )


def _less_or_more(difference: float) -> str:
    return f"{number(abs(difference))} {'less' if difference > 0 else 'more'}"


def minus(first: str, second: str) -> str:
    """The name of a difference, which does not break at the end of a line."""
    return f"{first}\u00a0−\u00a0{second}"


def _ends(ends: tuple[float, float] | None) -> str:
    return f"[{number(ends[0], 2)}, {number(ends[1], 2)}]" if ends else ""


def _stated(found: Summary) -> str:
    return f"{number(found.mean, 2)} ({found.families})<br>{_ends(found.interval)}"


def linked(row: Row) -> str:
    """The top-1 error of a row, linked to where a reader finds it."""
    return f'<a href="{row.address}">{number(row.top1_error)}</a>'


# --- tables ---------------------------------------------------------------------------------


def trainings_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Every plain series of the wide analysis, a line each: errors with sources, evidence."""
    series: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.counts(Analysis.WIDE) and row.norm == "none":
            series.setdefault((row.family, row.series), []).append(row)
    several = [family for family, _ in series]
    table = {}
    for (family, name), nets in series.items():
        errors = {row.net: linked(row) for row in nets if row.top1_error is not None}
        shown = ", ".join(dict.fromkeys(row.independence for row in nets))
        doubts = ", ".join(dict.fromkeys(row.doubt for row in nets if row.doubt))
        if len(nets) > 1:
            label = family if several.count(family) == 1 else f"{family}, {name}"
            table[label] = {net: errors.get(net, "–") for net in LAYERS} | {
                "epochs": ", ".join(dict.fromkeys(str(row.epochs or "–") for row in nets)),
                "independent by": "; ".join(filter(None, (shown, doubts))),
            }
    return pd.DataFrame.from_dict(table, orient="index")


def means_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The meta-analysis of plain nets: a line for each difference, points of top-1 error."""
    table = {}
    for first, second in DIFFERENCES:
        found = mean_of(rows, first, second)
        left = leave_one_out(differences(rows, first, second)).values()
        without = [one.mean for one in left]
        strict = mean_of(rows, first, second, analysis=Analysis.STRICT)
        wide = mean_of(rows, first, second, analysis=Analysis.WIDE)
        table[minus(first, second)] = {
            "paper": number(paper_difference(first, second)),
            "mean": _stated(found),
            "one more family": _ends(found.predicted),
            "leaving one out": f"{number(min(without), 2)} to {number(max(without), 2)}",
            "strict": _stated(strict),
            "wide": _stated(wide),
        }
    return pd.DataFrame.from_dict(table, orient="index")


def norms_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Plain nets beside nets with batch normalisation, and top-5 errors of the plain ones."""
    kinds: dict[str, dict] = {
        "plain": {},
        "batch normalisation": {"norm": "batch"},
        "plain, top-5": {"metric": "top5_error"},
    }
    return pd.DataFrame(
        {
            kind: {minus(*pair): _stated(mean_of(rows, *pair, **options)) for pair in DIFFERENCES}
            for kind, options in kinds.items()
        }
    )


def tested_together(rows: Sequence[Row], family: str) -> dict[str, float]:
    """Error of D minus that of E in points, one set of weights each, by who tested both."""
    errors: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row.family == family and row.independence == "passed on" and row.top1_error:
            errors.setdefault((row.source, row.protocol), {})[row.net] = row.top1_error
    return {source: nets["D"] - nets["E"] for (source, _), nets in errors.items() if len(nets) == 2}


# --- figures --------------------------------------------------------------------------------

WIDTH = 4.6  # inches: narrow, so that it is not shrunk to nothing on a phone
ROW, HEAD = 0.235, 0.34  # inches: a family, the title of a difference
LEFT, RIGHT = -0.36, 1.02  # of the panel's width: names and numbers


def forest(rows: Sequence[Row]) -> Figure:
    """Differences within families in points of top-1 error, their mean, and the paper's.

    A block for each of `DIFFERENCES`: a dot for each family, hollow if one word in a table is all
    that shows it is independent; the mean with its 95 % interval (thick) and its prediction
    interval (thin); the paper's value as a diamond.
    """
    blocks = {pair: differences(rows, *pair) for pair in DIFFERENCES}
    lines = sum(len(found) + 1 for found in blocks.values())
    height = lines * ROW + len(blocks) * HEAD + 1.15
    fig, ax = plt.subplots(figsize=(WIDTH, height))
    strict = {pair: differences(rows, *pair, Analysis.STRICT) for pair in DIFFERENCES}
    top = 0.0
    for pair, found in blocks.items():
        top -= HEAD / ROW
        title = f"{pair[0]} − {pair[1]}: {LAYERS[pair[0]]} to {LAYERS[pair[1]]} layers"
        beside(ax, LEFT, top + 0.45, title, weight="bold", size=9.5)
        first = top
        for family, value in found.items():
            top -= 1
            face = {} if family in strict[pair] else {"markerfacecolor": "white"}
            ax.plot(value, top + 0.5, "o", color=OTHERS, markersize=5, zorder=3, **face)
            beside(ax, LEFT, top + 0.5, family, size=8.5)
            beside(ax, RIGHT, top + 0.5, number(value, 2), size=8.5)
        top -= 1
        _mean(ax, top + 0.5, summarise(list(found.values())))
        said = paper_difference(*pair)
        ax.vlines((1, 2, 3), top, first, color="0.88", linewidth=0.8, zorder=0)
        ax.vlines(0, top, first, color="0.3", linewidth=1, zorder=1)
        ax.plot(said, top + 0.5, markersize=7, zorder=4, **PAPER)
        if pair == ("D", "E"):
            jittered = PAPER | {"color": "0.5"}
            ax.plot(paper_difference(*pair, JITTER), top + 0.5, markersize=5, zorder=4, **jittered)
    ax.set_ylim(top, 0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("points of top-1 error\n← the deeper net errs more  |  it errs less →", size=9)
    fig.legend(handles=_forest_legend(), loc="outside lower left", ncols=2, fontsize=8.5)
    return fig


def _mean(ax: Axes, y: float, found: Summary) -> None:
    look = {"size": 8.5, "weight": "bold", "color": ink(MEAN)}
    beside(ax, LEFT, y, f"mean of {found.families}", **look)
    if found.interval and found.predicted:
        ax.hlines(y, *found.predicted, color=MEAN, linewidth=1, zorder=2)
        ax.hlines(y, *found.interval, color=MEAN, linewidth=3.5, zorder=2)
    ax.plot(found.mean, y, "s", color=MEAN, markersize=6, zorder=3)
    beside(ax, RIGHT, y, number(found.mean, 2), **look)


def _forest_legend() -> list[Line2D]:
    dot = {"marker": "o", "color": OTHERS, "linestyle": "none"}
    return [
        Line2D([], [], label="a family", **dot),
        Line2D([], [], label="the paper", markersize=7, **PAPER),
        Line2D([], [], label="shown by one word", markerfacecolor="white", **dot),
        Line2D([], [], label="with jitter", markersize=5, **(PAPER | {"color": "0.5"})),
        Line2D([], [], color=MEAN, linewidth=3.5, marker="s", label="mean, 95 %"),
        Line2D([], [], color=MEAN, linewidth=1, label="one more family"),
    ]


VIEWS: dict[str, str] = {
    "dense": "dense",
    "ten crops": "ten crops",
    "one crop": "one crop",
    "other": "other resizing",
    "not stated": "not said",
}


def same_weights(rows: Sequence[Row], family: str = "the authors") -> Figure:
    """Top-1 error of one D and one E in everybody's tests, a line for each way of testing."""
    fig, ax = plt.subplots(figsize=(WIDTH, 2.8))
    for place, view in enumerate(VIEWS):
        for net, shift in (("D", -0.14), ("E", 0.14)):
            found = [
                row.top1_error
                for row in rows
                if (row.family, row.net, row.views) == (family, net, view) and row.top1_error
            ]
            marker = {"D": "o", "E": "s"}[net]
            look = {"color": net_colour(net), "alpha": 0.7, "label": net}
            ax.plot(found, [place + shift] * len(found), marker, **look)
    ax.set_yticks(range(len(VIEWS)), VIEWS.values())
    ax.set_ylim(len(VIEWS) - 0.5, -0.5)
    ax.set_xlabel("top-1 error, %")
    ax.grid(axis="x")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[:2], labels[:2], loc="lower right")
    return fig
