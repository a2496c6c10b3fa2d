"""How long work takes: on a device by its data sheet, on a machine by its recorded trainings."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro import UserError
from vggrepro.bench.devices import DEVICES, SHARE, Device
from vggrepro.bench.workload import PUBLISHED, Work, net_of, per_image, training, training_step
from vggrepro.study import paper, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Experiment
from vggrepro.study.records import EvalRecord, FusionRecord, TrainRecord
from vggrepro.study.second_round import shown

Seconds = Callable[[Work], float]


def on_device(device: Device, devices: int = 1, share: float = SHARE) -> Seconds:
    """Seconds that work takes on `devices` of that kind at `share` of their peak.

    The memory sets a limit of its own: a net of few channels moves many values for few
    multiply-adds. ASSUMPTION: devices wait neither for each other nor for images to be decoded.
    Raises `UserError` for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise UserError(f"share must be above 0 and at most 1, not {share}")
    size = 2 if device.precision == "bf16" else 4

    def seconds(work: Work) -> float:
        computing = 2 * work.multiply_adds / (share * device.flops)
        moving = size * work.values / (1e9 * device.bandwidth_gb_s)
        return max(computing, moving) / devices

    return seconds


# --- the paper's own time -----------------------------------------------------------------

PAPER_DEVICE, PAPER_DEVICES = DEVICES["titan-black"], 4  # Section 3.3


def paper_work(config: str) -> Work:
    """The paper's training of a net: 74 epochs on all of ILSVRC-2012's training images."""
    declared = at_budget(f"{config}-S256", "full")
    size = PUBLISHED["imagenet"]
    images = declared.epochs * (size.train + size.minival)  # the paper held nothing out
    return training_step(net_of(declared)).times(images)


def paper_weeks() -> tuple[int, int]:
    """The shortest and the longest training of a net that the paper reports (Section 3.3)."""
    found = re.search(r"(\d+)–(\d+) weeks", paper.quote("training-time").text)
    return int(found[1]), int(found[2])


def paper_shares(config: str) -> tuple[float, float]:
    """The share of four Titan Blacks' peak if the net took the shortest and the longest time."""
    at_peak = on_device(PAPER_DEVICE, PAPER_DEVICES, share=1.0)(paper_work(config))
    return tuple(at_peak / (weeks * 7 * 24 * 3600) for weeks in paper_weeks())


# --- this machine -------------------------------------------------------------------------


class Job(NamedTuple):
    """One recorded training or evaluation: what it had to do, and the seconds it took."""

    experiment: Experiment
    seed: int
    work: Work
    seconds: float


class Checked(NamedTuple):
    """A recorded training, and what was expected of it from the records of other runs."""

    job: Job
    expected: float | None
    """Seconds; None if the other records cannot tell."""


@dataclass(frozen=True)
class Recorded:
    """What one machine has recorded: the one with the most trainings in a folder."""

    machine: str
    precision: str
    trainings: tuple[Job, ...]
    evaluations: tuple[Job, ...]


def recorded(results_dir: Path) -> Recorded:
    """The jobs in the records of a folder, of the machine that trained most of them.

    Drawn images are left out: their runs are too short. Raises `UserError` if no training is
    left.
    """
    by_machine: dict[tuple[str, str], tuple[list[Job], list[Job]]] = {}
    for path in shown(results_dir, store.record_files(results_dir)):
        record = store.read(path)
        if not isinstance(record, TrainRecord | EvalRecord) or isinstance(record, FusionRecord):
            continue
        experiment = _declared(record.experiment)
        if experiment is None or record.status != "ok":
            continue
        p = record.provenance
        machine = f"{p.device}, {p.processor}, {p.threads} threads, {record.precision}"
        kinds = by_machine.setdefault((machine, record.precision), ([], []))
        is_training = isinstance(record, TrainRecord)
        work = training(experiment) if is_training else _tested(experiment, record)
        job = Job(experiment, record.seed, work, p.wall_seconds)
        if job.seconds > 0:
            kinds[0 if is_training else 1].append(job)
    counts = Counter({key: len(kinds[0]) for key, kinds in by_machine.items()})
    if not counts or not counts.most_common(1)[0][1]:
        raise UserError(
            f"no trainings on photos are recorded in {results_dir}: this machine's rate is not "
            "known. Run some, or choose another --results-dir or a --device"
        )
    (machine, precision), _ = counts.most_common(1)[0]
    return Recorded(machine, precision, *map(tuple, by_machine[machine, precision]))


def _declared(fields: dict) -> Experiment | None:
    """The declaration in a record, None if its size is unknown or it is of another version."""
    if fields.get("data") not in PUBLISHED:
        return None
    try:
        return Experiment(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
    except TypeError:
        return None


def _tested(experiment: Experiment, record: EvalRecord) -> Work:
    work = Work()
    for protocol in record.protocol.split(" & "):
        for test_scale in record.test_scales:
            work += per_image(experiment, protocol, test_scale)
    return work.times(record.data.count)


def fitted(jobs: tuple[Job, ...]) -> Seconds:
    """Seconds for work, from jobs: so much for each kind of it, none below zero.

    By least squares over relative errors, so that short jobs count as much as long ones. Raises
    `UserError` without jobs.
    """
    if not jobs:
        raise UserError("nothing is recorded that a rate could be fitted on")
    from scipy.optimize import nnls  # heavy, and needed for this machine only

    amounts = np.array([astuple(job.work) for job in jobs])
    relative = amounts / np.array([[job.seconds] for job in jobs])
    # Brought to one order of magnitude; a kind of work that no job has costs nothing.
    unit = np.where(relative.max(0) > 0, relative.max(0), 1)
    each = nnls(relative / unit, np.ones(len(jobs)))[0] / unit
    return lambda work: float(each @ astuple(work))


def check(jobs: tuple[Job, ...]) -> list[Checked]:
    """Each training against what is fitted on the trainings of all other runs.

    The same run on the same data counts as one, whatever the seed. Where LRN occurs in no other
    run there is nothing to expect of it.
    """
    checked = []
    for job in jobs:
        others = tuple(other for other in jobs if _run(other) != _run(job))
        known = others and (not job.work.lrn_values or any(o.work.lrn_values for o in others))
        checked.append(Checked(job, fitted(others)(job.work) if known else None))
    return checked


def _run(job: Job) -> tuple[str, str, str]:
    return job.experiment.budget, job.experiment.data, job.experiment.name
