"""Chapters 6 and 7, on scales: Tables 3 and 4 beside ours, Q by Q, and what a scale shows.

Scales are the paper's S and Q, for a crop of 224 px; images in figures are drawn ones.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro.data import synthetic
from vggrepro.pages import figures
from vggrepro.pages.figures import plt
from vggrepro.pages.report import Column, errors, paper_error
from vggrepro.study.experiments import (
    DECLARED,
    Evaluation,
    evaluations_of,
    in_order,
    lineage,
    one_scale,
    several_scales,
    three_scales,
)
from vggrepro.windows import (
    PAPER_CROP,
    box,
    cut,
    dense_window,
    positions,
    random_window,
    scaled,
    score_map,
)


def name_of(run: str) -> str:
    """`D, S = 384` or `D, S ∈ [256; 512]`; a longer control says so."""
    scales = in_scales(run)
    sign = "∈" if "[" in scales else "="
    return f"{DECLARED[run].config}, S {sign} {scales}"


def in_scales(run: str) -> str:
    """What a run is trained at: `384`, `[256; 512]` or `384, longer`."""
    low, high = DECLARED[run].train_scale
    scales = f"{low}" if low == high else f"[{low}; {high}]"
    return f"{scales}, longer" if is_control(run) else scales


def is_control(run: str) -> bool:
    """Whether a run goes on at a fixed S for as many epochs as jitter has."""
    low, high = DECLARED[run].train_scale
    return DECLARED[run].stage == "jitter" and low == high


def single_test_scales(run: str) -> tuple[int, ...]:
    """Every Q at which a run is evaluated densely by itself, ascending."""
    dense = [e.test_scales for e in evaluations_of(run) if e.protocol == "dense"]
    return tuple(sorted(scales[0] for scales in dense if len(scales) == 1))


def errors_by_scale(column: Column, run: str) -> pd.DataFrame:
    """Top-1 errors in percent, a row per seed and a column per Q, of the seeds that have every Q.

    Other seeds would make a step in a curve that is none of the scale's.
    """
    found = {q: errors(column, run, Evaluation("dense", (q,))) for q in single_test_scales(run)}
    return pd.DataFrame(found).dropna()


def by_scale_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Error of each run (%) by dense evaluation at each single Q; the lowest mean is bold."""
    scales = sorted({q for run in runs for q in single_test_scales(run)})
    table = {}
    for column, run in product(columns, runs):
        cells = [column.cell(run, Evaluation("dense", (q,))) for q in scales]
        found = errors_by_scale(column, run)
        if len(found) and not column.idle(run):
            best = scales.index(found.mean().idxmin())
            cells[best] = f"<b>{cells[best]}</b>"
        table[f"{name_of(run)}<br>{column.title}"] = cells
    return pd.DataFrame(table, index=[f"Q = {q}" for q in scales])


# --- scale in testing ----------------------------------------------------------------------


def gained(column: Column, run: str) -> pd.DataFrame:
    """Errors in percent at `one` Q and at `three`, both dense, of each seed that has both."""
    tests = {"one": one_scale(run), "three": three_scales(run)}
    return pd.DataFrame({q: errors(column, run, test) for q, test in tests.items()}).dropna()


def gains_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Tables 3 and 4 beside ours: error at one Q → at three Q (%), and the gain in points."""
    rows = {}
    for run in runs:
        cells = {"three Q": ", ".join(map(str, several_scales(DECLARED[run]))), "paper": "–"}
        one, three = paper_error(run, one_scale(run)), paper_error(run, three_scales(run))
        if three:
            cells["paper"] = f"{one:.1f} → {three:.1f}<br>{one - three:+.1f}"
        for column in columns:
            found = gained(column, run)
            points = found.one - found.three
            spread = f" ± {points.std():.1f}" if len(points) > 1 else ""
            means = f"{found.one.mean():.1f} → {found.three.mean():.1f}"
            ours = f"{means}<br>{points.mean():+.1f}{spread}, n = {len(points)}"
            if idle := column.idle(run):
                ours = f"stalled: seed {', '.join(map(str, idle))}"
            cells[column.title] = ours if len(points) or idle else "not run"
        rows[name_of(run)] = cells
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.loc[:, (table != "–").any()]


def dense_gains(column: Column, runs: Sequence[str], test_scale: int) -> pd.Series:
    """Points that dense evaluation gains on the centre crop at one Q: one for each run and seed.

    The index is of run, seed, and the processor that trained the net.
    """
    table = column.rows()
    table = table[table.run.isin(runs)].set_index(["run", "seed"])
    trained = table[table.kind == "train"].processor
    tested = table[table.test_scales == str(test_scale)].pivot(columns="protocol")["top1_error"]
    gained = (tested["centre-crop"] - tested["dense"]).dropna()
    return gained.to_frame("gain").join(trained).set_index("processor", append=True)["gain"]


# --- score maps ----------------------------------------------------------------------------


def score_maps_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Positions on the short side for every Q of `runs`: at the paper's crop, and in each column.

    Where records of that Q exist, also how many positions a val image has on average.
    """
    tested = {q for run in runs for q in (*single_test_scales(run), *several_scales(DECLARED[run]))}
    rows = {}
    for q in sorted(tested):
        cells = {"paper, 224 px crops": _short_side(q, PAPER_CROP)}
        for column in columns:
            crop = column.experiment(runs[0]).crop
            cells[column.title] = f"{_short_side(q, crop)} ({scaled(q, crop)} px)"
            cells[f"{column.title}, per image"] = mean_positions(column, runs, q)
        rows[f"Q = {q}"] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def _short_side(test_scale: int, crop: int) -> str:
    pixels = scaled(test_scale, crop)
    return str(score_map((pixels, pixels), pixels, crop)[0])


