"""Chapter 10, on starts: outcomes of first steps, whole trainings, and what follows from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vggrepro.pages import figures, report
from vggrepro.pages.figures import plt
from vggrepro.pages.report import Column, Options
from vggrepro.study import starts, store
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import RANDOM_STARTS, RUNS
from vggrepro.study.records import FirstStepsRecord
from vggrepro.study.starts import (
    DECLARED,
    LEARNS,
    NETS,
    STARTS,
    Records,
    chance,
    first_step,
    last_loss,
    load,
    outcome,
    signal_at,
)
from vggrepro.study.store import RECORDED
from vggrepro.windows import PAPER_CROP

RECORDED_DATA = "imagenette"
COMMAND = "vggrepro first-steps --data imagenette --data-dir DATA --results-dir results"


def every(records: Records) -> list[FirstStepsRecord]:
    """All records, of every net and start."""
    return [record for of_name in records.values() for record in of_name]


def shown(options: Options) -> Records:
    """The records of a rerun if it has any, else those of the recorded study."""
    rerun = options.shows_rerun and load(options.results_dir, options.data)
    return rerun or load(RECORDED, RECORDED_DATA)


# --- tables ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """Two digits, and powers of ten as people write them: `0.21`, `7.2 × 10⁻⁵`."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{float(f'{value:.2g}'):g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def gains_table() -> pd.DataFrame:
    """Expected gain of single layers, by their channels, and of whole nets, by arithmetic alone."""
    rows, fans = {}, starts.fans("E")
    for init in dict.fromkeys(start.init for start in STARTS.values()):
        row = {
            "3 → 64": starts.gain(init, *fans["conv1_1"]),
            "64 → 64": starts.gain(init, *fans["conv1_2"]),
            "128 → 128": starts.gain(init, *fans["conv2_2"]),
            "512 → 512": starts.gain(init, *fans["conv5_1"]),
            "all of A": whole_gain("A", init),
            "all of E": whole_gain("E", init),
        }
        label = "PyTorch's own" if init == "pytorch" else _label(init)
        rows[_in_a_table(label)] = {
            name.replace(" ", "\u00a0"): number(value) for name, value in row.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def whole_gain(net: str, init: str, **sizes: object) -> float:
    """By how much a net multiplies the root mean square from its input to its logits."""
    return starts.expected_activations(net, init, 1.0, **sizes)[-1]


def _in_a_table(label: str) -> str:
    """The label of a start, narrow enough for a phone."""
    return label.removeprefix("normal of ").replace(" on ", "<br>on ")


def _label(init: str) -> str:
    return next(s.label for s in STARTS.values() if s.init == init)


def first_steps_table(records: Records) -> pd.DataFrame:
    """Size of the first step and what became of the net: a row per start, a column per net.

    The mean of the size over seeds, and every outcome there was.
    """
    table = {}
    for name, start in STARTS.items():
        cells = {}
        for net in NETS:
            found = records.get(f"{net}-{name}", [])
            known = f"{net}-{name}" in DECLARED
            words = dict.fromkeys(map(outcome, found))
            size = f"{number(np.mean([first_step(r) for r in found]))}<br>" if found else ""
            cells[net] = size + ", ".join(words) if found else "not run" if known else "–"
        table[_in_a_table(start.label)] = cells
    return pd.DataFrame.from_dict(table, orient="index")


TRAINED = tuple(
    (STARTS[name].label, "S256" if name == "from-A" else name)
    for name in (*RANDOM_STARTS, "from-A")
)
"""Starts of the trained comparison, with the end of their runs' names."""


def trained_runs() -> tuple[str, ...]:
    """Every run of the trained comparison, net A of which D and E take layers included."""
    return tuple(f"{net}-{end}" for _, end in TRAINED for net in NETS)


def trained_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Top-1 errors by centre crop and flip, %: a row per column and start, a column per net.

    A column in which nothing is recorded has no rows.
    """
    table = {}
    for column in columns:
        rows = {
            label: {net: _trained_cell(column, net, end) for net in NETS} for label, end in TRAINED
        }
        if {cell for cells in rows.values() for cell in cells.values()} - {"not run", "–"}:
            name = column.title.split(": ")[-1]
            table |= {f"{name}:<br>{label}": cells for label, cells in rows.items()}
    return pd.DataFrame.from_dict(table, orient="index", columns=NETS)


def _trained_cell(column: Column, net: str, end: str) -> str:
    run = f"{net}-{end}"
    if end == "S256" and RUNS[run].init_from is None:
        return "–"
    found = report.recorded(column.results_dir, column.experiment(run), report.centre_crop(run))
    return found.replace(", n = ", "<br>n = ")


def trained_sentence(column: Column) -> str:
    """How much of the trained comparison there is, and how the rest would be run."""
    runs = [run for run in trained_runs() if run != "A-S256"]
    found = [store.trainings(column.results_dir, column.experiment(run)) for run in runs]
    missing = [run for run, seeds in zip(runs, found, strict=True) if not seeds]
    diverged = [
        f"{run} (seed {seed}, {record.reason})"
        for run, seeds in zip(runs, found, strict=True)
        for seed, record in seeds.items()
        if record.status == "diverged"
    ]
    said = f"**{column.title}**: {len(runs) - len(missing)} of {len(runs)} runs are recorded"
    said += f"; diverged: {', '.join(diverged)}." if diverged else "; none diverged."
    if len(missing) == len(runs):
        said = f"**{column.title}**: not run."
    if missing and column.data in (CLAIMS["glorot"].data, "synthetic"):
        said += (
            f" What is missing: `vggrepro run {' '.join(missing)} --budget {column.budget} "
            f"--data {column.data} --data-dir DATA`."
        )
    return said


def provenance_table(records: Records) -> pd.DataFrame:
    """Where the first steps come from, a line each."""
    rows = [
        {
            "start": f"{r.run}, seed {r.seed}",
            "commit": r.provenance.commit[:8] + (" (modified)" if r.provenance.dirty else ""),
            "torch": r.provenance.versions["torch"],
            "on": r.provenance.processor,
            "precision": r.precision,
            "minutes": f"{r.provenance.wall_seconds / 60:.1f}",
            "result digest": r.result_digest[:12],
        }
        for r in every(records)
    ]
    if not rows:
        return pd.DataFrame({"first steps: not run": []})
    return pd.DataFrame(rows).set_index("start").rename_axis(index=None, columns="start")


# --- sentences ------------------------------------------------------------------------------


def how_measured(records: Records) -> str:
    """Sizes, images, precision and machine of the records, in words."""
    if not records:
        return f"Not run yet: `{COMMAND}`."
    found = every(records)
    first, seeds = found[0], sorted({record.seed for record in found})
    e = first.experiment
    width = e["width"]
    minutes = sum(record.provenance.wall_seconds for record in found) / 60
    data = report.DATA_NAMES[first.experiment["data"]]
    share = "at full width" if width == 1 else f"at {width:g} of the width"
    return (
        f"Measured {share} on {data}: the signal on {first.before[0].images} of them, in float32; "
        f"then {first.steps} steps of {e['batch_size']} crops of {e['crop']} px in "
        f"{first.precision}, with the paper's rate, momentum, weight decay and dropout. "
        f"{len(records)} of {len(DECLARED)} starts, "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, {minutes:.0f} minutes on "
        f"{first.provenance.processor}, {first.provenance.threads} "
        f"thread{'s' * (first.provenance.threads > 1)}."
    )


def ratio_sentence(records: Records, net: str = "E") -> str:
    """From the first layer to the last: what each rule does to the signal of a net, in words."""
    parts = []
    for start in ("normal-variance", "normal-std", "glorot", "he"):
        for record in records.get(f"{net}-{start}", [])[:1]:
            signal = signal_at(record, PAPER_CROP)
            parts.append(
                f"{STARTS[start].label}: activations × "
                f"{number(signal.activation[-2] / signal.input)}, gradients × "
                f"{number(signal.gradient[0] / signal.gradient[-1])}"
            )
    if not parts:
        return f"Not run yet: `{COMMAND}`."
    return (
        f"What net {net} makes of the signal, measured: of the input's size by fc7, and of the "
        f"logits' gradient on the way back to conv1_1. {'; '.join(parts)}."
    )


def torch_default_sentence() -> str:
    """What PyTorch's own start comes to, by arithmetic."""
    gain = starts.gain("pytorch", *starts.fans("E")["conv5_1"])
    return (
        "**PyTorch's own start**, which a `Conv2d` or `Linear` has until somebody changes it, is "
        f"none of these: every layer's gain is {gain:.2f}, whatever its size, and net E's "
        f"{len(starts.fans('E'))} layers together have {number(whole_gain('E', 'pytorch'))} "
        "(biases left aside, which are not zero there)."
    )


def pair_sentence(records: Records, same: str, *names: str) -> str:
    """What became of nets that differ in one thing, as evidence for a piece of advice."""
    said = []
    for name in names:
        losses: dict[str, list[str]] = {}
        for record in records.get(name, []):
            known = [f"{last_loss(record):.2f}"] if record.status == "ok" else []
            losses.setdefault(_became(record), []).extend(known)
        words = ", ".join(
            word + (f" (last loss {', '.join(known)})" if known else "")
            for word, known in losses.items()
        )
        said.append(f"{STARTS[name.split('-', 1)[1]].label} → {words or 'not run'}")
    missing = [name for name in names if name not in records]
    command = COMMAND.replace("first-steps", f"first-steps {' '.join(missing)}")
    return f"*{same}:* {'; '.join(said)}." + (f" Missing: `{command}`." if missing else "")


def learns_sentence(records: Records) -> str:
    """What it takes to be called a net that learns, and what chance is."""
    text = (
        "A net *learns* if its loss, a mean over the last tenth of the steps, is below "
        f"{LEARNS:.0%} of chance, the logarithm of the number of classes"
    )
    levels = sorted({f"{chance(record):.2f}" for record in every(records)})
    return text + (f": {', '.join(levels)} here." if levels else ".")


def scaling_sentence(records: Records, name: str = "D-he-scaled") -> str:
    """What to do next if scaled pixels alone did not make that net learn; nothing if they did."""
    failed = [record for record in records.get(name, []) if outcome(record) != "learns"]
    if not failed:
        return ""
    return (
        f"Scaling alone was not enough at a rate of {failed[0].experiment['learning_rate']:g}: "
        "see step 6."
    )


def _became(record: FirstStepsRecord) -> str:
    """The outcome, and the loss that a net at chance had before, if it was far above chance."""
    word, peak = outcome(record), max(record.losses, default=0.0)
    if word not in ("at chance", "dead") or peak < 2 * chance(record):
        return word
    return f"{word}, after a loss of {number(peak)} in step {record.losses.index(peak) + 1}"


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
            said = "\n".join(dict.fromkeys(map(_said, found))) or ("not run" if known else "–")
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


def _said(record: FirstStepsRecord) -> str:
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
