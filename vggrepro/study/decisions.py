"""From records to verdicts: `rules`, applied to every claim.

The primary claims of a family are decided together by Holm's procedure: it gives each its level,
and the claim's interval at that level earns the word. A claim that is not run stays in the count.
The others are decided at 5 % each, and marked as secondary. No claim names drawn images, so none is
decided by them. Both rounds go the same way; before the second is complete all its claims are "not
run", whatever is recorded.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vggrepro import cost
from vggrepro.study import gpu_round, paper, programme, rules, second_round, store
from vggrepro.study.budgets import Budget, at_budget, budget_named
from vggrepro.study.claims import CLAIMS, claim_named
from vggrepro.study.experiments import RUNS, Evaluation
from vggrepro.study.records import EvalRecord, TrainRecord
from vggrepro.study.rules import Claim, Interval, Side, Sides, Verdict, gains
from vggrepro.windows import PAPER_CROP

# --- claims that arithmetic decides -------------------------------------------------------

OVERFEAT = 144e6
"""Weights of OverFeat's net, which the paper quotes (Section 2.2)."""


def _total(net: str, of: str, block: str = "") -> int:
    """All weights or activations of a net, or of a block of it, at the paper's geometry."""
    return sum(getattr(one, of) for one in cost.layers(net) if one.name.startswith(block))


