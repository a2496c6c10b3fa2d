"""Chapter 10, on starts: outcomes of first steps, whole trainings, and what follows from them."""

import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vggrepro import UserError, cost
from vggrepro.pages import figures, report
from vggrepro.pages.figures import panels
from vggrepro.pages.report import Column
from vggrepro.study import starts, store
from vggrepro.study.experiments import RANDOM_STARTS, centre_crop
from vggrepro.study.records import FirstStepsRecord
from vggrepro.study.starts import DECLARED, FIRST_STEPS, NETS, STARTS
from vggrepro.study.store import RECORDED
from vggrepro.windows import PAPER_CROP

RECORDED_DATA = "imagenette"
Records = list[FirstStepsRecord]
COMMAND = "vggrepro first-steps --data imagenette --data-dir DATA --results-dir results"


def load(results_dir: Path, data: str = "synthetic") -> Records:
    """The records of the declared nets and starts, in their order and that of the seeds.

    Raises `UserError` if they were not all made with the same sizes: no figure could hold them.
    """
    folder = results_dir / FIRST_STEPS / data
    paths = [path for name in DECLARED for path in folder.glob(f"{name}/seed*/first-steps.json")]
    found = sorted(map(store.read, paths), key=lambda r: ([*DECLARED].index(r.run), r.seed))
    made = [starts.sizes(r.experiment, r.steps, r.precision) for r in found]
    if any(sizes != made[0] for sizes in made):
        raise UserError(
            f"{folder}: the first steps there were made with different sizes; give each its own "
            "--results-dir, or make them again with --fresh"
        )
    return found


def start_of(record: FirstStepsRecord) -> str:
    """Its start, by its name in `STARTS`: `he` of D-he."""
    return record.run.split("-", 1)[1]


def shown(rerun: Column | None) -> Records:
    """The records of a rerun if it has any, else those of the recorded study."""
    own = rerun and load(rerun.results_dir, rerun.data)
    return own or load(RECORDED, RECORDED_DATA)


# --- what theory expects --------------------------------------------------------------------


def standard_deviation(init: str, fan_in: int, fan_out: int) -> float:
    """Of the weights of a layer: as `models.INITIALISATIONS` draws them, or "pytorch" itself."""
    return {
        # kaiming_uniform_ with a = sqrt(5), which comes to a bound of 1 / sqrt(fan-in).
        "pytorch": math.sqrt(1 / (3 * fan_in)),
        "normal-variance": 0.1,
        "normal-std": 0.01,
        "glorot": math.sqrt(2 / (fan_in + fan_out)),
        "he": math.sqrt(2 / fan_in),
    }[init]


def gain(init: str, fan_in: int, fan_out: int) -> float:
    """By how much a random layer and its ReLU multiply the root mean square of their input.

    The weights are independent with mean zero, so each of the `fan_in` terms of a sum adds
    std^2 times the input's mean square; ReLU keeps half of it (He et al. 2015, Section 2.2).
    """
    return standard_deviation(init, fan_in, fan_out) * math.sqrt(fan_in / 2)


def fans(net: str, **sizes: object) -> dict[str, tuple[int, int]]:
    """Fan-in and fan-out of every layer with weights; sizes as for `cost.layers`."""
    return {
        layer.name: (
            layer.kernel**2 * layer.in_channels,
            layer.out_channels * (layer.kernel**2 if layer.kind == "conv" else 1),
        )
        for layer in cost.layers(net, **sizes)
        if layer.weights
    }


def expected_activations(net: str, init: str, input_rms: float, **sizes: object) -> list[float]:
    """Root mean square behind the ReLU of every layer, of the logits for the last; no pooling.

    A max-pool picks the larger values, so what is measured behind one lies higher.
    """
    found, rms = [], input_rms
    for fan_in, fan_out in fans(net, **sizes).values():
        rms *= gain(init, fan_in, fan_out)
        found.append(rms)
    found[-1] *= math.sqrt(2)  # the logits have no ReLU that would take half
    return found


