"""Figures from records: every seed a dot, every curve with its band, every axis with its unit."""

from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib_inline.backend_inline import set_matplotlib_formats

from vggrepro.pages.report import Column, errors
from vggrepro.study.experiments import DECLARED, short_name
from vggrepro.study.records import TrainRecord
from vggrepro.windows import Window, box

PLAIN = {"Date": None, "Creator": None}
"""What an SVG says of itself: nothing that a clock or a version would change."""
#: Letters of all names of nets that still fit side by side below a panel.
MOST_LETTERS = 14
#: Of text on what is behind it, where light and dark differ by 21 at most.
LEAST_CONTRAST = 4.5
STYLE = Path(__file__).with_name("book.mplstyle")


#: One colour for each net on all pages (Okabe and Ito's); a variant has that of its net.
NET_COLOURS = {
    "A": "#0072B2",
    "A-LRN": "#56B4E9",
    "B": "#E69F00",
    "C": "#009E73",
    "D": "#D55E00",
    "E": "#CC79A7",
}
#: A colour for each word of a verdict, that of the style sheet's marks.
WORD_COLOURS = {
    "holds and matters": "#009E73",
    "holds": "#0072B2",
    "reversed by its control": "#E69F00",
    "negligible": "#CC79A7",
    "inconclusive": "#808080",
    "contradicted": "#D55E00",
    "not so here": "#D55E00",
    "too few seeds": "#A0A0A0",
    "not run": "#A0A0A0",
    # Of the second round alone.
    "saturates": "#CC79A7",
    "still falls": "#0072B2",
    "rises": "#D55E00",
    "depends on the length": "#E69F00",
    "stalled": "#808080",
    "void": "#808080",
}


def use_style() -> None:
    """The book's style for every figure after this; in a notebook as SVG without clock or version.

    Backgrounds are transparent, so that the page's own shows, light or dark.
    """
    plt.style.use(STYLE)
    if get_ipython():
        set_matplotlib_formats("svg", metadata=PLAIN)


def show(alt: str) -> None:
    """Show the figure just drawn, with what it says to those who do not see it.

    `render` puts that text where the page takes it from.
    """
    buffer = StringIO()
    plt.savefig(buffer, format="svg", bbox_inches="tight", metadata=PLAIN)
    plt.close()
    drawn = {"image/svg+xml": buffer.getvalue()}
    display(drawn, raw=True, metadata={"image/svg+xml": {"alt": alt}})


def net_colour(run: str) -> str:
    """The colour of a run's net, on all pages."""
    config = DECLARED[run].config if run in DECLARED else run
    return NET_COLOURS.get(config, NET_COLOURS.get(config[0], "#000000"))


def contrast(colour: str) -> float:
    """By how much text of that colour stands out on white: 1 not at all, 21 black (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 1.05 / (float(np.dot((0.2126, 0.7152, 0.0722), linear)) + 0.05)


def ink(colour: str) -> str:
    """That colour for text on the page: darker, until it is as readable as WCAG 2 (AA) asks."""
    rgb = np.array(to_rgb(colour))
    while contrast(to_hex(rgb)) < LEAST_CONTRAST:
        rgb *= 0.97
    return to_hex(rgb)


def shades(runs: Sequence[str]) -> list[str]:
    """The colours of runs whose lines cross: those of their nets, a second of one net darker."""
    colours: list[str] = []
    for run in runs:
        rgb = np.array(to_rgb(net_colour(run)))
        lighter = (1 - rgb) / 2
        options = (rgb, 0.5 * rgb, rgb + lighter, 0.25 * rgb, rgb + 1.6 * lighter)
        colours.append(next(to_hex(one) for one in options if to_hex(one) not in colours))
    return colours


def end_labels(ax: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Names (y, text, colour) at the right of a panel, none over another."""
    ax.figure.draw_without_rendering()  # for the final scale of the axis
    places = [ax.transData.transform((0, y))[1] for y, _, _ in labels]
    low = -np.inf
    for at in np.argsort(places):
        low = max(places[at], low + 1.25 * ax.figure.dpi * plt.rcParams["font.size"] / 72)
        y = ax.transAxes.inverted().transform((0, low))[1]
        _, text, colour = labels[at]
        ax.text(1.01, y, text, color=ink(colour), va="center", transform=ax.transAxes)


