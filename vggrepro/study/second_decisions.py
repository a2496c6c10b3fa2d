"""From the records of the second round to its verdicts, by the rules of `second_round`.

Before the round is complete there are none: every claim is "not run", whatever is recorded.
"""

from functools import partial
from pathlib import Path

import numpy as np

from vggrepro.study import rules, second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import Decision, Study
from vggrepro.study.records import TrainRecord
from vggrepro.study.rules import Claim, Interval, Sides, Verdict
from vggrepro.study.second_round import CLAIMS, SecondClaim

#: From the strongest to the weakest that two pairs together can earn.
_STRENGTH: tuple[rules.Word, ...] = ("holds and matters", "holds", "negligible", "inconclusive")
_DIRECTED: tuple[rules.Word, ...] = ("holds and matters", "holds", "contradicted")


class SecondRound(Study):
    """The counted records of the round, and what they say of a pair."""

    def __init__(self, results_dir: Path) -> None:
        super().__init__(results_dir, second_round.BUDGET)
        self._counted = {d: second_round.counted(results_dir, d) for d in second_round.RUNS}

    def seeds(self, claim: Claim) -> list[int]:
        """The seeds of the units that count."""
        return self._counted[claim.data]

    def interval(
        self, claim: Claim, sides: Sides | None = None, data: str = "", metric: str = ""
    ) -> Interval:
        """The difference of a claim or of other sides, by the claim's own test."""
        sides = sides or claim.sides
        if claim.test == "same weights":
            return rules.paired(self.gains(claim, sides, data, metric).values())
        if claim.less:  # how much more one net gains than another: two nets trained apart
            groups = [self.gains(claim, pair, data, metric) for pair in (claim.less, sides)]
        else:
            chosen = data or claim.data, self.seeds(claim), metric or claim.metric
            groups = [self.errors(side, *chosen) for side in sides]
        return rules.welch(*(list(group.values()) for group in groups))

    def stalled(self, claim: SecondClaim, sides: Sides) -> str:
        """The runs of a pair that learnt nothing or diverged, and in how many seeds, in words."""
        found = []
        for run in dict.fromkeys(side.run for side in sides):
            experiment = at_budget(run, second_round.BUDGET, claim.data)
            trained = store.trainings(self.results_dir, experiment)
            if few := [seed for seed in self.seeds(claim) if _learnt_nothing(trained[seed])]:
                found.append(f"{run} stalled in {len(few)} of {len(self.seeds(claim))}")
        return "; ".join(found)


def _learnt_nothing(trained: TrainRecord) -> bool:
    limit = rules.AT_CHANCE * second_round.CHANCE
    return trained.status == "diverged" or trained.curve[-1].minival_error > limit


def decide_all(results_dir: Path) -> dict[str, Decision]:
    """Every claim of the round by key; all "not run" before it is complete."""
    if not second_round.complete(results_dir):
        reason = "the second round is not complete, and nothing of it is shown before"
        return {key: Decision(claim, "not run", reason) for key, claim in CLAIMS.items()}
    round_ = SecondRound(results_dir)
    void = {key: _void(round_, claim) for key, claim in CLAIMS.items()}
    intervals = {
        key: [round_.interval(claim, sides) for sides in _pairs(claim)]
        for key, claim in CLAIMS.items()
        if not void[key]
    }
    p_values = dict.fromkeys(CLAIMS, 1.0)
    for key, found in intervals.items():
        p_values[key] = max(_p(CLAIMS[key], one) for one in found)
    steps = {}
    for family in ("nets", "scale"):
        steps |= rules.holm({key: p_values[key] for key, c in CLAIMS.items() if c.family == family})
    return {
        key: Decision(claim, *void[key], step=steps.get(key), p=1.0)
        if void[key]
        else _decided(round_, claim, intervals[key], steps.get(key))
        for key, claim in CLAIMS.items()
    }


def _decided(
    round_: SecondRound, claim: SecondClaim, intervals: list[Interval], step: rules.HolmStep | None
) -> Decision:
    found = _word(claim, intervals, step.level if step else rules.ALPHA)
    found = _at_other_length(round_, claim, intervals[0], found)
    if claim.ours and found.word == "contradicted":  # does not contradict the paper
        found = Verdict("not so here", found.reason)
    decisive = max(intervals, key=partial(_p, claim))
    loss = round_.interval(claim, metric="log_loss") if claim.metric == "top1_error" else None
    p, n = _p(claim, decisive), decisive.n
    return Decision(claim, *found, n, decisive.estimate, decisive, p, step, loss)


def _pairs(claim: SecondClaim) -> list[Sides]:
    return [claim.sides, claim.also] if claim.also else [claim.sides]


def _void(round_: SecondRound, claim: SecondClaim) -> Verdict | None:
    """Why the claim cannot be decided at all: a net stalled, or its treatment did nothing."""
    for sides in (*_pairs(claim), *([claim.less] if claim.less else [])):
        if stalled := round_.stalled(claim, sides):
            return Verdict("stalled", stalled)
    for sides in claim.alive:
        gain = float(np.mean(list(round_.gains(claim, sides).values())))
        if gain <= 0:
            first, second = sides
            q = first.evaluation.test_scales[0]
            return Verdict("void", f"{first.run} does not err less than {second.run} at Q = {q}")
    return None


def _p(claim: SecondClaim, interval: Interval) -> float:
    return rules.p_value(
        interval, "lower" if claim.rule == "saturates" else claim.rule, claim.matters
    )


def _word(claim: SecondClaim, intervals: list[Interval], level: float) -> Verdict:
    if claim.rule == "saturates":
        return saturates(intervals[0], claim.matters, level)
    found = [rules.verdict(interval, claim.rule, claim.matters, level) for interval in intervals]
    against = [one for one in found if one.word == "contradicted"]
    # The weakest word of the pairs; one pair the other way is against the whole claim.
    return against[0] if against else max(found, key=lambda one: _STRENGTH.index(one.word))


def saturates(interval: Interval, matters: float, level: float = rules.ALPHA) -> Verdict:
    """Same within `matters` (two one-sided tests) or different, each at half of `level`.

    The difference is the shallower net's error minus the deeper one's.
    """
    same = interval.at(1 - level)  # one-sided tests at level / 2 each
    apart = interval.at(1 - level / 2)
    if -matters < same.low and same.high < matters:
        return Verdict("saturates", "the two differ by less than matters")
    if apart.low > 0:
        return Verdict("still falls", "the deeper net errs less")
    if apart.high < 0:
        return Verdict("rises", "the deeper net errs more")
    return Verdict("inconclusive", "neither shown to be the same nor to differ")


def _at_other_length(
    round_: SecondRound, claim: SecondClaim, interval: Interval, found: Verdict
) -> Verdict:
    """Of the nets' primary claims a directed word must have its sign after 25 epochs too."""
    if claim.family != "nets" or found.word not in _DIRECTED:
        return found
    if stalled := round_.stalled(claim, claim.other_length):
        return Verdict("depends on the length", f"after 25 epochs {stalled}")
    there = round_.interval(claim, claim.other_length)
    if there.estimate * interval.estimate > 0:
        return found
    return Verdict("depends on the length", f"{found.reason}, but not after 25 epochs")
