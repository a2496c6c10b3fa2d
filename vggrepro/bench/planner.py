"""What a budget takes before it is run: work, memory and hours for each run.

The work is counted in `study.workload`; here are devices, what a run keeps in their memory, how
fast they are, and the plans made of these.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from statistics import mode

import numpy as np
import pandas as pd

from vggrepro import UserError, check_known
from vggrepro.cost import Layer
from vggrepro.files import beside
from vggrepro.study import paper, store, workload
from vggrepro.study.budgets import PUBLISHED, at_budget, budget_named, data_of, data_size
from vggrepro.study.experiments import FUSIONS, Experiment
from vggrepro.study.workload import Work, net_of, training, training_step

# --- devices ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Device:
    """One card of `planner.toml`. Peaks are dense, with sums in float32, as PyTorch computes."""

    name: str
    memory_gib: float
    """As sold; how much of it is left to a run is in `USABLE`."""
    float32_tflops: float
    bf16_tflops: float | None = None
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


DEVICES = {name: Device(name=name, **sheet) for name, sheet in beside(__file__).items()}
SHARE = 0.35
"""ASSUMPTION: the share of its peak that a device reaches, unless another is given. What the
paper's own time implies lies on both sides of it, see `paper_shares`."""

THIS_MACHINE = "this-machine"
"""In place of a device: the machine of the recorded trainings, at their rate."""


def device_named(name: str) -> Device:
    """The device of that name.

    Raises `UserError`, naming the devices there are.
    """
    check_known("device", name, (*DEVICES, THIS_MACHINE))
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


@dataclass(frozen=True)
class Rate:
    """How fast a machine is, and in which precision."""

    precision: str
    seconds: Seconds
    card: Device | None = None
    devices: int = 1


def on_device(device: Device, devices: int = 1, share: float = SHARE) -> Rate:
    """The rate of `devices` of that kind at `share` of their peak.

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

    return Rate(device.precision, seconds, device, devices)


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
    at_peak = on_device(PAPER_DEVICE, PAPER_DEVICES, share=1.0).seconds(paper_work(config))
    weeks = re.search(r"(\d+)–(\d+) weeks", paper.quote("training-time").text).groups()
    return {int(n): at_peak / (int(n) * 7 * 24 * _HOUR) for n in weeks}


def paper_table() -> pd.DataFrame:
    """The paper's own weeks on four Titan Black (Section 3.3): what share of peak they imply."""
    seconds, rows = on_device(PAPER_DEVICE, PAPER_DEVICES).seconds, {}
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


WORK = [field.name for field in fields(Work)]


def recorded(results_dir: Path) -> pd.DataFrame:
    """The trainings in the records of a folder, of the machine that has most of them.

    Each is a row: `seed`, `seconds`, `machine`, `precision`, the declaration's fields and those of
    `Work`. Drawn images are left out: their runs are too short. Raises `UserError` if no training
    is left.
    """
    jobs = []
    table = store.frame(results_dir)
    ended = table[(table.kind == "train") & (table.status == "ok") & (table.seconds > 0)]
    for path in ended.path[ended.data.isin(PUBLISHED)]:
        record = store.read(results_dir / path)
        declared, p = record.declared, record.provenance
        tuples = {name: tuple(value) for name, value in declared.items() if type(value) is list}
        experiment = Experiment(**declared | tuples)
        machine = f"{p.device}, {p.processor}, {p.threads} threads, {record.precision}"
        job = {"machine": machine, "precision": record.precision}
        job |= {"seed": record.seed, "seconds": p.wall_seconds}
        jobs.append(job | asdict(experiment) | asdict(training(experiment)))
    if not jobs:
        raise UserError(
            f"no trainings on photos are recorded in {results_dir}: this machine's rate is not "
            "known. Run some, or choose another --results-dir or a --device"
        )
    frame = pd.DataFrame(jobs)
    return frame[frame.machine == mode(frame.machine)]


def fitted(trained: pd.DataFrame) -> Seconds:
    """Seconds for work, from recorded trainings: so much for each kind of it, none below zero.

    By least squares over relative errors, so that short ones count as much as long ones.
    """
    from scipy.optimize import nnls  # heavy, and needed for this machine only

    relative = trained[WORK].to_numpy() / trained[["seconds"]].to_numpy()
    # Brought to one order of magnitude; a kind of work that none has costs nothing.
    unit = np.where(relative.max(0) > 0, relative.max(0), 1)
    each = nnls(relative / unit, np.ones(len(trained)))[0] / unit
    return lambda work: float(each @ astuple(work))


WITHIN = 25
"""By how many percent an expected time may be off and still count as right."""


def check(trained: pd.DataFrame) -> pd.DataFrame:
    """Each training against what is fitted on those of all other runs: seconds, and percent off.

    The same run on the same data counts as one, whatever the seed. Where LRN occurs in no other
    run there is nothing to expect of it.
    """
    expected = pd.Series(np.nan, trained.index)
    for _, own in trained.groupby(["budget", "data", "name"]):
        others = trained.drop(own.index)
        if len(others) and (others.lrn_values.any() or not own.lrn_values.any()):
            seconds = fitted(others)
            expected[own.index] = [seconds(Work(*work)) for work in own[WORK].to_numpy()]
    return pd.DataFrame(
        {
            "run": trained.data + "/" + trained["name"],
            "seed": trained.seed,
            "recorded s": trained.seconds,
            "expected s": expected,
            "off, %": 100 * (expected / trained.seconds - 1),
        }
    )


