"""Figures of starts: the signal at every layer, the loss of the first steps, whole trainings."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vggrepro.pages import figures, report
from vggrepro.pages.figures import plt
from vggrepro.pages.report import Column
from vggrepro.pages.starts import TRAINED, Records, chance, number, outcome, signal_at
from vggrepro.study import starts, store
from vggrepro.study.records import FirstStepsRecord
from vggrepro.study.starts import DECLARED, NETS, STARTS
from vggrepro.windows import PAPER_CROP

# Dash-dotted: pixels of unit scale.
STYLES: dict[str, dict] = {
    "normal-variance": {"color": "C3"},
    "normal-std": {"color": "C0"},
    "glorot": {"color": "C2"},
    "he": {"color": "C1"},
    "he-scaled": {"color": "C1", "linestyle": "-."},
    "pytorch": {"color": "0.5", "linestyle": "-."},
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
            figures.say_not_run(ax)
            ax.set_title(f"{net}: {what}")
            ax.set_yscale("log")
            if not records:
                ax.tick_params(which="both", left=False, labelleft=False)
            _layer_ticks(ax, net)
        left.set_ylabel("root mean square")
    grid[-1][0].set_xlabel("layers by block")
    grid[-1][1].set_xlabel("layers by block")
    figures.legend(fig, list(grid.flat))
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
    ax.set_xticks(first, [names[i].removeprefix("conv").removesuffix("_1") for i in first])
    ax.set_xlim(-0.5, len(names) - 0.5)


def losses(records: Records) -> Figure:
    """The loss of each step and what became of it, a panel per start and net.

    A moving mean over ten steps; the grey line is chance. What is far above it is off the panel,
    so where a training diverged the panel says from which loss and when.
    """
    size = {"figsize": (5.8, 1 + 0.9 * len(STARTS)), "sharex": True, "sharey": True}
    fig, grid = plt.subplots(len(STARTS), len(NETS), **size)
    for row, name in zip(grid, STARTS, strict=True):
        for ax, net in zip(row, NETS, strict=True):
            found = records.get(f"{net}-{name}", [])
            for record in found:
                _loss(ax, record, STYLES[name]["color"])
            known = f"{net}-{name}" in DECLARED
            said = "\n".join(dict.fromkeys(map(_became, found))) or ("not run" if known else "–")
            ax.text(0.97, 0.94, said, transform=ax.transAxes, ha="right", va="top", size=8)
        label = STARTS[name].label.replace(" of ", "\nof ").replace(" on ", "\non ")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for ax, net in zip(grid[0], NETS, strict=True):
        ax.set_title(f"net {net}")
    for ax in grid[-1]:
        ax.set_xlabel("step")
        ax.xaxis.set_major_locator(MaxNLocator(3, integer=True, prune="upper"))
    if not records:
        grid[0][0].set_yticks([])
    fig.supylabel("loss, nats", size=10)
    return fig


def _loss(ax: Axes, record: FirstStepsRecord, colour: str) -> None:
    found, level = np.array(record.losses), chance(record)
    smooth = np.array([found[max(0, i - 9) : i + 1].mean() for i in range(len(found))])
    ax.axhline(level, color="0.6", linewidth=1, zorder=1)
    ax.plot(1 + np.arange(len(found)), np.minimum(smooth, 10 * level), linewidth=1.6, color=colour)
    ax.set_ylim(0, 2 * level)
    ax.set_xlim(0, record.steps)


def _became(record: FirstStepsRecord) -> str:
    """The outcome in a panel's few words."""
    if record.status == "ok" or not record.losses:
        return outcome(record)
    return f"diverged at step {len(record.losses) + 1}\nfrom {number(record.losses[0])}"


def trainings(column: Column) -> Figure:
    """Error by epoch of whole trainings, a panel per net: minival full, training images dashed.

    Lines are means over seeds, bands reach from the lowest to the highest; where a net stalled in
    one of its seeds, each has its own line. What diverged is named in the panel.
    """
    fig, axes = plt.subplots(1, len(NETS), figsize=(5.8, 3.8), sharey=True)
    for ax, net in zip(axes, NETS, strict=True):
        for label, end in TRAINED:
            if end == "S256" and net == "A":
                continue
            experiment = column.experiment(f"{net}-{end}")
            found = store.trainings(column.results_dir, experiment).values()
            good = [record for record in found if record.status == "ok"]
            colour = STYLES["from-A" if end == "S256" else end]["color"]
            lines = (("minival_error", "-", label), ("train_error", "--", None))
            for field, line, named in lines if good else ():
                values = np.array([[getattr(epoch, field) for epoch in r.curve] for r in good])
                epochs = 1 + np.arange(values.shape[1])
                singly = report.at_chance(column.results_dir, experiment)
                for some in np.split(values, len(values)) if singly else [values]:
                    figures.band(ax, epochs, some, line, colour, named)
                    named = None
            if len(good) < len(found):
                ax.plot([], [], "x", color=colour, label=f"{label}: diverged")
        figures.say_not_run(ax)
        ax.set_title(net)
        ax.set_xlabel("epoch")
        if ax.has_data():
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("top-1 error, %")
    fig.suptitle(column.title, size=10, x=0.01, ha="left")
    figures.legend(fig, list(axes))
    return fig
