"""From records to verdicts: `rules`, applied to every claim.

The primary claims are decided together by Holm's procedure: it gives each its level, and the
claim's interval at that level earns the word. A claim that is not run stays in the count. The
others are decided at 5 % each, and marked as secondary. No claim names drawn images, so none is
decided by them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro import cost
from vggrepro.study import paper, programme, store
from vggrepro.study.budgets import Budget, at_budget, budget_named
from vggrepro.study.claims import CLAIMS, claim_named
from vggrepro.study.experiments import DECLARED, FUSIONS, RUNS, Evaluation
from vggrepro.study.records import EvalRecord
from vggrepro.study.rules import (
    ALPHA,
    FEWEST_SEEDS,
    POOLED,
    Claim,
    HolmStep,
    Interval,
    Pooled,
    SecondWord,
    Side,
    Sides,
    Verdict,
    Word,
    deciding,
    difference,
    holm,
    median_ratio,
    one_q,
    p_value,
    paired,
    pooled,
    verdict,
)
from vggrepro.windows import PAPER_CROP

# --- claims that arithmetic decides -------------------------------------------------------

OVERFEAT = 144e6
"""Weights of OverFeat's net, which the paper quotes (Section 2.2)."""


class Exact(NamedTuple):
    """A figure in percent more, and whether the claim holds.

    Where another number decides, `here` has it in words, and `reason` what the figure is then.
    """

    figure: float
    holds: bool
    here: str = ""
    reason: str = ""


def _seven_by_seven(claim: Claim) -> Exact:
    """More weights in D-7x7's fifth block than in D's, whose layers have one width."""
    small, large = (
        sum(layer.weights for layer in cost.layers(config) if layer.name.startswith("conv5"))
        for config in ("D", "D-7x7")
    )
    more = 100 * (large / small - 1)
    return Exact(more, abs(more - claim.paper.difference) < claim.matters)


def _parameters(claim: Claim) -> Exact:
    """Growth from A to E; the largest of all nets against `OVERFEAT` decides."""
    weights = {net: sum(layer.weights for layer in cost.layers(net)) for net in paper.TABLE_1}
    most = max(weights, key=weights.__getitem__)
    growth = 100 * (weights["E"] / weights["A"] - 1)
    return Exact(
        growth,
        weights[most] <= OVERFEAT,
        here=f"{weights[most] / 1e6:.2f} of {OVERFEAT / 1e6:g} million",
        reason=f"the most that any net has ({most}); from A to E they grow by {growth:.1f} %",
    )


def _lrn_memory(claim: Claim) -> Exact:
    """Activations of A-LRN over those of A."""
    without, with_lrn = (
        sum(layer.activations for layer in cost.layers(net)) for net in ("A", "A-LRN")
    )
    return Exact(100 * (with_lrn / without - 1), with_lrn > without)


ARITHMETIC: dict[str, Callable[[Claim], Exact]] = {
    "seven-by-seven": _seven_by_seven,
    "parameters": _parameters,
    "lrn-costs-memory": _lrn_memory,
}


def said(claim: Claim) -> str:
    """The paper's own difference with its sign and unit, – if it gives none.

    Where another number than the claim's difference decides, the paper's own of that.
    """
    if claim.key == "parameters":
        return f"{paper.parameters_millions('E')} of {OVERFEAT / 1e6:g} million"
    if claim.paper.difference is None:
        return "–"
    given = claim.paper.difference
    return f"{given:+.1f}" if claim.about_errors else f"{given:+g} %"


