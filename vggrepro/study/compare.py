"""Two folders of records side by side: which numbers moved, which verdicts changed.

Only like is compared with like: the same run, evaluation, budget and data set, under the same
declaration and on the same images. What differs in any of these is listed with the reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro import UserError
from vggrepro.study import programme, store
from vggrepro.study.budgets import BUDGETS
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision, decide_all
from vggrepro.study.rules import Interval, Pooled, difference, gains, pooled


class Key(NamedTuple):
    """Where a number stands: the same in every folder of records."""

    budget: str
    data: str
    run: str
    evaluation: str

    @property
    def place(self) -> tuple[str, str]:
        """Budget and data set."""
        return self.budget, self.data


@dataclass(frozen=True)
class Holding:
    """The evaluations of one folder and its trainings: rows of `store.frame`."""

    results_dir: Path
    evaluations: Mapping[Key, pd.DataFrame]
    """By seed, in the order of their files."""
    trainings: pd.DataFrame

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every budget and data set there are evaluations of."""
        return list(dict.fromkeys(key.place for key in self.evaluations))

    def errors(self, key: Key) -> dict[int, float]:
        """Top-1 error in percent by seed."""
        return self.evaluations[key].top1_error.to_dict()

    def spread(self, place: tuple[str, str]) -> Pooled:
        """The spread over seeds of all nets there, by centre crop."""
        return pooled(
            {
                f"{key.run} {key.evaluation}": self.errors(key)
                for key in self.evaluations
                if key.place == place and key.evaluation.startswith("centre-crop-")
            }
        )


def holding(results_dir: Path) -> Holding:
    """Read a folder of records.

    Raises `UserError` if there is no such folder, if it holds no evaluation, or for a record that
    cannot be read.
    """
    if not results_dir.is_dir():
        raise UserError(f"{results_dir} is no folder: name two folders of records")
    table = store.frame(results_dir)
    table = table[table.path.str.count("/") == 4]  # no pilots, and no nets of the reader's own
    names = table.path.str.extract(r"/eval-(.+)\.json$", expand=False)
    tested = table.assign(evaluation=names).dropna(subset="evaluation").set_index("seed")
    evaluations = {Key(*k): of for k, of in tested.groupby(list(Key._fields), sort=False)}
    if not evaluations:
        raise UserError(f"{results_dir} holds no evaluation of a trained net; `vggrepro run` does")
    return Holding(results_dir, evaluations, table[table.kind == "train"])


# --- like with like -----------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """One evaluation that both folders have, made alike: top-1 errors in percent by seed."""

    key: Key
    first: Mapping[int, float]
    second: Mapping[int, float]
    equal: int
    """On how many of the seeds that both have the result digests are the same."""
    interval: Interval | None
    """Second minus first over those seeds, with the spread of all nets; None without one."""

    @property
    def shared(self) -> list[int]:
        """The seeds that both have."""
        return sorted(self.first.keys() & self.second.keys())

    @property
    def difference(self) -> float | None:
        """Second minus first over the seeds that both have, in points."""
        if not self.shared:
            return None
        return float(np.mean([self.second[seed] - self.first[seed] for seed in self.shared]))

    @property
    def same(self) -> bool:
        """The same to the last bit, for every seed that both have."""
        return bool(self.shared) and self.equal == len(self.shared)

    @property
    def moved(self) -> str:
        """Whether and how far the number moved, in words."""
        if not self.shared:
            return "no seed in common"
        if self.same:
            return "the same"
        if self.interval is None:
            return "moved; spread over seeds unknown"
        beyond = self.interval.low > 0 or self.interval.high < 0
        return f"moved {'beyond' if beyond else 'within'} the spread over seeds"


