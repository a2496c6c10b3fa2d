"""Which recipe the study is run with: chosen on minival, for the worst of A, D and E.

The best recipe of the shallowest net would make the deep ones look unfinished, so a candidate
counts by its worst net. The images that results are reported on are never looked at.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro import results
from vggrepro.budgets import BUDGETS, CALIBRATION, at_budget
from vggrepro.experiments import RUNS, Experiment

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


def table(found: list[Candidate]) -> pd.DataFrame:
    """What each candidate changes and reached, one line each, for the book."""
    winner = best(found)
    lines = {}
    for candidate in found:
        e = candidate.experiment
        cells = {
            "rate, batch,<br>dropout, epochs": f"{e.learning_rate:g}, {e.batch_size}, "
            f"{e.dropout:g}, {e.epochs}",
            **{RUNS[net].config: _cell(candidate, net) for net in NETS},
            "worst": "–" if candidate.worst is None else f"{candidate.worst:.1f}",
        }
        mark = " (smallest worst)" if candidate is winner else ""
        lines[candidate.about + mark] = cells
    return pd.DataFrame.from_dict(lines, orient="index")


def _cell(candidate: Candidate, net: str) -> str:
    if net in candidate.minival:
        return f"{candidate.minival[net]:.1f}<br>({candidate.train[net]:.1f})"
    return "diverged" if net in candidate.diverged else "not run"


def sentence(found: list[Candidate]) -> str:
    """Which candidate is the best so far, and whether all of them have been run."""
    complete = [candidate for candidate in found if candidate.worst is not None]
    if len(complete) < 2:
        return f"{len(complete)} of {len(found)} recipes have been run: nothing to compare yet."
    winner = best(found)
    text = f"The smallest error of a worst net has “{winner.about}” with {winner.worst:.1f} %"
    left = len(found) - len(complete)
    return text + (f"; {left} of {len(found)} recipes have not been run yet." if left else ".")
