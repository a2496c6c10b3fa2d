"""What the study has cost: core-hours, counted from the times that its records hold."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vggrepro import results
from vggrepro.records import BenchRecord, EvalRecord, FirstStepsRecord, FusionRecord, Record
from vggrepro.records import TrainRecord as Train

CALIBRATION, PILOTS, STUDY = "calibration", "pilots", "the study itself"
FIRST_STEPS, MEASUREMENTS = "first steps", "time and memory measured"
PURPOSES = (CALIBRATION, PILOTS, STUDY, FIRST_STEPS, MEASUREMENTS)


@dataclass
class Spent:
    """What was spent for one purpose on one data set. Times are in core-hours."""

    trainings: int = 0
    failed: int = 0
    training: float = 0.0
    evaluations: int = 0
    evaluating: float = 0.0
    other: float = 0.0
    _parts: dict[tuple, float] = field(default_factory=dict, repr=False)

    @property
    def hours(self) -> float:
        """Core-hours in all."""
        return self.training + self.evaluating + self.other


def recorded(results_dir: Path) -> list[Record]:
    """Every record below `results_dir`, whatever declaration it was made under."""
    return [results.read(path) for path in results.record_files(results_dir)]


def purpose(record: Record) -> str:
    """What a record was made for: one of `PURPOSES`."""
    if isinstance(record, BenchRecord):
        return MEASUREMENTS
    if isinstance(record, FirstStepsRecord):
        return FIRST_STEPS
    if str(record.experiment["recipe"]).startswith("calibrate"):
        return CALIBRATION
    return PILOTS if record.pilot else STUDY


def spent(records: Iterable[Record]) -> dict[tuple[str, str], Spent]:
    """What was spent by (data set, purpose), in the order of purposes; no data set is "".

    A pass over the images that several evaluations share counts once, and a fusion takes none: it
    averages what its nets have already said.
    """
    found: dict[tuple[str, str], Spent] = {}
    # Evaluations of few passes first, since those of many are made of them.
    for record in sorted(records, key=_passes):
        data = "" if isinstance(record, BenchRecord) else str(record.experiment["data"])
        _add(found.setdefault((data, purpose(record)), Spent()), record)
    return dict(sorted(found.items(), key=lambda item: (PURPOSES.index(item[0][1]), item[0][0])))


def _passes(record: Record) -> int:
    return len(_parts(record)) if isinstance(record, EvalRecord) else 0


def _parts(record: EvalRecord) -> list[tuple]:
    """The passes that a record is made of: which net, tested how, at which Q."""
    e = record.experiment
    net = (e["budget"], e["data"], record.run, record.seed)
    return [(*net, p, q) for p in record.protocol.split(" & ") for q in record.test_scales]


def _add(to: Spent, record: Record) -> None:
    hours = core_hours(record)
    if isinstance(record, Train):
        to.trainings += 1
        to.failed += record.status != "ok"
        to.training += hours
    elif isinstance(record, EvalRecord):
        to.evaluations += 1
        to.evaluating += 0.0 if isinstance(record, FusionRecord) else _new(to, record, hours)
    else:
        to.other += hours


def _new(to: Spent, record: EvalRecord, hours: float) -> float:
    """The core-hours of a record's passes that no other record has had."""
    parts = _parts(record)
    unknown = [part for part in parts if part not in to._parts]
    if not unknown:
        return 0.0
    left = max(0.0, hours - sum(to._parts.get(part, 0.0) for part in parts))
    to._parts.update(dict.fromkeys(unknown, left / len(unknown)))
    return left


def core_hours(record: Record) -> float:
    """Wall time times threads."""
    return record.provenance.wall_seconds * record.provenance.threads / 3600
