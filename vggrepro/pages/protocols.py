"""Chapters 8 and 9, on test protocols and fusion: windows, work, time, padding, shared errors."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vggrepro import cost
from vggrepro.data import synthetic
from vggrepro.pages import figures
from vggrepro.pages.report import Column, errors, paper_cell, table_by
from vggrepro.study import paper, workload
from vggrepro.study.experiments import (
    DECLARED,
    FUSIONS,
    Evaluation,
    Experiment,
    evaluation_in,
    evaluations_of,
)
from vggrepro.study.records import EvalRecord
from vggrepro.windows import (
    PAPER_CROP,
    PROTOCOLS,
    STRIDE,
    Window,
    box,
    dense_window,
    positions,
    scaled,
)

NAMES = {
    "centre-crop": "centre crop",
    "dense-shifted": "shifted dense",
    "alexnet-10": "AlexNet's 10",
    "googlenet-144": "GoogLeNet's 144",
    "overfeat": "OverFeat's",
}


def label(evaluation: Evaluation) -> str:
    """A protocol and its Q as a reader says it: `dense, Q = 384`, `multi-crop, 3 Q`."""
    first, *others = evaluation.test_scales or (0,)
    name = NAMES.get(evaluation.protocol, evaluation.protocol)
    return f"{name}, {1 + len(others)} Q" if others else f"{name}, Q = {first}"


def compared(run: str) -> list[Evaluation]:
    """The run's evaluations that compare protocols, the cheapest first.

    Dense evaluation at a Q that no other protocol has is left to the chapter about Q.
    """
    found = evaluations_of(run)
    shared = {e.test_scales for e in found if e.protocol != "dense"}
    chosen = [e for e in found if e.test_scales in shared]
    return sorted(chosen, key=lambda e: work_of(DECLARED[run], e).multiply_adds)


# --- cost ---------------------------------------------------------------------------------


@cache
def work_of(experiment: Experiment, evaluation: Evaluation) -> workload.Work:
    """Of one image of the data set's typical shape, mirror images included."""
    return workload.tested(workload.countable(experiment), evaluation.parts)


