"""The study on a page: counts, deviations from the paper, cost, and the figure of all claims."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vggrepro.pages.figures import WORD_COLOURS, beside, ink, net_colour, plt, seeds_of
from vggrepro.pages.report import (
    DATA_NAMES,
    Findings,
    recorded_columns,
    second_column,
    table_by,
)
from vggrepro.pages.verdicts import CLAIMED, SECOND, Verdicts, end, linked, minus, shown_interval
from vggrepro.study import programme, second_round, store
from vggrepro.study.budgets import BUDGETS, at_budget, deviations
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision
from vggrepro.study.experiments import RUNS, SECOND_ROUND, Experiment
from vggrepro.study.records import BenchRecord
from vggrepro.study.rules import Claim

ABOUT_ERRORS = tuple(claim for claim in CLAIMS.values() if claim.about_errors)


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# --- in numbers -----------------------------------------------------------------------------


def primary_sentence(found: Verdicts) -> str:
    """How many primary claims earned which word, and how many claims need no training."""
    exact = sum(not claim.sides for claim in CLAIMS.values())
    again = f" In the second round, {_counted(found, found.second)}." if found.second else ""
    return (
        f"Of the first round's {_counted(found, found.decisions)}.{again} {exact} of all "
        f"{len(CLAIMS)} claims are arithmetic."
    )


def _counted(found: Verdicts, decisions: Mapping[str, Decision]) -> str:
    words = Counter(found.word(d) for d in decisions.values() if d.claim.primary)
    counted = joined([f"{count} {word}" for word, count in words.items()])
    return f"{words.total()} primary claims: {counted}"


STEPS = {
    "context": "3×3 layers against 1×1 ones in their place",
    "non-linearity": "1×1 layers against none",
    "small-filters": "two 3×3 filters against one 5×5",
    "saturates": "nineteen layers against sixteen",
}
"""What the second round asks beside depth, by its claims."""
SCALE = {
    "jitter": "many training scales against one, with as many epochs",
    "several-q": "three test scales against one",
    "crops": "fifty crops a scale against dense evaluation",
}
"""And of scale and testing."""


def main_claim(found: Verdicts) -> str:
    """What the paper's main claim is worth, in two sentences; empty before the second round."""
    if not found.second:
        return ""
    depth = found.second["2-depth"]
    long, short = (
        at_budget(sides[0].run, second_round.BUDGET, depth.claim.data).epochs
        for sides in (depth.claim.sides, depth.claim.other_length)
    )
    other = found.of_pair(replace(depth.claim, sides=depth.claim.other_length))
    return (
        f"**That sixteen layers err less than eleven: {depth.word}.** With {second_round.UNITS} "
        "new seeds, from random weights, by rules fixed beforehand, A − D in points: after "
        f"{long} epochs {_short(found, depth)}, after {short} {other.split(', n = ')[0]}. "
        f"Of what goes with depth: {_each(found, STEPS)}."
    )


def of_scale(found: Verdicts) -> str:
    """What came out of scale and testing, in a sentence; empty before the second round."""
    if not found.second:
        return ""
    return f"Of scale and testing, on {DATA_NAMES['imagenette']}: {_each(found, SCALE)}."


def _each(found: Verdicts, claims: Mapping[str, str]) -> str:
    """Claims of the second round, by their keys, with word and difference."""
    decided = {what: found.second[f"2-{key}"] for key, what in claims.items()}
    return "; ".join(f"{what}, *{d.word}* ({_short(found, d)})" for what, d in decided.items())


def _short(found: Verdicts, decision: Decision) -> str:
    """The difference and its interval, without the number of seeds."""
    return re.sub(r", n = \d+", "", found.here(decision))


def lead(found: Verdicts, findings: Findings) -> str:
    """What the front page opens with: the main claim, and what the paper's way of training does."""
    if not found.second:
        return " ".join(depth_sentences(found, findings))
    _, way, _ = pairs(found).values()
    more_a, d = (findings.error("cifar10", run) for run in way)
    return (
        f"{main_claim(found)}\n\nBy the paper's way, 25 epochs of A and then 25 of D, D errs {d} "
        f"%; an A that goes on for as long, {more_a} %. Those are the first round's, three seeds "
        "each."
    )


