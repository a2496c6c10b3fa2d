"""What a claim is and by which rules it is decided, fixed before the runs.

The sign is the same everywhere: a difference is error(second) minus error(first), in points of
top-1 error. `first` is the side that the paper puts first, so a positive difference is as the
paper says. The claims are in `claims`; what applies the rules to records is in `decisions`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import pi, sqrt
from typing import Literal, NamedTuple

import numpy as np

from vggrepro import UserError
from vggrepro.files import beside
from vggrepro.study.experiments import Evaluation, one_scale, three_scales

# --- what decides a claim -----------------------------------------------------------------

#: Chance of a wrong verdict that is accepted: for a claim, and for all primary claims together.
ALPHA = 0.05
#: Fewer seeds than this are never a verdict.
FEWEST_SEEDS = 3
#: Of the error of a net that knows nothing: above that, on minival, a net has learnt nothing.
AT_CHANCE = 0.97

Rule = Literal["lower", "not worse", "same", "exact", "saturates"]
Test = Literal[
    "between trainings", "same start", "same weights", "arithmetic", "measurement", "welch"
]
WORDS = beside(__file__)
#: How a rule reads the interval of a difference, and what that is made from, in words.
RULES, TESTS = WORDS["rules"], WORDS["tests"]

#: The nets whose spread over seeds is pooled, for each data set.
POOLED: dict[str, tuple[str, ...]] = {data: tuple(of) for data, of in WORDS["pooled"].items()}


@dataclass(frozen=True)
class Side:
    """A trained net under a protocol. `A+B` is the fusion of two runs, `A+A` of two seeds.

    With `or_else`, that one of all the evaluations counts whose mean error over seeds is lowest.
    It is chosen on the images it is reported on, so both sides have to choose from the same.
    """

    run: str
    evaluation: Evaluation
    or_else: tuple[Evaluation, ...] = ()


Sides = tuple[Side, Side]


def one_q(run: str, protocol: str = "dense") -> Side:
    """At the one Q of Section 4.1."""
    return Side(run, one_scale(run, protocol))


def three_q(run: str, protocol: str = "dense") -> Side:
    """At the three Q of Section 4.2; a fusion at those of its first net."""
    return Side(run, three_scales(run.split("+")[0], protocol))


@dataclass(frozen=True)
class Said:
    """The paper's own difference and where it is from, or why there is none."""

    difference: float | None
    where: str


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how a round of this study decides it.

    `quote` is the paper's sentence, by its key in `paper.QUOTES`; None for a claim of one's own.
    `sides` are first and second (none for arithmetic), `matters` is the smallest difference that
    matters; it and the paper's are in points, in percent for a measurement and for arithmetic.
    `cannot` is what stays open. `family` is that in which Holm's procedure corrects a primary
    claim; a secondary one has none. `seeds` is the number fixed beforehand: with fewer nothing is
    decided, and further ones are not used. `ours` marks a claim that this study made sharper than
    the paper's sentence: what speaks against it does not contradict the paper. `metric` is the
    outcome that is compared.

    `less` is a second pair whose difference is subtracted; `also` one that has to hold as well: the
    larger p counts. `other_length` is the same pair trained for another length: without the same
    sign there (mean of at least `FEWEST_SEEDS`), no side is better. In the second round that is
    asked of primary claims alone; beside the others it is shown. `alive` are pairs whose mean
    difference must be above zero for the claim to mean anything.

    `controls` are the same comparison with one advantage taken away: if the claim is right, they
    have its sign. `rivals` are other explanations on their own: one that comes out as large as the
    claim's difference may be all there is to it. `beside` are differences that the quoted sentence
    names and no claim has. All three are shown and decide nothing.
    """

    key: str
    round: Literal["first", "second"]
    statement: str
    chapter: str
    matters: float
    paper: Said
    cannot: str
    quote: str | None = None
    sides: Sides | None = None
    rule: Rule = "lower"
    test: Test = "between trainings"
    data: str = "cifar10"
    seeds: int = 3
    family: str = ""
    less: Sides | None = None
    also: Sides | None = None
    other_length: Sides | None = None
    alive: tuple[Sides, ...] = ()
    controls: tuple[tuple[str, Sides], ...] = ()
    rivals: tuple[tuple[str, Sides], ...] = ()
    beside: tuple[tuple[str, Sides, Said], ...] = ()
    ours: bool = False
    metric: str = "top1_error"
    again: str = ""  # the claim of the first round that one of the second is about once more

    @property
    def primary(self) -> bool:
        """Whether it is one of those that are corrected together."""
        return bool(self.family)

    @property
    def about_errors(self) -> bool:
        """Whether it is about top-1 errors, hence in points; the others are in percent."""
        return self.test not in ("arithmetic", "measurement")


# --- the statistics -----------------------------------------------------------------------

Word = Literal[
    "holds",
    "holds and matters",
    "negligible",
    "contradicted",
    "inconclusive",
    "too few seeds",
    "not run",
    # Of the second round alone, see `second_round.RULES`.
    "not so here",
    "depends on the length",
    "void",
    "stalled",
    "saturates",
    "still falls",
    "rises",
]
POWER = 0.80


class Pooled(NamedTuple):
    """Spread of one training, net and seed effects taken out; nan at no degrees of freedom."""

    sd: float
    df: int


@dataclass(frozen=True)
class Interval:
    """A difference with its standard error: Student's t with `df` degrees of freedom.

    `n` is the number of seeds. All values are in the unit of the errors.
    """

    estimate: float
    standard_error: float
    df: float
    n: int
    confidence: float = 1 - ALPHA

    @property
    def half_width(self) -> float:
        """Half the width of the two-sided interval."""
        return _critical(self.confidence, self.df) * self.standard_error

    @property
    def low(self) -> float:
        """Lower end."""
        return self.estimate - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.estimate + self.half_width

    @property
    def detectable(self) -> float:
        """The smallest true difference whose interval lies above zero with `POWER`."""
        return _found_with_power(self.confidence, self.df) * self.standard_error

    def at(self, confidence: float) -> "Interval":
        """The same difference at another level."""
        return replace(self, confidence=confidence)

    def p_above(self, null: float = 0.0) -> float:
        """One-sided p against the hypothesis that the difference is `null` or less."""
        if self.standard_error == 0:  # all seeds agree to the last image
            return float(self.estimate <= null)
        from scipy import special  # slow to import, and a command line needs none

        return float(special.stdtr(self.df, (null - self.estimate) / self.standard_error))

    def p_below(self, null: float = 0.0) -> float:
        """One-sided p against the hypothesis that the difference is `null` or more."""
        mirrored = replace(self, estimate=-self.estimate)
        return mirrored.p_above(-null)

    def p_two_sided(self) -> float:
        """Two-sided p against the hypothesis that there is no difference."""
        return min(1.0, 2 * min(self.p_above(), self.p_below()))


@cache
def _critical(confidence: float, df: float) -> float:
    from scipy import special  # as above

    return float(special.stdtrit(df, (1 + confidence) / 2))


@cache
def _found_with_power(confidence: float, df: float) -> float:
    """The smallest true difference found with `POWER`, in standard errors."""
    # The shift of the noncentral t distribution that leaves 1 - POWER below the critical value.
    from scipy import special  # as above

    return float(special.nctdtrinc(df, 1 - POWER, _critical(confidence, df)))


# --- from errors to intervals -------------------------------------------------------------


def pooled(errors: Mapping[str, Mapping[int, float]]) -> Pooled:
    """The spread of one training over all nets: {net: {seed: error}}.

    Error = net + seed + rest, fitted by least squares, so that nets may have different seeds.
    """
    cells = [
        (net, seed, error) for net, by_seed in errors.items() for seed, error in by_seed.items()
    ]
    if not cells:
        return Pooled(float("nan"), 0)
    nets, seeds, values = zip(*cells, strict=True)
    design = np.hstack([_indicators(nets), _indicators(seeds)])
    solution, _, rank, _ = np.linalg.lstsq(design, np.array(values), rcond=None)
    rest = np.array(values) - design @ solution
    df = len(cells) - int(rank)
    return Pooled(sqrt(float(rest @ rest) / df) if df else float("nan"), df)


def _indicators(labels: Sequence) -> np.ndarray:
    """(N, L): one column of zeros and ones for each of the L different labels."""
    return np.equal.outer(labels, sorted(set(labels))).astype(float)


def gains(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Second minus first for each seed that both have."""
    return {seed: second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())}