def panels(count: int, height: float, across: int = 0, **options) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the book's column: `count` panels in rows of `across`, or in one row.

    A row is `height` inches high.
    """
    across = across or count
    rows = -(-count // across)
    fig, axes = plt.subplots(rows, across, figsize=(5.8, rows * height), squeeze=False, **options)
    for spare in axes.flat[count:]:
        spare.set_visible(False)
    return fig, list(axes.flat[:count])


def short_title(column: Column, panels: int = 1) -> str:
    """A column's title, over two lines where it is a rerun's."""
    return column.title.replace(": ", ":\n", 1).replace(", ", ",\n" if panels > 2 else ", ", 1)


#: Points of error that a panel spans at least: with fewer, noise looks like an effect.
LEAST_SPAN = 3.0


def same_span(axes: Sequence[Axes]) -> None:
    """Give panels of errors the same span in points, each centred on its own data."""
    drawn = {ax: ax.dataLim.intervaly for ax in axes if ax.has_data()}
    span = max([LEAST_SPAN, *(high - low for low, high in drawn.values())])
    for ax, (low, high) in drawn.items():
        ax.set_ylim((low + high) / 2 - 0.6 * span, (low + high) / 2 + 0.6 * span)


def dots(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error of each run, a dot per seed and a bar at the mean, a panel per column.

    By centre crop and flip. A run without records is an empty place. Panels span as many points.
    """
    fig, axes = panels(len(columns), 3.0)
    names = [short_name(run) for run in runs]
    crowded = len("".join(names)) > MOST_LETTERS
    for ax, column in zip(axes, columns, strict=True):
        dots_of(ax, runs, column, names, rotation=90 if crowded else 0)
        ax.set_title(short_title(column, len(columns)))
    same_span(axes)
    axes[0].set_ylabel("top-1 error, %")
    return fig


ERRORS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 60, 80, 100)  # ticks, %


