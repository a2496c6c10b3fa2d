"""Two folders of records side by side: the page of a rerun, and what `vggrepro compare` prints.

What is compared, and when it may be, is in `study.compare`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vggrepro import UserError
from vggrepro.pages.figures import plt
from vggrepro.pages.report import DATA_NAMES, Options, mean_and_spread
from vggrepro.pages.verdicts import shown_interval
from vggrepro.study import store
from vggrepro.study.budgets import data_dir_option
from vggrepro.study.claims import CLAIMS
from vggrepro.study.compare import Change, Comparison, Holding, Key, compare, verdict_changes
from vggrepro.study.decisions import Decision

Names = tuple[str, str]
"""How a table's columns call the first folder and the second."""
BOOK: Names = ("recorded", "rerun")


def comparison_of(options: Options) -> Comparison | None:
    """The rerun that a chapter's parameters name beside the recorded study; None without one."""
    if not options.shows_rerun:
        return None
    try:
        return compare(store.RECORDED, options.results_dir)
    except UserError:
        # A folder without records is a rerun that has not been made; a damaged record is not.
        if any(options.results_dir.glob("*/*/*/seed*/eval-*.json")):
            raise
        return None


def at(place: tuple[str, str]) -> str:
    """`Imagenette, reduced`: a data set and a budget for people."""
    budget, data = place
    return f"{DATA_NAMES[data]}, {budget}"


# --- sentences ------------------------------------------------------------------------------


def alike(found: Comparison) -> str:
    """How many numbers can be compared, and how many of them moved how far."""
    words = Counter(row.moved for row in found.like)
    said = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"{len(found.like)} can be compared: {said}." if found.like else "None are alike."


def held(holding: Holding) -> str:
    """`26 evaluations (CIFAR-10, reduced)`: what a folder has, by place."""
    counts = Counter(key.place for key in holding.evaluations)
    return " and ".join(f"{n} evaluations ({at(place)})" for place, n in counts.items())


def digests(found: Comparison) -> str:
    """On how many pairs of records the digests agree, and on what machines they were made."""
    equal = sum(row.equal for row in found.like)
    shared = sum(len(row.shared) for row in found.like)
    made = [
        _machines(side, (row.key for row in found.like)) for side in (found.first, found.second)
    ]
    return (
        f"Of {shared} pairs of records, {equal} have the same result digest: the same to the last "
        f"bit. Recorded on {made[0]}; rerun on {made[1]}."
    )


def _machines(holding: Holding, keys: Iterable[Key]) -> str:
    made = {
        f"{row.processor} ({row.threads} thread{'s' * (row.threads > 1)}, torch {row.torch}, "
        f"{row.precision})"
        for key in keys
        for row in holding.evaluations[key].itertuples()
    }
    return " and ".join(sorted(made)) or "nothing"


def verdict_sentence(found: Comparison, changes: dict[str, list[Change]]) -> str:
    """Whether the rerun may decide anything, and how many verdicts differ."""
    if not changes:
        budgets = sorted({budget for budget, _ in found.second.places})
        return (
            f"A rerun at {' and '.join(budgets)} decides nothing, so no verdict can change: claims "
            "name the photos and the number of seeds that decide them."
        )
    return " ".join(
        f"At budget {budget}, {len(changed)} of {len(CLAIMS)} verdicts differ."
        for budget, changed in changes.items()
    )


# --- tables ---------------------------------------------------------------------------------


def like_table(found: Comparison, sides: Names = BOOK) -> pd.DataFrame:
    """What can be compared, a line each: errors of both sides, their difference, how far it moved.

    What is the same to the last bit comes last.
    """
    first, second = sides
    rows = [
        {
            "run": f"{row.key.run}, {row.key.evaluation}<br>{at(row.key.place)}",
            first: _cell(mean_and_spread(list(row.first.values()))),
            second: _cell(mean_and_spread(list(row.second.values()))),
            "difference": _cell(_difference(row.interval, row.difference)),
            "how far": row.moved.removeprefix("moved ").replace(" over", "<br>over"),
            "digests": f"{row.equal} of {len(row.shared)}",
        }
        for row in sorted(found.like, key=lambda row: row.same)
    ]
    return _frame(rows)


def _cell(text: str) -> str:
    return text.replace(", n = ", "<br>n = ")  # room on a phone


def _difference(interval: object, difference: float | None) -> str:
    if interval:
        return shown_interval(interval)
    return "–" if difference is None else f"{difference:+.1f}"


def reasons_table(found: Comparison, sides: Names = ("recorded", "your rerun")) -> pd.DataFrame:
    """Why the rest cannot be compared: what differs between the declarations, for each pair."""
    counts = Counter((u.first.place, u.second.place, u.reason) for u in found.unlike)
    rows = [
        {"run": at(was), sides[1]: at(now), "evaluations": count, "differ in": reason}
        for (was, now, reason), count in counts.items()
    ]
    return _frame(rows, sides[0])


def unlike_table(found: Comparison) -> pd.DataFrame:
    """Errors by centre crop of what cannot be compared, a column for each budget and data set."""
    unlike = [u for u in found.unlike if "centre-crop" in u.second.evaluation]
    rows = []
    for key, pairs in groupby(unlike, key=lambda u: u.second):
        row = {"run": key.run}
        for pair in pairs:
            row[f"recorded: {at(pair.first.place)}"] = _errors(found.first, pair.first)
        rows.append(row | {f"rerun: {at(key.place)}": _errors(found.second, key)})
    return _frame(rows).fillna("–")


