"""What the rules can find at the number of seeds fixed beforehand, and how often they are wrong.

The spread over seeds comes from the records that there are, pilots included: planning is what
pilots are for. Which word a study earns is simulated with `rules` themselves.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from vggrepro.study import programme
from vggrepro.study.decisions import Study, interval_of
from vggrepro.study.rules import ALPHA, POOLED, Claim, Interval, Rule, Word, holm, p_value, verdict

#: How many simulated studies a chance of a wrong word is counted in.
STUDIES = 4000


def planned_df(data: str) -> int:
    """Degrees of freedom of the pooled spread once every pooled net has its seeds.

    Cells less effects: so many trainings, less one effect for each net and each further seed.
    """
    counts = [programme.seeds(data)[run] for run in POOLED[data]]
    return sum(counts) - len(counts) - (max(counts) - 1)


def planned(study: Study, claim: Claim) -> Interval | None:
    """The interval a claim will have around zero, if the spread is as recorded so far.

    None for arithmetic, and where too little is recorded to know a spread.
    """
    if not claim.sides:
        return None
    if claim.test == "between trainings":
        spread = study.spread(claim.data)
        if not spread.df:
            return None
        error = spread.sd * sqrt(2 / claim.seeds)
        return Interval(0.0, error, planned_df(claim.data), claim.seeds)
    found = interval_of(study, claim)
    if found is None:
        return None
    error = found.standard_error * sqrt(found.n / claim.seeds)
    return Interval(0.0, error, claim.seeds - 1, claim.seeds)


# --- simulated studies ----------------------------------------------------------------------


def words(
    true: float,
    expected: Interval,
    rule: Rule,
    matters: float,
    studies: int = 400,
    level: float = ALPHA,
    seed: int = 0,
) -> Counter[Word]:
    """How many of so many simulated studies earn each word when the true difference is `true`.

    `expected` gives the standard error, the degrees of freedom and the number of seeds: errors
    are normal, so a study's estimate is normal and its variance chi-square, independently.
    """
    rng = np.random.default_rng(seed)
    estimates = rng.normal(true, expected.standard_error, studies)
    errors = expected.standard_error * np.sqrt(rng.chisquare(expected.df, studies) / expected.df)
    return Counter(
        verdict(Interval(float(e), float(s), expected.df, expected.n), rule, matters, level).word
        for e, s in zip(estimates, errors, strict=True)
    )


@dataclass(frozen=True)
class Wrong:
    """A truth at which some words of a rule are wrong, and how often they are earned there."""

    rule: Rule
    true: float
    wrong: tuple[Word, ...]
    share: float


DIRECTED: tuple[Word, ...] = ("holds", "holds and matters", "contradicted")


def wrong_words(expected: Interval, matters: float, studies: int = STUDIES) -> Sequence[Wrong]:
    """Simulated chances of a wrong word, each at the truth where that is most likely."""
    cases: tuple[tuple[Rule, float, tuple[Word, ...]], ...] = (
        ("lower", 0.0, DIRECTED),
        ("lower", matters, ("holds and matters", "negligible")),
        ("not worse", -matters, ("holds", "negligible")),
        ("not worse", 0.0, ("contradicted", "negligible")),
        # Each is wrong on one side of the edge only.
        ("same", matters, ("holds",)),
        ("same", matters, ("contradicted",)),
    )
    found = []
    for rule, true, wrong in cases:
        counted = words(true, expected, rule, matters, studies)
        found.append(Wrong(rule, true, wrong, sum(counted[w] for w in wrong) / studies))
    return found


def wrong_among(
    claims: int,
    true: float,
    expected: Interval,
    matters: float,
    wrong: Collection[Word],
    studies: int = 1000,
    seed: int = 0,
) -> float:
    """Share of simulated studies in which one or more of so many claims earn a word of `wrong`.

    Each has the true difference `true` and the rule "lower", and Holm's procedure gives each its
    level, as it does for the primary claims.
    """
    rng = np.random.default_rng(seed)
    size = (studies, claims)
    estimates = rng.normal(true, expected.standard_error, size)
    errors = expected.standard_error * np.sqrt(rng.chisquare(expected.df, size) / expected.df)
    found = 0
    for study in zip(estimates, errors, strict=True):
        intervals = {
            str(i): Interval(float(e), float(s), expected.df, expected.n)
            for i, (e, s) in enumerate(zip(*study, strict=True))
        }
        steps = holm({key: p_value(one, "lower", matters) for key, one in intervals.items()})
        found += any(
            verdict(one, "lower", matters, steps[key].level).word in wrong
            for key, one in intervals.items()
        )
    return found / studies
