"""What a claim is and by which rules it is decided, fixed before the runs.

The sign is the same everywhere: a difference is error(second) minus error(first), in points of
top-1 error. `first` is the side that the paper puts first, so a positive difference is as the
paper says. The claims are in `claims`; what applies the rules to records is in `decisions`.
"""

from dataclasses import dataclass
from typing import Literal

from vggrepro.study import paper
from vggrepro.study.experiments import CURVE, Evaluation, centre_crop, one_scale, three_scales

#: Chance of a wrong verdict that is accepted: for a claim, and for all primary claims together.
ALPHA = 0.05
#: Fewer seeds than this are never a verdict.
FEWEST_SEEDS = 3
#: Of the error of a net that knows nothing: above that, on minival, a net has learnt nothing.
AT_CHANCE = 0.97

Rule = Literal["lower", "not worse", "same", "exact", "saturates"]
#: How a rule reads the interval of the difference; `matters` is the smallest that matters.
RULES: dict[str, str] = {
    "lower": "The first side has the lower error: the interval lies above zero, or above what "
    "matters. Inside plus and minus that it is negligible, on either side of zero. Two-sided.",
    "not worse": "The first side is not worse by as much as matters: the interval lies above "
    "minus that. If it also lies below zero, the loss is real but negligible. One-sided.",
    "same": "The sides differ by less than matters: the interval lies inside plus and minus "
    "that. Two one-sided tests.",
    "exact": "There is no chance in it, hence no interval.",
}

Test = Literal[
    "between trainings", "same start", "same weights", "arithmetic", "measurement", "welch"
]
#: What the interval of a claim is made from.
TESTS: dict[str, str] = {
    "between trainings": "Mean difference over the seeds that both sides have. Its spread is "
    "that of all nets that were trained alike: what is left after the effects of net and of seed.",
    "same start": "Two trainings from the same weights: a difference for each seed, Student's t "
    "over seeds.",
    "same weights": "One trained net tested in two ways: a difference for each seed, Student's t "
    "over seeds.",
    "arithmetic": "Computed at the paper's geometry.",
    "measurement": "Training time for an image at the paper's geometry, second over first, in "
    "percent more: a ratio for each round in which both took turns, Student's t over rounds.",
}

#: The nets whose spread over seeds is pooled, for each data set, by centre crop at their own Q.
#: Nets whose start is their subject are left out, since one that stalls has another spread; their
#: differences are judged by the pooled spread all the same.
POOLED: dict[str, tuple[str, ...]] = {
    "cifar10": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
        *("C-linear-S256", "C-wide-S256", "A-from-A"),
        *("B-he", "B-5x5-he", "D-he", "D-7x7-he", "D-he-long"),
    ),
    "imagenette": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256"),
        *("D-S384", "D-jitter", "D-S384-longer"),
    ),
}


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


def centre(*runs: str) -> Sides:
    """Centre crop and flip at each net's own Q: what decides the claims about trainings."""
    first, second = (Side(run, centre_crop(run)) for run in runs)
    return first, second


def one_q(run: str, protocol: str = "dense") -> Side:
    """At the one Q of Section 4.1."""
    return Side(run, one_scale(run, protocol))


def three_q(run: str, protocol: str = "dense") -> Side:
    """At the three Q of Section 4.2; a fusion at those of its first net."""
    return Side(run, three_scales(run.split("+")[0], protocol))


def best_q(run: str) -> Side:
    """At the best single Q over the interval on which the jittered nets are trained."""
    return Side(run, CURVE[0], CURVE[1:])


@dataclass(frozen=True)
class Said:
    """The paper's own difference and where it is from, or why there is none."""

    difference: float | None
    where: str


JITTER = "[256;512]"


# The paper's errors have one decimal, and so have their differences.
def table_3(first: str, second: str, scales: tuple[int | str, int | str] = (256, 256)) -> Said:
    """Table 3's difference of two nets, trained at these S."""
    errors = [
        paper.value(3, net=net, train_scale=scale)
        for net, scale in zip((first, second), scales, strict=True)
    ]
    return Said(round(errors[1] - errors[0], 1), "Table 3, dense evaluation at one Q")


def gain_of_several_q(train_scale: int | str) -> float:
    """What Table 4 gains over Table 3, net D."""
    one, several = (paper.value(table, net="D", train_scale=train_scale) for table in (3, 4))
    return round(one - several, 1)


def table_5(first: str, second: str) -> Said:
    """Table 5's difference of two protocols, net D."""
    errors = [paper.value(5, net="D", protocol=protocol) for protocol in (first, second)]
    return Said(round(errors[1] - errors[0], 1), "Table 5, net D at three Q")


def fusion_gain() -> Said:
    """What Table 6's two nets gain over D alone, by dense evaluation."""
    two = paper.value(6, net="post-submission, 2 nets: D+E", protocol="dense")
    one = paper.value(4, net="D", train_scale=JITTER)
    return Said(round(one - two, 1), "Tables 4 and 6, dense evaluation at three Q")


def growth_with_depth() -> Said:
    """How many more parameters E has than A, in percent of A."""
    shallow, deep = (paper.parameters_millions(net) for net in ("A", "E"))
    return Said(round(100 * (deep / shallow - 1), 1), "Table 2, E over A, in percent")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how this study decides it.

    `quote` is the paper's sentence, by its key in `paper.QUOTES`; None for a claim of one's own.
    `sides` are first and second (none for arithmetic), `matters` is the smallest difference that
    matters; it and the paper's are in points, in percent for a measurement and for arithmetic.
    `less` is a second pair whose difference is subtracted. `other_length` is the same pair trained
    for another length: without the same sign there (mean of at least `FEWEST_SEEDS`), nothing is
    decided. `controls` are the same comparison with one advantage taken away: if the claim is
    right, they have its sign. `rivals` are other explanations on their own: one that comes out as
    large as the claim's difference may be all there is to it. Both are shown and decide nothing.
    `seeds` is the number fixed beforehand: with fewer nothing is decided, and further
    ones are not used.
    """

    key: str
    statement: str
    quote: str | None
    chapter: str
    sides: Sides | None
    matters: float
    paper: Said
    cannot: str
    rule: Rule = "lower"
    test: Test = "between trainings"
    data: str = "cifar10"
    seeds: int = 3
    primary: bool = False
    less: Sides | None = None
    other_length: Sides | None = None
    controls: tuple[tuple[str, Sides], ...] = ()
    rivals: tuple[tuple[str, Sides], ...] = ()

    @property
    def about_errors(self) -> bool:
        """Whether it is about top-1 errors, hence in points; the others are in percent."""
        return self.test not in ("arithmetic", "measurement")
