"""Which recipe the study is run with: chosen on minival, for the worst of A, D and E.

The best recipe of the shallowest net would make the deep ones look unfinished, so a candidate
counts by its worst net. The images that results are reported on are never looked at.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro.study import programme, store
from vggrepro.study.budgets import BEGINNING, BUDGETS, CALIBRATION, Budget, at_budget
from vggrepro.study.experiments import RUNS, Experiment

NETS = ("A-S256", "D-S256", "E-S256")


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
    def complete(self) -> bool:
        """Whether all nets were trained, or one diverged, which is enough to lose."""
        return bool(self.diverged) or len(self.minival) == len(NETS)

    @property
    def worst(self) -> float:
        """The largest minival error of the nets trained so far, percent: it can only grow."""
        return float("inf") if self.diverged else max(self.minival.values(), default=0.0)


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
    minival, train, diverged = {}, {}, []
    for net in NETS:
        trained = store.trainings(results_dir, at_budget(net, budget, data)).values()
        last = [record.curve[-1] for record in trained if record.status == "ok"]
        if last:
            minival[net] = float(np.mean([epoch.minival_error for epoch in last]))
            train[net] = float(np.mean([epoch.train_error for epoch in last]))
        elif any(record.status == "diverged" for record in trained):
            diverged.append(net)
    experiment = at_budget(NETS[0], budget, data)
    return Candidate(budget.name, budget.about, experiment, minival, train, tuple(diverged))


def best(found: list[Candidate]) -> Candidate | None:
    """The candidate whose worst net has the smallest minival error, of those with all nets."""
    complete = [candidate for candidate in found if candidate.complete]
    return min(complete, key=lambda candidate: candidate.worst, default=None)


def is_out(candidate: Candidate, winner: Candidate | None) -> bool:
    """Whether the nets trained so far are enough to lose: the others need not be trained."""
    return winner is not None and not candidate.complete and candidate.worst > winner.worst


def table(found: list[Candidate], frozen: Candidate) -> pd.DataFrame:
    """What each candidate changes and reached, one line each, then the recipe that was frozen."""
    winner = best(found)
    lines = {}
    for candidate in (*found, frozen):
        e = candidate.experiment
        cells = {
            "rate, batch,<br>dropout, epochs": f"{e.learning_rate:g}, {e.batch_size},<br>"
            f"{e.dropout:g}, {e.epochs}",
            **{RUNS[net].config: _cell(candidate, net, winner) for net in NETS},
            "worst": _worst(candidate),
        }
        mark = " (smallest worst)" if candidate is winner else ""
        lines[candidate.about + mark] = cells
    table = pd.DataFrame.from_dict(lines, orient="index")
    return table.rename_axis(index=None, columns="recipe")


def _worst(candidate: Candidate) -> str:
    if candidate.complete:
        return f"{candidate.worst:.1f}"
    return f"≥ {candidate.worst:.1f}" if candidate.minival else "–"


def _cell(candidate: Candidate, net: str, winner: Candidate | None) -> str:
    if net in candidate.minival:
        return f"{candidate.minival[net]:.1f}<br>({candidate.train[net]:.1f})"
    if net in candidate.diverged:
        return "diverged"
    return "not needed" if is_out(candidate, winner) else "not run"


def sentence(found: list[Candidate]) -> str:
    """Which candidate is the best so far, and what became of the others."""
    complete = [candidate for candidate in found if candidate.complete]
    winner = best(found)
    out = [candidate for candidate in found if is_out(candidate, winner)]
    if len(complete) + len(out) < 2:
        return f"{len(complete)} of {len(found)} recipes have been run: nothing to compare yet."
    text = f"The smallest error of a worst net has “{winner.about}” with {winner.worst:.1f} %"
    if out:
        text += f"; {len(out)} of {len(found)} lost before all its nets were trained"
    left = len(found) - len(complete) - len(out)
    return text + (f"; {left} of {len(found)} were never trained." if left else ".")
