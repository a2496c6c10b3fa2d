"""Chapters 1 to 5, on nets: depth, what a unit sees, filters, how far trainings get, LRN."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.signal import convolve2d

from vggrepro import cost
from vggrepro.configs import CONFIGS, FROM_NET_A, layer_names
from vggrepro.data import synthetic
from vggrepro.pages import figures
from vggrepro.pages.report import Column, errors, paper_cell, paper_error
from vggrepro.study.experiments import DECLARED, RUNS, centre_crop, lineage, one_scale, short_name
from vggrepro.study.records import BenchRecord
from vggrepro.windows import PAPER_CROP


def error_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Top-1 errors, %: the paper's by dense evaluation at S = Q, ours by centre crop and densely.

    What is nowhere recorded is no column, nor is dense evaluation whose score map is one position:
    its window is then the centre crop's, and every error the same.
    """
    table = {"paper, dense": [paper_cell(run, one_scale(run)) for run in runs]}
    for column in columns:
        for how, evaluation_of in (("centre crop", centre_crop), ("dense", one_scale)):
            found = [column.evaluations(run, evaluation_of(run)).values() for run in runs]
            maps = {size for records in found for r in records for size in r.positions}
            if maps and (how == "centre crop" or maps != {"1x1"}):
                cells = [column.cell(run, evaluation_of(run)) for run in runs]
                table[f"{column.title}, {how}"] = [cell.replace("not run", "–") for cell in cells]
    return pd.DataFrame(table, index=[short_name(run) for run in runs])


def sizes_table(configs: Sequence[str]) -> pd.DataFrame:
    """Depth, convolution weights, multiply-adds and receptive field at the paper's geometry."""
    table = {}
    for config in configs:
        net = cost.convolutions(config, crop=PAPER_CROP)
        table[config] = {
            "weight layers": len(layer_names(config)),
            "weights of convolutions, millions": f"{conv_weights(config) / 1e6:.2f}",
            "multiply-adds, billions": f"{cost.multiply_adds(config, crop=PAPER_CROP) / 1e9:.2f}",
            "last convolution sees, px": net[-1].receptive_field,
        }
    return pd.DataFrame.from_dict(table, orient="index")


def conv_weights(config: str, block: int | str = "") -> int:
    """Weights of all convolutions, or of a block's, at the paper's width; biases not counted."""
    layers = cost.convolutions(config)
    return sum(layer.weights for layer in layers if layer.name.startswith(f"conv{block}"))


def more_weights(config: str, than: str) -> float:
    """How many more weights the convolutions of a net have than another's, in percent."""
    return 100 * (conv_weights(config) / conv_weights(than) - 1)


def inherited_table(configs: Sequence[str]) -> pd.DataFrame:
    """The layers of each net as Table 1 writes them; bold is what comes from net A."""
    table: dict[str, dict[str, str]] = {}
    for config in configs:
        cells = {
            f"block {i}": [
                _marked(f"conv{i}_{j}", f"conv{conv.kernel}-{conv.channels}")
                for j, conv in enumerate(block, start=1)
            ]
            for i, block in enumerate(CONFIGS[config], start=1)
        }
        cells["head"] = [_marked(name, name) for name in ("fc6", "fc7", "fc8")]
        table[config] = {part: "<br>".join(names) for part, names in cells.items()}
    return pd.DataFrame(table)


def _marked(layer: str, text: str) -> str:
    return f"<b>{text}</b>" if layer in FROM_NET_A else text


def fit_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Error on training images and on minival after the last epoch, %: `12.2 → 17.0` per run.

    Means over seeds, in eval mode by centre crop and flip, on as many images of either.
    """
    table = {}
    for column in columns:
        cells = []
        for run in runs:
            last = [record.curve[-1] for record in figures.trained_in(column, run)]
            train, minival = (
                [getattr(e, f"{of}_error") for e in last] for of in ("train", "minival")
            )
            cells.append(f"{np.mean(train):.1f} → {np.mean(minival):.1f}" if last else "not run")
        table[column.title] = cells
    frame = pd.DataFrame(table, index=[short_name(run) for run in runs])
    return frame.rename_axis(columns="train → minival")


def lengths_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Top-1 errors, %, by centre crop and flip: a row for each net, a column for each length."""
    (column,) = columns
    return pd.DataFrame(
        {
            f"{column.title}, {epochs} epochs": {
                net: column.cell(run, centre_crop(run)) for net, run in of_nets.items()
            }
            for epochs, of_nets in _by_length(runs, column).items()
        }
    )


