"""Figures of the chapters on scales: what a scale shows of an image, and errors against it.

Images in them are drawn by `synthetic`; scales on axes are the paper's, for a crop of 224 px.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro.data import synthetic
from vggrepro.pages.figures import band, legend, outline, plt, say_not_run, seed_dots, short_title
from vggrepro.pages.report import Column, errors
from vggrepro.pages.tables_scales import (
    errors_by_scale,
    gain,
    is_control,
    name_of,
    paper_gain,
    single_test_scales,
)
from vggrepro.study.experiments import RUNS, centre_crop, in_order, lineage
from vggrepro.windows import (
    PAPER_CROP,
    Window,
    box,
    cut,
    dense_window,
    positions,
    random_window,
    scaled,
    score_map,
)

# Of the drawn images one that is longer than high, as photos are.
EXAMPLE = 56
_SHADE = "#ffffffb0"


def _image() -> np.ndarray:
    """(H, W, 3) uint8."""
    return synthetic.draw(0, "train", EXAMPLE).image


# --- training ------------------------------------------------------------------------------


def crops(train_scales: Sequence[int], crop: int, count: int = 4) -> Figure:
    """One drawn image at several S: the boxes of `count` random crops, then what the net sees.

    `train_scales` are the paper's, `crop` is in pixels. Crops are placed as in training.
    """
    image = _image()
    uniform = np.random.default_rng(0).random((len(train_scales), count, 4))
    fig, axes = plt.subplots(
        len(train_scales), 1 + count, figsize=(5.8, 1.25 * len(train_scales)),
        width_ratios=[image.shape[1] / image.shape[0], *[1] * count], squeeze=False, layout="none",
    )  # fmt: skip
    for row, scale, draws in zip(axes, train_scales, uniform, strict=True):
        pixels = scaled(scale, crop)
        row[0].imshow(image)
        for place, numbers in enumerate(draws):
            window = random_window(image.shape[:2], (pixels, pixels), crop, numbers)
            row[0].add_patch(outline(box(image.shape[:2], window), f"C{place}"))
            row[1 + place].imshow(cut(image, window), interpolation="nearest")
            _frame(row[1 + place], f"C{place}")
        _frame(row[0], "none")
        row[0].set_ylabel(f"S = {scale}\n{pixels} px")
    # Placed by hand: the layout that is found by solving for it moves images by part of a pixel
    # from one time to the next.
    fig.subplots_adjust(left=0.09, right=0.995, bottom=0.01, top=0.99, wspace=0.04, hspace=0.06)
    return fig


def _frame(ax: Axes, colour: str) -> None:
    """No ticks, and a frame in that colour."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=2)


def chain(runs: Sequence[str], column: Column) -> Figure:
    """Who starts from whom, from the declarations: `runs` and all their ancestors, top to bottom.

    Each box has the scales, epochs and first learning rate of the run in that column.
    """
    levels: dict[int, list[str]] = {}
    for run in in_order(list(runs)):
        levels.setdefault(len(lineage(run)), []).append(run)
    fig, ax = plt.subplots(figsize=(5.8, 1.1 * len(levels)))
    places = {
        run: ((i + 0.5) / len(names), -level)
        for level, names in levels.items()
        for i, run in enumerate(names)
    }
    for run, place in places.items():
        ax.text(*place, _stage(run, column), ha="center", va="center", bbox=_BOX, fontsize=9.5)
        if RUNS[run].init_from:
            _arrow(ax, places[RUNS[run].init_from], place, _INHERITED[RUNS[run].inherit])
    ax.set(xlim=(0, 1), ylim=(-max(levels) - 0.5, -min(levels) + 0.5), title=short_title(column))
    ax.axis("off")
    return fig


_BOX = {"facecolor": "#eef3f8", "edgecolor": "0.5", "boxstyle": "round,pad=0.4"}
_ARROW = {"arrowstyle": "-|>", "color": "0.4", "shrinkA": 22, "shrinkB": 24}
_INHERITED = {"net-a": "four convolutions and the FC layers", "all": "all weights"}


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    ax.annotate("", end, start, zorder=0, arrowprops=_ARROW)
    x, y = np.mean([start, end], axis=0)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    ax.text(x, y, text, ha="center", va="center", fontsize=9, bbox=paper)


