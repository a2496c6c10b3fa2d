"""Chapter 11, on costs: nets, speeds against targets, testing, growth, and what was not run."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro import UserError
from vggrepro.bench import planner, targets, workload
from vggrepro.bench.planner import DEVICES
from vggrepro.pages import report
from vggrepro.pages.figures import legend, panels, plt, say_not_run
from vggrepro.pages.report import Column
from vggrepro.study import store
from vggrepro.study.budgets import PUBLISHED, at_budget
from vggrepro.study.experiments import ROWS, RUNS, Experiment
from vggrepro.study.records import BenchRecord

NETS = tuple(dict.fromkeys(RUNS[row.run].config for row in ROWS if row.table == 3))
QUARTER = 0.25  # the width of every recorded training


def bench(results_dir: Path) -> BenchRecord | None:
    """The record of `vggrepro bench speed` in a folder, None if there is none."""
    path = store.bench_path(results_dir, "speed")
    return store.read(path) if path.exists() else None


def bench_of(options: report.Options) -> BenchRecord | None:
    """What the chapter shows: the rerun's measurements if it has any, else the recorded ones."""
    rerun = bench(options.results_dir) if options.shows_rerun else None
    return rerun or bench(store.RECORDED)


# --- nets ---------------------------------------------------------------------------------


def _net(net: str, budget: str = "reduced") -> tuple:
    data = "imagenette" if budget == "reduced" else None
    return workload.net_of(at_budget(f"{net}-S256", budget, data))


def step_of(record: BenchRecord | None, net: str) -> tuple[np.ndarray, float] | None:
    """Milliseconds of a step in every round and bytes kept, both for one image."""
    times = targets.values(record, "training step", net=net)
    kept = targets.values(record, "kept", net=net)
    return None if times is None or kept is None else (times, float(kept[0]))


def nets_table(record: BenchRecord | None) -> pd.DataFrame:
    """Each net: its arithmetic at the paper's size and at ours, its time and memory measured."""
    table = {}
    for net in NETS:
        full, ours = _net(net, "full"), _net(net)
        precision = record.settings["precision"] if record else "bf16"
        found = step_of(record, net)
        table[net] = {
            "weights, million (224 px)": f"{sum(layer.parameters for layer in full) / 1e6:.1f}",
            "step, GMAC (224 px)": f"{workload.training_step(full).multiply_adds / 1e9:.1f}",
            "step, GMAC (64 px)": f"{workload.training_step(ours).multiply_adds / 1e9:.3f}",
            "step, ms (64 px)": "not measured" if found is None else f"{np.median(found[0]):.2f}",
            "kept, kB, by arithmetic": f"{planner.memory(ours, precision).kept / 1e3:,.0f}",
            "kept, kB, as autograd counts": "not measured"
            if found is None
            else f"{found[1] / 1e3:,.0f}",
        }
    return pd.DataFrame.from_dict(table, orient="index")


def trainings_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Training speed, time and peak memory of each net's recorded runs, means over seeds."""
    table = {}
    for column in columns:
        rows = column.rows()
        for run, of in rows[(rows.kind == "train") & (rows.status == "ok")].groupby("run"):
            if run in RUNS and run in [f"{net}-S256" for net in NETS]:
                table.setdefault(RUNS[run].config, {})[column.title] = (
                    f"{of.images_per_second.mean():,.0f} images/s<br>"
                    f"{of.seconds.mean() / 60:.1f} min, {of.peak_memory_mib.max():,.0f} MiB<br>"
                    f"n = {len(of)}"
                )
    return pd.DataFrame.from_dict(table, orient="index").reindex(sorted(table)).fillna("–")


# --- speed --------------------------------------------------------------------------------


def speed_table(record: BenchRecord | None) -> pd.DataFrame:
    """What `vggrepro bench` measured, beside the targets; few columns, for a phone."""
    table = []
    for row in targets.rows(record):
        against = "" if row["against"] == "–" else f"<br>against {row['against']}"
        met = "" if row["met"] == "–" else f"<br>met: {row['met']}"
        measured = row["measured"].replace(" (", "<br>(")
        cells = (measured, row["what"] + against, row["target"] + met)
        table.append(dict(zip(("measured", "of what", "target"), map(_code, cells), strict=True)))
    frame = pd.DataFrame(table).set_index("measured")
    return frame.rename_axis(index=None, columns="measured")


