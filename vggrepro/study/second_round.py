"""The second round: a confirmatory design, fixed in one commit before its first run.

The first round could not decide: three seeds, short trainings, sides that started from net A, one
spread for all nets. Here every net starts from He's random weights, nothing changes but length,
and every net has a spread of its own. Runs and seeds are here, the claims with their tests, margins
and families in `claims.toml`, the rules in `rules.toml`. Errors of the round are shown nowhere
before it is complete (`shown`). What decides is in `decisions`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vggrepro import UserError
from vggrepro.study import claims, programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import SECOND_ROUND, Experiment, evaluations_of
from vggrepro.study.records import EvalRecord, TrainRecord
from vggrepro.study.rules import WORDS, Claim

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


#: What the intervals are made from and how claims are decided, in words.
TESTS, RULES = WORDS["second_tests"], WORDS["second_rules"]

CLAIMS: dict[str, Claim] = claims.read("second", seeds=UNITS)
PRIMARY: dict[str, Claim] = {key: c for key, c in CLAIMS.items() if c.primary}


def runs(data: str) -> tuple[str, ...]:
    """The runs of the round on a set of photos. Raises `UserError` for others than its two."""
    if data not in RUNS:
        raise UserError(f"the second round has no runs on {data!r}; choose: {', '.join(RUNS)}")
    return RUNS[data]


def runs_about(chapter: str) -> tuple[str, ...]:
    """The runs that the claims of a chapter compare, the shorter trainings first, then by net."""
    claims = [claim for claim in CLAIMS.values() if claim.chapter == chapter]
    pairs = [p for c in claims for p in (c.sides, c.less, c.also, c.other_length) if p]
    named = {side.run for pair in pairs for side in pair}
    of_round = [run for runs in RUNS.values() for run in reversed(runs) if run in named]
    return tuple(sorted(of_round, key=lambda run: SECOND_ROUND[run].length))


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
    def known(self) -> bool:
        """Whether the code is that of a commit."""
        return not self.dirty and self.commit != "unknown"

    @property
    def machine(self) -> tuple:
        """All of it but the commit."""
        return self[2:]


@dataclass(frozen=True)
class Unit:
    """One set of photos with one seed: what is recorded of it, without any error.

    `done` counts runs with all their records, of the `sides` that it has; `kinds` are the kinds of
    machine of all records; `finished` is the latest record's time.
    """

    seed: int
    sides: int
    done: int
    kinds: frozenset[Kind]
    finished: str

    @property
    def clean(self) -> bool:
        """Whether all of it was made by one clean commit on one kind of machine."""
        return len(self.kinds) == 1 and all(kind.known for kind in self.kinds)

    @property
    def complete(self) -> bool:
        """Whether all its sides are recorded so."""
        return self.done == self.sides and self.clean


def units(results_dir: Path, data: str) -> list[Unit]:
    """Every unit of a set of photos, by seed."""
    return units_of(results_dir, [at_budget(run, BUDGET, data) for run in RUNS[data]], SEEDS)


def units_of(results_dir: Path, sides: Sequence[Experiment], seeds: Sequence[int]) -> list[Unit]:
    """Of each seed, what is recorded of these declarations."""
    of_each = []  # side by side: its trainings, then its evaluations, by seed
    for e in sides:
        tested = [store.evaluations(results_dir, e, one) for one in evaluations_of(e.name)]
        of_each.append([store.trainings(results_dir, e), *tested])
    return [_unit(seed, of_each) for seed in seeds]


def _unit(seed: int, of_each: list[list[dict[int, TrainRecord | EvalRecord]]]) -> Unit:
    runs = [[found.get(seed) for found in of_run] for of_run in of_each]
    done = sum(trained is not None and _done(trained, tested) for trained, *tested in runs)
    records = [record for of_run in runs for record in of_run if record]
    finished = max((record.provenance.finished for record in records), default="")
    return Unit(seed, len(runs), done, frozenset(map(Kind.of, records)), finished)


def _done(trained: TrainRecord, tested: list[EvalRecord | None]) -> bool:
    """Whether a run has all its records, its evaluations those of the weights that it has now."""
    if trained.status != "ok":
        return trained.status == "diverged"
    return all(one and one.weights_digest == trained.weights_digest for one in tested)


def counted(results_dir: Path, data: str) -> list[int]:
    """The seeds of the complete units that count, by seed; fewer than `UNITS` while it goes on."""
    complete = [unit for unit in units(results_dir, data) if unit.complete]
    first = sorted(complete, key=lambda unit: (unit.finished, unit.seed))[:UNITS]
    return sorted(unit.seed for unit in first)


def complete(results_dir: Path) -> bool:
    """Whether all units of both sets of photos are there: only then are errors shown."""
    return all(len(counted(results_dir, data)) == UNITS for data in RUNS)


def tasks(results_dir: Path, data: str, here: Kind) -> list[tuple[str, int]]:
    """(run, seed) of what is left for the kind of what would be recorded here: unit after unit.

    A unit that was begun by another commit or on another kind of machine is left alone. Raises
    `UserError` for code that is not that of a commit, whose units would never count.
    """
    if not here.known:
        raise UserError(
            "the second round counts what a clean commit has made, and this code is that of none: "
            "commit or undo what was changed, or use a clone (`git worktree add DIR COMMIT`)"
        )
    found = units(results_dir, data)
    left = UNITS - sum(unit.complete for unit in found)
    ours = [unit.seed for unit in found if not unit.complete and unit.kinds <= {here}]
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
        state = f"running: {unit.done} of {unit.sides} runs"
    kinds = sorted({f"{k.processor}, {k.instructions}, {k.precision}" for k in unit.kinds})
    return f"{state} ({'; '.join(kinds)})"


def left_out(results_dir: Path) -> set[tuple[str, int]]:
    """(photos, seed) of units that do not count."""
    by_data = {data: counted(results_dir, data) for data in RUNS}
    return {(data, seed) for data, seeds in by_data.items() for seed in SEEDS if seed not in seeds}


def shown(results_dir: Path, paths: Iterable[Path]) -> Iterator[Path]:
    """Those record files that may be looked at: of this round none before it is complete."""
    if complete(results_dir):
        yield from paths
    else:
        for path in paths:  # .../BUDGET/DATA/RUN/SEED/record.json
            parts = path.absolute().parts
            if parts[-3] not in SECOND_ROUND or parts[-5:-4] != (BUDGET,):
                yield path