# --- tables ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """Two digits, and powers of ten as people write them: `0.21`, `7.2 × 10⁻⁵`."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{float(f'{value:.2g}'):g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def gains_table() -> pd.DataFrame:
    """Expected gain of single layers, by their channels, and of whole nets, by arithmetic alone."""
    of_e = fans("E")
    layers = {"3 → 64": "conv1_1", "64 → 64": "conv1_2"}
    layers |= {"128 → 128": "conv2_2", "512 → 512": "conv5_1"}
    labels = {"pytorch": "PyTorch's own"}
    for start in STARTS.values():
        labels.setdefault(start.init, _in_a_table(start.label))
    rows = {}
    for init in dict.fromkeys(start.init for start in STARTS.values()):
        row = {channels: gain(init, *of_e[layer]) for channels, layer in layers.items()}
        row |= {f"all of {net}": whole_gain(net, init) for net in "AE"}
        rows[labels[init]] = {name.replace(" ", "\u00a0"): number(g) for name, g in row.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def whole_gain(net: str, init: str, **sizes: object) -> float:
    """By how much a net multiplies the root mean square from its input to its logits."""
    return expected_activations(net, init, 1.0, **sizes)[-1]


def _in_a_table(label: str) -> str:
    """The label of a start, narrow enough for a phone."""
    return label.removeprefix("normal of ").replace(" on ", "<br>on ")


def first_steps_table(records: Records) -> pd.DataFrame:
    """Size of the first step and what became of the net: a row per start, a column per net.

    The mean of the size over seeds, and every outcome there was.
    """
    table = pd.DataFrame("–", [_in_a_table(start.label) for start in STARTS.values()], NETS)
    for run, of_run in groupby(records, lambda record: record.run):
        found = list(of_run)
        net, name = run.split("-", 1)
        size = number(np.mean([record.first_step for record in found]))
        words = dict.fromkeys(record.outcome for record in found)
        table.loc[_in_a_table(STARTS[name].label), net] = f"{size}<br>{', '.join(words)}"
    return table


TRAINED = tuple(
    (STARTS[name].label, "S256" if name == "from-A" else name)
    for name in (*RANDOM_STARTS, "from-A")
)
"""Starts of the trained comparison, with the end of their runs' names."""


def trained_table(column: Column) -> pd.DataFrame:
    """Top-1 errors by centre crop and flip, %: a row per start, a column per net.

    Mean ± standard deviation over seeds; seed by seed where one is no better than chance.
    """
    rows = {
        label: [column.cell(f"{net}-{end}", centre_crop(f"{net}-{end}")) for net in NETS]
        for label, end in TRAINED
    }
    rows["from net A"][0] = "–"  # net A itself
    table = pd.DataFrame.from_dict(rows, orient="index", columns=NETS)
    return table.rename(index=_in_a_table).replace(r" \(", "<br>(", regex=True)


def provenance_table(records: Records) -> pd.DataFrame:
    """Where the first steps come from, a line each."""
    rows = {f"{r.run}, seed {r.seed}": report.made_by(r) for r in records}
    return pd.DataFrame.from_dict(rows, orient="index")


# --- sentences ------------------------------------------------------------------------------


def evidence(records: Records, same: str, *names: str) -> str:
    """What became of nets that differ in one thing, of those that were measured."""
    said = [
        f"{STARTS[start_of(record)].label} → {_became(record)}"
        for name in names
        for record in records
        if record.run == name
    ]
    return f"*{same}:* {'; '.join(said) or 'not run'}."


def evidence_by_net(records: Records, start: str) -> str:
    """What one start made of each net, nets with one outcome together."""
    nets: dict[str, list[str]] = {}
    for record in (record for record in records if start_of(record) == start):
        nets.setdefault(_became(record), []).append(record.experiment["config"])
    said = [f"{', '.join(alike)} → {became}" for became, alike in nets.items()]
    return f"*{STARTS[start].label}:* {'; '.join(said) or 'not run'}."


def _became(record: FirstStepsRecord) -> str:
    """The outcome, the loss that a net at chance had before if it was far above, and the last."""
    word, peak = record.outcome, max(record.losses, default=0.0)
    last = f", last loss {record.last_loss:.2f}" if record.status == "ok" else ""
    if word not in ("at chance", "dead") or peak < starts.OVERSHOT * record.chance:
        return word + last
    return f"{word}, after a loss of {number(peak)} in step {record.losses.index(peak) + 1}{last}"


def named_by_what_is_wrong(records: Records) -> dict[str, str]:
    """For each word of `starts.WRONG` the recorded starts that it is said of."""
    named = {word: {} for word in starts.WRONG}
    for record in records:
        named[starts.wrong(record)][record.run] = None
    return {word: ", ".join(runs) or "none here" for word, runs in named.items()}


# --- figures ---------------------------------------------------------------------------------

# Dash-dotted: pixels of unit scale.
STYLES: dict[str, dict] = {
    "normal-variance": {"color": "C3"},
    "normal-std": {"color": "C0"},
    "glorot": {"color": "C2"},
    "he": {"color": "C1"},
    "he-scaled": {"color": "C1", "linestyle": "-."},
    "pytorch": {"color": "0.5", "linestyle": "-."},
    "from-A": {"color": "C4"},
    "he-scaled-slow": {"color": "C5", "linestyle": "-."},
}


def signals(records: Records) -> Figure:
    """Activations and gradients before the first step at every layer, a row of panels per net.

    At the paper's crop; a start from net A at the crop that this net A has. Dashed lines are what
    `expected_activations` expects.
    """
    fig, axes = panels(2 * len(NETS), 8.2 / len(NETS), 2, sharey="col")
    for left, right, net in zip(axes[::2], axes[1::2], NETS, strict=True):
        for record in [record for record in records if record.experiment["config"] == net]:
            signal, name = record.signal_at(PAPER_CROP), start_of(record)
            look = STYLES[name] | {"linewidth": 1.6, "label": STARTS[name].label}
            left.plot(signal.activation, **look)
            right.plot(signal.gradient, **look)
            _expected(left, record)
        for ax, what in ((left, "activations"), (right, "gradients")):
            figures.say_not_run(ax)
            ax.set(title=f"{net}: {what}", yscale="log")
            if not records:
                ax.tick_params(which="both", left=False, labelleft=False)
            _layer_ticks(ax, net)
        left.set_ylabel("root mean square")
    for ax in axes[-2:]:
        ax.set_xlabel("layers by block")
    figures.legend(fig, axes)
    return fig


def _expected(ax: Axes, record: FirstStepsRecord) -> None:
    e, signal = record.experiment, record.signal_at(PAPER_CROP)
    if not e["init_from"]:
        sizes = {"width": e["width"], "hidden": e["hidden"], "num_classes": record.classes}
        sizes["crop"] = signal.crop
        expected = expected_activations(e["config"], e["init"], signal.input, **sizes)
        colour = STYLES[start_of(record)]["color"]
        ax.plot(expected, "--", color=colour, linewidth=0.8, alpha=0.8)


def _layer_ticks(ax: Axes, net: str) -> None:
    names = list(fans(net))
    first = [i for i, name in enumerate(names) if name.endswith("_1") or name == "fc6"]
    ax.set_xticks(first, [names[i].removeprefix("conv").removesuffix("_1") for i in first])
    ax.set_xlim(-0.5, len(names) - 0.5)


NEAR_CHANCE = (0.86, 1.06)  # of chance: what the losses of nets that stay finite are within


def losses(records: Records) -> Figure:
    """The loss of each step beside chance, a panel per net and a line per start.

    A moving mean over twenty steps. What diverged is named with its first loss: it is far above.
    """
    fig, axes = panels(len(NETS), 7.4 / len(NETS), 1, sharex=True)
    for ax, net in zip(axes, NETS, strict=True):
        gone = []
        for record in [record for record in records if record.experiment["config"] == net]:
            name, found = start_of(record), np.array(record.losses)
            ax.axhline(record.chance, color="0.6", linewidth=1, zorder=1)
            ax.set_ylim(*(record.chance * share for share in NEAR_CHANCE))
            if record.status != "ok":
                gone.append(f"{STARTS[name].label} (from {number(found[0])})")
            elif len(found) >= 20:
                smooth = np.convolve(found, np.ones(20) / 20, "valid")
                steps = 20 + np.arange(len(smooth))
                ax.plot(steps, smooth, **STYLES[name], label=STARTS[name].label)
        if gone:
            ax.text(0.99, 0.97, "\n".join(["diverged:", *gone]), transform=ax.transAxes,
                    ha="right", va="top", size=8)  # fmt: skip
        figures.say_not_run(ax)
        ax.set(title=f"net {net}", ylabel="loss, nats")
    axes[-1].set_xlabel("step")
    figures.legend(fig, axes)
    return fig


def trainings(column: Column) -> Figure:
    """Error by epoch of whole trainings, a panel per net: minival full, training images dashed.

    Lines are means over seeds, bands reach from the lowest to the highest; where a net stalled in
    one of its seeds, each has its own line. What diverged is named in the panel.
    """
    fig, axes = panels(len(NETS), 3.8, sharey=True)
    for ax, net in zip(axes, NETS, strict=True):
        for label, end in TRAINED:
            if end == "S256" and net == "A":
                continue
            run = f"{net}-{end}"
            good = figures.trained_in(column, run)
            colour = STYLES["from-A" if end == "S256" else end]["color"]
            for some in [[record] for record in good] if column.at_chance(run) else [good]:
                figures.learning_curve(ax, some, colour)
            diverged = len(good) < len(column.trainings(run))
            if good or diverged:
                mark = {"marker": "x", "linestyle": "none"} if diverged else {}
                name = f"{label}: diverged" if diverged else label
                ax.plot([], [], color=colour, label=name, **mark)
        figures.say_not_run(ax)
        ax.set(title=net, xlabel="epoch")
        if ax.has_data():
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0].set_ylabel("top-1 error, %")
    fig.suptitle(column.title, size=10, x=0.01, ha="left")
    figures.legend(fig, axes)
    return fig
