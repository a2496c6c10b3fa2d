"""Two folders of records side by side, as `vggrepro compare` says it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from vggrepro import UserError
from vggrepro.claims import CLAIMS
from vggrepro.compare import Compared, Comparison, Holding, Key, Unlike, compare, verdict_changes
from vggrepro.report import mean_and_spread


def lines(first: Path, second: Path, everything: bool = False) -> Iterator[str]:
    """The comparison for people; with `everything` also what is the same on both sides.

    Raises `UserError` as `holding` does, and if nothing can be compared.
    """
    found = compare(first, second)
    if not found.like:
        raise UserError(_nothing_alike(found))
    yield f"A: {first} ({_held(found.first)})"
    yield f"B: {second} ({_held(found.second)})"
    yield "top-1 errors in percent; B minus A over the seeds that both have"
    rows = [row for row in found.like if everything or not row.same]
    if rows:
        yield f"{'':39}{'A':>20}{'B':>20}{'B - A':>8}{'digests':>9}"
    for place in dict.fromkeys(row.key.place for row in rows):
        yield f"{place[0]} on {place[1]}:"
        yield from (_line(row) for row in rows if row.key.place == place)
    words = Counter(row.moved for row in found.like)
    yield f"{len(found.like)} in both: {', '.join(f'{n} {word}' for word, n in words.items())}"
    for (was, now, reason), count in _grouped(found.unlike).items():
        yield f"not compared, {count}: {_at(was)} in A, {_at(now)} in B differ in {reason}"
    yield from _missing("A", found.only_first, "B", found.second)
    yield from _missing("B", found.only_second, "A", found.first)
    for budget, changes in verdict_changes(first, second).items():
        yield f"verdicts of budget {budget}: {len(changes)} of {len(CLAIMS)} differ"
        for change in changes:
            one, other = change
            yield f"  {one.claim.key}: {one.word} (n = {one.n}) -> {other.word} (n = {other.n})"


def _nothing_alike(found: Comparison) -> str:
    text = (
        f"nothing to compare: {found.first.results_dir} holds {_held(found.first)}; "
        f"{found.second.results_dir} holds {_held(found.second)}. "
    )
    if found.unlike:
        ((was, now, reason), _), *_ = _grouped(found.unlike).items()
        text += f"{_at(was)} and {_at(now)} differ in {reason}. "
    budget, data = found.first.places[0]
    run = next(key.run for key in found.first.evaluations if key.place == (budget, data))
    return text + (
        f"Like the first is made by `vggrepro run {run} --budget {budget} --data {data} "
        f"--results-dir {found.second.results_dir}`"
    )


def _held(holding: Holding) -> str:
    counts = Counter(_at(key.place) for key in holding.evaluations)
    return ", ".join(f"{at}: {n} evaluations" for at, n in counts.items())


def _at(place: tuple[str, str]) -> str:
    return f"{place[0]} on {place[1]}"


def _grouped(unlike: Iterable[Unlike]) -> Counter:
    return Counter((u.first.place, u.second.place, u.reason) for u in unlike)


def _line(row: Compared) -> str:
    cells = [mean_and_spread(list(side.values())) for side in (row.first, row.second)]
    moved = "–" if row.difference is None else f"{row.difference:+.2f}"
    digests = f"{row.equal} of {len(row.shared)}"
    name = f"  {row.key.run} {row.key.evaluation}"
    return f"{name:39}{cells[0]:>20}{cells[1]:>20}{moved:>8}{digests:>9}  {row.moved}"


def _missing(side: str, keys: list[Key], other: str, there: Holding) -> Iterator[str]:
    by_run: dict[tuple[tuple[str, str], str], list[str]] = {}
    for key in keys:
        by_run.setdefault((key.place, key.run), []).append(key.evaluation)
    for (place, run), evaluations in by_run.items():
        failed = [
            f"seed {trained.seed} {trained.status} in {other}"
            for at, trained in there.trainings.items()
            if at[:3] == (*place, run) and trained.status != "ok"
        ]
        why = f" ({', '.join(failed)})" if failed else ""
        yield f"only in {side}, {_at(place)}: {run} {', '.join(evaluations)}{why}"
