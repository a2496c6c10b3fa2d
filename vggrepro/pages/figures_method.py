"""Figures of how claims are decided, and of a rerun beside the recorded study."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro.pages.figures import plt
from vggrepro.pages.power import words
from vggrepro.study.compare import Compared, Comparison
from vggrepro.study.rules import Interval, Rule, Word, deciding, verdict

COLOURS: dict[Word, str] = {
    "holds and matters": "C2",
    "holds": "C0",
    "negligible": "C4",
    "inconclusive": "0.5",
    "contradicted": "C3",
    "too few seeds": "0.7",
}
INTERVAL_RULES: tuple[Rule, ...] = ("lower", "not worse", "same")

MOVED = {"the same": "C2", "within": "C0", "beyond": "C3", "unknown": "0.5"}


def moved(found: Comparison | None) -> Figure:
    """Rerun minus recorded by centre crop, a line for each run: points, with 95 % intervals."""
    rows = [
        row
        for row in (found.like if found else [])
        if row.key.evaluation.startswith("centre-crop-") and row.shared
    ]
    fig, ax = plt.subplots(figsize=(5.8, 1.4 + 0.24 * max(len(rows), 3)))
    for place, row in enumerate(reversed(rows)):
        _one_moved(ax, place, row)
    if not rows:
        why = "not run" if found is None else "nothing alike"
        ax.text(0.5, 0.5, why, ha="center", va="center", transform=ax.transAxes)
        ax.set_xticks([])
    ax.axvline(0, color="0.3", linewidth=1)
    labels = [f"{row.key.run}, {row.key.data}" for row in reversed(rows)]
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(-0.8, max(len(rows), 1) - 0.2)
    ax.set_xlabel("rerun minus recorded, points of top-1 error")
    return fig


def _one_moved(ax: Axes, place: int, row: Compared) -> None:
    colour = next(c for word, c in MOVED.items() if word in row.moved)
    by_seed = [row.second[seed] - row.first[seed] for seed in row.shared]
    ax.plot(by_seed, [place] * len(by_seed), "o", color=colour, alpha=0.5, markersize=4)
    error = row.interval.half_width if row.interval else 0.0
    ax.errorbar(np.mean(by_seed), place, xerr=error, fmt="|", color=colour, capsize=3)


# --- how an interval is called --------------------------------------------------------------

# (estimate, half-width) in units of what matters: far, near, across, inside, on either side.
SHAPES = (
    *((2.0, 0.6), (0.9, 0.5), (0.45, 0.3), (0.1, 0.5)),
    *((0.4, 1.0), (-0.3, 1.0), (-0.45, 0.3), (-1.6, 0.7)),
)


def called(rules: Sequence[Rule] = INTERVAL_RULES) -> Figure:
    """The same intervals under each rule, with the word that the rule gives each."""
    fig, axes = plt.subplots(len(rules), 1, figsize=(5.8, 2.3 * len(rules)), sharex=True)
    for ax, rule in zip(np.atleast_1d(axes), rules, strict=True):
        ax.axvspan(-1, 1, color="0.92", zorder=0)
        ax.axvline(0, color="0.3", linewidth=1)
        for place, (estimate, half_width) in enumerate(reversed(SHAPES)):
            # Of many degrees of freedom, so wide that the rule's own interval is as drawn.
            unit = Interval(estimate, 1.0, 10**6, 5)
            interval = replace(unit, standard_error=half_width / deciding(unit, rule).half_width)
            word = verdict(interval, rule, matters=1.0).word
            colour = COLOURS[word]
            ax.errorbar(estimate, place, xerr=half_width, fmt="o", color=colour, capsize=3)
            ax.text(3.1, place, word, color=colour, va="center")
        ax.set_title(f"rule “{rule}”", loc="left")
        ax.set_yticks([])
        ax.set_xlim(-2.6, 5.2)
        ax.set_xticks([-2, -1, 0, 1, 2], ["−2", "−matters", "0", "matters", "2"])
    np.atleast_1d(axes)[-1].set_xlabel("difference, in units of what matters")
    return fig


def simulated(
    known: tuple[Interval, float] | None, rules: Sequence[Rule] = INTERVAL_RULES
) -> Figure:
    """Share of simulated studies that earn each word, by the true difference; a panel a rule."""
    fig, axes = plt.subplots(len(rules), 1, figsize=(5.8, 2.1 * len(rules)), sharex=True)
    for ax, rule in zip(np.atleast_1d(axes), rules, strict=True):
        ax.set_title(f"rule “{rule}”", loc="left")
        ax.set_ylabel("studies, %")
        if known is None:
            ax.text(0.5, 0.5, "not run", ha="center", va="center", transform=ax.transAxes)
            continue
        expected, matters = known
        truths = matters * np.linspace(-2.5, 2.5, 41)
        counts = [words(float(true), expected, rule, matters) for true in truths]
        said = [word for word in COLOURS if word != "too few seeds"]
        shares = [[100 * c[word] / c.total() for c in counts] for word in said]
        colours = [COLOURS[word] for word in said]
        ax.stackplot(truths, shares, colors=colours, labels=said, alpha=0.8)
        for edge in (-matters, 0, matters):
            ax.axvline(edge, color="white", linewidth=1, linestyle=":")
        ax.set_ylim(0, 100)
        ax.margins(x=0)
    np.atleast_1d(axes)[-1].set_xlabel("true difference, points of top-1 error")
    if known is not None:
        handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return fig
