"""Chapter 11, on costs: nets, speeds against the usual way, growth, and what was not run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vggrepro.bench import planner
from vggrepro.bench.planner import DEVICES
from vggrepro.files import beside
from vggrepro.pages import report
from vggrepro.pages.figures import legend, panels
from vggrepro.pages.report import Column
from vggrepro.study import paper, store, workload
from vggrepro.study.budgets import PUBLISHED, at_budget
from vggrepro.study.experiments import RUNS, Experiment
from vggrepro.study.records import BenchRecord

QUARTER = 0.25  # the width of every recorded training


def bench_of(rerun: Column | None) -> BenchRecord:
    """What `vggrepro bench speed` measured: the rerun's if it has any, else what is recorded."""
    own = rerun and store.bench_path(rerun.results_dir, "speed")
    return store.read(own if own and own.exists() else store.bench_path(store.RECORDED, "speed"))


# --- nets ---------------------------------------------------------------------------------


def _net(net: str, budget: str = "reduced") -> tuple:
    data = "imagenette" if budget == "reduced" else None
    return workload.net_of(at_budget(f"{net}-S256", budget, data))


def step_of(record: BenchRecord, net: str) -> tuple[np.ndarray, float]:
    """Milliseconds of a step in every round and bytes kept, both for one image."""
    return record.values("training step", net=net), record.values("kept", net=net)[0]


def nets_table(record: BenchRecord) -> pd.DataFrame:
    """Each net: its arithmetic at the paper's size and at ours, its time and memory measured."""
    table = {}
    for net in paper.TABLE_1:
        full, ours = _net(net, "full"), _net(net)
        times, kept = step_of(record, net)
        counted = planner.memory(ours, record.settings["precision"]).kept
        table[net] = {
            "weights, million (224 px)": f"{sum(layer.parameters for layer in full) / 1e6:.1f}",
            "step, GMAC (224 px)": f"{workload.training_step(full).multiply_adds / 1e9:.1f}",
            "step, GMAC (64 px)": f"{workload.training_step(ours).multiply_adds / 1e9:.3f}",
            "step, ms (64 px)": f"{np.median(times):.2f}",
            "kept, kB, by arithmetic (64 px)": f"{counted / 1e3:,.0f}",
            "kept, kB, as autograd counts (64 px)": f"{kept / 1e3:,.0f}",
        }
    return pd.DataFrame.from_dict(table, orient="index")


def trainings_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Training speed, time and peak memory of each net's recorded runs, means over seeds."""
    table = {}
    for column in columns:
        rows = column.rows()
        for run, of in rows[(rows.kind == "train") & (rows.status == "ok")].groupby("run"):
            if run in [f"{net}-S256" for net in paper.TABLE_1]:
                table.setdefault(RUNS[run].config, {})[column.title] = (
                    f"{of.images_per_second.mean():,.0f} images/s<br>"
                    f"{of.seconds.mean() / 60:.1f} min, {of.peak_memory_mib.max():,.0f} MiB<br>"
                    f"n = {len(of)}"
                )
    return pd.DataFrame.from_dict(table, orient="index").reindex(sorted(table)).fillna("–")


# --- speed --------------------------------------------------------------------------------


SPEEDS: list[dict] = beside(__file__)["speeds"]


def speeds(record: BenchRecord) -> pd.DataFrame:
    """What `vggrepro bench` measured: `what`, `against`, `unit`, `rounds`.

    A ratio is taken within a round, in which both sides had a turn. What was not measured has no
    row.
    """
    rows = []
    for said in SPEEDS:
        name, of = said["measured"], said.get("of", {})
        try:
            rounds = record.values(name, **of)
            if "over" in said:
                rounds = rounds / record.values(name, **{**of, "side": said["over"]})
        except KeyError:
            continue
        percent = 100 if said["unit"] == " %" else 1
        rows.append((said["what"], said.get("against", ""), said["unit"], percent * rounds))
    return pd.DataFrame(rows, columns=["what", "against", "unit", "rounds"])


def shown(rounds: np.ndarray, unit: str) -> str:
    """`4.31× (4.10 to 4.52)`: the median, and the range if there were several rounds."""
    middle = f"{_short(np.median(rounds))}{unit}"
    if len(rounds) == 1:
        return middle
    return f"{middle} ({_short(rounds.min())} to {_short(rounds.max())})"


