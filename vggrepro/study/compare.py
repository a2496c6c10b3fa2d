"""Two folders of records side by side: which numbers moved.

Only like is compared with like: the same run, evaluation, budget and data set, under the same
declaration and on the same images. What differs in any of these is listed with the reason.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro import UserError
from vggrepro.study import store
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


Evaluations = Mapping[Key, pd.DataFrame]
"""Rows of `store.frame` by seed, in the order of their files."""


def evaluations(results_dir: Path) -> Evaluations:
    """The evaluations of a folder of records, without pilots.

    Raises `UserError` if there is no such folder, if it holds no evaluation, or for a record that
    cannot be read.
    """
    table = store.frame(results_dir)
    table = table[table.path.str.count("/") == 4]  # no pilots, and no nets of the reader's own
    names = table.path.str.extract(r"/eval-(.+)\.json$", expand=False)
    tested = table.assign(evaluation=names).dropna(subset="evaluation").set_index("seed")
    found = {Key(*k): of for k, of in tested.groupby(list(Key._fields), sort=False)}
    if not found:
        raise UserError(f"{results_dir} holds no evaluation of a trained net; `vggrepro run` does")
    return found


# --- like with like -----------------------------------------------------------------------


class Like(NamedTuple):
    """One evaluation that both folders have, made alike.

    `by_seed` is second minus first for the seeds that both have, `interval` its mean with the
    spread of all nets, None without one; `equal` counts seeds whose result digests are the same.
    """

    key: Key
    by_seed: Mapping[int, float]
    interval: Interval | None
    equal: int

    @property
    def difference(self) -> float | None:
        """The mean of `by_seed`."""
        return float(np.mean(list(self.by_seed.values()))) if self.by_seed else None

    @property
    def same(self) -> bool:
        """The same to the last bit, for every seed that both have."""
        return 0 < self.equal == len(self.by_seed)

    @property
    def moved(self) -> str:
        """Whether and how far the number moved, in words."""
        if not self.by_seed:
            return "no seed in common"
        if self.same:
            return "the same"
        if self.interval is None:
            return "moved; spread over seeds unknown"
        beyond = self.interval.low > 0 or self.interval.high < 0
        return f"moved {'beyond' if beyond else 'within'} the spread over seeds"


class Unlike(NamedTuple):
    """A run's evaluation that both folders have, but made differently."""

    first: Key
    second: Key
    reason: str


@dataclass(frozen=True)
class Comparison:
    """Two folders side by side: the evaluations of both by seed, and what became of each."""

    folders: tuple[Path, Path]
    first: Evaluations
    second: Evaluations
    like: list[Like]
    unlike: list[Unlike]


def only(here: Iterable[Key], there: Collection[Key]) -> list[Key]:
    """What one folder has and the other has not, at any budget and on any data set."""
    places, known = {key.place for key in there}, {key[2:] for key in there}
    return [
        key for key in here if key[2:] not in known or (key.place in places and key not in there)
    ]


def compare(first: Path, second: Path) -> Comparison:
    """Everything that two folders of records have in common, and what they have not.

    Raises `UserError` as `evaluations` does.
    """
    found = Comparison((first, second), evaluations(first), evaluations(second), [], [])
    spreads = {key.place: _spread(found, key.place) for key in found.first}
    for key in found.second:
        named = [there for there in found.first if there[2:] == key[2:]]
        for there in [key] if key in named else named:
            if reason := _unlike(found, there, key):
                found.unlike.append(Unlike(there, key, reason))
            else:
                found.like.append(_compared(found, key, spreads[key.place]))
    return found


def _spread(found: Comparison, place: tuple[str, str]) -> Pooled:
    """That over seeds of all nets there, by centre crop, in the first folder.

    In the second, where the first has one seed of everything.
    """
    here, there = (
        pooled(
            {
                f"{key.run} {key.evaluation}": of.top1_error.to_dict()
                for key, of in side.items()
                if key.place == place and key.evaluation.startswith("centre-crop-")
            }
        )
        for side in (found.first, found.second)
    )
    return here if here.df else there


def _compared(found: Comparison, key: Key, spread: Pooled) -> Like:
    here, there = found.first[key], found.second[key]
    moved = gains(here.top1_error.to_dict(), there.top1_error.to_dict())
    equal = here.result_digest[list(moved)] == there.result_digest[list(moved)]
    return Like(key, moved, difference(spread, moved.values()), int(equal.sum()))


# What says which run it is, rather than how it was made.
_SAID = {"name", "config"}


def _unlike(found: Comparison, first: Key, second: Key) -> str:
    """Why two evaluations of a run are not the same experiment; empty if they are."""
    sides = zip(found.folders, (found.first[first], found.second[second]), strict=True)
    paths = [[folder / path for path in of.path] for folder, of in sides]
    reasons = _changed(*map(_made, paths))
    if first.data == second.data and _images(paths[0]) != _images(paths[1]):
        reasons.append("images (other photos, or others left out)")
    return ", ".join(reasons)


def _made(paths: Iterable[Path]) -> list[dict]:
    """The declarations of an evaluation's seeds, each once."""
    found: list[dict] = []
    for path in paths:
        declared = store.read(path).declared
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
    if isinstance(value, list):
        value = tuple(value)
    return "–" if value in (None, "", (), (0, 0)) else str(value)


def _images(paths: Iterable[Path]) -> set[str]:
    """Fingerprints of all images an evaluation rests on, where they are recorded."""
    found = set()
    for path in paths:
        found.add(store.read(path).data.fingerprint)
        if (trained := path.with_name("train.json")).exists():
            found |= {used.fingerprint for used in store.read(trained).data}
    return found