def lengths(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """The same with a dot for each seed and a bar at the mean, a panel for each length."""
    (column,) = columns
    found = _by_length(runs, column)
    fig, axes = figures.panels(len(found), 3.0, sharey=True)
    for ax, (epochs, of_nets) in zip(axes, found.items(), strict=True):
        figures.dots_of(ax, list(of_nets.values()), column, list(of_nets))
        ax.set_title(f"{column.title}, {epochs} epochs")
    axes[0].set_ylabel("top-1 error, %")
    return fig


def _by_length(runs: Sequence[str], column: Column) -> dict[int, dict[str, str]]:
    """Runs by their epochs, then by their net."""
    found: dict[int, dict[str, str]] = {}
    for run in runs:
        found.setdefault(column.experiment(run).epochs, {})[DECLARED[run].config] = run
    return found


# --- depth --------------------------------------------------------------------------------


def depth_of(run: str) -> int:
    """Weight layers of a run's net, as the paper counts depth."""
    return len(layer_names(RUNS[run].config))


def timelines(runs: Sequence[str], column: Column) -> Figure:
    """How long each net trains: a bar a training, in epochs, net A's first where it starts from A.

    A bar is as long as its epochs and says of which net they are.
    """
    fig, (ax,) = figures.panels(1, 0.35 * len(runs) + 0.7)
    for place, run in enumerate(runs):
        done = 0
        for ancestor in lineage(run):
            epochs, own = column.experiment(ancestor).epochs, ancestor == run
            look = {"color": figures.net_colour(run) if own else "0.8", "edgecolor": "white"}
            ax.barh(place, epochs, left=done, height=0.7, **look)
            light = figures.contrast(look["color"]) < figures.LEAST_CONTRAST
            ax.text(done + epochs / 2, place, f"{RUNS[ancestor].config}: {epochs}",
                    ha="center", va="center", color="black" if light else "white")  # fmt: skip
            done += epochs
    ax.set_yticks(range(len(runs)), [short_name(run) for run in runs])
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.set_xlabel(f"epochs, {column.title}")
    return fig


def against_depth(line: Sequence[str], beside: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error against the number of weight layers: the paper's panel, then one per column.

    The runs of `line` are filled dots, their means joined; those `beside` are hollow squares. The
    paper's errors are Table 3's, by dense evaluation; ours are by centre crop and flip. Panels span
    as many points.
    """
    fig, axes = figures.panels(1 + len(columns), 2.9, 2)
    runs = [*line, *beside]
    paper = {run: [paper_error(run, one_scale(run))] for run in runs}
    ours = [{run: list(errors(column, run).values()) for run in runs} for column in columns]
    titles = ["paper:\nILSVRC-2012, dense", *map(figures.short_title, columns)]
    names: dict[int, list[str]] = {}
    for run in sorted(runs, key=short_name):
        names.setdefault(depth_of(run), []).append(short_name(run))
    for ax, title, of_run in zip(axes, titles, [paper, *ours], strict=True):
        joined = [(depth_of(run), np.mean(of_run[run])) for run in line if of_run[run]]
        if joined:
            ax.plot(*zip(*joined, strict=True), "-", color="0.7", zorder=1)
        for run in runs:
            look = {"marker": "o", "label": "3×3 layers only"}
            if run in beside:
                look = {"marker": "s", "mfc": "none", "label": "with 1×1 layers"}
            look |= {"color": figures.net_colour(run), "linestyle": "none", "alpha": 0.8}
            if of_run[run]:
                ax.plot([depth_of(run)] * len(of_run[run]), of_run[run], **look)
        figures.say_not_run(ax)
        ax.set_xticks(list(names), [f"{depth}\n{', '.join(of)}" for depth, of in names.items()])
        ax.set(xlim=(min(names) - 1, max(names) + 1), xlabel="weight layers", title=title)
    figures.same_span(axes)
    for ax in axes[::2]:
        ax.set_ylabel("top-1 error, %")
    figures.legend(fig, axes)
    return fig


# --- what a unit sees ---------------------------------------------------------------------


def paths(kernels: Sequence[int]) -> np.ndarray:
    """In how many ways a unit after these convolutions is reached from each place: (n, n) int.

    The side n is the receptive field; stride 1, kernels in order from the input.
    """
    ways = np.ones((1, 1), dtype=np.int64)
    for kernel in kernels:
        ways = convolve2d(ways, np.ones((kernel, kernel), dtype=np.int64))
    return ways


def seen_through(stacks: Mapping[str, Sequence[int]]) -> Figure:
    """For each titled stack of kernels, the places of the map before it that its units see.

    A panel per stack, all to one scale; the number in a place is that of the ways to the unit.
    """
    # Two in a row where four would leave the numbers no room.
    fig, axes = figures.panels(len(stacks), 2.4, 3 if len(stacks) == 3 else 2)
    widest = max(len(paths(kernels)) for kernels in stacks.values())
    reach = widest / 2 + 0.6
    for ax, (title, kernels) in zip(axes, stacks.items(), strict=True):
        ways = paths(kernels)
        half = len(ways) / 2
        for edge in np.arange(-widest / 2, widest / 2 + 1):
            ax.plot([edge, edge], [-widest / 2, widest / 2], color="#dddddd", linewidth=0.6)
            ax.plot([-widest / 2, widest / 2], [edge, edge], color="#dddddd", linewidth=0.6)
        share = ways / ways.max()
        ax.imshow(share, cmap="Blues", vmin=0, vmax=2, extent=(-half, half, -half, half))
        for (row, place), count in np.ndenumerate(ways):
            at = (place - half + 0.5, half - row - 0.5)
            size = 9 if count < 100 else 7
            ax.text(*at, count, ha="center", va="center", fontsize=size)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
        ax.set(title=title, xlabel=f"sees {len(ways)}×{len(ways)}")
        ax.spines[:].set_visible(False)
    return fig


def field_growth(configs: Sequence[str], crops: Sequence[int]) -> Figure:
    """Receptive field of every convolution, in pixels, a line per net; `crops` as levels."""
    fig, (ax,) = figures.panels(1, 3.4)
    names = sorted({layer.name for config in configs for layer in cost.convolutions(config)})
    styles = (("o", "-"), ("s", "--"), ("^", "-."), ("D", "-"), ("v", ":"))
    for config, (marker, line) in zip(configs, styles, strict=False):
        net = cost.convolutions(config)
        places, fields = [names.index(x.name) for x in net], [x.receptive_field for x in net]
        ax.plot(places, fields, line, marker=marker, label=config, alpha=0.8)
    for crop in crops:
        ax.axhline(crop, color="0.6", linewidth=0.8, zorder=0)
        ax.annotate(f"crop {crop} px", (0, crop), (0, 2), textcoords="offset points", fontsize=9)
    ax.set_xticks(range(len(names)), names, rotation=90)
    ax.set_ylabel("receptive field, px")
    figures.legend(fig, [ax])
    return fig


def padding(config: str, crops: Sequence[int]) -> Figure:
    """Share of taps on padding in percent: a row per convolution, a column per crop."""
    nets = [cost.convolutions(config, crop=crop) for crop in crops]
    shares = [[cost.padding_share(x.kernel, x.output_shape[1]) for x in net] for net in nets]
    values = 100 * np.array(shares).T
    fig, (ax,) = figures.panels(1, 4.2)
    drawn = ax.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (row, place), value in np.ndenumerate(values):
        colour = "white" if value > 60 else "#222222"
        ax.text(place, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)
    ax.set_xticks(range(len(crops)), [f"{crop} px" for crop in crops])
    ax.set_yticks(range(len(nets[0])), [layer.name for layer in nets[0]])
    ax.set_xlabel("crop")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    fig.colorbar(drawn, label="taps on padding, %")
    return fig


# --- small against large filters ----------------------------------------------------------

#: Two 3x3 filters with one meaning each, and the 5x5 filter that they make when nothing is
#: between them: a horizontal difference (Sobel), then a smoothing.
DIFFERENCE = np.outer([1, 2, 1], [1, 0, -1]) / 4
SMOOTHING = np.outer([1, 2, 1], [1, 2, 1]) / 16
BOTH = convolve2d(DIFFERENCE, SMOOTHING)


def responses(image: np.ndarray) -> dict[str, np.ndarray]:
    """Responses (H - 4, W - 4) to a grey image (H, W), where no filter touches the border.

    Of one 5x5 filter; of the two 3x3 it is made of; of these with a ReLU between.
    """
    first = convolve2d(image, DIFFERENCE, mode="valid")
    return {
        "one 5×5": convolve2d(image, BOTH, mode="valid"),
        "two 3×3": convolve2d(first, SMOOTHING, mode="valid"),
        "two 3×3, ReLU between": convolve2d(np.maximum(first, 0), SMOOTHING, mode="valid"),
    }


def grey_drawing() -> np.ndarray:
    """A drawn image in grey at half its size, (H, W) from 0 to 1."""
    image = synthetic.draw(0, "train", 0).image.mean(-1) / 255
    height, width = (side // 2 * 2 for side in image.shape)
    return image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def stack_and_filter(image: np.ndarray) -> Figure:
    """The filters above, and below a grey image (H, W) and what they make of it."""
    fig, axes = figures.panels(6, 2.2, 3)
    filters = {"3×3": DIFFERENCE, "then 3×3": SMOOTHING, "together: 5×5": BOTH}
    for ax, (name, values) in zip(axes, filters.items(), strict=False):
        half = len(values) / 2
        _signed(ax, name, values, np.abs(values).max(), extent=(-half, half, -half, half))
        ax.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    axes[3].imshow(image, cmap="gray", vmin=0, vmax=1)
    axes[3].set_title("a drawn image")
    single, _, with_relu = responses(image).values()
    reach = np.abs(single).max()
    _signed(axes[4], "one 5×5,\nor two 3×3", single, reach)
    _signed(axes[5], "two 3×3,\nReLU between", with_relu, reach)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return fig


def _signed(ax: Axes, title: str, values: np.ndarray, reach: float, **options) -> None:
    ax.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, **options)
    ax.set_title(title)


def denominators_of(run: str, column: Column) -> np.ndarray:
    """LRN's denominators (epochs, 5) at 1, 10, 50, 90 and 99 % of its values, mean over seeds.

    After each epoch, over the first 64 images of minival, of photos all of one class.
    """
    curves = [[e.lrn_denominator for e in r.curve] for r in figures.trained_in(column, run)]
    return np.mean(curves, axis=0) if curves else np.empty((0, 5))


def denominators(run: str, columns: Sequence[Column]) -> Figure:
    """LRN's denominator over the epochs of a training: median, 10-90 % and 1-99 % of its values."""
    fig, axes = figures.panels(len(columns), 3.4)
    for ax, column in zip(axes, columns, strict=True):
        low, tenth, median, ninetieth, high = denominators_of(run, column).T
        if len(median):
            epochs, look = 1 + np.arange(len(median)), {"color": "C0", "linewidth": 0}
            ax.fill_between(epochs, low, high, alpha=0.2, label="1 to 99 %", **look)
            ax.fill_between(epochs, tenth, ninetieth, alpha=0.4, label="10 to 90 %", **look)
            ax.plot(epochs, median, label="median")
        figures.say_not_run(ax)
        ax.set(title=figures.short_title(column, len(columns)), xlabel="epoch")
    axes[0].set_ylabel("LRN's denominator, k + α Σ x²")
    figures.legend(fig, axes)
    return fig


def lrn_costs(record: BenchRecord) -> Figure:
    """Time and kept memory of each A-LRN over A's, per size of crop; whiskers span the rounds."""
    fig, axes = figures.panels(2, 3.2)
    crops, sides = sorted({m.of["crop"] for m in record.measured}), ("A-LRN", "A-LRN (torch)")
    titles = {"training step": "time of a training step", "kept": "kept for the backward pass"}
    for ax, (name, title) in zip(axes, titles.items(), strict=True):
        for (i, crop), (place, net) in product(enumerate(crops), enumerate(sides)):
            at = i + 0.36 * place
            with_lrn, without = (record.values(name, net=n, crop=crop) for n in (net, "A"))
            low, middle, high = np.quantile(with_lrn / without, (0, 0.5, 1))
            ax.bar(at, middle - 1, 0.34, bottom=1, color=f"C{place}", label=net)
            ax.errorbar(at, middle, [[middle - low], [high - middle]], color="0.3", capsize=3)
        ax.axhline(1, color="0.3", linewidth=1)
        ax.set_xticks(np.arange(len(crops)) + 0.18, [f"{crop} px" for crop in crops])
        ax.set_title(title)
    axes[0].set_ylabel("A-LRN over A")
    figures.legend(fig, axes)
    return fig


def cost_and_error(runs: Sequence[str], columns: Sequence[Column]) -> Figure:
    """Top-1 error against the convolutions' weights and against multiply-adds, at each budget.

    Two panels per column of records, a dot per seed and a line at the mean.
    """
    fig, axes = figures.panels(2 * len(columns), 2.7, 2)
    costs = ("weights", "multiply_adds")
    for ax, (column, what) in zip(axes, product(columns, costs), strict=True):
        looks = zip(runs, figures.shades(runs), "osD^v<"[: len(runs)], strict=True)
        for run, colour, marker in looks:
            e, found = column.experiment(run), list(errors(column, run).values())
            net = cost.convolutions(e.config, width=e.width, crop=e.crop)
            amount = sum(getattr(layer, what) for layer in net)
            figures.error_dots(ax, amount / 1e6, found, colour, short_name(run), marker)
        figures.say_not_run(ax)
        ax.set_xlabel(f"{what.replace('_', '-')}, millions")
        ax.margins(x=0.25, y=0.25)
        if ax.has_data():
            ax.set_xlim(left=0)
        if what == "weights":
            ax.set(title=figures.short_title(column), ylabel="top-1 error, %")
    figures.legend(fig, axes)
    return fig
