"""Which recipe the study is run with: chosen on minival, for the worst of A, D and E.

The best recipe of the shallowest net would make the deep ones look unfinished, so a candidate
counts by its worst net. The images that results are reported on are never looked at.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro import results
from vggrepro.budgets import BUDGETS, CALIBRATION, at_budget
from vggrepro.experiments import Experiment

NETS = ("A-S256", "D-S256", "E-S256")
BASE = "reduced"  # the recipe that the candidates change


class Candidate(NamedTuple):
    """A recipe and what its nets reached: minival error and error on training images, percent.

    Both hold a mean over seeds by net, of the last epoch in eval mode; a net that has not been
    trained is missing. `diverged` names those whose loss was no longer finite.
    """

    name: str
    about: str
    experiment: Experiment
    minival: dict[str, float]
    train: dict[str, float]
    diverged: tuple[str, ...]

    @property
    def worst(self) -> float | None:
        """The largest minival error of the nets, percent; None unless all were trained."""
        if self.diverged:
            return float("inf")
        return max(self.minival.values()) if len(self.minival) == len(NETS) else None


def candidates(results_dir: Path, data: str) -> list[Candidate]:
    """The recipe that the study began with and every change to it, with what is recorded."""
    budgets = [BUDGETS[BASE], *CALIBRATION.values()]
    return [_candidate(results_dir, budget.name, budget.about, data) for budget in budgets]


def _candidate(results_dir: Path, budget: str, about: str, data: str) -> Candidate:
    minival, train, diverged = {}, {}, []
    for net in NETS:
        trained = results.trainings(results_dir, at_budget(net, budget, data)).values()
        last = [record.curve[-1] for record in trained if record.status == "ok"]
        if last:
            minival[net] = float(np.mean([epoch.minival_error for epoch in last]))
            train[net] = float(np.mean([epoch.train_error for epoch in last]))
        elif any(record.status == "diverged" for record in trained):
            diverged.append(net)
    experiment = at_budget(NETS[0], budget, data)
    about = "as the study began" if budget == BASE else about
    return Candidate(budget, about, experiment, minival, train, tuple(diverged))


def best(found: list[Candidate]) -> Candidate | None:
    """The candidate whose worst net has the smallest minival error, of those with all nets."""
    complete = [candidate for candidate in found if candidate.worst is not None]
    return min(complete, key=lambda candidate: candidate.worst, default=None)
