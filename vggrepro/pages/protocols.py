"""Figures of the chapters about test protocols and fusion."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from vggrepro.configs import DOWNSAMPLING
from vggrepro.data import synthetic
from vggrepro.pages.figures import legend, outline, panels, say_not_run, seed_dots, short_title
from vggrepro.pages.report import Column, errors
from vggrepro.pages.tables_protocols import (
    NAMES,
    compared,
    free_of_padding,
    label,
    multiply_adds,
    times,
)
from vggrepro.study.experiments import Evaluation
from vggrepro.windows import PAPER_CROP, PROTOCOLS, Window, box, dense_window, scaled

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
    fig, axes = plt.subplots(4, 2, figsize=(5.8, 8.4))
    for ax, protocol in zip(axes.flat, PROTOCOLS, strict=False):
        q = _DRAWN_Q.get(protocol, 384)
        size = _picture(ax)
        found = PROTOCOLS[protocol](size, scaled(q, crop), crop)
        finer = protocol == "overfeat"
        _draw(ax, size, found, crop, finer)
        ax.set_title(f"{NAMES.get(protocol, protocol)}\nQ = {q}, windows: {len(found)}")
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(handles=_key(), loc="center left")
    return fig


def _key() -> list[Artist]:
    return [
        Line2D([], [], color="C5", lw=1, label="edge of a window"),
        Line2D([], [], color="C1", marker="o", lw=0, label="centre of a crop,\nor of a position"),
        Line2D([], [], color="C1", lw=2, label="one crop, or position"),
        Rectangle((0, 0), 1, 1, facecolor="0.9", edgecolor="0.3", label="not seen"),
    ]


def grids(crop: int, test_scale: int) -> Figure:
    """Dense evaluation at one Q (the paper's number): floor pooling's grid and the centred one."""
    fig, axes = panels(2, 2.0)
    scale = scaled(test_scale, crop)
    for ax, name in zip(axes, ("floor pooling", "trimmed evenly"), strict=True):
        size = _picture(ax)
        window = dense_window(size, scale)
        if name == "floor pooling":
            window = window._replace(left=0, top=0)
        _draw(ax, size, [window], crop, finer=False)
        ax.set_title(name)
    return fig


def _picture(ax: Axes) -> tuple[int, int]:
    """Draw the image in grey, so that lines stand out; returns its (height, width)."""
    image = synthetic.draw(*DRAWN).image
    ax.imshow(image.mean(-1), cmap="gray", vmin=-60, vmax=255)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image.shape[:2]


def _draw(ax: Axes, size: tuple[int, int], found: Sequence[Window], crop: int, finer: bool) -> None:
    height, width = size
    seen = np.zeros(size, bool)
    for window in found:
        left, top, right, bottom = box(size, window)
        seen[round(top) : round(bottom), round(left) : round(right)] = True
        ax.add_patch(outline((left, top, right, bottom), "C5", 0.7))
    veil = np.where(seen, 0.0, 0.75)
    ax.imshow(np.dstack([np.ones((*size, 3)), veil]))
    first, *others = places = centres(size, found, crop, finer)
    side = crop * min(size) / found[0].scale
    edges = (first[0] - side / 2, first[1] - side / 2, first[0] + side / 2, first[1] + side / 2)
    ax.add_patch(outline(edges, "C1", 2))
    dot = 2 if len(others) > 50 else 3.5
    ax.plot(*zip(*places, strict=True), "o", color="C1", markersize=dot, markeredgewidth=0)
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)


def centres(
    size: tuple[int, int], found: Sequence[Window], crop: int, finer: bool = False
) -> list[tuple[float, float]]:
    """The centre (x, y) of every vector of scores, in pixels of the image before rescaling.

    A window of the crop's size gives one, a larger one a map of them, 32 px apart; with `finer`,
    OverFeat's, half of that.
    """
    places = []
    for window in found:
        ratio = min(size) / window.scale
        step = DOWNSAMPLING // 2 if finer else DOWNSAMPLING
        # Five poolings floor the crop, too: one position is that many whole strides wide.
        field = crop // DOWNSAMPLING * DOWNSAMPLING
        for y in range(0, window.height - field + 1, step):
            for x in range(0, window.width - field + 1, step):
                centre = (window.left + x + field / 2, window.top + y + field / 2)
                places.append((centre[0] * ratio, centre[1] * ratio))
    return places


def padding(config: str, crops: Sequence[int]) -> Figure:
    """The maps of a crop after each pool: units that see the crop alone, and all the others."""
    fig, axes = plt.subplots(len(crops), 5, figsize=(5.8, 1.55 * len(crops) + 0.2), squeeze=False)
    for row, crop in zip(axes, crops, strict=True):
        for ax, free in zip(row, free_of_padding(config, crop), strict=True):
            edge, inner = free.side, free.free
            ax.add_patch(Rectangle((0, 0), edge, edge, color="C1", alpha=0.6, lw=0))
            ax.add_patch(Rectangle((free.first, free.first), inner, inner, color="C0", lw=0))
            for line in range(edge + 1) if edge <= 16 else ():
                ax.plot([0, edge], [line, line], color="white", lw=0.5)
                ax.plot([line, line], [0, edge], color="white", lw=0.5)
            ax.set_xlim(0, edge)
            ax.set_ylim(edge, 0)
            ax.set_aspect("equal")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.set_title(f"{free.layer}\n{edge}×{edge}", fontsize=9, fontweight="normal")
            ax.set_xlabel(f"{100 * free.share:.0f} %")
        row[0].set_ylabel(f"{crop} px crop")
    return fig


# --- error --------------------------------------------------------------------------------


def cost_and_error(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error against multiply-adds and against measured time, a row of panels per column.

    A dot is a seed; the first run is filled, the second hollow. A protocol has its colour, a set
    of Q its shape.
    """
    fig, axes = plt.subplots(
        len(columns), 2, figsize=(5.8, 3.0 * len(columns) + 1.6), squeeze=False, sharey="row"
    )
    for pair, column in zip(axes, columns, strict=True):
        for run in runs:
            for evaluation in compared(run):
                _point(pair, column, run, evaluation, hollow=run != runs[0])
        for ax, name in zip(
            pair, ("multiply-adds per image, G", "time per image, ms"), strict=True
        ):
            if ax.has_data():
                ax.set_xscale("log")
            else:
                ax.set_xticks([])
            say_not_run(ax)
            ax.set_xlabel(name)
        pair[0].set_title(short_title(column))
        pair[0].set_ylabel("top-1 error, %")
    legend(fig, list(axes.flat))
    return fig


def _point(
    pair: Sequence[Axes],
    column: Column,
    run: str,
    evaluation: Evaluation,
    hollow: bool,
) -> None:
    found = errors(column, run, evaluation)
    if not found:
        return
    work = multiply_adds(column.experiment(run), evaluation) / 1e9
    took = times(column, run, evaluation)
    colour = _COLOURS.get(evaluation.protocol, "C3")
    shapes = {(256,): "v", (384,): "o"}
    style = {
        "marker": shapes.get(evaluation.test_scales, "s"),
        "color": colour,
        "linestyle": "none",
        "markerfacecolor": "none" if hollow else colour,
        "label": None if hollow else label(evaluation),
    }
    pair[0].plot([work] * len(found), list(found.values()), **style)
    pair[1].plot([took[seed] for seed in found], list(found.values()), **style)


def side_by_side(
    entries: Sequence[tuple[str, str, Evaluation]],
    columns: Sequence[Column],
) -> Figure:
    """Top-1 error of (name, run or fusion, evaluation), a dot per seed and a bar at the mean.

    Grey lines join what has the same first seed. A panel per column, one below the other.
    """
    fig, axes = plt.subplots(
        len(columns), 1, figsize=(5.8, 2.7 * len(columns) + 0.4), squeeze=False
    )
    for ax, column in zip(axes[:, 0], columns, strict=True):
        found = [errors(column, run, evaluation) for _, run, evaluation in entries]
        for seed in sorted(set().union(*found)):
            joined = [(place, e[seed]) for place, e in enumerate(found) if seed in e]
            ax.plot(*zip(*joined, strict=True), color="0.8", lw=1, zorder=1)
        for place, by_seed in enumerate(found):
            seed_dots(ax, place, list(by_seed.values()), f"C{place % 7}", alpha=0.8)
        say_not_run(ax)
        ax.set_xticks(range(len(entries)), [name for name, _, _ in entries])
        ax.set_xlim(-0.6, len(entries) - 0.4)
        ax.margins(y=0.2)
        ax.set_title(short_title(column).replace("\n", " "))
        ax.set_ylabel("top-1 error, %")
    return fig