def depth_sentences(found: Verdicts, findings: Findings) -> list[str]:
    """Sixteen layers against eleven before the second round: from random weights, then otherwise.

    Each difference has its 95 % interval.
    """
    claim = CLAIMS["depth-a-to-d"]

    def ahead(better: str, worse: str, data: str = "cifar10") -> str:
        first, second = claim.sides
        sides = replace(first, run=better), replace(second, run=worse)
        by_seed = found.found(claim, data, sides)
        points = findings.lower(data, better, worse)
        if by_seed is None or by_seed.interval is None:
            return points
        low, high = end(by_seed.interval.low, 0.0), end(by_seed.interval.high, 0.0)
        chance = ", which may be chance" if by_seed.interval.low <= 0 else ""
        return f"{points} [{low}, {high}]{chance}"

    short, way, long = ((d, a) for a, d in pairs(found).values())
    return [
        "**On CIFAR-10 sixteen layers (D) err less than eleven (A) after 50 epochs from random "
        f"weights,** by {ahead(*long)} points; after 25 epochs by {ahead(*short)}. In brackets are "
        f"95 % intervals, {claim.seeds} seeds; both comparisons were added when the results were "
        "known.",
        "By the paper's way, 25 epochs of A and then 25 of D, D errs more than an A that goes on "
        f"for as long, by {ahead(*reversed(way))}.",
        "On Imagenette, with fewer photos, A errs less, by "
        f"{ahead('A-S256', 'D-S256', 'imagenette')}.",
    ]


def under_way(found: Verdicts) -> str:
    """That there is a second round; empty once it is complete."""
    if found.second:
        return ""
    return (
        f"A [second round]({SECOND}) with {second_round.UNITS} new seeds is under way; no error "
        "of it is shown before it is complete."
    )


SECOND_WORDS = {
    "depends on the length": "lies beyond zero, but after half the epochs the mean has the other "
    "sign, or a net stalled",
    "stalled": "is not read: a net learnt nothing in some seed",
    "void": "is not read: jitter had not changed the net",
    "saturates": "of two depths lies within plus and minus what matters",
    "still falls": "of two depths: the deeper net errs less",
    "rises": "of two depths: the deeper net errs more",
}


D_MINUS_E = (
    "From D to E, where the paper sees no change, the second round was declared with D − E: there "
    "positive means that E errs less."
)


def words_of_second(found: Verdicts) -> str:
    """The words that the second round has besides those of the first; empty before it."""
    if not found.second:
        return ""
    rows = "\n".join(f"| {word} | {means} |" for word, means in SECOND_WORDS.items())
    table = f"| verdict of the second round | the interval of the difference |\n|---|---|\n{rows}"
    return f"{table}\n\n{D_MINUS_E}"


def counts_sentence(table: pd.DataFrame) -> str:
    """How many trainings and core-hours a `store.frame` has; one made twice counts once."""
    trained = table[(table.kind == "train") & (table["round"] != "quick")]
    pilots = trained["round"] == "pilot"
    made = trained[~pilots].weights_digest.fillna("").replace("", np.nan)
    study = made.nunique() + made.isna().sum()
    return (
        f"{study} trainings for the study, {pilots.sum()} pilots and candidates for its recipe; "
        f"{cost(table)['core-hours'].sum():.0f} core-hours in all."
    )


def counts_table(found: Verdicts) -> pd.DataFrame:
    """How many claims earned each word, by kind."""
    rows = [(found.word(d), kind(d.claim)) for d in found.decisions.values()]
    table = pd.crosstab(*map(pd.Series, zip(*rows, strict=True)))
    order = [word for word in WORD_COLOURS if word in table.index]
    table = table.reindex(index=order, columns=["primary", "secondary", "arithmetic"])
    return table.replace(0, "–").rename_axis(index=None, columns="verdict")


def kind(claim: Claim) -> str:
    """`primary`, `secondary` or `arithmetic`."""
    return "arithmetic" if not claim.sides else "primary" if claim.primary else "secondary"


def disagreement_sentence(found: Verdicts, claims: Sequence[Claim] = ABOUT_ERRORS) -> str:
    """Where the two sets of photos differ in sign, both intervals beyond zero."""
    compared, apart = 0, []
    for claim in claims:
        here = [found.found(claim, data) for data in programme.DATA]
        intervals = [one and one.interval for one in here]
        if not all(intervals):
            continue
        compared += 1
        first, second = intervals
        if first.low > 0 > second.high or second.low > 0 > first.high:
            named = zip(programme.DATA, map(shown_interval, intervals), strict=True)
            said = "; ".join(f"{DATA_NAMES[data]}: {one}" for data, one in named)
            apart.append(f"- {linked(claim)} {said}.")
    if not compared:
        return "No difference has an interval on both sets of photos yet."
    text = (
        f"{compared} of {len(claims)} differences have an interval on both sets of photos; "
        f"{len(apart) or 'none'} of them lies beyond zero on one side here and on the other there"
    )
    return text + (":\n\n" + "\n".join(apart) if apart else ".")


