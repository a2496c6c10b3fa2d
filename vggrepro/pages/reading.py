"""A chapter's findings in plain words: numbers from the records, directions checked by them.

A text is written once, while the records grow. So a chapter takes the numbers of its sentences
from here, and where the records do not say (any more) what a sentence says, it says so itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vggrepro.pages.report import DATA_NAMES
from vggrepro.study import programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import Study
from vggrepro.study.records import TrainRecord
from vggrepro.study.rules import Side, centre, gains
from vggrepro.study.store import RECORDED

CONTRADICTED = "the records now say otherwise"
"""What a sentence shows in place of an untroubled number; the tests look for it in the book."""
ONE_SEED = "¹"

Tested = str | Side
"""A run, by centre crop and flip at its own Q; or a run with the protocol it is tested by."""


@dataclass(frozen=True)
class Findings:
    """What the sentences of a chapter compare: records of the study, without pilots."""

    study: Study = field(default_factory=lambda: Study(RECORDED, programme.BUDGET))

    def lower(self, data: str, better: Tested, worse: Tested) -> str:
        """By how many points the error of `better` is lower, as `1.5`, mean over shared seeds."""
        gains = self._gains(data, better, worse)
        return self._said(gains, lambda gain: gain > 0)

    def points(self, data: str, first: Tested, second: Tested) -> str:
        """How much lower the error of `first` is, as `+0.4`, where a sentence says no direction."""
        return self._said(self._gains(data, first, second), signed=True)

    def alike(self, data: str, one: Tested, other: Tested, within: float) -> str:
        """How far apart the errors of the two are, as `0.2`, where that is less than `within`."""
        gains = self._gains(data, one, other)
        sign = -1 if gains and np.mean(gains) < 0 else 1
        return self._said([sign * gain for gain in gains], lambda gain: gain < within)

    def error(self, data: str, run: Tested) -> str:
        """Mean top-1 error over seeds in percent, as `15.6`."""
        return self._said(list(self._errors(data, run).values()))

    def by_seed(self, data: str, run: Tested) -> str:
        """Top-1 error of every seed in percent, as `38.4, 29.6`."""
        return ", ".join(f"{e:.1f}" for e in self._errors(data, run).values()) or "not run"

    def train_error(self, data: str, run: str) -> str:
        """Mean error on training images after the last epoch in percent, as `12.2`."""
        return self._said(list(self._train_errors(data, run).values()))

    def fits_better(self, data: str, better: str, worse: str) -> str:
        """Errors on training images after the last epoch: `11.1 % against 12.2 %`, lower first."""
        return self._fits(data, better, worse, lambda here, there: here < there)

    def fits_worse(self, data: str, worse: str, better: str) -> str:
        """The same where a sentence names the higher one first: `12.2 % against 11.1 %`."""
        return self._fits(data, worse, better, lambda here, there: here > there)

    def _fits(
        self, data: str, one: str, other: str, as_said: Callable[[float, float], bool]
    ) -> str:
        first, second = (self._train_errors(data, run) for run in (one, other))
        shared = sorted(first.keys() & second.keys())
        here, there = ([found[seed] for seed in shared] for found in (first, second))
        if not shared:
            return "not run"
        said = f"{self._said(here)} % against {self._said(there)} %"
        return said if as_said(np.mean(here), np.mean(there)) else f"{said} (**{CONTRADICTED}**)"

    def processors(self, data: str, run: str) -> str:
        """On what each seed was trained: `seed 0 on AMD EPYC, seeds 1, 2 on Intel(R) ...`."""
        by: dict[str, list[str]] = {}
        for seed, record in self._trained(data, run).items():
            by.setdefault(record.provenance.processor, []).append(str(seed))
        return ", ".join(
            f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} on {processor}"
            for processor, seeds in by.items()
        )

    def basis(self, **runs: str) -> str:
        """How many seeds the words rest on, by a run that stands for its photos' others."""
        parts = [
            f"{len(self._errors(data, run))} on {DATA_NAMES[data]}" for data, run in runs.items()
        ]
        return (
            f"*Means over the seeds recorded so far: {', '.join(parts)}; {ONE_SEED} marks what has "
            "one. Nets are compared by the seeds that both have, so a difference need not be that "
            "of the means in a table. Words describe what was seen; only a verdict decides.*"
        )

    def _errors(self, data: str, tested: Tested) -> dict[int, float]:
        side = tested if isinstance(tested, Side) else centre(tested, tested)[0]
        return self.study.errors(side, data)

    def _gains(self, data: str, better: Tested, worse: Tested) -> list[float]:
        return list(gains(*(self._errors(data, side) for side in (better, worse))).values())

    def _train_errors(self, data: str, run: str) -> dict[int, float]:
        trained = self._trained(data, run)
        return {seed: record.curve[-1].train_error for seed, record in trained.items()}

    def _trained(self, data: str, run: str) -> dict[int, TrainRecord]:
        found = store.trainings(self.study.results_dir, at_budget(run, self.study.budget, data))
        return {
            seed: record
            for seed, record in found.items()
            if record.status == "ok" and not record.pilot
        }

    def _said(
        self,
        by_seed: Sequence[float],
        as_said: Callable[[float], bool] = lambda mean: True,
        signed: bool = False,
    ) -> str:
        if not by_seed:
            return "not run"
        mean = float(np.mean(by_seed))
        mark = ONE_SEED * (len(by_seed) == 1)
        if signed:
            return f"{mean:+.1f}{mark}"
        return f"{mean:.1f}{mark}" if as_said(mean) else f"{mean:+.1f}{mark} (**{CONTRADICTED}**)"
