"""The programme of the recorded study: its runs on each set of photos, their seeds, its recipe.

Runs and seeds are derived from the claims and the chapters, so that what is planned, run and
waited for is one list.
"""

from functools import cache
from math import inf, isinf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro import UserError
from vggrepro.files import beside
from vggrepro.study import store
from vggrepro.study.budgets import BEGINNING, BUDGETS, CALIBRATION, Budget, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import Experiment, in_order, with_needs
from vggrepro.study.rules import POOLED, Claim, Side

# --- what the recorded study runs ---------------------------------------------------------

BUDGET = "reduced"
DATA = tuple(dict.fromkeys(claim.data for claim in CLAIMS.values() if claim.sides))
"""The photos that claims are decided on."""

_WRITTEN = beside(__file__)
#: The runs that each chapter reads.
CHAPTER_RUNS = {chapter: tuple(runs) for chapter, runs in _WRITTEN["chapters"].items()}
#: Nets repeated on photos that decide nothing about them, with so many seeds.
REPEATED: dict[str, dict[str, int]] = _WRITTEN["repeated"]
#: What is planned once although a claim names more seeds.
ONCE: dict[str, list[str]] = _WRITTEN["once"]


@cache
def seeds(data: str) -> dict[str, int]:
    """Run or fusion to its number of seeds, what others start from before them.

    A claim on `data` needs its number of seeds of every run that it or a control of it names. A
    chapter whose claims are decided on `data` shows each of its other runs with one seed. What a
    run starts from, or fuses, is there for every seed. Raises `UserError` for photos on which no
    claim is decided.
    """
    if data not in DATA:
        raise UserError(f"the recorded study has no runs on {data!r}; choose: {', '.join(DATA)}")
    found: dict[str, int] = {}

    def need(run: str, count: int) -> None:
        for needed, seed in with_needs([(run, count - 1)]):
            found[needed] = max(found.get(needed, 0), seed + 1)

    for claim in CLAIMS.values():
        for run in runs_of(claim) if claim.data == data else ():
            need(run, 1 if run in ONCE.get(data, ()) else claim.seeds)
    for run in POOLED.get(data, ()):
        need(run, 1)
    for claim in CLAIMS.values():
        for run in CHAPTER_RUNS[claim.chapter] if claim.data == data and runs_of(claim) else ():
            need(run, 1)
    for run, count in REPEATED.get(data, {}).items():
        need(run, count)
    return {run: found[run] for run in in_order(list(found))}


def tasks(data: str, only: int | None = None) -> list[tuple[str, int]]:
    """(run or fusion, seed): one seed of everything before the second of anything.

    With `only`, those of that seed. Raises `UserError` as `seeds`, and if there is no such seed.
    """
    counts = seeds(data)
    most = max(counts.values(), default=0)
    if only is not None and only >= most:
        raise UserError(f"the recorded study on {data} has seeds 0 to {most - 1}, not {only}")
    chosen = range(most) if only is None else [only]
    return [(run, seed) for seed in chosen for run, count in counts.items() if seed < count]


def runs_of(claim: Claim) -> list[str]:
    """The runs and fusions that a claim about errors, a control or a rival of it names."""
    if not claim.about_errors:
        return []
    beside = (sides for _, sides in (*claim.controls, *claim.rivals))
    pairs = [claim.sides, claim.less, claim.other_length, *beside]
    sides: list[Side] = [side for pair in pairs if pair for side in pair]
    return list(dict.fromkeys(side.run for side in sides))


# --- the recipe: chosen on minival, for the worst of three nets -------------------------------
#
# The best recipe of the shallowest net would make the deep ones look unfinished, so a candidate
# counts by its worst net. The images that results are reported on are never looked at.

CALIBRATED = ("A-S256", "D-S256", "E-S256")


class Candidate(NamedTuple):
    """A recipe and what its nets reached: minival error and error on training images, percent.

    Both are means over seeds, of the last epoch in eval mode; they are infinite for a net whose
    loss was no longer finite, and a net that has not been trained is missing.
    """

    name: str
    about: str
    experiment: Experiment
    errors: dict[str, tuple[float, float]]

    @property
    def complete(self) -> bool:
        """Whether all nets were trained, or one diverged, which is enough to lose."""
        return isinf(self.worst) or len(self.errors) == len(CALIBRATED)

    @property
    def worst(self) -> float:
        """The largest minival error of the nets trained so far, percent: it can only grow."""
        return max((minival for minival, _ in self.errors.values()), default=0.0)


def candidates(results_dir: Path, data: str) -> list[Candidate]:
    """The recipe that the study began with and every change to it, with what is recorded.

    The records of the beginning are pilots, in a folder of their own.
    """
    begun = _candidate(results_dir / store.PILOTS, BEGINNING, data)
    return [begun, *(_candidate(results_dir, budget, data) for budget in CALIBRATION.values())]


def frozen(results_dir: Path, data: str) -> Candidate:
    """The recipe of the recorded study, with what its own trainings reached on minival.

    It was fixed before they were run, so it is no candidate.
    """
    return _candidate(results_dir, BUDGETS[BUDGET], data)._replace(
        about="<b>frozen for the study</b>"
    )


def _candidate(results_dir: Path, budget: Budget, data: str) -> Candidate:
    errors = {}
    for net in CALIBRATED:
        trained = store.trainings(results_dir, at_budget(net, budget, data)).values()
        last = [record.curve[-1] for record in trained if record.status == "ok"]
        if last:
            both = [(epoch.minival_error, epoch.train_error) for epoch in last]
            errors[net] = tuple(np.mean(both, axis=0))
        elif any(record.status == "diverged" for record in trained):
            errors[net] = inf, inf
    return Candidate(budget.name, budget.about, at_budget(CALIBRATED[0], budget, data), errors)


def best(found: list[Candidate]) -> Candidate | None:
    """The candidate whose worst net has the smallest minival error, of those with all nets."""
    complete = [candidate for candidate in found if candidate.complete]
    return min(complete, key=lambda candidate: candidate.worst, default=None)


def is_out(candidate: Candidate, winner: Candidate | None) -> bool:
    """Whether the nets trained so far are enough to lose: the others need not be trained."""
    return winner is not None and not candidate.complete and candidate.worst > winner.worst