# --- deviations -----------------------------------------------------------------------------


#: Values of declarations in a reader's words.
WORDS = DATA_NAMES | {
    "normal-std": "normal, std 0.01 (our reading)",
    "he": "He's rule",
    "steps": "fixed steps",
}


def shown(value: object) -> str:
    """A field of a declaration in a table."""
    if value in ("", (0, 0), ()):
        return "–"
    return f"{value:g}" if isinstance(value, float) else WORDS.get(value, str(value))


STAGES = {"scratch": "S = 256", "fine-tune": "S = 384", "jitter": "after S = 384"}


def declared_table(data_sets: Sequence[str]) -> pd.DataFrame:
    """Field by data set: the paper's value and ours, for all runs of the study, and why.

    A field whose values differ among runs has a line for each, with the runs that it is of.
    """
    found: dict[str, dict[tuple, list[str]]] = {}
    why: dict[str, str] = {}
    for run in RUNS:
        ours = [at_budget(run, programme.BUDGET, data) for data in data_sets]
        for one in {d.field: d for experiment in ours for d in deviations(experiment)}.values():
            why.setdefault(one.field, one.why)
            values = (one.paper, *(getattr(e, one.field) for e in ours))
            found.setdefault(one.field, {}).setdefault(values, []).append(run)
    columns = ("paper", *(DATA_NAMES[data] for data in data_sets))
    lines = [
        {
            "what": name.replace("_", " ") + _which(runs, name),
            **dict(zip(columns, map(shown, values), strict=True)),
            "why": "" if place else why[name],
        }
        for name, by_values in found.items()
        for place, (values, runs) in enumerate(by_values.items())
    ]
    return table_by("what", lines)


def _which(runs: Sequence[str], field: str) -> str:
    """Those runs in words: by stage, or by stage and length, if that tells them."""
    if len(runs) == len(RUNS):
        return ""
    if set(runs) == {run.name for run in RUNS.values() if field not in run.keeps}:
        return "<br>(of runs not about it)"
    for length in (False, True):
        words = {name: _stage(run, length) for name, run in RUNS.items()}
        named = dict.fromkeys(words[run] for run in runs)
        if not any(words[run] in named for run in RUNS if run not in runs):
            return f"<br>({'; '.join(named)})"
    return f"<br>({', '.join(runs)})"


def _stage(run: Experiment, length: bool) -> str:
    as_long = f", {run.length:g} × as long" if length and run.length != 1 else ""
    return STAGES[run.stage] + as_long


def other_budgets() -> str:
    """A line for each other budget and its photos: in which fields it deviates."""
    lines = []
    for budget in BUDGETS.values():
        for data in budget.data if budget.name != programme.BUDGET else ():
            names = [d.field for run in RUNS for d in deviations(at_budget(run, budget.name, data))]
            fields = ", ".join(dict.fromkeys(names)).replace("_", " ") or "in none of these"
            lines.append(f"- `{budget.name}` on {DATA_NAMES[data]}: {fields}.")
    return "\n".join(lines)


# --- cost -----------------------------------------------------------------------------------


def cost(table: pd.DataFrame, results_dir: Path = store.RECORDED) -> pd.DataFrame:
    """Core-hours by purpose and photos, of a `store.frame` and the measurements beside it.

    A pass over the images that several evaluations share counts once, and a fusion takes none: it
    averages what its nets have already said. A recorded `make` is no part of the study.
    """
    table = table[table["round"] != "quick"]
    table = table.assign(
        hours=table.seconds * table.threads / 3600,
        purpose=np.select(
            [
                table.kind == "first-steps",
                table.recipe.str.startswith("calibrate"),
                table["round"] == "pilot",
            ],
            ["first steps", "calibration", "pilots"],
            "the study itself",
        ),
        photos=table.data.map(DATA_NAMES),
        trainings=table.kind == "train",
        evaluations=table.kind.isin(["eval", "fusion"]),
    )
    table.loc[table.kind == "fusion", "hours"] = 0.0
    tests = table[table.kind == "eval"]
    passes: dict[tuple, float] = {}
    # Evaluations of few passes first, since those of many are made of them.
    for row in sorted(tests.itertuples(), key=lambda row: len(_passes(row))):
        needed = _passes(row)
        known = sum(passes.get(one, 0.0) for one in needed)
        new = [one for one in needed if one not in passes]
        left = max(0.0, row.hours - known) if new else 0.0
        passes |= dict.fromkeys(new, left / max(len(new), 1))
        table.loc[row.Index, "hours"] = left
    by = table.groupby(["purpose", "photos"], sort=False)
    found = by[["hours", "trainings", "evaluations"]].sum().rename(columns={"hours": "core-hours"})
    bench = [store.read(path) for path in sorted((results_dir / "bench").glob("*.json"))]
    made = [record.provenance for record in bench if isinstance(record, BenchRecord)]
    hours = sum(one.wall_seconds * one.threads / 3600 for one in made)
    found.loc[("time and memory measured", ""), :] = (hours, 0, 0)
    return found