def curves(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Error on minival (full line) and on training images in eval mode (dashed) by epoch.

    Lines are means over seeds, bands reach from the lowest to the highest seed. Where errors fall
    far the axis is about logarithmic: else the last epochs, which tell, are flat.
    """
    fig, axes = panels(len(columns), 3.8)
    for ax, column in zip(axes, columns, strict=True):
        ends = []
        for run, colour in zip(runs, shades(runs), strict=True):
            trained = trained_in(column, run)
            learning_curve(ax, trained, colour)
            if trained:
                last = np.mean([record.curve[-1].minival_error for record in trained])
                ends.append((last, short_name(run), colour))
        say_not_run(ax)
        ax.set(title=short_title(column, len(columns)), xlabel="epoch")
        _about_logarithmic(ax)
        end_labels(ax, ends)
    axes[0].set_ylabel("top-1 error, %")
    return fig


def _about_logarithmic(ax: Axes) -> None:
    """An axis of errors, linear near 0 % and logarithmic above; left linear if they are close."""
    low, high = ax.dataLim.intervaly
    if not ax.has_data() or high < 3 * low:
        return
    ax.set_yscale("asinh", linear_width=5.0)
    shown = [error for error in ERRORS if 0.9 * low <= error <= 1.1 * high]
    ax.set_yticks(shown, [f"{error:g}" for error in shown])
    ax.set_yticks([], minor=True)


def trained_in(column: Column, run: str) -> list[TrainRecord]:
    """The trainings of a run that a column shows, one for each seed that came to its end."""
    return [record for record in column.trainings(run).values() if record.status == "ok"]


def moved(column: Column, run: str) -> float:
    """By how much the error on minival still moved in the last fifth of the epochs, points."""
    curves = [record.curve for record in trained_in(column, run)]
    ends = [(curve[len(curve) * 4 // 5 - 1], curve[-1]) for curve in curves]
    return float(np.mean([last.minival_error - before.minival_error for before, last in ends]))


def learning_curve(ax: Axes, trained: Sequence[TrainRecord], colour: str) -> None:
    """Error by epoch of some trainings, on minival full and on training images dashed."""
    for field, line in (("minival_error", "-"), ("train_error", "--")) if trained else ():
        values = np.array([[getattr(epoch, field) for epoch in r.curve] for r in trained])
        band(ax, 1 + np.arange(values.shape[1]), values, line, colour, None)


def say_not_run(ax: Axes) -> None:
    """Write "not run" into a panel that has no data."""
    if not ax.has_data():
        ax.text(0.5, 0.5, "not run", ha="center", va="center", transform=ax.transAxes)
        # Ticks of an axis that panels share belong to the others too.
        if len(ax.get_shared_x_axes().get_siblings(ax)) == 1:
            ax.set_xticks([])
        if len(ax.get_shared_y_axes().get_siblings(ax)) == 1:
            ax.set_yticks([])


def legend(fig: Figure, axes: Iterable[Axes]) -> None:
    """One legend for all panels, each label once: in a place without a panel, else below them."""
    found = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    spare = next((ax for ax in fig.axes if not ax.get_visible()), None)
    if found and spare:
        spare.set(visible=True, frame_on=False, xticks=[], yticks=[])
        spare.legend(found.values(), found, loc="center")
    elif found:
        fig.legend(found.values(), found, loc="outside lower center", ncols=2)


# --- parts of panels ------------------------------------------------------------------------


def dots_of(ax: Axes, runs: Sequence[str], column: Column, names: Sequence[str], **ticks) -> None:
    """Errors of each run by centre crop and flip, its name below: seeds as dots, a bar the mean.

    A run with a seed that learnt nothing has no mean.
    """
    for place, run in enumerate(runs):
        values = seeds_of(ax, place, column, run)
        if values and not column.idle(run):
            ax.hlines(np.mean(values), place - 0.3, place + 0.3, color=net_colour(run))
    say_not_run(ax)
    ax.set_xticks(range(len(runs)), names, **ticks)
    ax.set_xlim(-0.6, len(runs) - 0.4)


def seeds_of(ax: Axes, x: float, column: Column, run: str) -> list[float]:
    """Errors of a run by centre crop and flip, a dot a seed; returns those that are dots.

    Beside seeds that learnt, those that learnt nothing are numbers at the top: as dots they would
    press all others together.
    """
    found, idle, colour = errors(column, run), column.idle(run), net_colour(run)
    learnt = [error for seed, error in found.items() if seed not in idle]
    values = learnt or list(found.values())
    if values:
        ax.plot([x] * len(values), values, "o", color=colour, alpha=0.7)
    if learnt and len(learnt) < len(found):
        above = "\n".join(f"↑ {found[seed]:.0f}" for seed in idle if seed in found)
        top = ax.get_xaxis_transform()
        ax.text(x, 1, above, transform=top, ha="center", va="top", color=ink(colour), size=8.5)
    return values


def error_dots(
    ax: Axes,
    amount: float,
    values: Sequence[float],
    colour: str,
    label: str | None = None,
    marker: str = "o",
) -> None:
    """Errors over what they cost: a dot for each seed, and a bar at their mean."""
    if values:
        look = {"color": colour, "alpha": 0.5, "markersize": 4.5, "label": label}
        ax.plot([amount] * len(values), values, marker, linestyle="none", **look)
        ax.plot(amount, np.mean(values), "_", color=colour, markersize=15, mew=2)


def band(
    ax: Axes, x: Sequence[float], values: np.ndarray, line: str, colour: str, label: str | None
) -> None:
    """Mean over seeds of `values` (seeds, x), and a band from the lowest to the highest seed."""
    ax.plot(x, values.mean(0), line, color=colour, label=label)
    ax.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)


def beside(ax: Axes, x: float, y: float, text: str, **options) -> None:
    """Text at the height of `y`, at that share of the panel's width: a row's name or number."""
    ax.text(x, y, text, transform=ax.get_yaxis_transform(), va="center", **options)


def framed(ax: Axes, colour: str, width: float = 2) -> None:
    """No ticks, and a frame in that colour around an image."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=colour, linewidth=width)


def outline(
    area: tuple[float, float, float, float], colour: str, width: float = 2, **options
) -> Rectangle:
    """A rectangle around (left, top, right, bottom), in pixels of an image shown by `imshow`."""
    left, top, right, bottom = area
    options = {"fill": False, "edgecolor": colour, "linewidth": width} | options
    return Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **options)


def pale(ax: Axes, size: tuple[int, int], seen: Iterable[Window]) -> None:
    """Make pale what is outside all these windows of an image of that (height, width)."""
    veil = np.ones((*size, 4))
    veil[..., 3] = 0.75
    for window in seen:
        left, top, right, bottom = map(round, box(size, window))
        veil[top:bottom, left:right, 3] = 0
    ax.imshow(veil)
