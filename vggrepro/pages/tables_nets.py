"""Tables of the chapters about nets: how long trainings are in all, and what nets cost."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vggrepro import cost
from vggrepro.configs import CONFIGS, FROM_NET_A, layer_names
from vggrepro.pages.report import Column
from vggrepro.study import store
from vggrepro.study.experiments import RUNS, lineage, short_name
from vggrepro.windows import PAPER_CROP


def starts_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """What every run starts from and for how many epochs it trains, with its parents' in all."""
    table = {}
    for run in runs:
        row = {"starts from": RUNS[run].init_from or "random weights"}
        for column in columns:
            epochs = [column.experiment(ancestor).epochs for ancestor in lineage(run)]
            total = f", {sum(epochs)} in all" if len(epochs) > 1 else ""
            row[f"epochs, {column.title}"] = f"{epochs[-1]}{total}"
        table[run] = row
    return pd.DataFrame.from_dict(table, orient="index")


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


def conv_weights(config: str) -> int:
    """Weights of all convolutions at the paper's width, biases not counted."""
    return sum(layer.weights for layer in cost.convolutions(config))


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


def inherited_sentence(config: str) -> str:
    """How much of a deeper net net A gives, in layers and in weights of convolutions."""
    convolutions = cost.convolutions(config)
    given = [layer for layer in convolutions if layer.name in FROM_NET_A]
    share = sum(layer.weights for layer in given) / conv_weights(config)
    return (
        f"{config} takes {len(given)} of its {len(convolutions)} convolutions from A. "
        f"They hold {share:.0%} of the weights of its convolutions: what comes over is the "
        "bottom of the net and its head, and the blocks between them start at random."
    )


def settled_sentence(column: Column, runs: Sequence[str]) -> str:
    """By how much the error on minival still moved in the last fifth of the epochs, per run."""
    parts = []
    for run in runs:
        trained = store.trainings(column.results_dir, column.experiment(run)).values()
        curves = [[e.minival_error for e in r.curve] for r in trained if r.status == "ok"]
        if curves:
            moved = np.mean([curve[-1] - curve[len(curve) * 4 // 5 - 1] for curve in curves])
            parts.append(f"{short_name(run)} {moved:+.1f}")
    if not parts:
        return f"{column.title}: not run."
    return (
        f"{column.title}: over the last fifth of the epochs the error on minival moved by "
        f"{', '.join(parts)} points."
    )


def fit_table(runs: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Error on training images and on minival after the last epoch, %: `12.2 → 17.0` per run.

    Means over seeds, in eval mode by centre crop and flip, on as many images of either.
    """
    table = {}
    for run in runs:
        cells = {}
        for column in columns:
            trained = store.trainings(column.results_dir, column.experiment(run)).values()
            last = [record.curve[-1] for record in trained if record.status == "ok"]
            cells[column.title] = "not run"
            if last:
                fit = np.mean([(e.train_error, e.minival_error) for e in last], axis=0)
                cells[column.title] = "{:.1f} → {:.1f}".format(*fit)
        table[short_name(run)] = cells
    return pd.DataFrame.from_dict(table, orient="index").rename_axis(columns="train → minival")


def field_sentence(configs: Sequence[str], crops: Sequence[int]) -> str:
    """What the last convolution of each net sees, in pixels and in widths of each crop."""
    parts = []
    for config in configs:
        last = cost.convolutions(config)[-1]
        widths = ", ".join(f"{last.receptive_field / crop:.1f}" for crop in crops)
        parts.append(f"{last.receptive_field} px in {config} ({widths} crop widths)")
    sizes = ", ".join(map(str, crops))
    return (
        f"The last convolution sees {' and '.join(parts)}, for crops of {sizes} px. A field wider "
        "than the crop has padding in it, wherever it lies."
    )


def padding_sentence(config: str, crops: Sequence[int]) -> str:
    """The share of the last convolution's taps on padding at each crop."""
    last = {crop: cost.convolutions(config, crop=crop)[-1] for crop in crops}
    shares = ", ".join(
        f"{cost.padding_share(layer.kernel, layer.output_shape[1]):.0%} of the taps at {crop} px "
        f"(a map of {layer.output_shape[1]}×{layer.output_shape[1]})"
        for crop, layer in last.items()
    )
    return f"In the last convolution padding takes {shares}."