def difference(spread: Pooled, differences: Collection[float]) -> Interval | None:
    """The mean of one difference for each seed, with the pooled spread; None if one is missing."""
    n = len(differences)
    if not n or spread.df < 1:
        return None
    estimate = float(np.mean(list(differences)))
    return Interval(estimate, spread.sd * sqrt(2 / n), spread.df, n)


def paired(differences: Collection[float]) -> Interval | None:
    """The mean of one difference for each seed, Student's t over seeds; None below two seeds."""
    n = len(differences)
    if n < 2:
        return None
    values = list(differences)
    return Interval(float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(n), n - 1, n)


def median_ratio(logarithms: Sequence[float]) -> Interval | None:
    """The median of ratios, whose logarithms are given, as percent more; None for fewer than two.

    The standard error is that of the median of as many normal values.
    """
    n = len(logarithms)
    if n < 2:
        return None
    ratio = float(np.exp(np.median(logarithms)))
    error = sqrt(pi / 2 / n) * float(np.std(logarithms, ddof=1))
    return Interval(100 * (ratio - 1), 100 * ratio * error, n - 1, n)


def welch(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of `second` minus mean of `first`, each with a spread of its own (Welch's t).

    The degrees of freedom are Satterthwaite's. Raises `UserError` for a side with fewer than two.
    """
    if min(len(first), len(second)) < 2:
        raise UserError("no interval: the spread of a net needs at least two seeds")
    variances = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    estimate = float(np.mean(second)) - float(np.mean(first))
    total = sum(variances)
    n = min(len(first), len(second))
    if total == 0:  # all seeds agree to the last image
        return Interval(estimate, 0.0, n - 1, n)
    parts = zip(variances, (first, second), strict=True)
    df = total**2 / sum(v**2 / (len(side) - 1) for v, side in parts)
    return Interval(estimate, sqrt(total), df, n)


# --- several claims at once ---------------------------------------------------------------


class HolmStep(NamedTuple):
    """What Holm's procedure says of one hypothesis: the level it is tested at, its adjusted p."""

    level: float
    adjusted_p: float


def holm(p_values: Mapping[str, float], alpha: float = ALPHA) -> dict[str, HolmStep]:
    """Holm's step-down: with probability 1 - `alpha` none of the rejections is false.

    The smallest p is tested at alpha / k, the next at alpha / (k - 1), and so on; the first that
    fails and all after it share one level. A claim's interval at its level is its verdict.
    """
    steps, level, adjusted, failed = {}, 0.0, 0.0, False
    for done, key in enumerate(sorted(p_values, key=p_values.__getitem__)):
        left = len(p_values) - done
        level = level if failed else alpha / left
        adjusted = max(adjusted, min(1.0, left * p_values[key]))
        failed = failed or p_values[key] > level
        steps[key] = HolmStep(level, adjusted)
    return steps


def any_false(tests: int, alpha: float = ALPHA) -> float:
    """Chance that at least one of so many independent tests, each at `alpha`, is wrong.

    It is the worst case, that there is nothing to find in any of them.
    """
    return 1 - (1 - alpha) ** tests


# --- verdicts -----------------------------------------------------------------------------


class Verdict(NamedTuple):
    """A word and, in a sentence, what it rests on."""

    word: Word
    reason: str


def p_value(interval: Interval, rule: Rule, matters: float) -> float:
    """The p of what has to be rejected for a claim to hold.

    "lower", "saturates": no difference (two-sided); "not worse": worse by `matters`; "same": apart
    by it.
    """
    if rule in ("lower", "saturates"):
        return interval.p_two_sided()
    above = interval.p_above(-matters)
    return above if rule == "not worse" else max(above, interval.p_below(matters))


def deciding(interval: Interval, rule: Rule, level: float = ALPHA) -> Interval:
    """The interval at the confidence by which `rule` decides at `level`.

    The one-sided rules spend the level on each end, since at most one of the two can be wrong:
    for all rules a wrong verdict then has at most the chance `level`. "saturates" asks two
    questions, each at half of it.
    """
    return interval.at(1 - level if rule in ("lower", "saturates") else 1 - 2 * level)


def verdict(interval: Interval, rule: Rule, matters: float, level: float = ALPHA) -> Verdict:
    """The word for a difference, as `RULES` has it, for any number of seeds."""
    decided = deciding(interval, rule, level)
    low, high = decided.low, decided.high
    inside = -matters < low and high < matters
    if rule == "saturates":
        # Same within `matters` (two one-sided tests) or different, each at half of the level.
        apart = interval.at(1 - level / 2)
        if inside:
            return Verdict("saturates", "the two differ by less than matters")
        if apart.low > 0:
            return Verdict("still falls", "the deeper net errs less")
        if apart.high < 0:
            return Verdict("rises", "the deeper net errs more")
        return Verdict("inconclusive", "neither shown to be the same nor to differ")
    if rule == "same":
        if inside:
            return Verdict("holds", "the sides differ by less than matters")
        if low > matters or high < -matters:
            return Verdict("contradicted", "the sides differ by more than matters")
    elif rule == "not worse":
        if low > -matters and high < 0:
            return Verdict("negligible", "the first side is worse, by less than matters")
        if low > -matters:
            return Verdict("holds", "the first side is not worse by as much as matters")
        if high < 0:
            return Verdict("contradicted", "the first side is worse")
    else:
        if low > matters:
            return Verdict("holds and matters", "the difference is larger than what matters")
        if inside:
            return Verdict("negligible", "whatever the difference is, it is less than matters")
        if low > 0:
            return Verdict("holds", "there is a difference, but perhaps less than matters")
        if high < 0:
            return Verdict("contradicted", "there is a difference, the other way")
    return Verdict("inconclusive", _what_would_be_found(decided, rule, matters))


def smallest_found(decided: Interval, rule: Rule, matters: float) -> float:
    """The true difference from which `rule` finds what it looks for, with `POWER`.

    `decided` is the interval that decides. "lower" looks for a difference, "same" for one beyond
    what matters, "not worse" for no loss as large as that: there it is the gain, or with a minus
    sign the loss, at which that is still found.
    """
    beyond = {"lower": 0.0, "same": matters, "not worse": -matters, "exact": 0.0}
    return beyond[rule] + decided.detectable


def _what_would_be_found(decided: Interval, rule: Rule, matters: float) -> str:
    """Why an inconclusive interval says so little."""
    smallest = smallest_found(decided, rule, matters)
    if rule == "not worse":
        how = "better by" if smallest > 0 else "worse by no more than"
        return (
            f"{decided.n} seeds show this in {100 * POWER:.0f} % of studies only if the first side "
            f"is {how} {abs(smallest):.2g}"
        )
    return (
        f"{decided.n} seeds find a true difference in {100 * POWER:.0f} % of studies only from "
        f"{smallest:.2g} on"
    )
