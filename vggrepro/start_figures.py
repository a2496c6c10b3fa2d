"""Figures of starts: the signal at every layer, the loss of the first steps, whole trainings."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro import figures, results, starts
from vggrepro.experiments import PAPER_CROP
from vggrepro.figures import plt
from vggrepro.records import FirstStepsRecord
from vggrepro.report import Column
from vggrepro.start_report import TRAINED, Records, chance, signal_at
from vggrepro.starts import NETS, STARTS

# Blue is the start that was read as the paper's, grey what came after it.
STYLES: dict[str, dict] = {
    "normal-variance": {"color": "C3"},
    "normal-std": {"color": "C0"},
    "glorot": {"color": "C2"},
    "he": {"color": "C1"},
    "he-scaled": {"color": "C1", "linestyle": ":"},
    "pytorch": {"color": "0.5", "linestyle": ":"},
    "from-A": {"color": "C4"},
}


def signals(records: Records) -> Figure:
    """Activations and gradients before the first step at every layer, a row of panels per net.

    At the paper's crop; a start from net A at the crop that this net A has. Dashed lines are what
    `starts.expected_activations` expects.
    """
    fig, grid = plt.subplots(len(NETS), 2, figsize=(5.8, 8.2), sharey="col", squeeze=False)
    for (left, right), net in zip(grid, NETS, strict=True):
        for name in STARTS:
            for record in records.get(f"{net}-{name}", []):
                signal = signal_at(record, PAPER_CROP)
                places = np.arange(len(signal.layers))
                label = STARTS[name].label
                left.plot(places, signal.activation, **STYLES[name], linewidth=1.6, label=label)
                right.plot(places, signal.gradient, **STYLES[name], linewidth=1.6, label=label)
                _expected(left, record, signal.input)
        for ax, what in ((left, "activations"), (right, "gradients")):
            _say_not_run(ax)
            ax.set_title(f"{net}: {what}")
            ax.set_yscale("log")
            _layer_ticks(ax, net)
        left.set_ylabel("root mean square")
    grid[-1][0].set_xlabel("layer")
    grid[-1][1].set_xlabel("layer")
    figures._legend(fig, list(grid.flat))
    return fig


def _expected(ax: Axes, record: FirstStepsRecord, input_rms: float) -> None:
    e = record.experiment
    if e["init_from"]:
        return
    sizes = {"width": e["width"], "hidden": e["hidden"], "num_classes": record.classes}
    crop = signal_at(record, PAPER_CROP).crop
    expected = starts.expected_activations(e["config"], e["init"], input_rms, crop=crop, **sizes)
    colour = STYLES[record.run.split("-", 1)[1]]["color"]
    ax.plot(expected, "--", color=colour, linewidth=0.8, alpha=0.8)


def _layer_ticks(ax: Axes, net: str) -> None:
    names = list(starts.fans(net))
    first = [i for i, name in enumerate(names) if name.endswith("_1") or name == "fc6"]
    short = [names[i].removeprefix("conv").replace("_1", "") for i in first]
    ax.set_xticks(first, [f"conv{s}" if i == 0 else s for i, s in enumerate(short)])
    ax.set_xlim(-0.5, len(names) - 0.5)


def _say_not_run(ax: Axes) -> None:
    if not ax.has_data():
        ax.text(0.5, 0.5, "not run", ha="center", va="center", transform=ax.transAxes)


def losses(records: Records) -> Figure:
    """The loss of each step, a panel per net; chance is marked, what is off the scale points up.

    A moving mean over ten steps; a cross is the last loss before a training diverged.
    """
    fig, axes = plt.subplots(len(NETS), 1, figsize=(5.8, 6.6), sharex=True, sharey=True)
    level = next((chance(r) for found in records.values() for r in found), None)
    for ax, net in zip(axes, NETS, strict=True):
        for place, name in enumerate(STARTS):
            for record in records.get(f"{net}-{name}", []):
                _loss(ax, record, name, place, 2 * level)
        _say_not_run(ax)
        if level is not None:
            ax.axhline(level, color="0.3", linewidth=1)
            ax.set_ylim(0, 2 * level)
            ax.text(1, level, " chance", transform=ax.get_yaxis_transform(), va="center", size=9)
        ax.set_title(net)
        ax.set_ylabel("loss, nats")
    axes[-1].set_xlabel("step")
    figures._legend(fig, list(axes))
    return fig


def _loss(ax: Axes, record: FirstStepsRecord, name: str, place: int, top: float) -> None:
    """One training: its line, and a mark where it leaves the panel or ends."""
    style, label = STYLES[name], STARTS[name].label
    found = np.array(record.losses)
    smooth = np.array([found[max(0, i - 9) : i + 1].mean() for i in range(len(found))])
    ax.plot(1 + np.arange(len(found)), np.minimum(smooth, 10 * top), linewidth=1.4, **style)
    ax.plot([], [], label=label, **style)
    off = np.flatnonzero(found > top)
    if len(off):
        ax.plot(1 + off[0] + 5 * place, 0.95 * top, "^", color=style["color"], clip_on=False)
    if record.status != "ok":
        height = min(found[-1], 0.85 * top) if len(found) else 0.85 * top
        ax.plot(1 + len(found) + 5 * place, height, "x", color=style["color"], clip_on=False)


def trainings(column: Column) -> Figure:
    """Error by epoch of whole trainings, a panel per net: minival full, training images dashed.

    Lines are means over seeds, bands reach from the lowest to the highest. What diverged is named
    in the panel.
    """
    fig, axes = plt.subplots(1, len(NETS), figsize=(5.8, 3.8), sharey=True)
    for ax, net in zip(axes, NETS, strict=True):
        for label, end in TRAINED:
            if end == "S256" and net == "A":
                continue
            experiment = column.experiment(f"{net}-{end}")
            found = results.trainings(column.results_dir, experiment).values()
            good = [record for record in found if record.status == "ok"]
            colour = STYLES["from-A" if end == "S256" else end]["color"]
            for field, line in (("minival_error", "-"), ("train_error", "--")):
                _training(ax, good, field, line, colour, label if line == "-" else None)
            if len(good) < len(found):
                ax.plot([], [], "x", color=colour, label=f"{label}: diverged")
        figures._say_not_run(ax)
        ax.set_title(net)
        ax.set_xlabel("epoch")
    axes[0].set_ylabel("top-1 error, %")
    figures._legend(fig, list(axes))
    return fig


def _training(
    ax: Axes, good: Sequence, field: str, line: str, colour: str, label: str | None
) -> None:
    if not good:
        return
    values = np.array([[getattr(epoch, field) for epoch in r.curve] for r in good])
    epochs = 1 + np.arange(values.shape[1])
    ax.plot(epochs, values.mean(0), line, color=colour, label=label)
    ax.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