def _short(value: float) -> str:
    """Three digits: 0.412, 4.31, 43.1, 1,431."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{2 - int(np.floor(np.log10(value)))}f}" if value >= 0.1 else f"{value:.2g}"


def speed_table(record: BenchRecord) -> pd.DataFrame:
    """What `vggrepro bench` measured; few columns, for a phone."""
    rows = []
    for row in speeds(record).itertuples():
        against = f"<br>against {row.against}" if row.against else ""
        measured = shown(row.rounds, row.unit).replace(" (", "<br>(")
        rows.append({"measured": measured, "of what": row.what + against})
    return report.table_by("measured", rows).replace("`(.*?)`", r"<code>\1</code>", regex=True)


def speed_lines(record: BenchRecord) -> Iterator[str]:
    """The same for a terminal, and on what it was measured."""
    settings, p = record.settings, record.provenance
    yield (
        f"{settings['data']}, {settings['train_images']:,} training images; {p.processor}, "
        f"{p.threads} threads, {settings['precision']}; {p.wall_seconds:.0f} s in all"
    )
    for row in speeds(record).itertuples():
        against = f", against: {row.against}" if row.against else ""
        yield f"{shown(row.rounds, row.unit):28}{row.what}{against}".replace("`", "")


# --- growth -------------------------------------------------------------------------------


def declared_at(crop: int) -> Experiment:
    """D from scratch on Imagenette as at `reduced`, but for the side of the crop."""
    return replace(at_budget("D-S256", "reduced", "imagenette"), crop=crop)


def hours(seconds: planner.Seconds, experiment: Experiment, images: int | None = None) -> float:
    """Hours of a training; on so many training images if they are given."""
    share = 1.0 if images is None else images / workload.data_size(experiment).train
    return seconds(workload.training(experiment).times(share)) / 3600


def width_factor(record: BenchRecord, width: float) -> float:
    """How many times as long D takes as at a quarter of the width.

    `bench` measured both ends at 64 px; between them time is taken to be a power of the width.
    The recorded trainings cannot say: all of them are of one width.
    """
    quarter, full = (record.values("training", side="vggrepro", width=w) for w in (QUARTER, 1.0))
    slower = np.median(quarter) / np.median(full)
    return slower ** (np.log(width / QUARTER) / np.log(1 / QUARTER))


def growth_sentence(trained: pd.DataFrame, record: BenchRecord) -> str:
    """What doubling the images, the crop or the width does to the time of a training."""
    seconds, crop = planner.fitted(trained), at_budget("D-S256", "reduced").crop
    machine = trained.machine.iloc[0].replace(" 1 threads", " 1 thread")
    of_crop = hours(seconds, declared_at(2 * crop)) / hours(seconds, declared_at(crop))
    return (
        f"Fitted on the {len(trained)} trainings on photos that were made on one kind of machine "
        f"({machine}), pilots included: twice the images, twice the time; twice the crop, "
        f"{of_crop:.1f} times the time. "
        "Twice the width, from the rates that `vggrepro bench` measured: "
        f"{width_factor(record, 2 * QUARTER):.1f} times the time."
    )


# --- what was not run ---------------------------------------------------------------------


def devices_table() -> pd.DataFrame:
    """The whole study, by planner: hours at `gpu` on one card, days at `full` on eight."""
    table = {}
    for card in DEVICES.values():
        peak = f"{card.flops / 1e12:,.0f} ({card.precision})"
        row = {"GiB": f"{card.memory_gib:g}", "peak, TFLOP/s": peak}
        for budget, devices in (("gpu", 1), ("full", 8)):
            planned = planner.plan(budget, None, planner.on_device(card, devices))
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


def nets(record: BenchRecord) -> Figure:
    """Time and kept memory of a training step of one image, each against its multiply-adds."""
    fig, axes = panels(2, 3.2)
    for net in paper.TABLE_1:
        times, kept = step_of(record, net)
        work = workload.training_step(_net(net)).multiply_adds / 1e9
        colour = "C1" if net == "A-LRN" else "C0"
        axes[0].plot([work] * len(times), times, "o", color=colour, alpha=0.6)
        axes[1].plot(work, kept / 1e3, "o", color=colour)
        for ax, found in zip(axes, (times, np.array([kept / 1e3])), strict=True):
            # Above its dots; B's below, since C's are at its right.
            at, shift, va = (found.min(), -6, "top") if net == "B" else (found.max(), 6, "bottom")
            look = {"textcoords": "offset points", "ha": "center", "va": va}
            ax.annotate(net, (work, at), (0, shift), **look)
    for ax, label in zip(axes, ("time, ms an image", "kept, kB an image"), strict=True):
        ax.margins(x=0.15)
        ax.set_ylim(0, 1.15 * ax.get_ylim()[1])
        ax.set(xlabel="GMAC of a step, an image", ylabel=label)
    return fig


def growth(trained: pd.DataFrame, record: BenchRecord) -> Figure:
    """Hours of training D on the recorded machine: against the crop, against the images.

    The line of the recorded width is fitted on its trainings, dots are those of D. The others
    are that line times what `bench` measured of the width.
    """
    fig, axes = panels(2, 3.6)
    counts = np.geomspace(PUBLISHED["imagenette"].train, PUBLISHED["imagenet"].train, 20)
    seconds, base = planner.fitted(trained), declared_at(64)
    by_crop = np.array([hours(seconds, declared_at(crop)) for crop in CROPS])
    by_count = np.array([hours(seconds, base, images) for images in counts])
    for place, width in enumerate(WIDTHS):
        factor, style = width_factor(record, width), ("-", "--", "-.")[place]
        label = "full width" if width == 1 else f"{width:g} of the width"
        look = {"color": f"C{place}", "label": label, "linestyle": style}
        axes[0].plot(CROPS, factor * by_crop, **look)
        axes[1].plot(counts / 1e3, factor * by_count, **look)
    for job in trained.itertuples():
        line = declared_at(job.crop)
        if all(getattr(job, name) == getattr(line, name) for name in SAME):
            for ax, x in zip(axes, (job.crop, PUBLISHED[job.data].train / 1e3), strict=True):
                ax.plot(x, job.seconds / 3600, "o", color="0.2", alpha=0.6, label="recorded")
    for ax, ticks in zip(axes, ([32, 64, 128, 224], [10, 100, 1000]), strict=True):
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter("{x:g}")
    axes[0].set(xlabel="crop, px", ylabel="hours for one training of D")
    axes[1].set_xlabel("training images, thousands")
    legend(fig, axes)
    return fig
