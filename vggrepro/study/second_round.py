"""The second round: a confirmatory design, fixed in one commit before its first run.

The first round could not decide: three seeds, short trainings, sides that started from net A, one
spread for all nets. Here every net starts from He's random weights, nothing changes but length,
and every net has a spread of its own. This module is the whole design: runs, seeds, claims with
their tests, margins and families, and the rules. Errors of the round are shown nowhere before it
is complete (`shown`). What decides is in `second_decisions`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from vggrepro import UserError
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import SECOND_ROUND, WIDER_CURVE, Evaluation, evaluations_of
from vggrepro.study.records import EvalRecord, TrainRecord
from vggrepro.study.rules import (
    AT_CHANCE,
    JITTER,
    Claim,
    Said,
    Side,
    Sides,
    centre,
    gain_of_several_q,
    one_q,
    table_3,
    table_5,
    three_q,
)

BUDGET = "reduced"
#: What each set of photos decides: the nets on CIFAR-10, scale and testing on Imagenette. The
#: longest trainings come first, so that processes that share a unit end together.
RUNS: dict[str, tuple[str, ...]] = {
    "cifar10": tuple(
        f"{net}-he-{epochs}"
        for epochs in (50, 25)
        for net in ("E", "D", "C", "B", "A-LRN", "B-5x5", "A")
    ),
    "imagenette": ("D-he-100-jitter", "D-he-100-S384", "D-he-100-S256"),
}
#: New seeds only: 0 to 2 were seen. A unit is one set of photos with one seed, all its sides. Five
#: units of each set count. Seeds from 8 on are for units that had to be left.
SEEDS = tuple(range(3, 13))
UNITS = 5
#: Error in percent of a net that knows nothing: both sets have ten classes, all equally frequent.
CHANCE = 90.0

Family = Literal["nets", "scale"]


@dataclass(frozen=True)
class SecondClaim(Claim):
    """A claim of the second round. Signs and units are those of `Claim`.

    A primary claim belongs to a `family`, in which Holm's procedure corrects. `also` is a second
    pair that has to hold as well: the larger p counts. `alive` are pairs whose mean difference
    must be above zero for the claim to mean anything. `metric` is the outcome that is compared.
    """

    family: Family | None = None
    also: Sides | None = None
    alive: tuple[Sides, ...] = ()
    metric: str = "top1_error"


#: What the intervals of the round are made from, for the page on method.
TESTS = {
    "welch": "Two nets trained apart: Welch's t over seeds, two-sided, each net with its own "
    "spread.",
    "same weights": "One net tested in two ways: Student's t over the differences by seed.",
}
RULES = {
    "two lengths": "A word on depth, context, non-linearity or filters that says which side is "
    "better needs the same sign of the mean difference after 25 epochs; otherwise, or if a net "
    "stalled there, it is *depends on the length*.",
    "alive": "Jitter must have changed the net: over seeds its mean error is below that of S = 256 "
    "at Q = 512, and below that of S = 384 at Q = 224. Otherwise its claim is *void*, and stays in "
    "its family with p = 1.",
    "both": "Where a claim names two pairs, both must hold: the larger p counts in the family, "
    "and the word is the weaker of the two. It is contradicted where one of the pairs is.",
    "stalled": f"A net whose minival error ends above {AT_CHANCE:.0%} of chance has stalled, and "
    "so has one whose loss is no longer finite. Its "
    "pairs show in how many seeds, and no mean; the claim is *stalled* and has p = 1. No seed "
    "is replaced. A slow start that ends below that stays in.",
    "spread": "Each net has its own. Pooled and paired analyses are shown beside and decide "
    "nothing.",
    "units": "The first five complete units of each set of photos count, in the order in which "
    "they were completed. A unit is complete when all its sides are recorded by one clean commit "
    "on one kind of machine (processor, instruction set, threads, precision, PyTorch). On another "
    "kind of machine the next unit begins; the one that was begun waits until its kind is back, "
    "and if it is never finished, its records are published and not counted.",
    "hidden": "No error of the round is shown anywhere before ten units are complete. Nobody adds "
    "seeds afterwards.",
}


_CANNOT_NETS = (
    "Whether it is so at 224 px: narrow nets on 32 px, with one position left at the last pool."
)
_CANNOT_SCALE = "Whether it is so at 224 px: a small image has a score map of few positions."


def _after(first: str, second: str, epochs: int) -> Sides:
    return centre(f"{first}-he-{epochs}", f"{second}-he-{epochs}")


def _nets(first: str, second: str, **fields: object) -> SecondClaim:
    """A claim about two nets after 50 epochs, that has to have its sign after 25 too."""
    return SecondClaim(
        sides=_after(first, second, 50),
        other_length=_after(first, second, 25),
        test="welch",
        data="cifar10",
        seeds=UNITS,
        cannot=_CANNOT_NETS,
        **fields,
    )


def _dense(run: str, q: int) -> Side:
    return Side(run, Evaluation("dense", (q,)))


_S256, _S384, _JITTERED = "D-he-100-S256", "D-he-100-S384", "D-he-100-jitter"
_THREE_Q, _BOTH = three_q(_JITTERED), three_q(_JITTERED, "multi-crop & dense")
_CROPS = three_q(_JITTERED, "multi-crop")
_SHIFTED = three_q(_JITTERED, "dense-shifted")
_scale = partial(
    SecondClaim, data="imagenette", seeds=UNITS, cannot=_CANNOT_SCALE, test="same weights"
)


def _best(run: str) -> Side:
    return Side(run, WIDER_CURVE[0], WIDER_CURVE[1:])


_ALL = (
    _nets(
        *("D", "A"),
        key="2-depth",
        statement="Sixteen layers (D) err less than eleven (A).",
        quote="depth",
        chapter="03_depth",
        matters=0.5,
        paper=table_3("D", "A"),
        primary=True,
        family="nets",
    ),
    _nets(
        *("D", "C"),
        key="2-context",
        statement="3x3 convolutions err less than 1x1 ones in their place (D and C).",
        quote="context",
        chapter="04_filters_1x1",
        matters=0.5,
        paper=table_3("D", "C"),
        primary=True,
        family="nets",
    ),
    _nets(
        *("C", "B"),
        key="2-non-linearity",
        statement="Added 1x1 convolutions lower the error (C against B).",
        quote="context",
        chapter="04_filters_1x1",
        matters=0.5,
        paper=table_3("C", "B"),
        primary=True,
        family="nets",
    ),
    _nets(
        *("B", "B-5x5"),
        key="2-small-filters",
        statement="Two 3x3 convolutions err less than one 5x5 (B against its shallow twin).",
        quote="small-filters",
        chapter="05_large_filters",
        matters=1.0,
        paper=Said(7.0, "Section 4.1 in words, by centre crop, read as points"),
        primary=True,
        family="nets",
    ),
    _scale(
        key="2-jitter",
        statement="The jittered D errs less than D at S = 256 and than D at S = 384 (Q = 384).",
        quote="jitter-training",
        chapter="06_scale_jitter",
        sides=(_dense(_JITTERED, 384), _dense(_S384, 384)),
        also=(_dense(_JITTERED, 384), _dense(_S256, 384)),
        alive=(
            (_dense(_JITTERED, 512), _dense(_S256, 512)),
            (_dense(_JITTERED, 224), _dense(_S384, 224)),
        ),
        matters=1.0,
        paper=table_3("D", "D", (JITTER, 384)),
        test="welch",
        primary=True,
        family="scale",
    ),
    _scale(
        key="2-several-q",
        statement="Three test scales err less than one, for the jittered D.",
        quote="jitter-testing",
        chapter="07_test_scales",
        sides=(_THREE_Q, one_q(_JITTERED)),
        matters=0.3,
        paper=Said(gain_of_several_q(JITTER), "Tables 3 and 4"),
        primary=True,
        family="scale",
        controls=(("shifts at one Q", (_THREE_Q, one_q(_JITTERED, "dense-shifted"))),),
    ),
    _scale(
        key="2-crops",
        statement="Fifty crops a scale err less than dense evaluation, at three Q.",
        quote="multi-crop",
        chapter="08_multi_crop",
        sides=(_CROPS, _THREE_Q),
        matters=0.2,
        paper=table_5("multi-crop", "dense"),
        primary=True,
        family="scale",
        controls=(("dense on shifted grids", (_CROPS, _SHIFTED)),),
    ),
    # --- secondary: not corrected, each marked so -----------------------------------------------
    _nets(
        *("E", "D"),
        key="2-saturates",
        statement="From 16 layers (D) to 19 (E) the error no longer changes.",
        quote="saturates",
        chapter="03_depth",
        matters=0.5,
        paper=table_3("E", "D"),
        rule="saturates",
    ),
    _nets(
        *("A", "A-LRN"),
        key="2-lrn",
        statement="Local response normalisation does not lower the error of net A.",
        quote="lrn",
        chapter="02_lrn",
        matters=0.5,
        paper=table_3("A", "A-LRN"),
        rule="not worse",
    ),
    _nets(
        *("D", "A"),
        key="2-depth-log-loss",
        statement="Sixteen layers (D) have the smaller log-loss than eleven (A).",
        quote="depth",
        chapter="03_depth",
        matters=0.02,
        paper=Said(None, "The paper gives no losses."),
        metric="log_loss",
        ours=True,
    ),
    _nets(
        *("B", "A"),
        key="2-depth-a-to-b",
        statement="Thirteen layers (B) err less than eleven (A).",
        quote="depth",
        chapter="03_depth",
        matters=0.5,
        paper=table_3("B", "A"),
    ),
    _nets(
        *("D", "B"),
        key="2-depth-b-to-d",
        statement="Sixteen layers (D) err less than thirteen (B).",
        quote="depth",
        chapter="03_depth",
        matters=0.5,
        paper=table_3("D", "B"),
    ),
    _scale(
        key="2-jitter-best-q",
        statement="The jittered D errs less than D at S = 384, each at its own best Q.",
        quote="jitter-training",
        chapter="06_scale_jitter",
        sides=(_best(_JITTERED), _best(_S384)),
        also=(_best(_JITTERED), _best(_S256)),
        matters=1.0,
        paper=Said(None, "The paper tests each net at one Q and at three together."),
        test="welch",
        ours=True,
    ),
    _scale(
        key="2-jitter-centre-crop",
        statement="The jittered D errs less than D at S = 384, by one centre crop.",
        quote="jitter-training",
        chapter="06_scale_jitter",
        sides=centre(_JITTERED, _S384),
        matters=1.0,
        paper=Said(None, "The paper tests densely."),
        test="welch",
        ours=True,
    ),
    _scale(
        key="2-several-q-fixed",
        statement="Three test scales err less than one, for D at S = 256.",
        quote="jitter-testing",
        chapter="07_test_scales",
        sides=(three_q(_S256), one_q(_S256)),
        matters=0.3,
        paper=Said(gain_of_several_q(256), "Tables 3 and 4"),
    ),
    _scale(
        key="2-several-q-help-jittered-more",
        statement="Three test scales help the jittered D more than D at S = 384.",
        quote="jitter-testing",
        chapter="07_test_scales",
        sides=(_THREE_Q, one_q(_JITTERED)),
        less=(three_q(_S384), one_q(_S384)),
        matters=0.3,
        paper=Said(
            round(gain_of_several_q(JITTER) - gain_of_several_q(384), 1),
            "our reading of Tables 3 and 4, against S = 384",
        ),
        test="welch",
        ours=True,
    ),
    _scale(
        key="2-scale-gap",
        statement="A test scale far from the training scale hurts (Q = 512 at S = 256).",
        quote="scale-gap",
        chapter="07_test_scales",
        sides=(one_q(_S256), _dense(_S256, 512)),
        matters=1.0,
        paper=Said(None, "The paper says so without numbers."),
    ),
    _scale(
        key="2-both-beat-dense",
        statement="Crops and dense evaluation together err less than dense evaluation alone.",
        quote="multi-crop",
        chapter="08_multi_crop",
        sides=(_BOTH, _THREE_Q),
        matters=0.2,
        paper=table_5("multi-crop & dense", "dense"),
    ),
    _scale(
        key="2-both-beat-crops",
        statement="Crops and dense evaluation together err less than crops alone.",
        quote="multi-crop",
        chapter="08_multi_crop",
        sides=(_BOTH, _CROPS),
        matters=0.2,
        paper=table_5("multi-crop & dense", "multi-crop"),
    ),
)
CLAIMS: dict[str, SecondClaim] = {claim.key: claim for claim in _ALL}
PRIMARY: dict[str, SecondClaim] = {key: c for key, c in CLAIMS.items() if c.primary}


def runs(data: str) -> tuple[str, ...]:
    """The runs of the round on a set of photos. Raises `UserError` for others than its two."""
    if data not in RUNS:
        raise UserError(f"the second round has no runs on {data!r}; choose: {', '.join(RUNS)}")
    return RUNS[data]


# --- units --------------------------------------------------------------------------------


class Kind(NamedTuple):
    """Which code on which kind of machine: all sides of a unit share it."""

    commit: str
    processor: str
    instructions: str
    threads: int
    precision: str
    torch: str

    @classmethod
    def of(cls, record: TrainRecord | EvalRecord) -> "Kind":
        """The kind of machine that a record was made on."""
        p = record.provenance
        versions = p.versions
        where = (p.processor, versions.get("instructions", ""), p.threads, record.precision)
        return cls(p.commit, *where, versions["torch"])

    @property
    def machine(self) -> tuple:
        """All of it but the commit."""
        return self[1:]


@dataclass(frozen=True)
class Unit:
    """One set of photos with one seed: what is recorded of it, without any error.

    `done` counts runs with all their records, `kinds` the kinds of machine of all records;
    `clean` is false if one was made by uncommitted code, `finished` is its latest record's time.
    """

    data: str
    seed: int
    done: int
    kinds: frozenset[Kind]
    clean: bool
    finished: str

    @property
    def begun(self) -> bool:
        """Whether anything of it is recorded."""
        return bool(self.kinds)

    @property
    def complete(self) -> bool:
        """Whether all its sides are recorded, by one clean commit on one kind of machine."""
        return self.done == len(RUNS[self.data]) and len(self.kinds) == 1 and self.clean


def units(results_dir: Path, data: str) -> list[Unit]:
    """Every unit of a set of photos, by seed."""
    done: Counter[int] = Counter()
    found: dict[int, list[TrainRecord | EvalRecord]] = {seed: [] for seed in SEEDS}
    for run in RUNS[data]:
        e = at_budget(run, BUDGET, data)
        trained = store.trainings(results_dir, e)
        tested = [
            store.evaluations(results_dir, e, evaluation) for evaluation in evaluations_of(run)
        ]
        for seed in SEEDS:
            records = [by_seed[seed] for by_seed in (trained, *tested) if seed in by_seed]
            found[seed] += records
            ended = seed in trained and trained[seed].status == "diverged"
            done[seed] += ended or len(records) == 1 + len(tested)
    return [
        Unit(
            *(data, seed, done[seed]),
            kinds=frozenset(map(Kind.of, records)),
            clean=not any(record.provenance.dirty for record in records),
            finished=max((record.provenance.finished for record in records), default=""),
        )
        for seed, records in found.items()
    ]


def counted(results_dir: Path, data: str) -> list[int]:
    """The seeds of the complete units that count, by seed; fewer than `UNITS` while it goes on."""
    complete = [unit for unit in units(results_dir, data) if unit.complete]
    first = sorted(complete, key=lambda unit: (unit.finished, unit.seed))[:UNITS]
    return sorted(unit.seed for unit in first)


def complete(results_dir: Path) -> bool:
    """Whether all units of both sets of photos are there: only then are errors shown."""
    return all(len(counted(results_dir, data)) == UNITS for data in RUNS)


def tasks(results_dir: Path, data: str, machine: tuple) -> list[tuple[str, int]]:
    """(run, seed) of what is left on this kind of machine: unit after unit.

    `machine` is `Kind.machine` of what would be recorded here. A unit that was begun on another
    kind of machine is left alone.
    """
    found = units(results_dir, data)
    left = UNITS - sum(unit.complete for unit in found)
    ours = [
        unit.seed
        for unit in found
        if not unit.complete and all(kind.machine == machine for kind in unit.kinds)
    ]
    return [(run, seed) for seed in ours[: max(left, 0)] for run in RUNS[data]]


def status_lines(results_dir: Path) -> list[str]:
    """Units complete, begun and left, and nothing else of them."""
    lines = []
    for data in RUNS:
        found = units(results_dir, data)
        done = sum(unit.complete for unit in found)
        if any(unit.begun for unit in found):
            lines.append(f"  second round on {data}: {min(done, UNITS)} of {UNITS} units complete")
            lines += [f"    {_line(unit)}" for unit in found if unit.begun]
    return lines


def _line(unit: Unit) -> str:
    if unit.complete:
        state = "complete"
    elif len({kind.machine for kind in unit.kinds}) > 1:
        state = "abandoned: on more than one kind of machine"
    elif len(unit.kinds) > 1 or not unit.clean:
        state = "abandoned: not by one clean commit"
    else:
        state = f"running: {unit.done} of {len(RUNS[unit.data])} runs"
    kinds = sorted({f"{k.processor}, {k.instructions}, {k.precision}" for k in unit.kinds})
    return f"seed {unit.seed} {state} ({'; '.join(kinds)})"


def shown(results_dir: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Those record files that may be looked at: of this round none before it is complete."""
    if complete(results_dir):
        yield from paths
    else:
        yield from (path for path in paths if path.parts[-3] not in SECOND_ROUND)
