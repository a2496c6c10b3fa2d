"""The paper's claims as data, written down before the runs that decide them.

The sign is the same everywhere: a difference is error(second) minus error(first), in points of
top-1 error. `first` is the side that the paper puts first, so a positive difference is as the
paper says. What turns records and these entries into verdicts is in `decisions`.
"""

from dataclasses import dataclass
from typing import Literal

from vggrepro import UserError, paper
from vggrepro.experiments import RUNS, Evaluation, several_scales, single_scale

#: Chance of a wrong verdict that we accept, for a claim and for all the primary claims together.
ALPHA = 0.05
#: Fewer seeds than this are never a verdict.
FEWEST_SEEDS = 3

Rule = Literal["lower", "not worse", "same", "exact"]
#: How a rule reads the interval of the difference; `matters` is the smallest that matters.
RULES: dict[str, str] = {
    "lower": "The error of the first side is lower: the interval lies above zero.",
    "not worse": "The first side is not worse by as much as matters: the interval lies above "
    "minus that. Such an interval wholly below zero is a loss too small to matter.",
    "same": "The sides differ by less than matters: the interval lies inside plus and minus that.",
    "exact": "Arithmetic on Table 1; there is no chance in it.",
}

Test = Literal["between trainings", "same weights", "arithmetic", "measurement"]
#: What the interval of a claim is made from.
TESTS: dict[str, str] = {
    "between trainings": "The mean difference over the seeds that both sides have. Its spread is "
    "that of all nets in `POOLED` together, after taking out the effects of net and of seed.",
    "same weights": "One trained net under two protocols: a difference for each seed, Student's "
    "t over seeds.",
    "arithmetic": "Computed at the paper's geometry.",
    "measurement": "Time for a training image on one machine, in percent: a ratio for each seed, "
    "Student's t over seeds.",
}

#: The nets whose spread over seeds is pooled, for each data set, by centre crop and flip. Nets
#: whose start is their subject are left out: one that stalls has another spread than the rest.
POOLED: dict[str, tuple[str, ...]] = {
    "cifar10": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256", "E-S256"),
        *("B-he", "B-5x5-he", "D-he", "D-7x7-he", "D-he-long", "A-from-A"),
    ),
    "imagenette": (
        *("A-S256", "A-LRN-S256", "B-S256", "C-S256", "D-S256"),
        *("D-S384", "D-jitter", "D-S384-longer"),
    ),
}


@dataclass(frozen=True)
class Side:
    """A trained net under a protocol. `A+B` is the fusion of two runs of the same seed.

    With `or_else` the one of all evaluations with the lowest mean error over seeds counts. It is
    chosen on the images that it is reported on, so both sides must choose from the same.
    """

    run: str
    evaluation: Evaluation
    or_else: tuple[Evaluation, ...] = ()


@dataclass(frozen=True)
class Control:
    """Another difference, shown beside the claim's: what else could have made the difference."""

    about: str
    first: Side
    second: Side


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, and how this study decides it.

    `matters` is the smallest difference that matters, `paper_difference` the paper's own, both in
    points (percent for a measurement or for arithmetic); `paper_note` says what stands behind
    it, or why there is none. `less` is a second pair whose difference is subtracted.
    `both_lengths` is the same pair trained for another length: if the sign differs there, the
    claim stays open. `seeds` is the number fixed beforehand.
    """

    key: str
    statement: str
    quote: str
    chapter: str
    rule: Rule
    test: Test
    matters: float
    paper_difference: float | None
    paper_note: str
    cannot: str
    first: Side | None = None
    second: Side | None = None
    less: tuple[Side, Side] | None = None
    both_lengths: tuple[Side, Side] | None = None
    controls: tuple[Control, ...] = ()
    data: str = "cifar10"
    seeds: int = 5
    primary: bool = False

    @property
    def section(self) -> str:
        """The paper's section, "4.1"."""
        return paper.quote(self.quote).section


# --- shorthand ----------------------------------------------------------------------------


def _centre(run: str) -> Side:
    """Centre crop and flip at the net's own Q: what decides the claims about trainings."""
    return Side(run, Evaluation("centre-crop", (single_scale(RUNS[run]),)))


def _dense(run: str, *test_scales: int) -> Side:
    return Side(run, Evaluation("dense", test_scales or (single_scale(RUNS[run]),)))