def _stage(run: str, column: Column) -> str:
    """What a box of the chain says."""
    here = column.experiment(run)
    low, high = (scaled(scale, here.crop) for scale in here.train_scale)
    pixels = f"{low} px" if low == high else f"{low} to {high} px"
    control = " (control)" if is_control(run) else ""
    rate = f"rate {here.learning_rate:g}"
    return f"{name_of(run)}{control}\n{pixels}; {here.epochs} epochs, {rate}"


def trainings(nets: Sequence[Sequence[str]], columns: Sequence[Column]) -> Figure:
    """Top-1 error by centre crop of each net's trainings: a panel per net, a row per column.

    A dot is a seed, a bar the mean. Grey lines join what a seed became of the same parent.
    """
    fig, axes = plt.subplots(
        len(columns), len(nets), figsize=(5.8, 2.9 * len(columns)), squeeze=False, sharey="row"
    )
    for row, column in zip(axes, columns, strict=True):
        for ax, runs in zip(row, nets, strict=True):
            found = [errors(column, run, centre_crop(run)) for run in runs]
            _join_seeds(ax, runs, found)
            for place, by_seed in enumerate(found):
                seed_dots(ax, place, list(by_seed.values()), f"C{place}")
            say_not_run(ax)
            ax.set_xticks(range(len(runs)), [_tick(run) for run in runs],
                          rotation=45, ha="right", rotation_mode="anchor")  # fmt: skip
            ax.set_xlim(-0.6, len(runs) - 0.4)
            ax.set_title(f"net {RUNS[runs[0]].config}")
            ax.margins(y=0.2)
        row[0].set_ylabel(f"{short_title(column)}\ntop-1 error, %")
    return fig


def _join_seeds(ax: Axes, runs: Sequence[str], found: Sequence[dict[int, float]]) -> None:
    for child, run in enumerate(runs):
        parent = RUNS[run].init_from
        if parent in runs:
            start = found[runs.index(parent)]
            for seed in start.keys() & found[child].keys():
                ends = [start[seed], found[child][seed]]
                ax.plot([runs.index(parent), child], ends, color="0.75", linewidth=1, zorder=0)


def _tick(run: str) -> str:
    low, high = RUNS[run].train_scale
    scales = f"{low}" if low == high else f"[{low};{high}]"
    return f"{scales}, longer" if is_control(run) else scales


# --- testing -------------------------------------------------------------------------------