def mean_positions(column: Column, runs: Sequence[str], test_scale: int) -> str:
    """Positions of a val image's score map on average over images, as recorded with that Q."""
    evaluation = Evaluation("dense", (test_scale,))
    for run in runs:  # any of them will do: the maps are those of the images, not of the net
        for record in column.evaluations(run, evaluation).values():
            sizes = ((map(int, size.split("x")), n) for size, n in record.positions.items())
            return f"{sum(math.prod(size) * n for size, n in sizes) / record.data.count:.1f}"
    return "–"


# --- figures ---------------------------------------------------------------------------------

# Of the drawn images one that is longer than high, as photos are.
EXAMPLE = 56


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
            row[0].add_patch(figures.outline(box(image.shape[:2], window), f"C{place}"))
            row[1 + place].imshow(cut(image, window), interpolation="nearest")
            figures.framed(row[1 + place], f"C{place}")
        figures.framed(row[0], "none")
        row[0].set_ylabel(f"S = {scale}\n{pixels} px")
    # Placed by hand: the layout that is found by solving for it moves images by part of a pixel
    # from one time to the next.
    fig.subplots_adjust(left=0.09, right=0.995, bottom=0.01, top=0.99, wspace=0.04, hspace=0.06)
    return fig


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
        if DECLARED[run].init_from:
            _arrow(ax, places[DECLARED[run].init_from], place, _INHERITED[DECLARED[run].inherit])
    ax.set(xlim=(0, 1), ylim=(-max(levels) - 0.5, -min(levels) + 0.5))
    ax.set_title(figures.short_title(column))
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
    fig, axes = figures.panels(len(columns) * len(nets), 2.9, len(nets), sharey="row")
    for ax, (column, runs) in zip(axes, product(columns, nets), strict=True):
        _join_seeds(ax, runs, column)
        names = [in_scales(run) for run in runs]
        figures.dots_of(ax, runs, column, names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_title(f"net {DECLARED[runs[0]].config}")
        ax.margins(y=0.2)
        if runs == nets[0]:
            ax.set_ylabel(f"{figures.short_title(column)}\ntop-1 error, %")
    return fig


def _join_seeds(ax: Axes, runs: Sequence[str], column: Column) -> None:
    for child, run in enumerate(runs):
        parent = DECLARED[run].init_from
        if parent in runs:
            found = pd.DataFrame([errors(column, parent), errors(column, run)]).dropna(axis=1)
            ax.plot([runs.index(parent), child], found, color="0.75", linewidth=1, zorder=0)


# --- testing -------------------------------------------------------------------------------


LINES = ("o-", "s--", "^-.", "v:")


def curve(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error by dense evaluation against Q, a line per run at the mean.

    The band is from the lowest to the highest seed. In a strip below are the scales that each run
    was trained at: a diamond for one S, a bar for a range.
    """
    size = {"figsize": (5.8, 4.2), "height_ratios": (7, 1), "squeeze": False}
    fig, grid = plt.subplots(2, len(columns), sharex="col", **size)
    scales = sorted({q for run in runs for q in single_test_scales(run)})
    for (ax, strip), column in zip(grid.T, columns, strict=True):
        for place, (run, colour) in enumerate(zip(runs, figures.shades(runs), strict=True)):
            found, line = errors_by_scale(column, run), LINES[place % len(LINES)]
            if len(found) and column.idle(run):  # no mean: a seed learnt nothing
                ax.plot(list(found), found.T, "o:", color=colour)
            elif len(found):
                figures.band(ax, list(found), found.to_numpy(), line, colour, name_of(run))
            low, high = DECLARED[run].train_scale
            mark = "D" if low == high else "|-"
            strip.plot([low, high], [-place] * 2, mark, color=colour, linewidth=4)
        figures.say_not_run(ax)
        ax.set_title(figures.short_title(column))
        ax.tick_params(bottom=False)
        strip.set(yticks=[], ylim=(0.8 - len(runs), 0.8), xlabel="px for a crop of 224 px")
        strip.set_xticks(scales)
        strip.set_xlim(min(scales) - 20, max(scales) + 20)
    grid[0, 0].set_ylabel("top-1 error at Q, %")
    grid[1, 0].set_ylabel("trained\nat S", rotation=0, ha="right", va="center")
    figures.legend(fig, list(grid[0]))
    return fig


def looks(test_scales: Sequence[int], crops: Sequence[int]) -> Figure:
    """Which parts of a drawn image the score map looks at: a row per crop, a column per Q.

    Dots are the centres of the map's positions, boxes the crops of the first and of the last;
    what is trimmed away before the net sees the image is pale.
    """
    image = _image()
    size = image.shape[:2]
    fig, axes = figures.panels(len(crops) * len(test_scales), 1.65, len(test_scales))
    for ax, (crop, scale) in zip(axes, product(crops, test_scales), strict=True):
        pixels = scaled(scale, crop)
        ax.imshow(image)
        whole = dense_window(size, pixels, crop)
        figures.pale(ax, size, [whole])
        boxes = [box(size, window) for window in positions(whole, crop)]
        for colour, area in (("C1", boxes[-1]), ("C5", boxes[0])):
            ax.add_patch(figures.outline(area, colour))
        dots = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
        ax.plot(*zip(*dots, strict=True), "o", color="white", markeredgecolor="black", markersize=4)
        figures.framed(ax, "none")
        rows, columns = score_map(size, pixels, crop)
        ax.set_title(f"Q = {scale}: {rows} × {columns}", fontsize=9.5)
        if scale == test_scales[0]:
            note = "the paper's" if crop == PAPER_CROP else "here"
            ax.set_ylabel(f"{note}:\n{crop} px crops")
    return fig