def _three(run: str, protocol: str = "dense") -> Side:
    """At the three Q of Section 4.2; a fusion at those of its first net."""
    return Side(run, Evaluation(protocol, several_scales(RUNS[run.split("+")[0]])))


def _curve(run: str) -> Side:
    """At the best single Q over the interval that the jittered nets are trained on."""
    first, *others = (Evaluation("dense", (q,)) for q in (256, 320, 384, 448, 512))
    return Side(run, first, tuple(others))


def _error(net: str, train_scale: int | str = 256, protocol: str = "dense", several=False) -> float:
    """The paper's top-1 error of a net: Table 3 at one Q, 4 at several, 5 by other protocols."""
    number = (4 if several else 3) if protocol == "dense" else 5
    return paper.value(number, net=net, train_scale=train_scale, protocol=protocol)


def _points(second: float, first: float) -> float:
    """The difference of two of the paper's numbers, which have one decimal."""
    return round(second - first, 1)


_JITTER = "[256;512]"
_BOTH = "multi-crop & dense"
_D_AND_E = paper.value(6, net="post-submission, 2 nets: D+E", protocol="dense")
_TABLE_3 = "Table 3, dense evaluation at one Q"
_TABLE_5 = "Table 5, net D, three Q"
_ON_32_PX = "Whether it is so at 224 px and with a thousand classes: the nets here are narrow, and "
_ON_32_PX += "their last map is a single position."
_ON_64_PX = "Whether it is so at 224 px: an image of 64 px gives a map of very few positions."


# --- the claims ---------------------------------------------------------------------------