def _errors(holding: Holding, key: Key) -> str:
    return _cell(mean_and_spread(list(holding.errors(key).values())))


def verdict_table(changes: dict[str, list[Change]]) -> pd.DataFrame:
    """The claims whose verdicts differ, with what each side rests on."""
    rows = [
        {
            "run": change.first.claim.statement,
            "recorded": _decided(change.first),
            "rerun": _decided(change.second),
        }
        for changed in changes.values()
        for change in changed
    ]
    return _frame(rows, "claim")


def _decided(decision: Decision) -> str:
    interval = f": {shown_interval(decision.interval)}" if decision.interval else ""
    return f"<b>{decision.word}</b>{interval}<br>{decision.reason}"


def _frame(rows: Sequence[dict[str, object]], index: str = "run") -> pd.DataFrame:
    if not rows:
        return pd.DataFrame({"none": []})
    return pd.DataFrame(rows).set_index("run").rename_axis(index=None, columns=index)


def moved(found: Comparison) -> Figure:
    """Rerun minus recorded by centre crop, a line for each run: points, with 95 % intervals."""
    rows = [r for r in found.like if r.key.evaluation.startswith("centre-crop-") and r.shared]
    fig, ax = plt.subplots(figsize=(5.8, 1.4 + 0.24 * max(len(rows), 3)))
    ax.axvline(0, color="0.5", linewidth=1)
    for place, row in enumerate(reversed(rows)):
        colour = "#D55E00" if "beyond" in row.moved else "#0072B2"
        by_seed = [row.second[seed] - row.first[seed] for seed in row.shared]
        ax.plot(by_seed, [place] * len(by_seed), "o", color=colour, alpha=0.5, markersize=4)
        error = row.interval.half_width if row.interval else 0.0
        ax.errorbar(np.mean(by_seed), place, xerr=error, fmt="|", color=colour, capsize=3)
    ax.set_yticks(range(len(rows)), [f"{r.key.run}, {r.key.data}" for r in reversed(rows)])
    ax.set_xlabel("rerun minus recorded, points of top-1 error")
    return fig


# --- in the terminal ------------------------------------------------------------------------


def lines(first: Path, second: Path, everything: bool = False) -> Iterator[str]:
    """The comparison for people; with `everything` also what is the same on both sides.

    Raises `UserError` as `holding` does, and if nothing can be compared.
    """
    found = compare(first, second)
    if not found.like:
        raise UserError(_nothing_alike(found))
    yield f"A: {first}, {held(found.first)}"
    yield f"B: {second}, {held(found.second)}"
    yield alike(found)
    if rows := [row for row in found.like if everything or not row.same]:
        yield "Top-1 errors in percent; the difference is B minus A over the seeds that both have."
        yield as_text(like_table(replace(found, like=rows), ("A", "B")))
    if found.unlike:
        yield "Not compared, since made in another way (A's value first):"
        yield as_text(reasons_table(found, ("A", "B")))
    yield from _missing("A", found.only_first, "B", found.second)
    yield from _missing("B", found.only_second, "A", found.first)
    for budget, changes in verdict_changes(first, second).items():
        yield f"verdicts of budget {budget}: {len(changes)} of {len(CLAIMS)} differ"
        for one, other in changes:
            yield f"  {one.claim.key}: {one.word} (n = {one.n}) -> {other.word} (n = {other.n})"


def as_text(table: pd.DataFrame) -> str:
    """A table of the book in the terminal: no HTML, every column's text from its left edge."""
    plain = table.astype(str).replace({"<br>(?=n = )": ", ", "<br>": " "}, regex=True)
    plain.index = plain.index.str.replace("<br>", " ")
    padded = plain.apply(lambda column: column.str.ljust(column.str.len().max()))
    return padded.to_string(justify="left")


def _nothing_alike(found: Comparison) -> str:
    text = (
        f"nothing to compare: {found.first.results_dir} holds {held(found.first)}; "
        f"{found.second.results_dir} holds {held(found.second)}. "
    )
    if found.unlike:
        one = found.unlike[0]
        text += f"{at(one.first.place)} and {at(one.second.place)} differ in {one.reason}. "
    budget, data = found.first.places[0]
    run = next(key.run for key in found.first.evaluations if key.place == (budget, data))
    return text + (
        f"Like the first is made by `vggrepro run {run} --budget {budget} --data {data}"
        f"{data_dir_option(data)} --results-dir {found.second.results_dir}`"
    )


def _missing(side: str, keys: list[Key], other: str, there: Holding) -> Iterator[str]:
    for (place, run), of_run in groupby(keys, key=lambda key: (key.place, key.run)):
        failed = [
            f"seed {trained.seed} {trained.status} in {other}"
            for trained in there.trainings.itertuples()
            if (trained.budget, trained.data, trained.run) == (*place, run)
            and trained.status != "ok"
        ]
        why = f" ({', '.join(failed)})" if failed else ""
        yield f"only in {side} ({at(place)}): {run} {', '.join(k.evaluation for k in of_run)}{why}"
