"""Two folders of records side by side, such as the recorded study and a rerun: sentences, tables.

What is compared, and when it may be, is in `compare`; `compare_text` prints it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import pandas as pd

from vggrepro import UserError
from vggrepro.pages.report import DATA_NAMES, Options, mean_and_spread
from vggrepro.pages.verdicts import shown_interval
from vggrepro.study import store
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


def changes_of(found: Comparison | None) -> dict[str, list[Change]]:
    """The verdicts that differ, by budget."""
    if found is None:
        return {}
    return verdict_changes(found.first.results_dir, found.second.results_dir)


def at(place: tuple[str, str]) -> str:
    """`Imagenette, reduced`: a data set and a budget for people."""
    budget, data = place
    return f"{DATA_NAMES[data]}, {budget}"


# --- sentences ----------------------------------------------------------------------------


def summary(found: Comparison | None) -> str:
    """What both folders hold, and how much of it can be compared."""
    if found is None:
        return (
            "**There is no rerun here yet.** This is the page as it is published. `make` reruns "
            "the study on drawn images and fills it in; the last section has the other ways."
        )
    return (
        f"The recorded study holds {held(found.first)}; your rerun holds {held(found.second)}. "
        f"{alike(found)}"
    )


def alike(found: Comparison) -> str:
    """How many numbers can be compared, and how many of them moved how far."""
    words = Counter(row.moved for row in found.like)
    said = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"{len(found.like)} can be compared: {said}." if found.like else "None are alike."


def held(holding: Holding) -> str:
    """`26 evaluations (CIFAR-10, reduced)`: what a folder has, by place."""
    counts = Counter(key.place for key in holding.evaluations)
    return " and ".join(f"{n} evaluations ({at(place)})" for place, n in counts.items())


def digests(found: Comparison | None) -> str:
    """On how many pairs of records the digests agree, and on what machines they were made."""
    if found is None or not found.like:
        return "Digests: nothing to compare."
    equal, shared = (
        sum(row.equal for row in found.like),
        sum(len(row.shared) for row in found.like),
    )
    recorded, own = (_machines(side, (row.key for row in found.like)) for side in _sides(found))
    return (
        f"Of {shared} pairs of records, {equal} have the same result digest: the same to the last "
        f"bit. Recorded on {recorded}; rerun on {own}."
    )


def _sides(found: Comparison) -> tuple[Holding, Holding]:
    return found.first, found.second


def _machines(holding: Holding, keys: Iterable[Key]) -> str:
    made = {
        f"{p.processor} ({p.threads} thread{'s' * (p.threads > 1)}, torch {p.versions['torch']}, "
        f"{record.precision})"
        for key in keys
        for record in holding.evaluations[key].values()
        for p in [record.provenance]
    }
    return " and ".join(sorted(made))


def verdict_sentence(found: Comparison | None, changes: dict[str, list[Change]]) -> str:
    """Whether the rerun may decide anything, and how many verdicts differ."""
    if found is None:
        return "Verdicts: not run."
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


# --- tables -------------------------------------------------------------------------------


def like_table(found: Comparison | None, sides: Names = BOOK) -> pd.DataFrame:
    """What can be compared, a line each: errors of both sides, their difference, how far it moved.

    What is the same to the last bit comes last.
    """
    first, second = sides
    rows = [
        {
            "run": f"{row.key.run}, {row.key.evaluation}<br>{at(row.key.place)}",
            first: _cell(mean_and_spread(list(row.first.values()))),
            second: _cell(mean_and_spread(list(row.second.values()))),
            "difference": _cell(
                shown_interval(row.interval) if row.interval else _points(row.difference)
            ),
            "how far": row.moved.removeprefix("moved ").replace(" over", "<br>over"),
        }
        for row in sorted(found.like if found else [], key=lambda row: row.same)
    ]
    return _frame(rows, found)


def _cell(text: str) -> str:
    return text.replace(", n = ", "<br>n = ")  # room on a phone


def _points(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:+.1f}"


def reasons_table(
    found: Comparison | None, sides: Names = ("recorded", "your rerun")
) -> pd.DataFrame:
    """Why the rest cannot be compared: what differs between the declarations, for each pair."""
    unlike = found.unlike if found else []
    counts = Counter((u.first.place, u.second.place, u.reason) for u in unlike)
    rows = [
        {"run": at(was), sides[1]: at(now), "evaluations": count, "differ in": reason}
        for (was, now, reason), count in counts.items()
    ]
    return _frame(rows, found, sides[0])


def unlike_table(found: Comparison | None) -> pd.DataFrame:
    """Errors by centre crop of what cannot be compared, a column for each budget and data set."""
    unlike = [u for u in found.unlike if "centre-crop" in u.second.evaluation] if found else []
    rows = []
    for _, pairs in groupby(unlike, key=lambda u: u.second):
        pairs = list(pairs)
        row = {"run": pairs[0].second.run}
        for pair in pairs:
            row[f"recorded: {at(pair.first.place)}"] = _errors(found.first, pair.first)
        rows.append(
            row | {f"rerun: {at(pairs[0].second.place)}": _errors(found.second, pairs[0].second)}
        )
    return _frame(rows, found).fillna("–")


def _errors(holding: Holding, key: Key) -> str:
    return _cell(mean_and_spread(list(holding.errors(key).values())))


def verdict_table(found: Comparison | None, changes: dict[str, list[Change]]) -> pd.DataFrame:
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
    return _frame(rows, found, "claim")


def _decided(decision: Decision) -> str:
    interval = f": {shown_interval(decision.interval)}" if decision.interval else ""
    return f"<b>{decision.word}</b>{interval}<br>{decision.reason}"


def _frame(
    rows: Sequence[dict[str, object]], found: Comparison | None, index: str = "run"
) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame({"not run" if found is None else "none": []})
    return pd.DataFrame(rows).set_index("run").rename_axis(index=None, columns=index)