def _code(text: str) -> str:
    """Backticks to HTML: cells are not Markdown."""
    return re.sub("`(.*?)`", r"<code>\1</code>", text)


# --- growth -------------------------------------------------------------------------------


def measured_rates(results_dir: Path) -> planner.Recorded | None:
    """The trainings of one machine in a folder; None if there are none on photos."""
    try:
        return planner.recorded(results_dir)
    except UserError:
        return None


def declared_at(crop: int) -> Experiment:
    """D from scratch on Imagenette as at `reduced`, but for the side of the crop."""
    return replace(at_budget("D-S256", "reduced", "imagenette"), crop=crop)


def hours(seconds: planner.Seconds, experiment: Experiment, images: int | None = None) -> float:
    """Hours of a training; on so many training images if they are given."""
    share = 1.0 if images is None else images / workload.data_size(experiment).train
    return seconds(workload.training(experiment).times(share)) / 3600


def width_factor(record: BenchRecord | None, width: float) -> float | None:
    """How many times as long D takes as at a quarter of the width, None if it is not known.

    `bench` measured both ends at 64 px; between them time is taken to be a power of the width.
    The recorded trainings cannot say: all of them are of one width.
    """
    if width == QUARTER:
        return 1.0
    quarter, full = (
        targets.values(record, "training", side="vggrepro", width=w) for w in (QUARTER, 1.0)
    )
    if quarter is None or full is None:
        return None
    slower = np.median(quarter) / np.median(full)
    return slower ** (np.log(width / QUARTER) / np.log(1 / QUARTER))


def growth_sentence(found: planner.Recorded | None, record: BenchRecord | None) -> str:
    """What doubling the images, the crop or the width does to the time of a training."""
    if found is None:
        return "No training on photos is recorded: `vggrepro run D-S256 --budget reduced`."
    seconds, crop = planner.fitted(found.trainings), at_budget("D-S256", "reduced").crop
    here, twice = declared_at(crop), declared_at(2 * crop)
    of_crop = hours(seconds, twice) / hours(seconds, here)
    of_width = width_factor(record, 2 * QUARTER)
    said = "not measured" if of_width is None else f"{of_width:.1f} times the time"
    return (
        f"Fitted on {len(found.trainings)} recorded trainings ({found.machine}): twice the images, "
        f"twice the time; twice the crop, {of_crop:.1f} times the time. "
        f"Twice the width, from the rates that `vggrepro bench` measured: {said}."
    )


# --- what was not run ---------------------------------------------------------------------


def devices_table() -> pd.DataFrame:
    """The whole study, by planner: hours at `gpu` on one card, days at `full` on eight."""
    table = {}
    for card in DEVICES.values():
        peak = f"{card.flops / 1e12:,.0f} ({card.precision})"
        row = {"GiB": f"{card.memory_gib:g}", "peak, TFLOP/s": peak}
        for budget, devices in (("gpu", 1), ("full", 8)):
            rate = planner.on_device(card, devices)
            planned = planner.plan(budget, None, card.precision, rate, rate, devices=devices)
            total, longest = planned.loc["total", "all h"], planned["train h"].max()
            unit, per = ("h", 1) if budget == "gpu" else ("days", 24)
            on = f"{devices} card{'s' * (devices > 1)}"
            row[f"{budget}: all runs on {on}, {unit}"] = f"{total / per:,.1f}"
            row[f"{budget}: longest training, {unit}"] = f"{longest / per:,.1f}"
        table[card.name] = row
    return pd.DataFrame.from_dict(table, orient="index")


# --- figures ---------------------------------------------------------------------------------

WIDTHS = (0.25, 0.5, 1.0)
SAME = ("config", "data", "epochs", "width", "train_scale")
CROPS = (32, 64, 96, 128, 160, 192, 224)


