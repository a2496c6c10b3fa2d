"""From the records of the second round to its verdicts, by the rules of `second_round`.

Before the round is complete there are none: every claim is "not run", whatever is recorded.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from vggrepro.study import second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import Decision, Study
from vggrepro.study.records import TrainRecord
from vggrepro.study.rules import (
    ALPHA,
    AT_CHANCE,
    Interval,
    Side,
    Sides,
    Verdict,
    Word,
    holm,
    p_value,
    paired,
    verdict,
    welch,
)
from vggrepro.study.second_round import CLAIMS, SecondClaim

#: From the strongest to the weakest that two pairs together can earn.
_STRENGTH: tuple[Word, ...] = ("holds and matters", "holds", "negligible", "inconclusive")
_DIRECTED: tuple[Word, ...] = ("holds and matters", "holds", "contradicted")


class SecondRound:
    """The counted records of the round, and what they say of a pair."""

    def __init__(self, results_dir: Path) -> None:
        self.results_dir = results_dir
        self._study = Study(results_dir, second_round.BUDGET)
        self.seeds = {data: second_round.counted(results_dir, data) for data in second_round.RUNS}

    def errors(self, side: Side, data: str, metric: str) -> dict[int, float]:
        """`metric` of a side by counted seed: of the best `or_else`, if it has any."""
        of_each = []
        for evaluation in (side.evaluation, *side.or_else):
            found = self._study.records(side.run, data, evaluation)
            of_each.append({seed: getattr(found[seed], metric) for seed in self.seeds[data]})
        return min(of_each, key=lambda errors: np.mean(list(errors.values())))

    def stalled(self, claim: SecondClaim, sides: Sides) -> dict[str, list[int]]:
        """The runs of a pair that learnt nothing or diverged, with the counted seeds in which."""
        found = {}
        for run in dict.fromkeys(side.run for side in sides):
            experiment = at_budget(run, second_round.BUDGET, claim.data)
            trained = store.trainings(self.results_dir, experiment)
            if few := [seed for seed in self.seeds[claim.data] if _learnt_nothing(trained[seed])]:
                found[run] = few
        return found

    def gains(self, claim: SecondClaim, sides: Sides) -> dict[int, float]:
        """Second minus first by seed."""
        first, second = (self.errors(side, claim.data, claim.metric) for side in sides)
        return {seed: second[seed] - first[seed] for seed in first}

    def interval(self, claim: SecondClaim, sides: Sides) -> Interval:
        """The difference of a pair of the claim, by the claim's own test."""
        if claim.test == "same weights":
            return paired(list(self.gains(claim, sides).values()))
        if claim.less:  # how much more one net gains than another: two nets trained apart
            groups = [self.gains(claim, pair) for pair in (claim.less, sides)]
        else:
            groups = [self.errors(side, claim.data, claim.metric) for side in sides]
        first, second = (list(group.values()) for group in groups)
        return welch(first, second)


def _learnt_nothing(trained: TrainRecord) -> bool:
    limit = AT_CHANCE * second_round.CHANCE
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
    p_values = {
        key: max(_p(claim, one) for one in intervals[key]) if key in intervals else 1.0
        for key, claim in CLAIMS.items()
    }
    steps = {}
    for family in ("nets", "scale"):
        steps |= holm({key: p_values[key] for key, c in CLAIMS.items() if c.family == family})
    decisions = {}
    for key, claim in CLAIMS.items():
        if found := void[key]:
            decisions[key] = Decision(claim, *found, step=steps.get(key), p=1.0)
            continue
        level = steps[key].level if key in steps else ALPHA
        found = _at_other_length(
            round_, claim, intervals[key][0], _word(claim, intervals[key], level)
        )
        found = Verdict("not so here", found.reason) if _not_the_papers(claim, found) else found
        decisive = max(intervals[key], key=lambda one: _p(claim, one))
        decisions[key] = Decision(
            claim,
            *found,
            n=decisive.n,
            difference=decisive.estimate,
            interval=decisive,
            p=p_values[key],
            step=steps.get(key),
            log_loss=_log_loss(round_, claim),
        )
    return decisions


def _pairs(claim: SecondClaim) -> list[Sides]:
    return [claim.sides, claim.also] if claim.also else [claim.sides]


def _void(round_: SecondRound, claim: SecondClaim) -> Verdict | None:
    """Why the claim cannot be decided at all: a net stalled, or its treatment did nothing."""
    for sides in (*_pairs(claim), *([claim.less] if claim.less else [])):
        if stalled := round_.stalled(claim, sides):
            return Verdict("stalled", _in_words(stalled, round_.seeds[claim.data]))
    for sides in claim.alive:
        gain = float(np.mean(list(round_.gains(claim, sides).values())))
        if gain <= 0:
            first, second = sides
            q = first.evaluation.test_scales[0]
            return Verdict("void", f"{first.run} does not err less than {second.run} at Q = {q}")
    return None


def _in_words(stalled: dict[str, list[int]], seeds: list[int]) -> str:
    return "; ".join(f"{run} stalled in {len(few)} of {len(seeds)}" for run, few in stalled.items())


def _p(claim: SecondClaim, interval: Interval) -> float:
    return p_value(interval, "lower" if claim.rule == "saturates" else claim.rule, claim.matters)


def _word(claim: SecondClaim, intervals: list[Interval], level: float) -> Verdict:
    if claim.rule == "saturates":
        return saturates(intervals[0], claim.matters, level)
    found = [verdict(interval, claim.rule, claim.matters, level) for interval in intervals]
    against = [one for one in found if one.word == "contradicted"]
    # The weakest word of the pairs; one pair the other way is against the whole claim.
    return against[0] if against else max(found, key=lambda one: _STRENGTH.index(one.word))


def saturates(interval: Interval, matters: float, level: float = ALPHA) -> Verdict:
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
        why = f"after 25 epochs {_in_words(stalled, round_.seeds[claim.data])}"
        return Verdict("depends on the length", why)
    there = round_.interval(claim, claim.other_length)
    if there.estimate * interval.estimate > 0:
        return found
    return Verdict("depends on the length", f"{found.reason}, but not after 25 epochs")


def _not_the_papers(claim: SecondClaim, found: Verdict) -> bool:
    """What speaks against a claim that this study sharpened does not contradict the paper."""
    return claim.ours and found.word == "contradicted"


def _log_loss(round_: SecondRound, claim: SecondClaim) -> Interval | None:
    if claim.metric != "top1_error":
        return None
    return round_.interval(replace(claim, metric="log_loss"), claim.sides)
