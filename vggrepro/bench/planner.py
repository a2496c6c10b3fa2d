"""What a budget takes before it is run: work, memory and hours for each run.

The work is counted in `workload`; here are devices, what a run keeps in their memory, how fast
they are, and the plans made of these.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro import UserError
from vggrepro.bench import workload
from vggrepro.bench.workload import Work, net_of, tested, training, training_step
from vggrepro.cost import Layer
from vggrepro.study import paper, store
from vggrepro.study.budgets import PUBLISHED, at_budget, budget_named, data_of, data_size
from vggrepro.study.experiments import FUSIONS, ROWS, Experiment
from vggrepro.study.records import EvalRecord, FusionRecord, TrainRecord
from vggrepro.study.second_round import shown

# --- devices ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """One card. Peaks are dense (no sparsity), with sums in float32, as PyTorch computes them."""

    name: str
    memory_gib: float
    """As sold; how much of it is left to a run is in `USABLE`."""
    float32_tflops: float
    bf16_tflops: float | None
    """None where the card has no bfloat16: `vggrepro run` then computes in float32."""
    bandwidth_gb_s: float
    source: str

    @property
    def precision(self) -> str:
        """What `vggrepro run --precision auto` would choose on it."""
        return "bf16" if self.bf16_tflops else "float32"

    @property
    def flops(self) -> float:
        """Peak operations per second in that precision; a multiply-add is two."""
        return 1e12 * (self.bf16_tflops or self.float32_tflops)


# fmt: off
DEVICES: dict[str, Device] = {
    d.name: d
    for d in (
        # The paper's (Section 3.3). No tensor cores before the V100.
        Device("titan-black",  6,  5.1,  None,    336, "specification: 2880 cores at 889 MHz"),
        Device("gtx-1080-ti", 11, 11.3,  None,    484, "specification: 3584 cores at 1582 MHz"),
        # Their tensor cores know float16 but not bfloat16.
        Device("v100",        16, 15.7,  None,    900, "NVIDIA V100 data sheet, SXM2 16 GB"),
        Device("t4",          16,  8.1,  None,    300, "NVIDIA T4 data sheet"),
        # GeForce cards halve the rate of tensor cores when sums are in float32.
        Device("rtx-3090",    24, 35.6,  71.0,    936, "NVIDIA GA102 white paper"),
        Device("rtx-4090",    24, 82.6, 165.2,   1008, "NVIDIA Ada white paper"),
        Device("a100-40",     40, 19.5, 312.0,   1555, "NVIDIA A100 data sheet, SXM 40 GB"),
        Device("a100-80",     80, 19.5, 312.0,   2039, "NVIDIA A100 data sheet, SXM 80 GB"),
        # The sheets' 1979 is with sparsity.
        Device("h100",        80, 67.0, 989.5,   3350, "NVIDIA H100 data sheet, SXM"),
        Device("h200",       141, 67.0, 989.5,   4800, "NVIDIA H200 data sheet, SXM"),
    )
}
# fmt: on

SHARE = 0.35
"""ASSUMPTION: the share of its peak that a device reaches, unless another is given. What the
paper's own time implies lies on both sides of it, see `planner.paper_shares`."""

THIS_MACHINE = "this-machine"
"""In place of a device: the machine of the recorded trainings, at their rate."""


def device_named(name: str) -> Device:
    """The device of that name.

    Raises `UserError`, naming the devices there are.
    """
    if name not in DEVICES:
        raise UserError(
            f"unknown device {name!r}; choose one of: {', '.join([*DEVICES, THIS_MACHINE])}"
        )
    return DEVICES[name]


# --- memory -------------------------------------------------------------------------------

