"""Every training and every fusion of the study, declared once, with the paper's values as defaults.

Tables and claims name runs and evaluations from here. Scales are always the paper's (S and Q
for a 224 px crop); `windows.scaled` turns them into pixels. What a budget changes is in `budgets`.
"""

import json
from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from vggrepro import UserError
from vggrepro.recipe import Recipe, single_scale
from vggrepro.windows import PAPER_CROP

NOT_FROZEN = ("pilot", "calibrate")  # what the names of such recipes begin with
RANDOM_STARTS = ("normal-variance", "normal-std", "glorot", "he")
FIXED_256, FIXED_384, JITTER = (256, 256), (384, 384), (256, 512)

Task = tuple[str, int]
"""A run or a fusion, and a seed."""


@dataclass(frozen=True)
class Experiment(Recipe):
    """One training: a net, its recipe and what it is trained on, the paper's values as defaults.

    `init` names the random initialisation; `init_from` the run whose weights replace it, as far
    as `inherit` says: "net-a" the first four convolutions and the FC layers, "all" everything.
    """

    name: str
    config: str
    stage: str = "scratch"  # scratch, fine-tune (S = 384 from S = 256) or jitter
    length: float = 1.0  # epochs, as a multiple of the stage's
    init: str = "normal-std"  # the reading of "10^-2 variance" that does not overflow
    init_from: str | None = None
    inherit: str | None = None
    keeps: tuple[str, ...] = ()  # fields that are this run's subject: no budget changes them
    # geometry
    crop: int = PAPER_CROP
    width: float = 1.0
    hidden: int = 4096
    dropout: float = 0.5
    input_divisor: float = 1.0  # inputs are (pixel - mean) / input_divisor, pixels 0 to 255
    recipe: str = "paper"  # the name of the recipe's values
    # what it is trained on
    budget: str = "full"
    data: str = "imagenet"
    data_size: str = ""  # which size of Imagenette, or "plain" drawings
    counts: tuple[int, int] = (0, 0)  # images drawn for train and val, synthetic only

    def __post_init__(self) -> None:
        if self.epochs:  # 0 where single steps are counted, see `starts`
            super().__post_init__()


# As JSON has them: lists, not tuples.
_DEFAULTS = json.dumps({f.name: f.default for f in fields(Experiment) if f.default is not MISSING})


