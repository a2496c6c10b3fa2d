"""Two folders of records side by side: the page of a rerun, and what `vggrepro compare` prints.

What is compared, and when it may be, is in `study.compare`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vggrepro import UserError
from vggrepro.pages.figures import plt
from vggrepro.pages.report import DATA_NAMES, Column, mean_and_spread, table_by
from vggrepro.pages.verdicts import Verdicts, shown_interval
from vggrepro.study import compare, programme, second_round, store
from vggrepro.study.budgets import BUDGETS, data_dir_option
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision

Change = tuple[Decision, Decision]
"""A claim's verdict from each of the folders, in the words of the book."""
AGAIN = "of the second round"
Names = tuple[str, str]
"""How a table's columns call the first folder and the second."""
BOOK: Names = ("recorded", "rerun")


def comparison_of(rerun: Column | None) -> compare.Comparison | None:
    """A rerun beside the recorded study; None without one."""
    # A folder without records is a rerun that has not been made; a damaged record is an error.
    if rerun and any(rerun.results_dir.glob("*/*/*/seed*/eval-*.json")):
        return compare.compare(store.RECORDED, rerun.results_dir)
    return None


def at(place: tuple[str, str]) -> str:
    """`Imagenette, reduced`: a data set and a budget for people."""
    budget, data = place
    return f"{DATA_NAMES[data]}, {budget}"


# --- sentences ------------------------------------------------------------------------------


def alike(found: compare.Comparison) -> str:
    """How many numbers can be compared, and how many of them moved how far."""
    words = Counter(row.moved for row in found.like)
    said = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"{len(found.like)} can be compared: {said}." if found.like else "None are alike."


def held(evaluations: Iterable[compare.Key]) -> str:
    """`26 evaluations (CIFAR-10, reduced)`: what a folder has, by place."""
    counts = Counter(key.place for key in evaluations)
    return " and ".join(f"{n} evaluations ({at(place)})" for place, n in counts.items())


def digests(found: compare.Comparison) -> str:
    """On how many pairs of records the digests agree, and on what machines they were made."""
    equal = sum(row.equal for row in found.like)
    shared = sum(len(row.by_seed) for row in found.like)
    here, there = (
        _machines(side[row.key] for row in found.like) for side in (found.first, found.second)
    )
    return (
        f"Of {shared} pairs of records, {equal} have the same result digest: the same to the last "
        f"bit. Recorded on {here}; rerun on {there}."
    )


def _machines(compared: Iterable[pd.DataFrame]) -> str:
    made = {
        f"{row.processor} ({row.threads} thread{'s' * (row.threads > 1)}, torch {row.torch}, "
        f"{row.precision})"
        for rows in compared
        for row in rows.itertuples()
    }
    return " and ".join(sorted(made)) or "nothing"


def verdict_changes(first: Path, second: Path) -> dict[str, list[Change]]:
    """The claims whose verdicts differ, for each budget that both have and that may decide.

    Drawn images decide nothing, so budgets on them are left out. `AGAIN` stands for the second
    round, if both have all of it.
    """
    folders, found = (first, second), {}
    for budget in BUDGETS.values():
        on_photos = set(programme.DATA) & set(budget.data)
        if on_photos and all((folder / budget.name).is_dir() for folder in folders):
            one, other = (Verdicts(folder, budget.name) for folder in folders)
            found[f"at budget {budget.name}"] = _changes(one, other, CLAIMS, "decisions")
            if budget.name == second_round.BUDGET and one.second and other.second:
                found[AGAIN] = _changes(one, other, second_round.CLAIMS, "second")
    return found


def _changes(one: Verdicts, other: Verdicts, claims: Iterable[str], of: str) -> list[Change]:
    here, there = (
        {key: replace(d, word=side.word(d)) for key, d in getattr(side, of).items()}
        for side in (one, other)
    )
    return [(here[key], there[key]) for key in claims if here[key].word != there[key].word]


def verdict_sentence(found: compare.Comparison, changes: dict[str, list[Change]]) -> str:
    """Whether the rerun may decide anything, and how many verdicts differ."""
    if not changes:
        budgets = sorted({key.budget for key in found.second})
        return (
            f"A rerun at {' and '.join(budgets)} decides nothing, so no verdict can change: claims "
            "name the photos and the number of seeds that decide them."
        )
    return " ".join(f"{_differ(where, changed)}." for where, changed in changes.items())


def _differ(where: str, changed: list[Change]) -> str:
    claims = second_round.CLAIMS if where == AGAIN else CLAIMS
    return f"Verdicts {where}: {len(changed)} of {len(claims)} differ"


# --- tables ---------------------------------------------------------------------------------


def like_table(found: compare.Comparison, sides: Names = BOOK) -> pd.DataFrame:
    """What can be compared, a line each: errors of both sides, their difference, how far it moved.

    What is the same to the last bit comes last.
    """
    first, second = sides
    rows = [
        {
            "run": f"{row.key.run}, {row.key.evaluation}<br>{at(row.key.place)}",
            first: _errors(found.first[row.key]),
            second: _errors(found.second[row.key]),
            "difference": _difference(row),
            "how far": row.moved.removeprefix("moved ").replace(" over", "<br>over"),
            "digests": f"{row.equal} of {len(row.by_seed)}",
        }
        for row in sorted(found.like, key=lambda row: row.same)
    ]
    return table_by("run", rows)