def _passes(row: tuple) -> list[tuple]:
    """The passes that an evaluation is made of: one trained net at one protocol and Q each."""
    net = (row.budget, row.data, row.run, row.seed)
    scales = row.test_scales.split("+")
    return [(*net, p, q) for p in row.protocol.split(" & ") for q in scales]


def cost_table(table: pd.DataFrame) -> pd.DataFrame:
    """`cost` as a page shows it, with its sum."""
    found = cost(table)
    found.index = [", ".join(filter(None, names)) for names in found.index]
    found.loc["in all"] = found.sum()
    found["core-hours"] = found["core-hours"].map("{:.2f}".format)
    counts = ["trainings", "evaluations"]
    found[counts] = found[counts].astype(int).replace(0, "–")
    return found[[*counts, "core-hours"]].rename_axis(columns="core-hours for")


# --- the finding in one figure --------------------------------------------------------------


def pairs(found: Verdicts) -> dict[str, tuple[str, str]]:
    """Eleven layers (A) and sixteen (D), by how they were trained.

    Those from random weights are the second round's once it is complete: they have more seeds.
    """
    short, long, way = ("A-S256", "D-he"), ("A-he-long", "D-he-long"), "the paper's way"
    if found.second:
        short, long, way = ("A-he-25", "D-he-25"), ("A-he-50", "D-he-50"), "(first round)"
    return {
        "25 epochs,\nrandom weights": short,
        f"25 of A, then 25:\n{way}": ("A-from-A", "D-S256"),
        "50 epochs,\nrandom weights": long,
    }


def depth_and_time(found: Verdicts) -> str:
    """Top-1 error of A and D on CIFAR-10 by time and start: a dot a seed, a line from A to D.

    Returns what it shows in words.
    """
    first = replace(recorded_columns(("cifar10",))[0], results_dir=found.study.results_dir)
    said, compared = [], pairs(found)
    _, ax = plt.subplots(figsize=(4.6, 3.4))
    for place, (how, runs) in enumerate(compared.items()):
        again = runs[0] in SECOND_ROUND
        column = second_column("cifar10", first.results_dir) if again else first
        at = [place - 0.18, place + 0.18]
        shown = []
        for x, run, side in zip(at, runs, ("right", "left"), strict=True):
            values = seeds_of(ax, x, column, run)
            # A mean with a net that learnt nothing is that of no net.
            idle = column.idle(run)
            mean = np.mean(values) if values and not idle else np.nan
            name = "stalled" if idle else f"{mean:.1f}" if values else "not run"
            shown.append((f"{run[0]} {name}", mean))
            colour = net_colour(run)
            beside_it = (x + (0.06 if side == "left" else -0.06), np.mean(values or [np.nan]))
            ax.text(*beside_it, shown[-1][0], ha=side, va="center", color=ink(colour))
        names, means = zip(*shown, strict=True)
        ax.plot(at, means, color="0.5", linewidth=1.5, zorder=1)
        said.append(f"{how.replace(chr(10), ' ')}: {', '.join(names)}")
    ax.set_xticks(range(len(compared)), compared)
    ax.set_xlim(-0.75, len(compared) - 0.25)
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel("top-1 error, %")
    return f"Top-1 error in percent. {'. '.join(said)}."


# --- every claim in one figure --------------------------------------------------------------

MARKERS = {
    "holds and matters": "^",
    "negligible": "s",
    "inconclusive": "P",
    "contradicted": "v",
    "not so here": "v",
    "reversed by its control": "d",
    "too few seeds": "X",
}
TICKS = (-50, -10, -5, -2, -1, 0, 1, 2, 5, 10, 50)
WIDTH, ROW = 4.3, 0.44  # inches: narrow, so that it is not shrunk to nothing on a phone