def curve(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error by dense evaluation against Q, a line per run at the mean.

    The band is from the lowest to the highest seed. At the bottom are the scales that each run
    was trained at.
    """
    fig, axes = plt.subplots(1, len(columns), figsize=(5.8, 3.9), squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        for place, run in enumerate(runs):
            found = errors_by_scale(column, run)
            if found:
                values = np.array([list(by_seed.values()) for by_seed in found.values()])
                band(ax, list(found), values.T, "o-", f"C{place}", name_of(run))
        say_not_run(ax)
        _mark_train_scales(ax, runs)
        scales = sorted({q for run in runs for q in single_test_scales(run)})
        ax.set_xticks(scales)
        ax.set_xlim(min(scales) - 20, max(scales) + 20)
        ax.set_title(short_title(column))
        ax.set_xlabel("Q, px for a crop of 224 px")
    axes[0, 0].set_ylabel("top-1 error, %")
    legend(fig, list(axes[0]))
    return fig


def _mark_train_scales(ax: Axes, runs: Sequence[str]) -> None:
    """A bar (a diamond for one S) above the x axis for each run, in the run's colour."""
    for place, run in enumerate(runs):
        low, high = RUNS[run].train_scale
        height = 0.03 + 0.035 * place
        style = {"color": f"C{place}", "transform": ax.get_xaxis_transform(), "label": name_of(run)}
        if low == high:
            ax.plot([low], [height], "D", **style)
        else:
            ax.plot([low, high], [height] * 2, "|-", linewidth=4, **style)
    bottom, top = ax.get_ylim()
    ax.set_ylim(bottom - (0.06 + 0.035 * len(runs)) * (top - bottom), top)


def gains(
    runs: Sequence[str], controls: Sequence[tuple[str, str]], columns: Sequence[Column]
) -> Figure:
    """How much lower the error is at three Q than at one: a dot per seed, a bar at the mean.

    Diamonds are the paper's. `controls` are (run, protocol): that protocol at one Q in place of
    three.
    """
    sides = [(run, None) for run in runs] + list(controls)
    fig, axes = plt.subplots(
        1, len(columns), figsize=(5.8, 0.33 * len(sides) + 1), squeeze=False, sharey=True
    )
    for ax, column in zip(axes[0], columns, strict=True):
        for place, (run, control) in enumerate(sides):
            said = None if control else paper_gain(run)
            if said is not None:
                ax.plot([said], [place], "D", color="0.45", fillstyle="none", label="the paper")
            points, colour = gain(column, run, control).points, "C1" if control else "C0"
            if points:
                label = "shifts at one Q" if control else "here"
                ax.plot(points, [place] * len(points), "o", color=colour, alpha=0.7, label=label)
                ax.vlines(np.mean(points), place - 0.3, place + 0.3, color=colour)
        if not any(gain(column, *side).points for side in sides):
            ax.text(0.97, 0.03, "here: not run", ha="right", va="bottom", transform=ax.transAxes)
        ax.axvline(0, color="0.3", linewidth=1)
        ax.set_yticks(range(len(sides)), [_gain_name(*side) for side in sides])
        ax.set_ylim(len(sides) - 0.5, -0.5)
        ax.set_title(short_title(column))
        ax.set_xlabel("gain, points")
    legend(fig, list(axes[0]))
    return fig


def _gain_name(run: str, control: str | None) -> str:
    return name_of(run) + ", shifts" * (control is not None)


def looks(test_scales: Sequence[int], crops: Sequence[int]) -> Figure:
    """Which parts of a drawn image the score map looks at: a row per crop, a column per Q.

    Dots are the centres of the map's positions, boxes the crops of the first and of the last;
    what is trimmed away before the net sees the image is pale.
    """
    image = _image()
    size = image.shape[:2]
    fig, axes = plt.subplots(
        len(crops), len(test_scales), figsize=(5.8, 1.65 * len(crops)), squeeze=False
    )
    for row, crop in zip(axes, crops, strict=True):
        for ax, scale in zip(row, test_scales, strict=True):
            pixels = scaled(scale, crop)
            _score_map(ax, image, pixels, crop)
            rows, columns = score_map(size, pixels, crop)
            ax.set_title(f"Q = {scale}: {rows} × {columns}", fontsize=9.5)
        note = "the paper's" if crop == PAPER_CROP else "here"
        row[0].set_ylabel(f"{note}:\n{crop} px crops")
    return fig


def _score_map(ax: Axes, image: np.ndarray, scale: int, crop: int) -> None:
    size = image.shape[:2]
    ax.imshow(image)
    _shade_outside(ax, size, dense_window(size, scale))
    boxes = [box(size, window) for window in positions(size, scale, crop)]
    for colour, area in (("C1", boxes[-1]), ("C5", boxes[0])):
        ax.add_patch(outline(area, colour))
    centres = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
    ax.plot(*zip(*centres, strict=True), "o", color="white", markeredgecolor="black", markersize=4)
    _frame(ax, "none")


def _shade_outside(ax: Axes, size: tuple[int, int], window: Window) -> None:
    """Make pale what of an image of that (height, width) is outside the window."""
    height, width = size
    left, top, right, bottom = box(size, window)
    for area in ((0, 0, width, top), (0, bottom, width, height),
                 (0, top, left, bottom), (right, top, width, bottom)):  # fmt: skip
        ax.add_patch(outline(area, "none", fill=True, facecolor=_SHADE, width=0))
