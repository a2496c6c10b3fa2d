"""The second round: a confirmatory design, fixed in one commit before its first run.

The first round could not decide: three seeds, short trainings, sides that started from net A, one
spread for all nets. Here every net starts from He's random weights, nothing changes but length,
and every net has a spread of its own. This module is the whole design: runs, seeds, claims with
their tests, margins and families, and the rules. Errors of the round are shown nowhere before it
is complete (`shown`). What decides is in `second_decisions`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vggrepro import UserError
from vggrepro.study import claims, programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import SECOND_ROUND, WIDER_CURVE, Evaluation, evaluations_of
from vggrepro.study.records import EvalRecord, TrainRecord
from vggrepro.study.rules import (
    WORDS,
    Claim,
    Said,
    Side,
    Sides,
    centre,
    one_q,
    table_3,
    three_q,
)

BUDGET = programme.BUDGET
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


@dataclass(frozen=True)
class SecondClaim(Claim):
    """A claim of the second round. Signs and units are those of `Claim`.

    `also` is a second pair that has to hold as well: the larger p counts. `alive` are pairs whose
    mean difference must be above zero for the claim to mean anything.
    """

    also: Sides | None = None
    alive: tuple[Sides, ...] = ()

    @property
    def family(self) -> Literal["nets", "scale"] | None:
        """In which Holm's procedure corrects a primary claim."""
        if not self.primary:
            return None
        return "nets" if self.data == "cifar10" else "scale"


#: What the intervals are made from and how claims are decided, in words.
TESTS, RULES = WORDS["second_tests"], WORDS["second_rules"]

_CANNOT_NETS = (
    "Whether it is so at 224 px: narrow nets on 32 px, with one position left at the last pool."
)
_CANNOT_SCALE = "Whether it is so at 224 px: a small image has a score map of few positions."


def _again(first: str, statement: str, **changed: Any) -> SecondClaim:
    """The first round's claim about the same question, asked again with what is `changed`.

    Its quote, chapter, rule, margin and the paper's own difference stay unless named.
    """
    asked = vars(claims.CLAIMS[first])
    kept = ("quote", "chapter", "matters", "paper", "rule", "data", "ours")
    asked = {name: asked[name] for name in kept} | {"key": f"2-{first}", "seeds": UNITS}
    return SecondClaim(statement=statement, **asked | changed)


def _nets(first: str, statement: str, *nets: str, **changed: Any) -> SecondClaim:
    """A claim about two nets after 50 epochs, that has to have its sign after 25 too."""
    sides, other_length = (centre(*(f"{net}-he-{n}" for net in nets)) for n in (50, 25))
    alike = {"sides": sides, "other_length": other_length, "test": "welch"}
    return _again(first, statement, cannot=_CANNOT_NETS, **alike, **changed)


def _scale(first: str, statement: str, *sides: Side, **changed: Any) -> SecondClaim:
    """A claim about one net tested in two ways, or about nets of several training scales."""
    alike = {"test": "same weights", "cannot": _CANNOT_SCALE, "sides": sides}
    return _again(first, statement, **alike | changed)


def _dense(run: str, q: int) -> Side:
    return Side(run, Evaluation("dense", (q,)))


def _best(run: str) -> Side:
    return Side(run, WIDER_CURVE[0], WIDER_CURVE[1:])


_S256, _S384, _JITTERED = "D-he-100-S256", "D-he-100-S384", "D-he-100-jitter"
_ONE_Q, _THREE_Q = one_q(_JITTERED), three_q(_JITTERED)
_CROPS, _BOTH = three_q(_JITTERED, "multi-crop"), three_q(_JITTERED, "multi-crop & dense")