def nets(record: BenchRecord | None) -> Figure:
    """Time and kept memory of a training step of one image, each against its multiply-adds."""
    fig, axes = panels(2, 3.2)
    for net in NETS:
        found = step_of(record, net)
        if found is None:
            continue
        times, kept = found
        work = workload.training_step(_net(net)).multiply_adds / 1e9
        colour = "C1" if net == "A-LRN" else "C0"
        axes[0].plot([work] * len(times), times, "o", color=colour, alpha=0.6)
        axes[0].annotate(net, (work, times.max()), (0, 6), textcoords="offset points", ha="center")
        axes[1].plot(work, kept / 1e3, "o", color=colour)
        axes[1].annotate(net, (work, kept / 1e3), (0, 6), textcoords="offset points", ha="center")
    for ax, label in zip(axes, ("time, ms an image", "kept, kB an image"), strict=True):
        say_not_run(ax)
        if ax.lines:
            ax.margins(x=0.15)
            ax.set_ylim(0, 1.15 * ax.get_ylim()[1])
        ax.set_ylabel(label)
        ax.set_xlabel("GMAC of a step, an image")
    return fig


def speeds(record: BenchRecord | None) -> Figure:
    """Every ratio with a goal, a dot for each round and a tick at each goal; a panel per unit."""
    fig, axes = plt.subplots(2, 1, figsize=(5.8, 4.6))
    titles = {"×": "times as fast as the usual way", " %": "percent of what the machine can do"}
    for ax, (unit, title) in zip(axes, titles.items(), strict=True):
        chosen = [t for t in targets.TARGETS if t.unit == unit and t.goals][::-1]
        for place, target in enumerate(chosen):
            values = target.values(record)
            if values is not None:
                ax.plot(values, [place] * len(values), "o", color="C0", alpha=0.7, label="a round")
            ax.plot(target.goals, [place] * len(target.goals), "|", color="C3", ms=18, label="goal")
        ax.set_yticks(range(len(chosen)), [_label(target) for target in chosen])
        ax.set_ylim(-0.6, len(chosen) - 0.4)
        ax.set_xlim(left=0)
        ax.set_xlabel(title if record else f"{title} (not measured yet)")
    legend(fig, axes)
    return fig


LABELS = {"training": "training", "testing": "testing", "arithmetic": "forward, backward"}


def _label(target: targets.Target) -> str:
    size = _share(target.of.get("width", 1))
    return f"{LABELS[target.name]},\n{target.of.get('protocol', size)}"


def growth(found: planner.Recorded | None, record: BenchRecord | None) -> Figure:
    """Hours of training D on the recorded machine: against the crop, against the images.

    The line of the recorded width is fitted on its trainings, dots are those of D. The others
    are that line times what `bench` measured of the width; without it they are not drawn.
    """
    fig, axes = panels(2, 3.6)
    counts = np.geomspace(PUBLISHED["imagenette"].train, PUBLISHED["imagenet"].train, 20)
    for place, width in enumerate(WIDTHS if found else ()):
        factor = width_factor(record, width)
        if factor is None:
            continue
        seconds = planner.fitted(found.trainings)
        look = {"color": f"C{place}", "label": _share(width)}
        by_crop = [hours(seconds, declared_at(c)) for c in CROPS]
        axes[0].plot(CROPS, factor * np.array(by_crop), **look)
        base = declared_at(64)
        by_count = [hours(seconds, base, n) for n in counts]
        axes[1].plot(counts / 1e3, factor * np.array(by_count), **look)
    if found:
        _recorded_dots(axes, found)
    ticks = ([32, 64, 128, 224], [10, 100, 1000])
    for ax, places in zip(axes, ticks, strict=True):
        say_not_run(ax)
        if ax.lines:
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(places, [f"{place:,}" for place in places])
            ax.set_xticks([], minor=True)
            ax.yaxis.set_major_formatter("{x:g}")
    axes[0].set_xlabel("crop, px")
    axes[1].set_xlabel("training images, thousands")
    axes[0].set_ylabel("hours for one training of D")
    legend(fig, axes)
    return fig


def _share(width: float) -> str:
    return "full width" if width == 1 else f"{width:g} of the width"


def _recorded_dots(axes: Sequence[Axes], found: planner.Recorded) -> None:
    """Recorded trainings that the lines are about: D, as many epochs, on Imagenette."""
    for job in found.trainings:
        e, line = job.experiment, declared_at(job.experiment.crop)
        if all(getattr(e, name) == getattr(line, name) for name in SAME):
            hours = job.seconds / 3600
            axes[0].plot(e.crop, hours, "o", color="0.2", alpha=0.6, label="recorded")
            images = PUBLISHED[e.data].train / 1e3
            axes[1].plot(images, hours, "o", color="0.2", alpha=0.6, label="recorded")
