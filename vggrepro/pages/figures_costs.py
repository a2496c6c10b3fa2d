"""Figures of the chapter on costs: nets, speeds against targets, growth of training time."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro.bench import planner, targets
from vggrepro.bench.workload import PUBLISHED
from vggrepro.pages import costs
from vggrepro.pages.figures import legend, panels, plt, say_not_run
from vggrepro.study.records import BenchRecord

WIDTHS = (0.25, 0.5, 1.0)
SAME = ("config", "data", "epochs", "width", "train_scale")
CROPS = (32, 64, 96, 128, 160, 192, 224)


def nets(record: BenchRecord | None) -> Figure:
    """Time and kept memory of a training step of one image, each against its multiply-adds."""
    fig, axes = panels(2, 3.2)
    for net in costs.NETS:
        found = costs.step_of(record, net)
        if found is None:
            continue
        times, kept = found
        work = costs.multiply_adds(net) / 1e9
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
    titles = {"×": "times as fast as the usual way", "%": "percent of what the machine can do"}
    for ax, (unit, title) in zip(axes, titles.items(), strict=True):
        chosen = [t for t in targets.TARGETS if t.unit == unit and t.goals][::-1]
        for place, target in enumerate(chosen):
            values = None if record is None else target.values(record)
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
    of = target.side.of
    what = LABELS[target.side.name]
    if "protocol" in of:
        return f"{what},\n{of['protocol']}"
    if of.get("width"):
        return f"{what},\n" + (
            "full width" if of["width"] == 1 else f"{of['width']:g} of the width"
        )
    return f"{what},\nfull width"


def growth(found: planner.Recorded | None, record: BenchRecord | None) -> Figure:
    """Hours of training D on the recorded machine: against the crop, against the images.

    The line of the recorded width is fitted on its trainings, dots are those of D. The others
    are that line times what `bench` measured of the width; without it they are not drawn.
    """
    fig, axes = panels(2, 3.6)
    counts = np.geomspace(PUBLISHED["imagenette"].train, PUBLISHED["imagenet"].train, 20)
    for place, width in enumerate(WIDTHS if found else ()):
        factor = costs.width_factor(record, width)
        if factor is None:
            continue
        seconds = planner.fitted(found.trainings)
        look = {"color": f"C{place}", "label": _share(width)}
        by_crop = [costs.hours(seconds, costs.declared_at(c)) for c in CROPS]
        axes[0].plot(CROPS, factor * np.array(by_crop), **look)
        base = costs.declared_at(64)
        by_count = [costs.hours(seconds, base, n) for n in counts]
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
        e, line = job.experiment, costs.declared_at(job.experiment.crop)
        if all(getattr(e, name) == getattr(line, name) for name in SAME):
            hours = job.seconds / 3600
            axes[0].plot(e.crop, hours, "o", color="0.2", alpha=0.6, label="recorded")
            images = PUBLISHED[e.data].train / 1e3
            axes[1].plot(images, hours, "o", color="0.2", alpha=0.6, label="recorded")
