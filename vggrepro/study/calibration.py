"""Which recipe the study is run with: chosen on minival, for the worst of A, D and E.

The best recipe of the shallowest net would make the deep ones look unfinished, so a candidate
counts by its worst net. The images that results are reported on are never looked at.
"""

from math import inf, isinf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro.study import programme, store
from vggrepro.study.budgets import BEGINNING, BUDGETS, CALIBRATION, Budget, at_budget
from vggrepro.study.experiments import Experiment

NETS = ("A-S256", "D-S256", "E-S256")


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
        return isinf(self.worst) or len(self.errors) == len(NETS)

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
    return _candidate(results_dir, BUDGETS[programme.BUDGET], data)._replace(
        about="<b>frozen for the study</b>"
    )


def _candidate(results_dir: Path, budget: Budget, data: str) -> Candidate:
    errors = {}
    for net in NETS:
        trained = store.trainings(results_dir, at_budget(net, budget, data)).values()
        last = [record.curve[-1] for record in trained if record.status == "ok"]
        if last:
            both = [(epoch.minival_error, epoch.train_error) for epoch in last]
            errors[net] = tuple(np.mean(both, axis=0))
        elif any(record.status == "diverged" for record in trained):
            errors[net] = inf, inf
    return Candidate(budget.name, budget.about, at_budget(NETS[0], budget, data), errors)


def best(found: list[Candidate]) -> Candidate | None:
    """The candidate whose worst net has the smallest minival error, of those with all nets."""
    complete = [candidate for candidate in found if candidate.complete]
    return min(complete, key=lambda candidate: candidate.worst, default=None)


def is_out(candidate: Candidate, winner: Candidate | None) -> bool:
    """Whether the nets trained so far are enough to lose: the others need not be trained."""
    return winner is not None and not candidate.complete and candidate.worst > winner.worst
