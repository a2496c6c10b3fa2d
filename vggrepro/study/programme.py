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
from vggrepro.study import store
from vggrepro.study.budgets import BEGINNING, BUDGETS, CALIBRATION, Budget, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import (
    FUSIONS,
    RANDOM_STARTS,
    Experiment,
    in_order,
    with_needs,
)
from vggrepro.study.rules import POOLED, Claim, Side

# --- which runs each chapter reads; what they start from is added where it is needed ------

CHAPTER_RUNS: dict[str, tuple[str, ...]] = {
    "02_lrn": ("A-S256", "A-LRN-S256", "A-short", "A-LRN-short"),
    "03_depth": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
        *("A-from-A", "D-he-long", "A-he-long", "A-short", "D-short"),
    ),
    "04_filters_1x1": ("B-S256", "C-linear-S256", "C-S256", "C-wide-S256", "D-S256"),
    "05_large_filters": ("B-he", "B-5x5-he", "D-he", "D-7x7-he"),
    "06_scale_jitter": tuple(
        f"{config}-{scale}"
        for config in "CDE"
        for scale in ("S256", "S384", "S384-longer", "jitter")
    ),
    "07_test_scales": (
        *("B-S256", "C-S256", "C-S384", "C-jitter"),
        *("D-S256", "D-S384", "D-S384-longer", "D-jitter"),
        *("E-S256", "E-S384", "E-jitter"),
    ),
    "08_multi_crop": ("D-jitter", "E-jitter"),
    "09_fusion": ("D-jitter", "E-jitter", *FUSIONS),
    "10_initialisation": (
        *(f"{net}-{init}" for init in RANDOM_STARTS for net in "ADE"),
        *("A-S256", "D-S256", "E-S256", "A-from-A", "D-he-long"),
    ),
    "11_costs": ("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
}


# --- what the recorded study runs ---------------------------------------------------------

BUDGET = "reduced"
DATA = tuple(dict.fromkeys(claim.data for claim in CLAIMS.values() if claim.sides))
"""The photos that claims are decided on."""

#: Nets whose claims the other photos decide, repeated so that the two can be compared.
REPEATED = {"imagenette": (("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256"), 3)}
#: Planned once although a claim names more seeds: E-jitter is the end of a long chain, and the
#: fusions are compared by the seed that has it. The claim says so.
ONCE = {"imagenette": ("E-jitter", "D-jitter+E-jitter", "D-jitter+D-jitter")}


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
    repeated, count = REPEATED.get(data, ((), 0))
    for run in repeated:
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