def _errors(evaluated: pd.DataFrame) -> str:
    return _cell(mean_and_spread(list(evaluated.top1_error)))


def _difference(row: compare.Like) -> str:
    if row.interval:
        return _cell(shown_interval(row.interval))
    return "–" if row.difference is None else f"{row.difference:+.1f}"


def _cell(text: str) -> str:
    return text.replace(", n = ", "<br>n = ")  # room on a phone


def reasons_table(
    found: compare.Comparison, sides: Names = ("recorded", "your rerun")
) -> pd.DataFrame:
    """Why the rest cannot be compared: what differs between the declarations, for each pair."""
    counts = Counter((u.first.place, u.second.place, u.reason) for u in found.unlike)
    rows = [
        {sides[0]: at(was), sides[1]: at(now), "evaluations": count, "differ in": reason}
        for (was, now, reason), count in counts.items()
    ]
    return table_by(sides[0], rows)


def unlike_table(found: compare.Comparison) -> pd.DataFrame:
    """Errors by centre crop of what cannot be compared, a column for each budget and data set."""
    unlike = [u for u in found.unlike if "centre-crop" in u.second.evaluation]
    rows = []
    for key, pairs in groupby(unlike, key=lambda u: u.second):
        there = {f"recorded: {at(u.first.place)}": found.first[u.first] for u in pairs}
        shown = there | {f"rerun: {at(key.place)}": found.second[key]}
        rows.append({"run": key.run} | {what: _errors(of) for what, of in shown.items()})
    return table_by("run", rows).fillna("–")


def verdict_table(changes: dict[str, list[Change]]) -> pd.DataFrame:
    """The claims whose verdicts differ, with what each side rests on."""
    rows = [
        {"claim": one.claim.statement, "recorded": _decided(one), "rerun": _decided(other)}
        for changed in changes.values()
        for one, other in changed
    ]
    return table_by("claim", rows)


def _decided(decision: Decision) -> str:
    interval = f": {shown_interval(decision.interval)}" if decision.interval else ""
    return f"<b>{decision.word}</b>{interval}<br>{decision.reason}"


def moved(found: compare.Comparison) -> Figure:
    """Rerun minus recorded by centre crop, a line for each run: points, with 95 % intervals."""
    rows = [r for r in found.like if r.key.evaluation.startswith("centre-crop-") and r.by_seed]
    fig, ax = plt.subplots(figsize=(5.8, 1.4 + 0.24 * max(len(rows), 3)))
    ax.axvline(0, color="0.5", linewidth=1)
    for place, row in enumerate(reversed(rows)):
        colour = "#D55E00" if "beyond" in row.moved else "#0072B2"
        by_seed = list(row.by_seed.values())
        ax.plot(by_seed, [place] * len(by_seed), "o", color=colour, alpha=0.5, markersize=4)
        error = row.interval.half_width if row.interval else 0.0
        ax.errorbar(np.mean(by_seed), place, xerr=error, fmt="|", color=colour, capsize=3)
    ax.set_yticks(range(len(rows)), [f"{r.key.run}, {r.key.data}" for r in reversed(rows)])
    ax.set_xlabel("rerun minus recorded, points of top-1 error")
    return fig


# --- in the terminal ------------------------------------------------------------------------


def lines(first: Path, second: Path, everything: bool = False) -> Iterator[str]:
    """The comparison for people; with `everything` also what is the same on both sides.

    Raises `UserError` as `compare.compare` does, and if nothing can be compared.
    """
    found = compare.compare(first, second)
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
    yield from _missing("A", compare.only(found.first, found.second), "B", second)
    yield from _missing("B", compare.only(found.second, found.first), "A", first)
    for where, changes in verdict_changes(first, second).items():
        yield _differ(where, changes)
        for one, other in changes:
            yield f"  {one.claim.key}: {one.word} (n = {one.n}) -> {other.word} (n = {other.n})"


def as_text(table: pd.DataFrame) -> str:
    """A table of the book in the terminal: no HTML, every column's text from its left edge."""
    plain = table.astype(str).replace({"<br>(?=n = )": ", ", "<br>": " "}, regex=True)
    plain.index = plain.index.str.replace("<br>", " ")
    padded = plain.apply(lambda column: column.str.ljust(column.str.len().max()))
    return padded.to_string(justify="left")


def _nothing_alike(found: compare.Comparison) -> str:
    first, second = found.folders
    text = f"nothing to compare: {first} holds {held(found.first)}; "
    text += f"{second} holds {held(found.second)}. "
    if found.unlike:
        one = found.unlike[0]
        text += f"{at(one.first.place)} and {at(one.second.place)} differ in {one.reason}. "
    budget, data, run, _ = next(iter(found.first))
    return text + (
        f"Like the first is made by `vggrepro run {run} --budget {budget} --data {data}"
        f"{data_dir_option(data)} --results-dir {second}`"
    )


def _missing(side: str, keys: list[compare.Key], other: str, there: Path) -> Iterator[str]:
    table = store.frame(there)
    failed = table[(table.kind == "train") & (table.status != "ok")]
    for (place, run), of_run in groupby(keys, key=lambda key: (key.place, key.run)):
        why = ", ".join(
            f"seed {one.seed} {one.status} in {other}"
            for one in failed.itertuples()
            if (one.budget, one.data, one.run) == (*place, run)
        )
        tested = ", ".join(key.evaluation for key in of_run)
        yield f"only in {side} ({at(place)}): {run} {tested}" + (f" ({why})" if why else "")