FLOAT32, INDEX, MASK = 4, 8, 1
USABLE = 0.9
"""ASSUMPTION: the share of a card left to tensors; the rest is for the driver and workspaces."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step."""

    weights: int
    """Weights, their gradients and their momentum in float32; copies in the computing precision."""
    kept: int
    """Per image: what the forward pass keeps for the backward pass."""
    peak: int
    """Per image: the most there is at one time, gradients included."""

    def largest_batch(self, memory_gib: float) -> int:
        """Images that fit a card of that memory, 0 if not even the weights do."""
        free = USABLE * memory_gib * 2**30 - self.weights
        return max(0, int(free // self.peak))


def memory(net: tuple[Layer, ...], precision: str) -> Memory:
    """What training `net` takes in "bf16" or "float32"."""
    size = 2 if precision == "bf16" else FLOAT32
    copies = size if precision == "bf16" else 0
    weights = (3 * FLOAT32 + copies) * sum(layer.parameters for layer in net)
    # Bytes that a layer keeps for each value of its output.
    keeps = {
        "conv": size,  # ReLU works in place: its output is the next layer's input
        "pool": size + INDEX,
        "lrn": size + FLOAT32,  # and the root of the denominator
        "fc": 2 * size + MASK,  # before dropout, its mask, and after it
    }
    # The images themselves, in the precision in which the first convolution computes.
    before = 3 * net[0].output_shape[1] ** 2
    kept, peak = size * before, 0
    for layer in net:
        # Of the last layer log-probabilities are kept.
        kept += (FLOAT32 if layer is net[-1] else keeps[layer.kind]) * layer.activations
        # Going back through a layer there are the gradients of its output and of its input.
        peak = max(peak, kept + size * (layer.activations + before))
        before = layer.activations
    return Memory(weights, kept, peak)


# --- how fast a device is -----------------------------------------------------------------

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

_HOUR = 3600
PAPER_DEVICE, PAPER_DEVICES = DEVICES["titan-black"], 4  # Section 3.3


def paper_work(config: str) -> Work:
    """The paper's training of a net: 74 epochs on all of ILSVRC-2012's training images."""
    declared = at_budget(f"{config}-S256", "full")
    size = PUBLISHED["imagenet"]
    images = declared.epochs * (size.train + size.minival)  # the paper held nothing out
    return training_step(net_of(declared)).times(images)


def paper_shares(config: str) -> dict[int, float]:
    """The share of four Titan Blacks' peak if the net took so many weeks.

    Those are the shortest and the longest training that the paper reports (Section 3.3).
    """
    at_peak = on_device(PAPER_DEVICE, PAPER_DEVICES, share=1.0)(paper_work(config))
    weeks = re.search(r"(\d+)–(\d+) weeks", paper.quote("training-time").text).groups()
    return {int(n): at_peak / (int(n) * 7 * 24 * _HOUR) for n in weeks}


def paper_table() -> pd.DataFrame:
    """The paper's own weeks on four Titan Black (Section 3.3): what share of peak they imply."""
    seconds, rows = on_device(PAPER_DEVICE, PAPER_DEVICES), {}
    for net in paper.TABLE_1:
        work, (low, high) = paper_work(net), paper_shares(net).items()
        rows[net] = {
            "EFLOP": f"{2 * work.multiply_adds / 1e18:.1f}",
            f"share of peak if it took {low[0]} weeks": f"{100 * low[1]:.0f} %",
            f"if it took {high[0]} weeks": f"{100 * high[1]:.0f} %",
            f"days at {100 * SHARE:.0f} %": f"{seconds(work) / (24 * _HOUR):.1f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


# --- this machine -------------------------------------------------------------------------


class Job(NamedTuple):
    """One recorded training or evaluation: what it had to do, and the seconds it took."""

    experiment: Experiment
    seed: int
    work: Work
    seconds: float


@dataclass(frozen=True)
class Recorded:
    """What one machine has recorded."""

    machine: str
    precision: str
    trainings: list[Job] = field(default_factory=list)
    evaluations: list[Job] = field(default_factory=list)


def recorded(results_dir: Path) -> Recorded:
    """The jobs in the records of a folder, of the machine that trained most of them.

    Drawn images are left out: their runs are too short. Raises `UserError` if no training is
    left.
    """
    machines: dict[str, Recorded] = {}
    for path in shown(results_dir, store.record_files(results_dir)):
        record = store.read(path)
        if not isinstance(record, TrainRecord | EvalRecord) or isinstance(record, FusionRecord):
            continue
        fields, p = record.experiment, record.provenance
        if fields["data"] not in PUBLISHED or record.status != "ok" or p.wall_seconds == 0:
            continue
        tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        experiment = Experiment(**fields | tuples)
        machine = f"{p.device}, {p.processor}, {p.threads} threads, {record.precision}"
        found = machines.setdefault(machine, Recorded(machine, record.precision))
        if isinstance(record, TrainRecord):
            work, jobs = training(experiment), found.trainings
        else:
            work = tested(experiment, record.evaluation.parts).times(record.data.count)
            jobs = found.evaluations
        jobs.append(Job(experiment, record.seed, work, p.wall_seconds))
    most = max(machines.values(), key=lambda found: len(found.trainings), default=None)
    if most is None or not most.trainings:
        raise UserError(
            f"no trainings on photos are recorded in {results_dir}: this machine's rate is not "
            "known. Run some, or choose another --results-dir or a --device"
        )
    return most


def fitted(jobs: Sequence[Job]) -> Seconds:
    """Seconds for work, from jobs: so much for each kind of it, none below zero.

    By least squares over relative errors, so that short jobs count as much as long ones.
    """
    from scipy.optimize import nnls  # heavy, and needed for this machine only

    amounts = np.array([astuple(job.work) for job in jobs])
    relative = amounts / np.array([[job.seconds] for job in jobs])
    # Brought to one order of magnitude; a kind of work that no job has costs nothing.
    unit = np.where(relative.max(0) > 0, relative.max(0), 1)
    each = nnls(relative / unit, np.ones(len(jobs)))[0] / unit
    return lambda work: float(each @ astuple(work))


WITHIN = 25
"""By how many percent an expected time may be off and still count as right."""


def check(jobs: Sequence[Job]) -> pd.DataFrame:
    """Each training against what is fitted on those of all other runs: seconds, and percent off.

    The same run on the same data counts as one, whatever the seed. Where LRN occurs in no other
    run there is nothing to expect of it.
    """
    rows = []
    for job in jobs:
        others = tuple(other for other in jobs if _run(other) != _run(job))
        known = others and (not job.work.lrn_values or any(o.work.lrn_values for o in others))
        expected = fitted(others)(job.work) if known else np.nan
        off = 100 * (expected / job.seconds - 1)
        rows.append(("/".join(_run(job)[1:]), job.seed, job.seconds, expected, off))
    return pd.DataFrame(rows, columns=["run", "seed", "recorded s", "expected s", "off, %"])


def _run(job: Job) -> tuple[str, str, str]:
    return job.experiment.budget, job.experiment.data, job.experiment.name


# --- plans --------------------------------------------------------------------------------


def plan(
    budget: str,
    data: str | None,
    precision: str,
    training: Seconds,
    evaluation: Seconds,
    seeds: Mapping[str, int] | None = None,
    card: Device | None = None,
    devices: int = 1,
) -> pd.DataFrame:
    """A line for each run of a budget and one for the total.

    `training` and `evaluation` turn work into seconds; a line's hours are those of one training,
    but for "all h". `seeds` is how often each run is trained; without it all are, as often as the
    budget says. Fusions are no runs: what they average is in the evaluations of their nets.
    Without a card nothing is said of the largest batch. Raises `UserError` for an unknown budget
    or data set.
    """
    data, rows = data_of(budget, data), {}
    for name, count in (seeds or workload.trainings(budget_named(budget).seeds)).items():
        if name in FUSIONS:
            continue
        experiment = at_budget(name, budget, data)
        net = net_of(experiment)
        needed = memory(net, precision)
        hours = training(workload.training(experiment)) / _HOUR
        tested = evaluation(workload.evaluation(experiment)) / _HOUR
        rows[name] = {
            "tables": tables_of(name),
            "times": count,
            "M param": sum(layer.parameters for layer in net) / 1e6,
            "GMAC/img": training_step(net).multiply_adds / 1e9,
            "MiB weights": needed.weights / 2**20,
            "MiB/img": needed.kept / 2**20,
            "max batch": _batch(needed, -(-experiment.batch_size // devices), card),
            "M images": data_size(experiment).train * experiment.epochs / 1e6,
            "train h": hours,
            "test h": tested,
            "all h": count * (hours + tested),
        }
    rows["total"] = {name: sum(row[name] for row in rows.values()) for name in ("times", "all h")}
    return pd.DataFrame.from_dict(rows, orient="index")


def _batch(memory: Memory, needed: int, card: Device | None) -> str:
    """The largest batch of a device: "1,754", or "56 < 64" where 64 are needed."""
    if card is None:
        return "-"
    fits = memory.largest_batch(card.memory_gib)
    return f"{fits:,}" if fits >= needed else f"{fits:,} < {needed:,}"


def tables_of(run: str) -> str:
    """The paper's tables that rest on a run, alone or in a fusion: "3 4 5"; "-" for a control."""
    needed = {run, *(name for name, fusion in FUSIONS.items() if run in fusion.runs)}
    return " ".join(sorted({str(row.table) for row in ROWS if row.run in needed})) or "-"


# --- text ---------------------------------------------------------------------------------


def lines(
    budget: str,
    data: str | None,
    device: str,
    devices: int = 1,
    share: float | None = None,
    results_dir: Path | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Iterator[str]:
    """The plan of a budget for people: what is assumed, a line for each run, the total.

    `device` is one of `DEVICES` or "this-machine", whose rate comes from the trainings recorded
    in `results_dir`; `seeds` as in `plan`. Raises `UserError` for an unknown budget, data set or
    device, a share outside (0, 1], or a share or several devices of this machine.
    """
    data = data_of(budget, data)
    here = at_budget("A-S256", budget, data)
    if device == THIS_MACHINE:
        if devices != 1 or share is not None:
            raise UserError(f"{device} runs at its recorded rate: leave --devices, --share out")
        found, card = recorded(results_dir), None
        precision, training = found.precision, fitted(found.trainings)
        evaluation = fitted(found.evaluations or found.trainings)
        said = _recorded_rate(found, results_dir, here)
    else:
        card, share = device_named(device), SHARE if share is None else share
        precision, training = card.precision, on_device(card, devices, share)
        evaluation = training
        said = [
            f"{devices} x {card.name}: {card.memory_gib} GiB, {card.flops / 1e12:.1f} TFLOP/s in "
            f"{card.precision}, {card.bandwidth_gb_s} GB/s ({card.source})",
            f"assumed: {share:.0%} of that peak (--share), or the whole bandwidth where that is "
            "less; devices and decoding keep up",
            f"assumed: {USABLE:.0%} of a device's memory is left to tensors; a declared batch that "
            "is more than that has room for is marked in max batch",
        ]
    frame = plan(budget, data, precision, training, evaluation, seeds, card, devices)
    size = data_size(here)
    counts = f"{size.train:,} training images, {size.minival:,} minival, {size.val:,} val"
    yield f"budget {budget} on {data}: {counts}"
    yield from said
    yield frame.to_string(na_rep="", float_format="{:,.3f}".format)
    yield (
        "GMAC/img: multiply-adds of a training step, in thousand millions. MiB weights: with "
        "gradients and momentum. MiB/img: kept for the backward pass."
    )


def _recorded_rate(found: Recorded, results_dir: Path, run: Experiment) -> Iterator[str]:
    yield f"as recorded in {results_dir}: {found.machine}"
    yield f"rate fitted on {len(found.trainings)} trainings, {len(found.evaluations)} evaluations"
    known = {(job.experiment.width, job.experiment.crop) for job in found.trainings}
    if (run.width, run.crop) not in known:
        yield "no training at this crop and width is recorded: the hours are an extrapolation"
    if not any(job.work.lrn_values for job in found.trainings):
        yield "no training with LRN is recorded: its hours leave LRN's own time out"


def paper_lines() -> Iterator[str]:
    """`paper_table` with what it is about."""
    yield f"{PAPER_DEVICES} x {PAPER_DEVICE.name}, the paper's own training time (Section 3.3)"
    yield paper_table().to_string()
    yield (
        "Counted: the epochs of one training from scratch at one scale; not net A before it, "
        "fine-tuning or testing. LRN has no multiply-adds."
    )


def check_lines(results_dir: Path) -> Iterator[str]:
    """Recorded trainings against what the other runs' records make one expect, per training."""
    found = recorded(results_dir)
    checked = check(found.trainings)
    yield f"trainings in {results_dir}: {found.machine}"
    yield "each expected from the trainings of all other runs, not from its own"
    yield checked.to_string(index=False, na_rep="nothing like it", float_format="{:.1f}".format)
    off = checked["off, %"].dropna().abs()
    yield f"{(off <= WITHIN).sum()} of {len(off)} within {WITHIN} %"


def devices_table() -> pd.DataFrame:
    """The devices there are, with the figures of their data sheets."""
    frame = pd.DataFrame(DEVICES.values()).set_index("name").rename_axis(None)
    frame.columns = ["GiB", "float32 TFLOP/s", "bf16 TFLOP/s", "GB/s", "source"]
    return frame
