"""What the study has cost: core-hours, counted from the times that its records hold."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from vggrepro.study import store
from vggrepro.study.records import (
    BenchRecord,
    EvalRecord,
    FirstStepsRecord,
    FusionRecord,
    Record,
    TrainRecord,
)
from vggrepro.study.second_round import shown

CALIBRATION, PILOTS, STUDY = "calibration", "pilots", "the study itself"
FIRST_STEPS, MEASUREMENTS = "first steps", "time and memory measured"
PURPOSES = (CALIBRATION, PILOTS, STUDY, FIRST_STEPS, MEASUREMENTS)


@dataclass
class Spent:
    """What was spent for one purpose on one data set: how often, and core-hours."""

    trainings: int = 0
    failed: int = 0
    training: float = 0.0
    evaluations: int = 0
    evaluating: float = 0.0
    other: float = 0.0

    @property
    def hours(self) -> float:
        """Core-hours in all."""
        return self.training + self.evaluating + self.other

    def __add__(self, more: "Spent") -> "Spent":
        return Spent(*(a + b for a, b in zip(astuple(self), astuple(more), strict=True)))


def recorded(results_dir: Path) -> list[Record]:
    """Every record below `results_dir`, whatever declaration it was made under."""
    return [store.read(path) for path in shown(results_dir, store.record_files(results_dir))]


def purpose(record: Record) -> str:
    """What a record was made for: one of `PURPOSES`."""
    if isinstance(record, BenchRecord):
        return MEASUREMENTS
    if isinstance(record, FirstStepsRecord):
        return FIRST_STEPS
    if str(record.experiment["recipe"]).startswith("calibrate"):
        return CALIBRATION
    return PILOTS if record.pilot else STUDY


Pass = tuple[str, str, str, int, str, int]
"""One trained net at one protocol and Q: budget, data set, run, seed, protocol, Q."""


def spent(records: Iterable[Record]) -> dict[tuple[str, str], Spent]:
    """What was spent by (data set, purpose), in the order of purposes; no data set is "".

    A pass over the images that several evaluations share counts once, and a fusion takes none: it
    averages what its nets have already said.
    """
    found: dict[tuple[str, str], Spent] = {}
    passes: dict[Pass, float] = {}
    # Evaluations of few passes first, since those of many are made of them.
    for record in sorted(records, key=lambda record: len(_passes(record))):
        data = "" if isinstance(record, BenchRecord) else str(record.experiment["data"])
        key = (data, purpose(record))
        found[key] = found.get(key, Spent()) + _of(record, passes)
    return dict(sorted(found.items(), key=lambda item: (PURPOSES.index(item[0][1]), item[0][0])))


def _passes(record: Record) -> list[Pass]:
    if not isinstance(record, EvalRecord) or isinstance(record, FusionRecord):
        return []
    e = record.experiment
    net = (e["budget"], e["data"], record.run, record.seed)
    return [(*net, p, q) for p in record.protocol.split(" & ") for q in record.test_scales]


def _of(record: Record, passes: dict[Pass, float]) -> Spent:
    """What one record took; notes its passes in `passes`."""
    hours = core_hours(record)
    if isinstance(record, TrainRecord):
        return Spent(trainings=1, failed=int(record.status != "ok"), training=hours)
    if isinstance(record, EvalRecord):
        return Spent(evaluations=1, evaluating=_new(_passes(record), hours, passes))
    return Spent(other=hours)


def _new(needed: list[Pass], hours: float, passes: dict[Pass, float]) -> float:
    """The core-hours of those passes that no record before has had."""
    unknown = [one for one in needed if one not in passes]
    if not unknown:
        return 0.0
    left = max(0.0, hours - sum(passes.get(one, 0.0) for one in needed))
    passes.update(dict.fromkeys(unknown, left / len(unknown)))
    return left


def core_hours(record: Record) -> float:
    """Wall time times threads."""
    return record.provenance.wall_seconds * record.provenance.threads / 3600