_ALL = (
    _nets(
        "depth-a-to-d",
        "Sixteen layers (D) err less than eleven (A).",
        *("D", "A"),
        key="2-depth",
        primary=True,
    ),
    _nets(
        "d-beats-c",
        "3x3 convolutions err less than 1x1 ones in their place (D and C).",
        *("D", "C"),
        key="2-context",
        primary=True,
    ),
    _nets(
        "c-beats-b",
        "Added 1x1 convolutions lower the error (C against B).",
        *("C", "B"),
        key="2-non-linearity",
        primary=True,
    ),
    _nets(
        "small-filters",
        "Two 3x3 convolutions err less than one 5x5 (B against its shallow twin).",
        *("B", "B-5x5"),
        primary=True,
    ),
    _scale(
        "jitter-as-in-the-paper",
        "The jittered D errs less than D at S = 256 and than D at S = 384 (Q = 384).",
        *(_dense(_JITTERED, 384), _dense(_S384, 384)),
        key="2-jitter",
        also=(_dense(_JITTERED, 384), _dense(_S256, 384)),
        alive=(
            (_dense(_JITTERED, 512), _dense(_S256, 512)),
            (_dense(_JITTERED, 224), _dense(_S384, 224)),
        ),
        test="welch",
        primary=True,
    ),
    _scale(
        "several-q-jittered",
        "Three test scales err less than one, for the jittered D.",
        *(_THREE_Q, _ONE_Q),
        key="2-several-q",
        primary=True,
        controls=(("shifts at one Q", (_THREE_Q, one_q(_JITTERED, "dense-shifted"))),),
    ),
    _scale(
        "multi-crop-beats-dense",
        "Fifty crops a scale err less than dense evaluation, at three Q.",
        *(_CROPS, _THREE_Q),
        key="2-crops",
        primary=True,
        controls=(("dense on shifted grids", (_CROPS, three_q(_JITTERED, "dense-shifted"))),),
    ),
    # --- secondary: not corrected, each marked so -----------------------------------------------
    _nets(
        "depth-saturates",
        "From 16 layers (D) to 19 (E) the error no longer changes.",
        *("E", "D"),
        key="2-saturates",
        matters=0.5,
        paper=table_3("E", "D"),
        rule="saturates",
    ),
    _nets(
        "lrn-does-not-help",
        "Local response normalisation does not lower the error of net A.",
        *("A", "A-LRN"),
        key="2-lrn",
    ),
    _nets(
        "depth-a-to-d",
        "Sixteen layers (D) have the smaller log-loss than eleven (A).",
        *("D", "A"),
        key="2-depth-log-loss",
        matters=0.02,
        paper=Said(None, "The paper gives no losses."),
        metric="log_loss",
        ours=True,
    ),
    _nets("depth-a-to-b", "Thirteen layers (B) err less than eleven (A).", "B", "A"),
    _nets("depth-b-to-d", "Sixteen layers (D) err less than thirteen (B).", "D", "B"),
    _scale(
        "jitter-best-q",
        "The jittered D errs less than D at S = 384, each at its own best Q.",
        *(_best(_JITTERED), _best(_S384)),
        also=(_best(_JITTERED), _best(_S256)),
        test="welch",
    ),
    _scale(
        "jitter-as-in-the-paper",
        "The jittered D errs less than D at S = 384, by one centre crop.",
        *centre(_JITTERED, _S384),
        key="2-jitter-centre-crop",
        paper=Said(None, "The paper tests densely."),
        test="welch",
        ours=True,
    ),
    _scale(
        "several-q-fixed",
        "Three test scales err less than one, for D at S = 256.",
        *(three_q(_S256), one_q(_S256)),
    ),
    _scale(
        "several-q-help-jittered-more",
        "Three test scales help the jittered D more than D at S = 384.",
        *(_THREE_Q, _ONE_Q),
        less=(three_q(_S384), one_q(_S384)),
        test="welch",
    ),
    _scale(
        "scale-gap",
        "A test scale far from the training scale hurts (Q = 512 at S = 256).",
        *(one_q(_S256), _dense(_S256, 512)),
    ),
    _scale(
        "both-beat-dense",
        "Crops and dense evaluation together err less than dense evaluation alone.",
        *(_BOTH, _THREE_Q),
    ),
    _scale(
        "both-beat-multi-crop",
        "Crops and dense evaluation together err less than crops alone.",
        *(_BOTH, _CROPS),
        key="2-both-beat-crops",
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
    dirty: bool
    processor: str
    instructions: str
    threads: int
    precision: str
    torch: str

    @classmethod
    def of(cls, record: TrainRecord | EvalRecord) -> "Kind":
        """The kind of machine that a record was made on."""
        p, versions = record.provenance, record.provenance.versions
        where = (p.processor, versions.get("instructions", ""), p.threads, record.precision)
        return cls(p.commit, p.dirty, *where, versions["torch"])

    @property
    def machine(self) -> tuple:
        """All of it but the commit."""
        return self[2:]


@dataclass(frozen=True)
class Unit:
    """One set of photos with one seed: what is recorded of it, without any error.

    `done` counts runs with all their records, `kinds` the kinds of machine of all records;
    `finished` is the latest record's time.
    """

    data: str
    seed: int
    done: int
    kinds: frozenset[Kind]
    finished: str

    @property
    def clean(self) -> bool:
        """Whether all of it was made by one clean commit on one kind of machine."""
        return len(self.kinds) == 1 and not any(kind.dirty for kind in self.kinds)

    @property
    def complete(self) -> bool:
        """Whether all its sides are recorded so."""
        return self.done == len(RUNS[self.data]) and self.clean


def units(results_dir: Path, data: str) -> list[Unit]:
    """Every unit of a set of photos, by seed."""
    of_each = []  # run by run: its trainings, then its evaluations, by seed
    for run in RUNS[data]:
        e = at_budget(run, BUDGET, data)
        tested = [store.evaluations(results_dir, e, one) for one in evaluations_of(run)]
        of_each.append([store.trainings(results_dir, e), *tested])
    return [_unit(data, seed, of_each) for seed in SEEDS]


def _unit(data: str, seed: int, of_each: list[list[dict[int, TrainRecord | EvalRecord]]]) -> Unit:
    runs = [[found[seed] for found in of_run if seed in found] for of_run in of_each]
    done = sum(
        len(records) == len(of_run) or any(record.status == "diverged" for record in records)
        for records, of_run in zip(runs, of_each, strict=True)
    )
    records = [record for of_run in runs for record in of_run]
    finished = max((record.provenance.finished for record in records), default="")
    return Unit(data, seed, done, frozenset(map(Kind.of, records)), finished)


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
        begun = [unit for unit in units(results_dir, data) if unit.kinds]
        done = min(UNITS, sum(unit.complete for unit in begun))
        if begun:
            lines.append(f"  second round on {data}: {done} of {UNITS} units complete")
            lines += [f"    seed {unit.seed} {_state(unit)}" for unit in begun]
    return lines


def _state(unit: Unit) -> str:
    if unit.complete:
        state = "complete"
    elif len({kind.machine for kind in unit.kinds}) > 1:
        state = "abandoned: on more than one kind of machine"
    elif not unit.clean:
        state = "abandoned: not by one clean commit"
    else:
        state = f"running: {unit.done} of {len(RUNS[unit.data])} runs"
    kinds = sorted({f"{k.processor}, {k.instructions}, {k.precision}" for k in unit.kinds})
    return f"{state} ({'; '.join(kinds)})"


def shown(results_dir: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Those record files that may be looked at: of this round none before it is complete."""
    if complete(results_dir):
        yield from paths
    else:
        yield from (path for path in paths if path.parts[-3] not in SECOND_ROUND)