@dataclass(frozen=True)
class Unlike:
    """A run's evaluation that both folders have, but made differently."""

    first: Key
    second: Key
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Two folders side by side."""

    first: Holding
    second: Holding
    like: list[Compared] = field(default_factory=list)
    unlike: list[Unlike] = field(default_factory=list)

    @property
    def only_first(self) -> list[Key]:
        """What the first alone has, at any budget and on any data set."""
        return _without(self.first.evaluations, self.second.evaluations)

    @property
    def only_second(self) -> list[Key]:
        """What the second alone has."""
        return _without(self.second.evaluations, self.first.evaluations)


def _without(here: Iterable[Key], there: Iterable[Key]) -> list[Key]:
    known = {(key.run, key.evaluation) for key in there}
    places = {key.place for key in there}
    return [
        key
        for key in here
        if (key.run, key.evaluation) not in known or (key.place in places and key not in there)
    ]


def compare(first: Path, second: Path) -> Comparison:
    """Everything that two folders of records have in common, and what they have not.

    Raises `UserError` as `holding` does.
    """
    one, other = holding(first), holding(second)
    found = Comparison(one, other)
    spreads = {place: _spread(one, other, place) for place in one.places}
    for key in other.evaluations:
        if key in one.evaluations:
            reason = _unlike(one, other, key, key)
            if reason:
                found.unlike.append(Unlike(key, key, reason))
            else:
                found.like.append(_compared(one, other, key, spreads[key.place]))
            continue
        for there in one.evaluations:
            if (there.run, there.evaluation) == (key.run, key.evaluation):
                found.unlike.append(Unlike(there, key, _unlike(one, other, there, key)))
    return found


def _spread(one: Holding, other: Holding, place: tuple[str, str]) -> Pooled:
    """The first folder's; the second's where the first has one seed of everything."""
    spread = one.spread(place)
    return spread if spread.df else other.spread(place)


def _compared(one: Holding, other: Holding, key: Key, spread: Pooled) -> Compared:
    first, second = one.errors(key), other.errors(key)
    moved = gains(first, second)
    here, there = (side.evaluations[key].result_digest[list(moved)] for side in (one, other))
    interval = difference(spread, moved.values())
    return Compared(key, first, second, int((here == there).sum()), interval)


# What says which run it is, rather than how it was made.
_SAID = {"name", "config"}


def _unlike(one: Holding, other: Holding, first: Key, second: Key) -> str:
    """Why two evaluations of a run are not the same experiment; empty if they are."""
    reasons = _changed(_made(one, first), _made(other, second))
    if first.data == second.data and _images(one, first) != _images(other, second):
        reasons.append("images (other photos, or others left out)")
    return ", ".join(reasons)


def _made(holding: Holding, key: Key) -> list[dict]:
    """The declarations of an evaluation's seeds, each once."""
    found: list[dict] = []
    for path in holding.evaluations[key].path:
        declared = store.read(holding.results_dir / path).declared
        declared = {k: tuple(v) if isinstance(v, list) else v for k, v in declared.items()}
        if declared not in found:
            found.append(declared)
    return found


def _changed(first: list[dict], second: list[dict]) -> list[str]:
    if len(first) > 1 or len(second) > 1:
        return [] if first == second else ["several declarations in one folder"]
    (one,), (other,) = first, second
    return [
        f"{name.replace('_', ' ')} ({_shown(one.get(name))}, {_shown(other.get(name))})"
        for name in dict.fromkeys([*one, *other])
        if name not in _SAID and one.get(name) != other.get(name)
    ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value in (None, "", (), (0, 0)) else str(value)


def _images(holding: Holding, key: Key) -> set[str]:
    """Fingerprints of all images an evaluation rests on, where they are recorded."""
    found = set()
    for path in (holding.results_dir / path for path in holding.evaluations[key].path):
        found.add(store.read(path).data.fingerprint)
        if (trained := path.with_name("train.json")).exists():
            found |= {used.fingerprint for used in store.read(trained).data}
    return found


# --- verdicts -----------------------------------------------------------------------------


class Change(NamedTuple):
    """A claim's verdict from each of the folders."""

    first: Decision
    second: Decision


def verdict_changes(first: Path, second: Path) -> dict[str, list[Change]]:
    """The claims whose verdicts differ, for each budget that both have and that may decide.

    Drawn images decide nothing, so budgets on them are left out.
    """
    found = {}
    for budget in BUDGETS.values():
        if set(programme.DATA) & set(budget.data) and all(
            (folder / budget.name).is_dir() for folder in (first, second)
        ):
            one, other = (decide_all(folder, budget.name) for folder in (first, second))
            changes = [Change(one[key], other[key]) for key in CLAIMS]
            found[budget.name] = [c for c in changes if c.first.word != c.second.word]
    return found