# --- plans --------------------------------------------------------------------------------


def plan(
    budget: str, data: str | None, rate: Rate, seeds: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """A line for each run of a budget and one for the total.

    A line's hours are those of one training, but for "all h". `seeds` is how often each run is
    trained; without it all are, as often as the budget says. Fusions are no runs: what they average
    is in the evaluations of their nets. In "max batch" stand the images that a device has room
    for: "1,754", or "56 < 64" where 64 are needed. Raises `UserError` for an unknown budget or data
    set.
    """
    data, rows = data_of(budget, data), {}
    for name, count in (seeds or workload.trainings(budget_named(budget).seeds)).items():
        if name in FUSIONS:
            continue
        experiment = at_budget(name, budget, data)
        net = net_of(experiment)
        needed, most = memory(net, rate.precision), "-"
        if rate.card:
            fits = needed.largest_batch(rate.card.memory_gib)
            declared = -(-experiment.batch_size // rate.devices)
            most = f"{fits:,}" if fits >= declared else f"{fits:,} < {declared:,}"
        hours = rate.seconds(training(experiment)) / _HOUR
        tested = rate.seconds(workload.evaluation(experiment)) / _HOUR
        rows[name] = {
            "times": count,
            "M param": sum(layer.parameters for layer in net) / 1e6,
            "GMAC/img": training_step(net).multiply_adds / 1e9,
            "MiB weights": needed.weights / 2**20,
            "MiB/img": needed.kept / 2**20,
            "max batch": most,
            "M images": data_size(experiment).train * experiment.epochs / 1e6,
            "train h": hours,
            "test h": tested,
            "all h": count * (hours + tested),
        }
    rows["total"] = {name: sum(row[name] for row in rows.values()) for name in ("times", "all h")}
    return pd.DataFrame.from_dict(rows, orient="index")


# --- text ---------------------------------------------------------------------------------


def lines(
    budget: str,
    data: str | None,
    device: str,
    devices: int,
    share: float | None,
    results_dir: Path,
    seeds: Mapping[str, int] | None,
) -> Iterator[str]:
    """The plan of a budget for people: what is assumed, a line for each run, the total.

    `device` is one of `DEVICES` or "this-machine", whose rate comes from the trainings recorded
    in `results_dir`; `seeds` as in `plan`. Raises `UserError` for an unknown budget, data set or
    device, a share outside (0, 1], or a share or several devices of this machine.
    """
    data = data_of(budget, data)
    here = at_budget("A-S256", budget, data)
    size = data_size(here)
    if device == THIS_MACHINE:
        if devices != 1 or share is not None:
            raise UserError(f"{device} runs at its recorded rate: leave --devices, --share out")
        trained = recorded(results_dir)
        rate = Rate(trained.precision.iloc[0], fitted(trained))
        yield f"as recorded in {results_dir}: {trained.machine.iloc[0]}"
        yield f"rate fitted on {len(trained)} trainings, and taken for testing too"
        if not ((trained.width == here.width) & (trained.crop == here.crop)).any():
            yield "no training at this crop and width is recorded: the hours are an extrapolation"
        if not trained.lrn_values.any():
            yield "no training with LRN is recorded: its hours leave LRN's own time out"
    else:
        card, share = device_named(device), SHARE if share is None else share
        rate = on_device(card, devices, share)
        yield (
            f"{devices} x {card.name}: {card.memory_gib} GiB, {card.flops / 1e12:.1f} TFLOP/s in "
            f"{card.precision}, {card.bandwidth_gb_s} GB/s ({card.source})"
        )
        yield (
            f"assumed: {share:.0%} of that peak (--share), or the whole bandwidth where that is "
            f"less; devices and decoding keep up; {USABLE:.0%} of the memory is left to tensors"
        )
    yield (
        f"budget {budget} on {data}: {size.train:,} training images, {size.minival:,} minival, "
        f"{size.val:,} val"
    )
    yield plan(budget, data, rate, seeds).to_string(na_rep="", float_format="{:,.3f}".format)
    yield (
        "GMAC/img: multiply-adds of a training step, in thousand millions. MiB weights: with "
        "gradients and momentum. MiB/img: kept for the backward pass. max batch: of one device, "
        "marked where a declared batch is more."
    )


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
    trained = recorded(results_dir)
    checked = check(trained)
    yield f"trainings in {results_dir}: {trained.machine.iloc[0]}"
    yield "each expected from the trainings of all other runs, not from its own"
    yield checked.to_string(index=False, na_rep="nothing like it", float_format="{:.1f}".format)
    off = checked["off, %"].dropna().abs()
    yield f"{(off <= WITHIN).sum()} of {len(off)} within {WITHIN} %"


def devices_table() -> pd.DataFrame:
    """The devices there are, with the figures of their data sheets."""
    frame = pd.DataFrame(DEVICES.values()).set_index("name").rename_axis(None)
    frame.columns = ["GiB", "float32 TFLOP/s", "bf16 TFLOP/s", "GB/s", "source"]
    return frame