_ALL = (
    Claim(
        "lrn-does-not-help",
        "Local response normalisation does not lower the error of net A.",
        quote="lrn",
        chapter="02_lrn",
        rule="not worse",
        test="between trainings",
        first=_centre("A-S256"),
        second=_centre("A-LRN-S256"),
        matters=0.5,
        paper_difference=_points(_error("A-LRN"), _error("A")),
        paper_note=_TABLE_3,
        primary=True,
        cannot="Gains below half a point. At a quarter of the width LRN's window spans 5 of 16 "
        "channels, in the paper 5 of 64.",
    ),
    Claim(
        "lrn-costs-time",
        "Local response normalisation makes training slower.",
        quote="lrn-costs",
        chapter="02_lrn",
        rule="lower",
        test="measurement",
        first=_centre("A-S256"),
        second=_centre("A-LRN-S256"),
        matters=5.0,
        paper_difference=None,
        paper_note="The paper gives no times.",
        cannot="What it costs on the paper's GPUs, or in another implementation of LRN.",
    ),
    Claim(
        "lrn-costs-memory",
        "Local response normalisation adds activations that have to be kept for training.",
        quote="lrn-costs",
        chapter="02_lrn",
        rule="exact",
        test="arithmetic",
        matters=0.0,
        paper_difference=None,
        paper_note="The paper gives no sizes.",
        cannot="What an implementation keeps beside LRN's output.",
    ),
    Claim(
        "depth-a-to-d",
        "The error falls with depth, from 11 layers (A) to 16 (D).",
        quote="depth",
        chapter="03_depth",
        rule="lower",
        test="between trainings",
        first=_centre("D-S256"),
        second=_centre("A-S256"),
        both_lengths=(_centre("D-short"), _centre("A-short")),
        controls=(
            Control("A with as much extra training", _centre("D-S256"), _centre("A-from-A")),
            Control("D from random weights, as long", _centre("D-he-long"), _centre("A-S256")),
        ),
        matters=0.5,
        paper_difference=_points(_error("A"), _error("D")),
        paper_note=_TABLE_3,
        primary=True,
        cannot=_ON_32_PX,
    ),
    Claim(
        "depth-a-to-b",
        "The error falls from 11 layers (A) to 13 (B).",
        quote="depth",
        chapter="03_depth",
        rule="lower",
        test="between trainings",
        first=_centre("B-S256"),
        second=_centre("A-S256"),
        controls=(
            Control("A with as much extra training", _centre("B-S256"), _centre("A-from-A")),
        ),
        matters=0.5,
        paper_difference=_points(_error("A"), _error("B")),
        paper_note=_TABLE_3,
        cannot=_ON_32_PX,
    ),
    Claim(
        "depth-b-to-d",
        "The error falls from 13 layers (B) to 16 (D).",
        quote="depth",
        chapter="03_depth",
        rule="lower",
        test="between trainings",
        first=_centre("D-S256"),
        second=_centre("B-S256"),
        matters=0.5,
        paper_difference=_points(_error("B"), _error("D")),
        paper_note=_TABLE_3,
        cannot=_ON_32_PX,
    ),
    Claim(
        "depth-saturates",
        "From 16 layers (D) to 19 (E) the error no longer changes.",
        quote="saturates",
        chapter="03_depth",
        rule="same",
        test="between trainings",
        first=_centre("D-S256"),
        second=_centre("E-S256"),
        matters=0.3,
        paper_difference=_points(_error("E"), _error("D")),
        paper_note=f"{_TABLE_3}; with scale jittering E is slightly ahead",
        cannot="Hardly decidable: with five seeds the interval is wider than what matters.",
    ),
    Claim(
        "c-beats-b",
        "1x1 convolutions, which add non-linearity alone, lower the error (C against B).",
        quote="context",
        chapter="04_filters_1x1",
        rule="lower",
        test="between trainings",
        first=_centre("C-S256"),
        second=_centre("B-S256"),
        matters=0.5,
        paper_difference=_points(_error("B"), _error("C")),
        paper_note=_TABLE_3,
        cannot="Whether non-linearity or the added weights do it: that takes C without the ReLU "
        "after its 1x1 layers.",
    ),
    Claim(
        "d-beats-c",
        "Spatial context matters: 3x3 convolutions beat 1x1 in the same places (D against C).",
        quote="context",
        chapter="04_filters_1x1",
        rule="lower",
        test="between trainings",
        first=_centre("D-S256"),
        second=_centre("C-S256"),
        matters=0.5,
        paper_difference=_points(_error("C"), _error("D")),
        paper_note=_TABLE_3,
        primary=True,
        cannot="Whether context or D's larger number of weights does it. At 32 px the last block "
        "sees a map of 2x2, so its taps fall mostly on padding.",
    ),
    Claim(
        "small-filters",
        "Two 3x3 convolutions beat one 5x5 (B against its twin).",
        quote="small-filters",
        chapter="05_large_filters",
        rule="lower",
        test="between trainings",
        first=_centre("B-he"),
        second=_centre("B-5x5-he"),
        matters=1.0,
        paper_difference=7.0,
        paper_note="Section 4.1 in words, centre crop; read as points",
        seeds=3,
        primary=True,
        cannot="Whether depth or the size of the filters does it: the twin is also shallower, and "
        "has more parameters.",
    ),
    Claim(
        "three-small-filters",
        "Three 3x3 convolutions beat one 7x7 (D against its twin).",
        quote="seven-by-seven",
        chapter="05_large_filters",
        rule="lower",
        test="between trainings",
        first=_centre("D-he"),
        second=_centre("D-7x7-he"),
        matters=1.0,
        paper_difference=None,
        paper_note="Section 2.3 argues for it; the paper trains no such net",
        seeds=3,
        cannot="A 7x7 filter on the maps of a 32 px image covers more padding than image.",
    ),
    Claim(
        "jitter-equal-epochs",
        "Training at many scales beats a fixed scale, for the same weights at the start, the same "
        "epochs and the same Q.",
        quote="jitter-training",
        chapter="06_scale_jitter",
        rule="lower",
        test="between trainings",
        data="imagenette",
        first=_centre("D-jitter"),
        second=_centre("D-S384-longer"),
        controls=(
            Control("longer training alone", _centre("D-S384-longer"), _centre("D-S384")),
            Control("the same by dense evaluation", _dense("D-jitter"), _dense("D-S384-longer")),
        ),
        matters=1.0,
        paper_difference=_points(_error("D", 384), _error("D", _JITTER)),
        paper_note=f"{_TABLE_3}; longer training and jittering together, without this control",
        primary=True,
        cannot=_ON_64_PX,
    ),
    Claim(
        "jitter-best-q",
        "Training at many scales beats a fixed scale, each at its own best Q.",
        quote="jitter-training",
        chapter="06_scale_jitter",
        rule="lower",
        test="between trainings",
        data="imagenette",
        first=_curve("D-jitter"),
        second=_curve("D-S384-longer"),
        matters=1.0,
        paper_difference=None,
        paper_note="The paper tests a net at one Q, or at three together",
        cannot="Q is chosen on the images it is reported on, alike for both sides.",
    ),
    Claim(
        "jitter-as-in-the-paper",
        "The jittered net beats the net at S = 384 that it was fine-tuned from.",
        quote="jitter-training",
        chapter="06_scale_jitter",
        rule="lower",
        test="between trainings",
        data="imagenette",
        first=_centre("D-jitter"),
        second=_centre("D-S384"),
        matters=1.0,
        paper_difference=_points(_error("D", 384), _error("D", _JITTER)),
        paper_note=_TABLE_3,
        cannot="Whether jittering or longer training does it.",
    ),
    Claim(
        "several-q-fixed",
        "Testing at three scales beats one, for a net trained at a fixed scale.",
        quote="jitter-testing",
        chapter="07_test_scales",
        rule="lower",
        test="same weights",
        data="imagenette",
        first=_three("D-S256"),
        second=_dense("D-S256"),
        matters=0.3,
        paper_difference=_points(_error("D"), _error("D", several=True)),
        paper_note="Tables 3 and 4",
        cannot=_ON_64_PX,
    ),
    Claim(
        "several-q-jittered",
        "Testing at three scales beats one, for a net trained at many.",
        quote="jitter-testing",
        chapter="07_test_scales",
        rule="lower",
        test="same weights",
        data="imagenette",
        first=_three("D-jitter"),
        second=_dense("D-jitter"),
        controls=(
            Control(
                "three scales against shifts at one Q",
                _three("D-jitter"),
                Side("D-jitter", Evaluation("dense-shifted", (384,))),
            ),
        ),
        matters=0.3,
        paper_difference=_points(_error("D", _JITTER), _error("D", _JITTER, several=True)),
        paper_note="Tables 3 and 4",
        primary=True,
        cannot=_ON_64_PX,
    ),
    Claim(
        "several-q-help-jittered-more",
        "Three test scales help a net trained at many scales more than one trained at one.",
        quote="jitter-testing",
        chapter="07_test_scales",
        rule="lower",
        test="same weights",
        data="imagenette",
        first=_three("D-jitter"),
        second=_dense("D-jitter"),
        less=(_three("D-S384-longer"), _dense("D-S384-longer")),
        matters=0.3,
        paper_difference=_points(
            _points(_error("D", _JITTER), _error("D", _JITTER, several=True)),
            _points(_error("D", 384), _error("D", 384, several=True)),
        ),
        paper_note="Our reading of Tables 3 and 4, with the net at S = 384",
        cannot="The three Q of the jittered net lie further apart, as in the paper.",
    ),
    Claim(
        "scale-gap",
        "A test scale far from the training scale hurts (Q = 512 for a net trained at 256).",
        quote="scale-gap",
        chapter="07_test_scales",
        rule="lower",
        test="same weights",
        data="imagenette",
        first=_dense("D-S256"),
        second=_dense("D-S256", 512),
        matters=1.0,
        paper_difference=None,
        paper_note="The paper says so without numbers",
        cannot="How large a gap may be: the curve over Q shows it, and decides nothing.",
    ),
    Claim(
        "multi-crop-beats-dense",
        "Many crops are slightly better than dense evaluation.",
        quote="multi-crop",
        chapter="08_multi_crop",
        rule="lower",
        test="same weights",
        data="imagenette",
        first=_three("D-jitter", "multi-crop"),
        second=_three("D-jitter"),
        controls=(
            Control(
                "many crops against dense evaluation on shifted grids",
                _three("D-jitter", "multi-crop"),
                _three("D-jitter", "dense-shifted"),
            ),
        ),
        matters=0.2,
        paper_difference=_points(
            _error("D", _JITTER, several=True), paper.value(5, net="D", protocol="multi-crop")
        ),
        paper_note=_TABLE_5,
        cannot="Hardly decidable: the paper's own difference is below this study's spread. On "
        "small images it also depends on where the grid falls.",
    ),
)

CLAIMS: dict[str, Claim] = {claim.key: claim for claim in _ALL}


def claim_named(key: str) -> Claim:
    """The claim of that key.

    Raises `UserError`, naming the claims there are.
    """
    if key not in CLAIMS:
        raise UserError(f"unknown claim {key!r}; choose one of: {', '.join(CLAIMS)}")
    return CLAIMS[key]