def overview(found: Verdicts) -> Figure:
    """The paper's difference (diamond) and ours for each claim about errors, by chapter.

    Ours with its 95 % interval and a dot for each seed; grey below it the photos that decide
    nothing, and then the second round once it is complete. The axis is linear within a point and
    about logarithmic beyond.
    """
    by_chapter = sorted(ABOUT_ERRORS, key=lambda claim: claim.chapter)
    groups = [(key, list(group)) for key, group in groupby(by_chapter, lambda c: c.chapter)]
    heights = {c.key: 1.65 if c.key in found.again else 1.0 for c in by_chapter}
    rows = sum(heights.values()) + len(groups)
    fig, ax = plt.subplots(figsize=(WIDTH, rows * ROW + 1))
    ax.set_xscale("asinh", linear_width=1.0)
    ax.set_xlim(-80, 80)
    top = 0.0
    for chapter, claims in groups:
        title = f"{int(chapter[:2])}. {_title(chapter)} ({DATA_NAMES[claims[0].data]})"
        beside(ax, 0, top - 0.6, title, size=9.5, weight="bold")
        top -= 1
        for claim in claims:
            _line(ax, top, found, found.decisions[claim.key])
            top -= heights[claim.key]
    ax.axvline(0, color="0.5", linewidth=0.8, zorder=0)
    ax.set_ylim(top, 0)
    ax.set_yticks([])
    ax.set_xticks(TICKS, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in TICKS])
    ax.set_xticks([], minor=True)
    ax.tick_params(axis="x", top=True, labeltop=True, labelsize=8.5)
    ax.spines[["left"]].set_visible(False)
    right = "right: as the paper says\n(from D to E: that E errs more)"
    ax.set_xlabel(f"points of top-1 error; {right}", size=9)
    return fig


def _title(chapter: str) -> str:
    script = (store.ROOT / "book" / f"{chapter}.py").read_text(encoding="utf-8")
    return next(line for line in script.splitlines() if line.startswith("# # "))[4:].split(":")[0]


def _line(ax: Axes, top: float, found: Verdicts, decision: Decision) -> None:
    claim, word = decision.claim, found.word(decision)
    name = minus(claim.sides, claim.less) + CLAIMED.get(claim.rule, "")
    weight = "bold" if claim.primary else "normal"
    beside(ax, 0, top - 0.3, name + " *" * claim.primary, size=8.5, weight=weight)
    colour = WORD_COLOURS[word]
    beside(ax, 1, top - 0.3, word, ha="right", color=ink(colour), size=8.5)
    again = found.again.get(claim.key)
    low = top - (1.55 if again else 0.95)
    ax.fill_between((-claim.matters, claim.matters), low, top - 0.5, color="0.5", alpha=0.2)
    other = next(data for data in programme.DATA if data != claim.data)
    for one, y, shade, size in (
        (found.found(claim, other), top - 0.88, "0.6", 3),
        (found.found(claim), top - 0.68, colour, 6),
    ):
        if one is None:
            continue
        seeds = list(one.by_seed.values())
        ax.plot(seeds, [y] * len(seeds), "o", color=shade, alpha=0.5, markersize=2.5)
        if one.interval:
            ax.hlines(y, one.interval.low, one.interval.high, color=shade, linewidth=size / 3)
        if not one.stalled:  # else the mean is that of no net
            marker = MARKERS.get(word, "o") if size > 3 else "o"
            ax.plot(one.mean, y, marker, color=shade, markersize=size)
    if claim.paper.difference is not None:
        ax.plot(claim.paper.difference, top - 0.68, "D", color="black", mfc="none", markersize=8)
    if again:
        _second(ax, top, again)


def _second(ax: Axes, top: float, decision: Decision) -> None:
    """What the second round says of a claim: hollow, with its word on the right."""
    colour, marker = WORD_COLOURS[decision.word], MARKERS.get(decision.word, "o")
    beside(ax, 1, top - 1.1, f"second: {decision.word}", ha="right", color=ink(colour), size=8.5)
    if interval := decision.interval:
        # From D to E it was declared the other way round.
        sign = -1 if decision.claim.rule == "saturates" else 1
        ends = sorted((sign * interval.low, sign * interval.high))
        ax.hlines(top - 1.35, *ends, color=colour, linewidth=2)
        ax.plot(sign * interval.estimate, top - 1.35, marker, color=colour, mfc="white")