def _calculated(claim: Claim) -> "Decision":
    """A figure in percent more, and whether the claim holds."""
    here, reason = "", "by arithmetic"
    if claim.key == "seven-by-seven":  # the layers of the fifth block have one width
        growth = _total("D-7x7", "weights", "conv5") / _total("D", "weights", "conv5")
        holds = abs(100 * (growth - 1) - claim.paper.difference) < claim.matters
    elif claim.key == "lrn-costs-memory":
        growth = _total("A-LRN", "activations") / _total("A", "activations")
        holds = growth > 1
    else:  # growth from A to E; the largest of all nets against `OVERFEAT` decides
        weights = {net: _total(net, "weights") for net in paper.TABLE_1}
        most, growth = max(weights, key=weights.__getitem__), weights["E"] / weights["A"]
        holds = weights[most] <= OVERFEAT
        here = f"{weights[most] / 1e6:.2f} of {OVERFEAT / 1e6:g} million"
        reason = f"the most that any net has ({most}); from A to E they grow by "
        reason += f"{100 * (growth - 1):.1f} %"
    word = "holds" if holds else "contradicted"
    return Decision(claim, word, reason, exact=100 * (growth - 1), here=here)


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
    `here` has that in words. Of a claim about two pairs, `pair` is that whose interval decided.
    """

    claim: Claim
    word: rules.Word
    reason: str
    n: int = 0
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    step: rules.HolmStep | None = None
    log_loss: Interval | None = None
    exact: float | None = None
    here: str = ""
    pair: Sides | None = None

    @property
    def decided_by(self) -> Interval | None:
        """The interval from which the word is read, at the confidence of rule and level."""
        level = self.step.level if self.step else rules.ALPHA
        return rules.deciding(self.interval, self.claim.rule, level) if self.interval else None


@dataclass
class Study:
    """The records of one budget below `results_dir`, each read once.

    Pilots decide nothing, so they are left out. `counted` are the seeds that decide the claims of
    the second round, by set of photos.
    """

    results_dir: Path
    budget: str | Budget
    counted: Mapping[str, Sequence[int]] = field(default_factory=dict)
    pilots: set[tuple[str, str]] = field(default_factory=set)
    _read: dict[tuple[str, str, Evaluation], dict[int, EvalRecord]] = field(default_factory=dict)

    @classmethod
    def of_second_round(cls, results_dir: Path) -> "Study":
        """The second round, by the units of it that count."""
        counted = {data: second_round.counted(results_dir, data) for data in second_round.RUNS}
        return cls(results_dir, second_round.BUDGET, counted)

    def records(self, run: str, data: str, evaluation: Evaluation) -> dict[int, EvalRecord]:
        """Records by seed, without pilots; none on photos that the budget does not run on."""
        key = (run, data, evaluation)
        if key not in self._read:
            found = {}
            if data in budget_named(self.budget).data:
                experiment = at_budget(run, self.budget, data)
                found = store.evaluations(self.results_dir, experiment, evaluation)
            self.pilots |= {(run, data) for record in found.values() if record.pilot}
            self._read[key] = {s: r for s, r in found.items() if not r.pilot}
        return self._read[key]

    def errors(
        self,
        side: Side,
        data: str,
        seeds: Container[int] | None = None,
        metric: str = "top1_error",
    ) -> dict[int, float]:
        """`metric` of a side by seed: of these `seeds`, of all if None."""
        found = [
            {seed: getattr(one, metric) for seed, one in self.records(side.run, data, e).items()}
            for e in (side.evaluation, *side.or_else)
        ]
        # Choosing among fewer where some are missing would not be the same choice.
        shared = set.intersection(*(set(errors) for errors in found))
        shared = sorted(seed for seed in shared if seeds is None or seed in seeds)
        if not shared:
            return {}
        best = min(found, key=lambda errors: np.mean([errors[seed] for seed in shared]))
        return {seed: best[seed] for seed in shared}

    def seeds(self, claim: Claim) -> Container[int]:
        """The seeds that decide a claim: those fixed beforehand, or of the units that count."""
        return self.counted[claim.data] if claim.round == "second" else range(claim.seeds)

    def of_both(self, claim: Claim, sides: Sides) -> list[dict[int, float]]:
        """What a claim compares, of each of the sides by seed."""
        chosen = claim.data, self.seeds(claim), claim.metric
        return [self.errors(side, *chosen) for side in sides]

    def gains(self, claim: Claim, sides: Sides) -> dict[int, float]:
        """Second minus first for each seed that both sides have."""
        return gains(*self.of_both(claim, sides))

    def differences(self, claim: Claim) -> dict[int, float]:
        """The difference that a claim is about, by seed."""
        found = self.gains(claim, claim.sides)
        return gains(self.gains(claim, claim.less), found) if claim.less else found

    def interval(self, claim: Claim) -> Interval | None:
        """The same as a mean with its interval; None without a spread to take it from.

        Between trainings, which are compared by centre crop, the spread is that of all pooled nets;
        by Welch's test each side has its own; else it is that over seeds, of which it takes two.
        """
        if claim.test == "measurement":
            return rules.median_ratio(_log_ratios(self, claim))
        if claim.test == "welch":
            groups = self.of_both(claim, claim.sides)
            if claim.less:  # how much more one net gains than another
                groups = [self.gains(claim, pair) for pair in (claim.less, claim.sides)]
            return rules.welch(*(list(group.values()) for group in groups))
        found = self.differences(claim).values()
        if any(side.evaluation.protocol != "centre-crop" for side in claim.sides):
            return rules.paired(found)
        return rules.difference(self.spread(claim.data, claim.metric), found)

    def stalled(self, claim: Claim, sides: Iterable[Side]) -> str:
        """The runs that learnt nothing or diverged, and in how many seeds, in words."""
        found, seeds = [], self.seeds(claim)
        for run in dict.fromkeys(side.run for side in sides):
            trained = store.trainings(self.results_dir, at_budget(run, self.budget, claim.data))
            if few := [seed for seed in seeds if _learnt_nothing(trained[seed])]:
                found.append(f"{run} stalled in {len(few)} of {len(seeds)}")
        return "; ".join(found)

    def spread(self, data: str, metric: str = "top1_error") -> rules.Pooled:
        """The spread of one training, pooled over the nets in `POOLED`, of their planned seeds."""
        return rules.pooled(self.pooled_errors(data, metric))

    def missing(self, data: str) -> int:
        """How many planned trainings the pooled spread lacks."""
        pooled = self.pooled_errors(data)
        return sum(programme.seeds(data)[run] - len(found) for run, found in pooled.items())

    def pooled_errors(self, data: str, metric: str = "top1_error") -> dict[str, dict[int, float]]:
        """What `spread` is pooled from: `metric` by net and planned seed."""
        nets = rules.POOLED.get(data, ())
        planned = programme.seeds(data) if nets else {}
        return {
            run: self.errors(rules.one_q(run, "centre-crop"), data, range(planned[run]), metric)
            for run in nets
        }


def _learnt_nothing(trained: TrainRecord) -> bool:
    limit = rules.AT_CHANCE * second_round.CHANCE
    return trained.status == "diverged" or trained.curve[-1].minival_error > limit


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


def decide(key: str, results_dir: Path, budget: str = programme.BUDGET) -> Decision:
    """One claim, among all: the level of a primary claim depends on the others.

    Raises `UserError` as `claim_named` and `decide_all` do.
    """
    return decide_all(results_dir, budget)[claim_named(key).key]


def decide_all(results_dir: Path, budget: str = programme.BUDGET) -> dict[str, Decision]:
    """Every claim of the first round by key, from the records below `results_dir`.

    Raises `UserError` for an unknown budget or a record that cannot be read.
    """
    return _decide(Study(results_dir, budget), CLAIMS)


def decide_second_round(results_dir: Path) -> dict[str, Decision]:
    """Every claim of the second round by key; all "not run" before it is complete."""
    claims = second_round.CLAIMS
    if not second_round.complete(results_dir):
        reason = "the second round is not complete, and nothing of it is shown before"
        return {key: Decision(claim, "not run", reason) for key, claim in claims.items()}
    return _decide(Study.of_second_round(results_dir), claims)


def decide_gpu_round(results_dir: Path, data: str) -> dict[str, Decision]:
    """Every claim of the GPU round on a set of photos by key, as those of the second round."""
    claims = {key: claim for key, claim in gpu_round.CLAIMS.items() if claim.data == data}
    if not gpu_round.complete(results_dir, data):
        reason = "the GPU round is not complete"
        return {key: Decision(claim, "not run", reason) for key, claim in claims.items()}
    part = gpu_round.PARTS[data]
    return _decide(Study(results_dir, part.budget, {data: part.seeds}), claims)


def _decide(study: Study, claims: Mapping[str, Claim]) -> dict[str, Decision]:
    void = {key: _void(study, claim) for key, claim in claims.items()}
    intervals = {
        key: [study.interval(replace(claim, sides=sides)) for sides in _pairs(claim)]
        for key, claim in claims.items()
        if not void[key]
    }
    # A claim without a verdict's number of seeds has no p; it still counts among the primaries.
    p_values = {
        key: max(_p(claims[key], one) for one in found)
        for key, found in intervals.items()
        if found and all(one and one.n >= claims[key].seeds for one in found)
    }
    steps: dict[str, rules.HolmStep] = {}
    for family in {claim.family for claim in claims.values() if claim.primary}:
        members = [key for key, claim in claims.items() if claim.family == family]
        steps |= rules.holm({key: p_values.get(key, 1.0) for key in members})
    decided = {}
    for key, claim in claims.items():
        if not claim.sides:
            decided[key] = _calculated(claim)
        elif void[key]:
            decided[key] = Decision(claim, *void[key], step=steps.get(key), p=1.0)
        else:
            decided[key] = _decided(study, claim, intervals[key], p_values.get(key), steps.get(key))
    return decided


def _pairs(claim: Claim) -> list[Sides]:
    """What has to hold together."""
    return [sides for sides in (claim.sides, claim.also) if sides]


def _p(claim: Claim, interval: Interval) -> float:
    return rules.p_value(interval, claim.rule, claim.matters)


def _void(study: Study, claim: Claim) -> Verdict | None:
    """Why the second round cannot decide a claim: a net stalled, or its treatment did nothing."""
    if claim.round == "first":
        return None
    compared = [side for sides in (*_pairs(claim), claim.less or ()) for side in sides]
    if stalled := study.stalled(claim, compared):
        return Verdict("stalled", stalled)
    for sides in claim.alive:
        if np.mean(list(study.gains(claim, sides).values())) <= 0:
            first, second = sides
            q = first.evaluation.test_scales[0]
            return Verdict("void", f"{first.run} does not err less than {second.run} at Q = {q}")
    return None


def _decided(
    study: Study,
    claim: Claim,
    intervals: Sequence[Interval | None],
    p: float | None,
    step: rules.HolmStep | None,
) -> Decision:
    seen = [] if claim.test == "measurement" else list(study.differences(claim).values())
    interval, n = intervals[0], intervals[0].n if intervals[0] else len(seen)
    pair = None
    if p is None:
        found = _undecided(study, claim, n)
    else:
        found, interval = _word(claim, intervals, step.level if step else rules.ALPHA)
        pair = _pairs(claim)[intervals.index(interval)] if claim.also else None
        found = _at_other_length(study, claim, intervals[0], found)
        found = _provisional(study, claim, found)
        if claim.round == "second" and claim.ours and found.word == "contradicted":
            found = Verdict("not so here", found.reason)  # does not contradict the paper
    mean = float(np.mean(seen)) if seen else None
    mean = interval.estimate if interval else mean
    loss = None
    if claim.about_errors and claim.metric == "top1_error":
        loss = study.interval(replace(claim, metric="log_loss"))
    return Decision(claim, *found, n, mean, interval, p, step, loss, pair=pair)


#: What a claim of two pairs can earn: it gets the first of these that one of them earns.
_WEAKEST_FIRST = ("contradicted", "inconclusive", "negligible", "holds", "holds and matters")


def _word(claim: Claim, intervals: Sequence[Interval], level: float) -> tuple[Verdict, Interval]:
    """The verdict, and the interval that it is read from; of two alike that with the larger p."""
    if not claim.also:
        return rules.verdict(intervals[0], claim.rule, claim.matters, level), intervals[0]
    found = [(rules.verdict(one, claim.rule, claim.matters, level), one) for one in intervals]
    return min(found, key=lambda f: (_WEAKEST_FIRST.index(f[0].word), -_p(claim, f[1])))


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
    """A verdict that says which side is better has to say the same at another length.

    In the second round that is asked of primary claims only.
    """
    second = claim.round == "second"
    directed = found.word in ("holds", "holds and matters", "contradicted")
    if claim.other_length is None or not directed or (second and not claim.primary):
        return found
    if second and (stalled := study.stalled(claim, claim.other_length)):
        return Verdict("depends on the length", f"after 25 epochs {stalled}")
    there = study.gains(claim, claim.other_length)
    if len(there) < rules.FEWEST_SEEDS:
        return Verdict("inconclusive", f"{found.reason}; not checked at another length")
    if np.mean(list(there.values())) * interval.estimate > 0:
        return found
    if second:
        return Verdict("depends on the length", f"{found.reason}, but not after 25 epochs")
    return Verdict("inconclusive", f"{found.reason}, but not at another length")


def _provisional(study: Study, claim: Claim, found: Verdict) -> Verdict:
    """A verdict may still change as long as nets whose spread is pooled lack planned seeds."""
    missing = study.missing(claim.data) if claim.test == "between trainings" else 0
    if not missing:
        return found
    trainings = f"{missing} trainings" if missing > 1 else "1 training"
    reason = f"{found.reason}; provisional, the pooled spread lacks {trainings}"
    return Verdict(found.word, reason)