def protocol_table(nets: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """What each protocol costs the first of `nets` and what it gives all of them, cheapest first.

    Work is counted in multiply-adds of a photo of the typical shape: at the paper's geometry in G,
    and there and at the crops of `columns` as a multiple of a centre crop's; time in ms an image.
    Errors in percent, the paper's first.
    """
    first, once = nets[0], Evaluation("centre-crop", (PAPER_CROP,))
    here = [column.experiment(first) for column in columns]
    sizes = {e.crop: e for e in (DECLARED[first], *here)}
    rows = {}
    for evaluation in compared(first):
        work = work_of(DECLARED[first], evaluation)
        cells = {"windows": f"{work.crops}", "work, G": f"{work.multiply_adds / 1e9:,.0f}"}
        for crop, e in sizes.items():
            ratio = work_of(e, evaluation).multiply_adds / work_of(e, once).multiply_adds
            cells[f"× at {crop} px"] = f"{ratio:.1f}"
        for column in columns:
            found = column.evaluations(first, evaluation)
            took = [1e3 * seconds_per_image(record) for record in found.values()]
            cells[f"ms, {column.title}"] = f"{np.mean(took):.1f}" if took else "not run"
        for net in nets:
            cells[f"{DECLARED[net].config}, paper"] = paper_cell(net, evaluation)
            for column in columns:
                cells[f"{DECLARED[net].config}, {column.title}"] = column.cell(net, evaluation)
        rows[label(evaluation)] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def errors_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Top-1 errors, %, by protocol, the cheapest first: a column for each run and column."""
    table = {
        f"{run}<br>{column.title}": {label(e): column.cell(run, e) for e in compared(run)}
        for run, column in product(runs, columns)
    }
    return pd.DataFrame(table)


def seconds_per_image(record: EvalRecord) -> float:
    """How long the recorded evaluation took for an image, in seconds; nan if that is not known."""
    rate, wall = record.provenance.images_per_second, record.provenance.wall_seconds
    if not (rate or wall):
        return float("nan")
    # Both are kept to a tenth, so the larger number is the more exact one.
    return 1 / rate if rate > wall else wall / record.data.count


# --- padding ------------------------------------------------------------------------------


class Free(NamedTuple):
    """A map of a crop: `side` x `side` units, of which the central `free` x `free` see no padding.

    The first of them is number `first` in either direction.
    """

    layer: str
    side: int
    free: int
    first: int

    @property
    def share(self) -> float:
        """Share of units that padding cannot reach."""
        return (self.free / self.side) ** 2


def free_of_padding(config: str, crop: int) -> tuple[Free, ...]:
    """For the map after each pool, which units of a crop see pixels of the crop alone.

    All others also see the zeros around the crop, or around the map of a layer in between. In
    dense evaluation the image goes on there.
    """
    found = []
    for layer in cost.layers(config, crop=crop):
        if layer.kind == "pool":
            # What convolutions reach beyond the window that the pools cover, on either side.
            reach = (layer.receptive_field - layer.jump) // 2
            first = -(-reach // layer.jump)
            free = max(0, (crop - reach) // layer.jump - first)
            found.append(Free(layer.name, layer.output_shape[-1], free, first))
    return tuple(found)


def padding_sentence(config: str, crop: int) -> str:
    """How far fc6 sees beyond a crop, and how much of its input padding can reach."""
    field = next(x for x in cost.layers(config, crop=crop) if x.name == "fc6").receptive_field
    last = free_of_padding(config, crop)[-1]
    free = last.free**2
    outside = 100 * (1 - min(1.0, crop / field) ** 2)
    return (
        f"{config} at {crop} px: fc6 has a receptive field of {field} px, and {outside:.0f} % of "
        f"its area lie outside the crop. Padding can reach {f'all but {free}' if free else 'all'} "
        f"of the {last.side}×{last.side} units that fc6 takes in."
    )


# --- fusion ----------------------------------------------------------------------------------

TABLE_7 = ("top-1, val", "top-5, val", "top-5, test")
_MERGED = "val&test (one merged cell)"


def members(fusion: str) -> list[tuple[str, Evaluation]]:
    """Every run of a fusion once, with the dense evaluation under which it takes part."""
    found = FUSIONS[fusion]
    dense = next(e for e in found.evaluations if e.protocol == "dense")
    return [(run, evaluation_in(dense, run)) for run in dict.fromkeys(found.runs)]


def short(fusion: str) -> str:
    """How a fusion is called where there is little room: `D + E`, `7 nets`."""
    runs = FUSIONS[fusion].runs
    return (
        " + ".join(DECLARED[run].config for run in runs) if len(runs) < 3 else f"{len(runs)} nets"
    )


def overlap_table(fusions: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Of two fused nets: their errors, the images that both get wrong, the error of the fusion.

    In percent of the images, by dense evaluation, means over the seeds that have all three.
    """
    rows = []
    for column in columns:
        for fusion in fusions:
            shares = _shares(fusion, column)
            cells = dict.fromkeys(("first net", "second net", "both wrong", "fused"), "not run")
            if len(shares):
                cells = dict(zip(cells, (f"{share:.1f}" for share in shares.mean(0)), strict=True))
            nets = {"nets": short(fusion), "column": column.title}
            rows.append(nets | cells | {"n": str(len(shares))})
    return table_by("nets", rows)


def _shares(fusion: str, column: Column) -> np.ndarray:
    """(seeds, 4): percent wrong of first net, second net, both at once, and of the fusion."""
    dense = next(e for e in FUSIONS[fusion].evaluations if e.protocol == "dense")
    tested = {run: column.evaluations(run, evaluation) for run, evaluation in members(fusion)}
    shares = []
    for seed, together in column.evaluations(fusion, dense).items():
        nets = [tested[run].get(own_seed) for run, own_seed in FUSIONS[fusion].members(seed)]
        if len(nets) == 2 and all(net and net.data == together.data for net in nets):
            first, second, fused = (~record.outcomes()[0] for record in (*nets, together))
            wrong = (first, second, first & second, fused)
            shares.append([100 * np.mean(images) for images in wrong])
    return np.array(shares).reshape(-1, 4)


def table_7() -> pd.DataFrame:
    """Table 7 of the paper, as it prints it; a star marks a number that stands across columns."""
    printed: dict[int, dict[str, str]] = {}
    for number in paper.table(7):
        row = printed.setdefault(number.row, {"method": number.net} | dict.fromkeys(TABLE_7, "–"))
        merged = number.split == _MERGED
        for split in ("val", "test") if merged else (number.split,):
            title = f"top-{number.metric[3]}, {split}"  # of top1_error
            row[title] = f"{number.value:.1f}{'*' * merged}"
    return table_by("method", list(printed.values()))


# --- figures ---------------------------------------------------------------------------------

#: A drawn image that is far from square, so that what a protocol leaves out can be seen.
DRAWN = (0, "val", 6)
# Which Q is drawn of each protocol: the one that it shares with the most others, or its own.
_DRAWN_Q = {"alexnet-10": 256, "googlenet-144": 352}
_COLOURS = dict(zip(PROTOCOLS, ("0.4", "C0", "C5", "C1", "C2", "C4", "C6"), strict=True))


# --- where a protocol looks ---------------------------------------------------------------


def windows(crop: int = PAPER_CROP) -> Figure:
    """Every protocol's windows on one drawn image, the paper's Q; pale is what none of them sees.

    A thin line is the edge of a window and a dot the centre of what makes one vector of class
    scores: a crop, or a position of a score map. One of them has its crop drawn in full.
    """
    fig, (*axes, key) = figures.panels(1 + len(PROTOCOLS), 2.1, 2)
    for ax, protocol in zip(axes, PROTOCOLS, strict=True):
        q = _DRAWN_Q.get(protocol, 384)
        size = _picture(ax)
        found = PROTOCOLS[protocol](size, scaled(q, crop), crop)
        _draw(ax, size, found, crop, STRIDE // 2 if protocol == "overfeat" else STRIDE)
        ax.set_title(f"{NAMES.get(protocol, protocol)}\nQ = {q}, windows: {len(found)}")
    key.plot([], [], color="C5", lw=1, label="edge of a window")
    key.plot([], [], color="C1", marker="o", lw=0, label="centre of a crop,\nor of a position")
    key.plot([], [], color="C1", lw=2, label="one crop, or position")
    key.fill([], [], facecolor="0.9", edgecolor="0.3", label="not seen")
    key.axis("off")
    key.legend(loc="center left")
    return fig


def grids(crop: int, test_scale: int) -> Figure:
    """Dense evaluation at one Q (the paper's number): floor pooling's grid and the centred one."""
    fig, axes = figures.panels(2, 2.0)
    scale = scaled(test_scale, crop)
    for ax, name in zip(axes, ("floor pooling", "trimmed evenly"), strict=True):
        size = _picture(ax)
        window = dense_window(size, scale, crop)
        if name == "floor pooling":
            window = window._replace(left=0, top=0)
        _draw(ax, size, [window], crop, STRIDE)
        ax.set_title(name)
    return fig


def _picture(ax: Axes) -> tuple[int, int]:
    """Draw the image in grey, so that lines stand out; returns its (height, width)."""
    image = synthetic.draw(*DRAWN).image
    ax.imshow(image.mean(-1), cmap="gray", vmin=-60, vmax=255)
    figures.framed(ax, "#555555", 0.8)
    return image.shape[:2]


def _draw(ax: Axes, size: tuple[int, int], found: Sequence[Window], crop: int, stride: int) -> None:
    height, width = size
    for window in found:
        ax.add_patch(figures.outline(box(size, window), "C5", 0.7))
    figures.pale(ax, size, found)
    places = centres(size, found, crop, stride)
    ax.add_patch(figures.outline(box(size, positions(found[0], crop)[0]), "C1", 2))
    dot = 2 if len(places) > 50 else 3.5
    ax.plot(*zip(*places, strict=True), "o", color="C1", markersize=dot, markeredgewidth=0)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def centres(
    size: tuple[int, int], found: Sequence[Window], crop: int, stride: int = STRIDE
) -> list[tuple[float, float]]:
    """The centre (x, y) of every vector of scores, in pixels of the image before rescaling.

    A window of the crop's size gives one, a larger one a map of them, `stride` apart.
    """
    boxes = [box(size, one) for window in found for one in positions(window, crop, stride)]
    return [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]


def padding(config: str, crops: Sequence[int]) -> Figure:
    """The maps of a crop after each pool: units that see the crop alone, and all the others."""
    fig, axes = figures.panels(5 * len(crops), 1.65, 5)
    maps = [free for crop in crops for free in free_of_padding(config, crop)]
    for ax, free in zip(axes, maps, strict=True):
        edge, inner = free.side, free.free
        ax.add_patch(Rectangle((0, 0), edge, edge, color="C1", alpha=0.6, lw=0))
        ax.add_patch(Rectangle((free.first, free.first), inner, inner, color="C0", lw=0))
        for line in range(edge + 1) if edge <= 16 else ():
            ax.plot([0, edge], [line, line], color="white", lw=0.5)
            ax.plot([line, line], [0, edge], color="white", lw=0.5)
        ax.set(xlim=(0, edge), ylim=(edge, 0), aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"{free.layer}\n{edge}×{edge}", fontsize=9, fontweight="normal")
        ax.set_xlabel(f"{100 * free.share:.0f} %")
    for ax, crop in zip(axes[::5], crops, strict=True):
        ax.set_ylabel(f"{crop} px crop")
    return fig


# --- error --------------------------------------------------------------------------------


def cost_and_error(run: str, columns: Sequence[Column]) -> Figure:
    """Top-1 error against multiply-adds of every protocol: a dot a seed, its number at the mean.

    The line is the frontier: what errs less, in the mean, than all that is cheaper.
    """
    fig, axes = figures.panels(len(columns), 4.6, 1)
    for ax, column in zip(axes, columns, strict=True):
        frontier: list[tuple[float, float]] = []
        found = {e: list(errors(column, run, e).values()) for e in compared(run)}
        work = {e: work_of(column.experiment(run), e).multiply_adds / 1e9 for e in found}
        dots = [(work[e], error) for e, by_seed in found.items() for error in by_seed]
        seen = (evaluation for evaluation, by_seed in found.items() if by_seed)
        for place, evaluation in enumerate(seen, 1):
            at = (work[evaluation], float(np.mean(found[evaluation])))
            colour = _COLOURS.get(evaluation.protocol, "C3")
            figures.error_dots(ax, at[0], found[evaluation], colour)
            _named(ax, str(place), at, dots, colour)
            name = f"{place}  {label(evaluation)}"
            ax.plot([], [], "_", color=colour, markersize=12, mew=2, label=name)
            if not frontier or at[1] < frontier[-1][1]:
                frontier.append(at)
        figures.say_not_run(ax)
        if frontier:
            ax.step(*zip(*frontier, strict=True), where="post", color="0.75", zorder=0)
            ax.set_xscale("log")
            ax.margins(x=0.25)
            ax.xaxis.set_major_formatter("{x:g}")
        ax.set_title(figures.short_title(column).replace("\n", " "))
        ax.set(xlabel="multiply-adds per image, G", ylabel="top-1 error, %")
    figures.legend(fig, axes)
    return fig


def _named(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    dots: Iterable[tuple[float, float]],
    colour: str,
) -> None:
    """A number beside its point, on the side where fewer dots are within a number's width."""
    near = [x / at[0] for x, y in dots if abs(y - at[1]) < 0.3]
    right = sum(1 < ratio < 1.6 for ratio in near) <= sum(1 / 1.6 < ratio < 1 for ratio in near)
    over_the_line = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    ax.annotate(text, at, (9 if right else -9, 0), textcoords="offset points", va="center",
                ha="left" if right else "right", fontsize=9, color=figures.ink(colour),
                weight="bold", bbox=over_the_line, zorder=1)  # fmt: skip