def completed(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration as JSON has it; a field that was added later had its default before."""
    return json.loads(_DEFAULTS) | dict(recorded)


@dataclass(frozen=True)
class Evaluation:
    """A test protocol and its scales (the paper's Q): one trained net, one error (Section 3.2).

    The protocol is one of `windows.PROTOCOLS`, or two joined by " & ", as in Table 5: the mean of
    their posteriors. Without scales, in a fusion, each net has its own three Q.
    """

    protocol: str
    test_scales: tuple[int, ...]

    @property
    def file_protocol(self) -> str:
        """The protocol as it stands in names of files: `multi-crop+dense`."""
        return self.protocol.replace(" & ", "+")

    @property
    def name(self) -> str:
        """`dense-256` or `dense-224+256+288`."""
        return f"{self.file_protocol}-{'+'.join(map(str, self.test_scales)) or 'own'}"

    @property
    def file(self) -> str:
        """The name of its record: `eval-dense-256.json`."""
        return f"eval-{self.name}.json"

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """(protocol, Q) of all that is averaged, each with the same weight."""
        return tuple((p, q) for p in self.protocol.split(" & ") for q in self.test_scales)


@dataclass(frozen=True)
class Fusion:
    """Nets whose posteriors are averaged (Section 4.4), each with the same weight.

    A run that is named twice takes part with two seeds.
    """

    name: str
    runs: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]

    def members(self, seed: int) -> tuple[tuple[str, int], ...]:
        """(run, seed) of every net; a run's second net has the next seed."""
        return tuple((run, seed + self.runs[:i].count(run)) for i, run in enumerate(self.runs))


@dataclass(frozen=True)
class Row:
    """A row of one of the paper's tables: the view of one evaluation of a run or of a fusion."""

    table: int
    run: str
    evaluation: Evaluation

    @property
    def name(self) -> str:
        """`table3/D-S256`; from Table 5 on, where protocols differ, `table5/D-jitter/dense`."""
        protocol = f"/{self.evaluation.file_protocol}" if self.table >= 5 else ""
        return f"table{self.table}/{self.run}{protocol}"


# --- the registry -----------------------------------------------------------------------


def _chain(config: str) -> list[Experiment]:
    """Section 3.1: S = 256 from net A, S = 384 from S = 256, jitter from S = 384."""
    s256, s384, jitter = (f"{config}-{scale}" for scale in ("S256", "S384", "jitter"))
    base = Experiment(s256, config, init_from="A-S256", inherit="net-a")
    # The paper gives the rate 1e-3 for S = 384; the same is taken for what follows it.
    finer = replace(base, inherit="all", learning_rate=1e-3)
    second = replace(finer, name=s384, train_scale=FIXED_384, stage="fine-tune", init_from=s256)
    third = replace(finer, name=jitter, train_scale=JITTER, stage="jitter", init_from=s384)
    # The control that the paper lacks: from the same weights, for as many epochs, S fixed. It
    # tells jitter from longer training.
    longer = replace(third, name=f"{s384}-longer", train_scale=FIXED_384)
    return [base, second, third, longer]


def _from_random(config: str, init: str, suffix: str = "", **changes: Any) -> Experiment:
    name = f"{config}-{init}{suffix}"
    return Experiment(name, config, init=init, keeps=("init",), **changes)


def _declare() -> dict[str, Experiment]:
    """Every run of the study: the paper's tables first, then the controls."""
    runs = [Experiment("A-S256", "A"), Experiment("A-LRN-S256", "A-LRN")]
    runs += [_chain("B")[0], *_chain("C"), *_chain("D"), *_chain("E")]
    runs += [
        # Starting from net A is extra training; what A itself makes of it, and what D and A do
        # from random weights with as many epochs as A and D together.
        Experiment("A-from-A", "A", init_from="A-S256", inherit="net-a"),
        # C against B is non-linearity and weights, D against C context and weights.
        _chain("C-linear")[0],
        _chain("C-wide")[0],
        _from_random("D", "he", "-long", length=2.0),
        _from_random("A", "he", "-long", length=2.0),
        # Section 4.1's shallow net cannot take A's 3x3 kernels, so both sides start alike.
        _from_random("B", "he"),
        _from_random("B-5x5", "he"),
        _from_random("D", "he"),
        _from_random("D-7x7", "he"),
        # Half as long: a verdict on depth should not hang on the length of training.
        Experiment("A-short", "A", length=0.5),
        Experiment("A-LRN-short", "A-LRN", length=0.5),
        Experiment("D-short", "D", init_from="A-short", inherit="net-a", length=0.5),
    ]
    # Why does my VGG not train? From net A and, for D and B, from He: see above.
    runs += [
        _from_random(config, init)
        for config in "ADE"
        for init in RANDOM_STARTS
        if (config, init) != ("D", "he")
    ]
    return {run.name: run for run in runs}


RUNS: dict[str, Experiment] = _declare()


def _second_round() -> dict[str, Experiment]:
    """The second round (`second_round`): every net from He's start, nothing changed but length.

    Names give the epochs that `reduced` trains for: "B-5x5-he-50", "D-he-100-jitter".
    """
    runs = [
        _from_random(config, "he", f"-{epochs}", length=length)
        for epochs, length in ((50, 2.0), (25, 1.0))
        for config in ("A", "A-LRN", "B", "B-5x5", "C", "D", "E")
    ]
    runs += [
        _from_random("D", "he", f"-100-{name}", length=2.0, train_scale=train_scale)
        for name, train_scale in (("S256", FIXED_256), ("S384", FIXED_384), ("jitter", JITTER))
    ]
    return {run.name: run for run in runs}


SECOND_ROUND: dict[str, Experiment] = _second_round()
#: Every run there is; `RUNS` alone is the first round, which the tables and its claims are about.
DECLARED: Mapping[str, Experiment] = ChainMap(RUNS, SECOND_ROUND)


def several_scales(run: Experiment) -> tuple[int, ...]:
    """Q of Section 4.2: S - 32, S, S + 32, or both ends and the middle of the interval."""
    low, high = run.train_scale
    return (low - 32, low, low + 32) if low == high else (low, (low + high) // 2, high)


def centre_crop(run: str) -> Evaluation:
    """Centre crop and flip at a run's own Q: what decides claims about nets."""
    return one_scale(run, "centre-crop")


def one_scale(run: str, protocol: str = "dense") -> Evaluation:
    """At the one Q of Section 4.1."""
    return Evaluation(protocol, (single_scale(DECLARED[run]),))


def three_scales(run: str, protocol: str = "dense") -> Evaluation:
    """At the three Q of Section 4.2."""
    return Evaluation(protocol, several_scales(DECLARED[run]))


def evaluation_in(evaluation: Evaluation, run: str) -> Evaluation:
    """How a fusion's evaluation tests one of its nets: at the net's own three Q if it has none."""
    return replace(evaluation, test_scales=evaluation.test_scales or several_scales(RUNS[run]))


_BOTH = "multi-crop & dense"
_THREE_Q = several_scales(RUNS["D-jitter"])
_TABLE_5 = tuple(three_scales("D-jitter", protocol) for protocol in ("dense", "multi-crop", _BOTH))
_DENSE = _TABLE_5[:1]

FUSIONS: dict[str, Fusion] = {
    fusion.name: fusion
    for fusion in (
        # DEVIATION: in the submission the multi-scale D was fine-tuned in its FC layers only
        # (Section 4.4); here it is the D that is jittered as a whole, as in all other rows.
        Fusion(
            "ILSVRC-submission",
            ("D-S256", "D-S384", "D-jitter", "C-S256", "C-S384", "E-S256", "E-S384"),
            (Evaluation("dense", ()),),
        ),
        Fusion("D-jitter+E-jitter", ("D-jitter", "E-jitter"), _TABLE_5),
        # The control that the paper lacks: does another net help, or any second net?
        Fusion("D-jitter+D-jitter", ("D-jitter", "D-jitter"), _DENSE),
    )
}

_CHAINS = (f"{config}-{scale}" for config in "CDE" for scale in ("S256", "S384", "jitter"))
_IN_TABLE_3 = ("A-S256", "A-LRN-S256", "B-S256", *_CHAINS)
ROWS: tuple[Row, ...] = (
    *(Row(3, name, one_scale(name)) for name in _IN_TABLE_3),
    *(Row(4, name, three_scales(name)) for name in _IN_TABLE_3 if not name.startswith("A")),
    *(Row(5, name, evaluation) for name in ("D-jitter", "E-jitter") for evaluation in _TABLE_5),
    *(
        Row(6, name, evaluation)
        for name in ("ILSVRC-submission", "D-jitter+E-jitter")
        for evaluation in FUSIONS[name].evaluations
    ),
)

# What no row has and the claims need, or the curve over Q and the protocols of the field.
#: Every single Q at which nets are tested over the interval of jitter.
CURVE = tuple(Evaluation("dense", (q,)) for q in (256, 320, 384, 448, 512))
#: The same and the Q below it, at which nothing that S was drawn from is seen: the second round's.
WIDER_CURVE = (Evaluation("dense", (224,)), *CURVE)
_OF_THE_FIELD = (
    Evaluation("alexnet-10", (256,)),
    Evaluation("googlenet-144", (256, 288, 320, 352)),
)
_OTHER_PROTOCOLS = (
    Evaluation("dense-shifted", (384,)),
    Evaluation("dense-shifted", _THREE_Q),
    *_OF_THE_FIELD,
    Evaluation("overfeat", _THREE_Q),
)
_BESIDE_ROWS: dict[str, tuple[Evaluation, ...]] = {
    "D-S256": CURVE,
    "D-S384-longer": (*CURVE, three_scales("D-S384-longer")),
    "D-jitter": (*CURVE, *_OTHER_PROTOCOLS),
    "E-jitter": _OF_THE_FIELD,
    "D-he-100-S256": (*WIDER_CURVE, three_scales("D-he-100-S256")),
    "D-he-100-S384": (*WIDER_CURVE, three_scales("D-he-100-S384")),
    "D-he-100-jitter": (*WIDER_CURVE, *_TABLE_5, *_OTHER_PROTOCOLS),
}


def evaluations_of(run: str) -> tuple[Evaluation, ...]:
    """All evaluations that tables and claims need of a run or a fusion, the cheapest first.

    Centre crop with flip is always there for a run: it decides the claims about nets, since
    dense evaluation at a small Q mixes in where the grid falls.
    """
    if run in FUSIONS:
        return FUSIONS[run].evaluations
    needed = [centre_crop(run)]
    needed += [row.evaluation for row in ROWS if row.run == run]
    return tuple(dict.fromkeys((*needed, *_BESIDE_ROWS.get(run, ()))))


def run_named(name: str) -> Experiment:
    """The declared run of that name, at the paper's own values.

    Raises `UserError`, naming the runs and the fusions there are.
    """
    if name not in DECLARED:
        known = [*RUNS, *SECOND_ROUND, *FUSIONS]
        meant = " or ".join(_meant(name, known))
        ask = f"did you mean {meant}? If not, " if meant else ""
        raise UserError(f"unknown run {name!r}; {ask}choose one of: {', '.join(known)}")
    return DECLARED[name]


def _meant(name: str, known: list[str]) -> list[str]:
    """Runs that somebody may mean who writes `d-s256`, `D`, `vgg16` or a letter too few."""
    net = {"vgg11": "a", "vgg13": "b", "vgg16": "d", "vgg19": "e"}.get(name.lower(), name.lower())
    by_name = {run.lower(): run for run in known}
    found = [by_name[run] for run in (net, f"{net}-s256", f"{net}-he") if run in by_name]
    return found or get_close_matches(name, known, 1, 0.75)


def comes_first(name: str, asked: list[str]) -> str:
    """What is trained before a run that starts from another one, and how to do without.

    Empty for a fusion, and where nothing is trained that is not asked for.
    """
    before = lineage(name)[:-1]
    if name in FUSIONS or set(before) <= set(asked):
        return ""
    without = f"{DECLARED[name].config}-he"
    instead = f"; {without} starts from random weights" if without in DECLARED else ""
    return f"{name} starts from {before[-1]}; trained first: {', '.join(before)}{instead}"


def short_name(run: str) -> str:
    """The net alone where it was trained as its row in Table 3 says: `D` for `D-S256`.

    >>> short_name("D-S256"), short_name("D-he-long")
    ('D', 'D-he-long')
    """
    return run.removesuffix("-S256") if run in RUNS else run


def needs(name: str, seed: int) -> tuple[Task, ...]:
    """What a run starts from, or what a fusion is made of."""
    if name in FUSIONS:
        return FUSIONS[name].members(seed)
    parent = run_named(name).init_from
    return ((parent, seed),) if parent else ()


def with_needs(wanted: Iterable[Task]) -> list[Task]:
    """All that is wanted, each after all that it needs, nothing twice."""
    found: dict[Task, None] = {}
    for task in wanted:
        found |= dict.fromkeys((*with_needs(needs(*task)), task))
    return list(found)


def lineage(name: str) -> tuple[str, ...]:
    """The runs that have to exist before a run or a fusion, ancestors first, then itself."""
    return tuple(in_order([name]))


def in_order(names: Iterable[str]) -> list[str]:
    """`names` with all that they start from or fuse, that before them, nothing twice."""
    return list(dict.fromkeys(run for run, _ in with_needs((name, 0) for name in names)))
