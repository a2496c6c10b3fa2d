"""A chapter's findings in plain words: numbers from the records, directions checked by them.

A text is written once, while the records grow. So a chapter takes the numbers of its sentences
from here, and where the records do not say (any more) what a sentence says, it says so itself.
"""

from dataclasses import dataclass, field

import numpy as np

from vggrepro import results
from vggrepro.budgets import at_budget
from vggrepro.criteria import Side, centre
from vggrepro.decisions import Study
from vggrepro.report import DATA_NAMES
from vggrepro.results import RECORDED

CONTRADICTED = "the records now say otherwise"
"""What a sentence shows in place of an untroubled number; the tests look for it in the book."""
ALL_SEEDS = 99

Tested = str | Side
"""A run, by centre crop and flip at its own Q; or a run with the protocol it is tested by."""


@dataclass(frozen=True)
class Findings:
    """What the sentences of a chapter compare: records of the study, without pilots."""

    study: Study = field(default_factory=lambda: Study(RECORDED, "reduced"))

    def lower(self, data: str, better: Tested, worse: Tested) -> str:
        """By how many points the error of `better` is lower, as `1.5`, mean over shared seeds."""
        gain = self._gain(data, better, worse)
        return self._checked(gain, gain is not None and gain > 0)

    def alike(self, data: str, one: Tested, other: Tested, within: float) -> str:
        """How far apart the errors of the two are, as `0.2`, where that is less than `within`."""
        gain = self._gain(data, one, other)
        apart = None if gain is None else abs(gain)
        return self._checked(apart, apart is not None and apart < within)

    def error(self, data: str, run: Tested) -> str:
        """Mean top-1 error over seeds in percent, as `15.6`."""
        errors = self._errors(data, run)
        return f"{np.mean(list(errors.values())):.1f}" if errors else "not run"

    def fits_better(self, data: str, better: str, worse: str) -> str:
        """Error on training images after the last epoch, lower first: `11.1 against 12.2`."""
        first, second = (self._train_errors(data, run) for run in (better, worse))
        shared = sorted(first.keys() & second.keys())
        if not shared:
            return "not run"
        here, there = (np.mean([found[seed] for seed in shared]) for found in (first, second))
        said = f"{here:.1f} % against {there:.1f} %"
        return said if here < there else f"{said}: **{CONTRADICTED}**"

    def train_error(self, data: str, run: str) -> str:
        """Mean error on training images after the last epoch in percent, as `12.2`."""
        errors = self._train_errors(data, run)
        return f"{np.mean(list(errors.values())):.1f}" if errors else "not run"

    def basis(self, **runs: str) -> str:
        """How many seeds the words rest on, by a run that stands for its photos' others."""
        parts = [
            f"{len(self._errors(data, run))} on {DATA_NAMES[data]}" for data, run in runs.items()
        ]
        return (
            f"*Means over the seeds recorded so far: {', '.join(parts)}. They describe what was "
            "seen; only a verdict decides.*"
        )

    def _errors(self, data: str, tested: Tested) -> dict[int, float]:
        side = tested if isinstance(tested, Side) else centre(tested, tested)[0]
        return self.study.errors(side, data, ALL_SEEDS, "top1_error")

    def _gain(self, data: str, better: Tested, worse: Tested) -> float | None:
        first, second = (self._errors(data, side) for side in (better, worse))
        shared = first.keys() & second.keys()
        return float(np.mean([second[s] - first[s] for s in shared])) if shared else None

    def _train_errors(self, data: str, run: str) -> dict[int, float]:
        experiment = at_budget(run, self.study.budget, data)
        return {
            seed: record.curve[-1].train_error
            for seed, record in results.trainings(self.study.results_dir, experiment).items()
            if record.status == "ok" and not record.pilot
        }

    def _checked(self, points: float | None, as_said: bool) -> str:
        if points is None:
            return "not run"
        return f"{points:.1f}" if as_said else f"{points:+.1f} (**{CONTRADICTED}**)"