# --- claims that runs decide --------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """One claim and what the records say.

    `difference` is the mean difference in top-1 error over `n` seeds (points; percent for a
    measurement), `interval` its 95 % interval, None below two seeds; `step` is Holm's level and
    adjusted p of a primary claim. `log_loss` is the secondary outcome (nats), shown and not
    decided by. `exact` is the figure of an arithmetic claim; where another number decides it,
    `here` has that in words.
    """

    claim: Claim
    word: Word | SecondWord
    reason: str
    n: int = 0
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    step: HolmStep | None = None
    log_loss: Interval | None = None
    exact: float | None = None
    here: str = ""

    @property
    def decided_by(self) -> Interval | None:
        """The interval from which the word is read, at the confidence of rule and level."""
        level = self.step.level if self.step else ALPHA
        return deciding(self.interval, self.claim.rule, level) if self.interval else None


@dataclass
class Study:
    """The records of one budget below `results_dir`, each read once.

    Pilots decide nothing, so they are left out; with `with_pilots` they count, to show or plan by.
    """

    results_dir: Path
    budget: str | Budget
    with_pilots: bool = False
    pilots: set[tuple[str, str]] = field(default_factory=set)
    _read: dict[tuple[str, str, Evaluation], dict[int, EvalRecord]] = field(default_factory=dict)

    def records(self, run: str, data: str, evaluation: Evaluation) -> dict[int, EvalRecord]:
        """Records by seed, without pilots; none if run, fusion or data set is not declared."""
        key = (run, data, evaluation)
        if key not in self._read:
            known = run in DECLARED or run in FUSIONS
            declared = known and data in budget_named(self.budget).data
            found = {}
            if declared:
                experiment = at_budget(run, self.budget, data)
                found = store.evaluations(self.results_dir, experiment, evaluation)
            self.pilots |= {(run, data) for record in found.values() if record.pilot}
            self._read[key] = {s: r for s, r in found.items() if self.with_pilots or not r.pilot}
        return self._read[key]

    def errors(self, side: Side, data: str, seeds: int, metric: str) -> dict[int, float]:
        """`metric` of a side by seed, of the first `seeds` seeds."""
        found = [
            {s: getattr(r, metric) for s, r in self.records(side.run, data, e).items() if s < seeds}
            for e in (side.evaluation, *side.or_else)
        ]
        # Choosing among fewer where some are missing would not be the same choice.
        shared = set.intersection(*(set(errors) for errors in found))
        if not shared:
            return {}
        best = min(found, key=lambda errors: np.mean([errors[s] for s in shared]))
        return {s: best[s] for s in sorted(shared)}

    def differences(self, sides: Sides, data: str, seeds: int, metric: str) -> dict[int, float]:
        """Second minus first for each seed that both sides have."""
        first, second = (self.errors(side, data, seeds, metric) for side in sides)
        return {seed: second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())}

    def spread(self, data: str, metric: str = "top1_error") -> Pooled:
        """The spread of one training, pooled over the nets in `POOLED`, of their planned seeds."""
        return pooled(
            {
                run: {seed: getattr(record, metric) for seed, record in found.items()}
                for run, found in self._pooled(data).items()
            }
        )

    def missing(self, data: str) -> int:
        """How many planned trainings the pooled spread lacks."""
        planned = programme.seeds(data) if data in POOLED else {}
        return sum(planned[run] - len(found) for run, found in self._pooled(data).items())

    def _pooled(self, data: str) -> dict[str, dict[int, EvalRecord]]:
        planned = programme.seeds(data) if data in POOLED else {}
        nets = {}
        for run in POOLED.get(data, ()):
            found = self.records(run, data, one_q(run, "centre-crop").evaluation)
            nets[run] = {seed: record for seed, record in found.items() if seed < planned[run]}
        return nets

    def by_pooled(self, sides: Sides, data: str, seeds: int, metric: str) -> Interval | None:
        """The interval with the spread of all nets; None without one."""
        spread = self.spread(data, metric)
        first, second = (self.errors(side, data, seeds, metric) for side in sides)
        if spread.df < 1 or not first.keys() & second.keys():
            return None
        return difference(spread, first, second)


def interval_of(
    study: Study, claim: Claim, data: str | None = None, metric: str = "top1_error"
) -> Interval | None:
    """The difference that the claim is about; None without a spread to take its interval from.

    Between trainings the spread is that of all pooled nets; else it takes two seeds.

    `data` may be another data set than the one that decides, to be reported beside it.
    """
    data = data or claim.data
    if claim.test == "between trainings":
        return study.by_pooled(claim.sides, data, claim.seeds, metric)
    if claim.test == "measurement":
        return median_ratio(_log_ratios(study, claim)) if metric == "top1_error" else None
    return _paired(differences_of(study, claim, data, metric).values())


def differences_of(
    study: Study, claim: Claim, data: str, metric: str = "top1_error"
) -> dict[int, float]:
    """The difference that the claim is about for each seed that has both sides."""
    found = study.differences(claim.sides, data, claim.seeds, metric)
    if claim.less:
        less = study.differences(claim.less, data, claim.seeds, metric)
        found = {seed: found[seed] - less[seed] for seed in sorted(found.keys() & less.keys())}
    return found


def _paired(differences: Iterable[float]) -> Interval | None:
    values = list(differences)
    return paired(values) if len(values) > 1 else None


def _log_ratios(study: Study, claim: Claim) -> list[float]:
    """Logarithm of the second side's time for an image over the first's, for each round.

    At the paper's own geometry, as `vggrepro bench` measured it with the nets taking turns.
    """
    path = store.bench_path(study.results_dir, "lrn")
    if not path.exists():
        return []
    record = store.read(path)
    first, second = (
        record.values("training step", net=RUNS[side.run].config, crop=PAPER_CROP)
        for side in claim.sides
    )
    return list(np.log(second / first))


# --- decisions ----------------------------------------------------------------------------


def decide(key: str, results_dir: Path, budget: str = "reduced") -> Decision:
    """One claim, among all: the level of a primary claim depends on the others.

    Raises `UserError` as `claim_named` and `decide_all` do.
    """
    return decide_all(results_dir, budget)[claim_named(key).key]


def decide_all(results_dir: Path, budget: str = "reduced") -> dict[str, Decision]:
    """Every claim by key, from the records below `results_dir`.

    Raises `UserError` for an unknown budget or a record that cannot be read.
    """
    study = Study(results_dir, budget)
    intervals = {c.key: interval_of(study, c) for c in CLAIMS.values() if c.sides}
    # A claim without a verdict's number of seeds has no p; it still counts among the primaries.
    p_values = {
        key: p_value(interval, CLAIMS[key].rule, CLAIMS[key].matters)
        for key, interval in intervals.items()
        if interval is not None and interval.n >= CLAIMS[key].seeds
    }
    steps = holm({c.key: p_values.get(c.key, 1.0) for c in CLAIMS.values() if c.primary})
    return {
        key: (
            _decided(study, claim, intervals[key], p_values.get(key), steps.get(key))
            if claim.sides
            else _calculated(claim)
        )
        for key, claim in CLAIMS.items()
    }


def _calculated(claim: Claim) -> Decision:
    found = ARITHMETIC[claim.key](claim)
    word = "holds" if found.holds else "contradicted"
    return Decision(
        claim, word, found.reason or "by arithmetic", exact=found.figure, here=found.here
    )


def _decided(
    study: Study,
    claim: Claim,
    interval: Interval | None,
    p: float | None,
    step: HolmStep | None,
) -> Decision:
    seen = _differences(study, claim)
    n = interval.n if interval else len(seen)
    if p is None or interval is None:
        found = _undecided(study, claim, n)
    else:
        level = step.level if step else ALPHA
        found = verdict(interval, claim.rule, claim.matters, level)
        found = _at_other_length(study, claim, interval, found)
        found = _provisional(study, claim, found)
    loss = interval_of(study, claim, metric="log_loss")
    mean = float(np.mean(seen)) if seen else None
    if claim.test == "measurement" and seen:
        mean = 100 * float(np.expm1(np.median(seen)))
    return Decision(claim, *found, n, mean, interval, p, step, loss)


def _differences(study: Study, claim: Claim) -> list[float]:
    if claim.test == "measurement":
        return _log_ratios(study, claim)
    return list(differences_of(study, claim, claim.data).values())


def _undecided(study: Study, claim: Claim, n: int) -> Verdict:
    if claim.test == "measurement" and not n:
        return Verdict("not run", "not measured: `vggrepro bench lrn`")
    budget = budget_named(study.budget)
    if claim.data not in budget.data:
        return Verdict("not run", f"budget {budget.name} does not run on {claim.data}")
    if n >= claim.seeds:
        return Verdict("too few seeds", "the pooled nets have too few to show their spread")
    if n:
        return Verdict("too few seeds", f"{n} of the {claim.seeds} fixed beforehand")
    if {(side.run, claim.data) for side in claim.sides} & study.pilots:
        return Verdict("not run", "pilot records only, which decide nothing")
    return Verdict("not run", "no seed has records of both sides")


def _at_other_length(study: Study, claim: Claim, interval: Interval, found: Verdict) -> Verdict:
    """A verdict that says which side is better has to say the same at another length."""
    directed = found.word in ("holds", "holds and matters", "contradicted")
    if claim.other_length is None or not directed:
        return found
    there = study.differences(claim.other_length, claim.data, claim.seeds, "top1_error")
    if len(there) < FEWEST_SEEDS:
        return Verdict("inconclusive", f"{found.reason}; not checked at another length")
    if np.mean(list(there.values())) * interval.estimate <= 0:
        return Verdict("inconclusive", f"{found.reason}, but not at another length")
    return found


def _provisional(study: Study, claim: Claim, found: Verdict) -> Verdict:
    """A verdict may still change as long as nets whose spread is pooled lack planned seeds."""
    missing = study.missing(claim.data) if claim.test == "between trainings" else 0
    if not missing:
        return found
    trainings = f"{missing} trainings" if missing > 1 else "1 training"
    reason = f"{found.reason}; provisional, the pooled spread lacks {trainings}"
    return Verdict(found.word, reason)


def control_interval(study: Study, claim: Claim, sides: Sides, data: str) -> Interval | None:
    """The difference between the sides of one of the claim's controls; None below two seeds."""
    if all(side.evaluation.protocol == "centre-crop" for side in sides):
        return study.by_pooled(sides, data, claim.seeds, "top1_error")
    return _paired(study.differences(sides, data, claim.seeds, "top1_error").values())
