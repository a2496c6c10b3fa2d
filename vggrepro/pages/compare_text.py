"""Two folders of records side by side, as `vggrepro compare` prints them: A and B.

Sentences and tables are the book's, in `tables_compare`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from vggrepro import UserError
from vggrepro.pages.tables_compare import alike, at, held, like_table, reasons_table
from vggrepro.study.budgets import data_dir_option
from vggrepro.study.claims import CLAIMS
from vggrepro.study.compare import Comparison, Holding, Key, compare, verdict_changes

SIDES = ("A", "B")


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
    rows = [row for row in found.like if everything or not row.same]
    if rows:
        rows.sort(key=lambda row: row.same)  # as the table does
        table = like_table(replace(found, like=rows), SIDES)
        table["digests"] = [f"{row.equal} of {len(row.shared)}" for row in rows]
        yield "Top-1 errors in percent; the difference is B minus A over the seeds that both have."
        yield as_text(table)
    if found.unlike:
        yield "Not compared, since made in another way (A's value first):"
        yield as_text(reasons_table(found, SIDES))
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
        f"{data_dir_option(data)} "
        f"--results-dir {found.second.results_dir}`"
    )


def _missing(side: str, keys: list[Key], other: str, there: Holding) -> Iterator[str]:
    by_run: dict[tuple[tuple[str, str], str], list[str]] = {}
    for key in keys:
        by_run.setdefault((key.place, key.run), []).append(key.evaluation)
    for (place, run), evaluations in by_run.items():
        failed = [
            f"seed {trained.seed} {trained.status} in {other}"
            for where, trained in there.trainings.items()
            if where[:3] == (*place, run) and trained.status != "ok"
        ]
        why = f" ({', '.join(failed)})" if failed else ""
        yield f"only in {side} ({at(place)}): {run} {', '.join(evaluations)}{why}"
