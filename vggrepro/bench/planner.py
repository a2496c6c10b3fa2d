"""What a budget takes before it is run: work, memory and hours for each run.

The arithmetic is in `workload` and `memory`, how fast a device is in `rates`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vggrepro import UserError
from vggrepro.bench import memory, workload
from vggrepro.bench.devices import DEVICES, SHARE, THIS_MACHINE, Device, device_named
from vggrepro.bench.memory import Memory
from vggrepro.bench.rates import (
    PAPER_DEVICE,
    PAPER_DEVICES,
    Seconds,
    check,
    fitted,
    on_device,
    paper_shares,
    paper_weeks,
    paper_work,
    recorded,
)
from vggrepro.study.budgets import at_budget, budget_named, data_of
from vggrepro.study.experiments import FUSIONS, ROWS, RUNS, Experiment

WITHIN = 0.25
"""How far an expected time may be off and still count as right."""
_HOUR = 3600


@dataclass(frozen=True)
class RunPlan:
    """What one run of a budget takes; work and hours are those of one of its trainings."""

    experiment: Experiment
    trainings: int
    images: int
    """Images that the training processes: training images times epochs."""
    step: workload.Work
    """Forward and backward pass of one image."""
    parameters: int
    memory: Memory
    training_hours: float
    evaluation_hours: float

    @property
    def hours(self) -> float:
        """All trainings of the run, each with its evaluations."""
        return self.trainings * (self.training_hours + self.evaluation_hours)


def plan(
    budget: str,
    data: str | None,
    precision: str,
    training: Seconds,
    evaluation: Seconds,
    seeds: Mapping[str, int] | None = None,
) -> list[RunPlan]:
    """Every run of a budget, in the order in which they are run.

    `training` and `evaluation` turn work into seconds. `seeds` is how often each run is trained;
    without it all are, as often as the budget says. Fusions are no runs: what they average is in
    the evaluations of their nets. Raises `UserError` for an unknown budget or data set.
    """
    data = data_of(budget, data)
    plans = []
    for name, count in (seeds or workload.trainings(budget_named(budget).seeds)).items():
        if name in FUSIONS:
            continue
        experiment = at_budget(name, budget, data)
        size, net = workload.data_size(experiment), workload.net_of(experiment)
        plans.append(
            RunPlan(
                experiment=experiment,
                trainings=count,
                images=size.train * experiment.epochs,
                step=workload.training_step(net),
                parameters=sum(layer.parameters for layer in net),
                memory=memory.memory(net, precision),
                training_hours=training(workload.training(experiment)) / _HOUR,
                evaluation_hours=evaluation(workload.evaluation(experiment)) / _HOUR,
            )
        )
    return plans


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
    if device == THIS_MACHINE:
        yield from _on_this_machine(budget, data, devices, share, results_dir, seeds)
        return
    card, share = device_named(device), SHARE if share is None else share
    seconds = on_device(card, devices, share)
    plans = plan(budget, data, card.precision, seconds, seconds, seeds)
    yield from _head(budget, data, plans)
    yield (
        f"{devices} x {card.name}: {card.memory_gib} GiB, {card.flops / 1e12:.1f} TFLOP/s in "
        f"{card.precision}, {card.bandwidth_gb_s} GB/s ({card.source})"
    )
    yield (
        f"assumed: {share:.0%} of that peak (--share), or the whole bandwidth where that is less; "
        "devices and decoding keep up"
    )
    yield f"assumed: {memory.USABLE:.0%} of a device's memory is left to tensors"
    yield from _table(plans, card, devices)
    if any(p.memory.largest_batch(card.memory_gib) < _per_device(p, devices) for p in plans):
        yield "max batch < what the declared batch needs of each device: it does not fit at once"


def _on_this_machine(
    budget: str,
    data: str,
    devices: int,
    share: float | None,
    results_dir: Path | None,
    seeds: Mapping[str, int] | None,
) -> Iterator[str]:
    if devices != 1 or share is not None:
        raise UserError(f"{THIS_MACHINE} runs at its recorded rate: leave --devices, --share out")
    found = recorded(results_dir)
    training = fitted(found.trainings)
    evaluation = fitted(found.evaluations) if found.evaluations else training
    plans = plan(budget, data, found.precision, training, evaluation, seeds)
    yield from _head(budget, data, plans)
    yield f"as recorded in {results_dir}: {found.machine}"
    yield f"rate fitted on {len(found.trainings)} trainings, {len(found.evaluations)} evaluations"
    known = {(job.experiment.width, job.experiment.crop) for job in found.trainings}
    if not {(p.experiment.width, p.experiment.crop) for p in plans} <= known:
        yield "no training at this crop and width is recorded: the hours are an extrapolation"
    if not any(job.work.lrn_values for job in found.trainings):
        yield "no training with LRN is recorded: its hours leave LRN's own time out"
    yield from _table(plans, None, devices)


def _head(budget: str, data: str, plans: list[RunPlan]) -> Iterator[str]:
    size = workload.data_size(plans[0].experiment)
    height, width = size.typical
    yield (
        f"budget {budget} on {data}: {size.train:,} training images, {size.minival:,} minival, "
        f"{size.val:,} val, each taken as {height}x{width}"
    )


def table(plans: Sequence[RunPlan], card: Device | None = None, devices: int = 1) -> pd.DataFrame:
    """A line for each run and one for the total, as numbers; `FORMATS` are those of the terminal.

    Without a card nothing is said of the largest batch.
    """
    rows = {
        p.experiment.name: {
            "tables": tables_of(p.experiment.name),
            "times": p.trainings,
            "M param": p.parameters / 1e6,
            "GMAC/img": p.step.multiply_adds / 1e9,
            "MiB weights": p.memory.weights / 2**20,
            "MiB/img": p.memory.kept / 2**20,
            "max batch": _batch(p, card, devices),
            "M images": p.images / 1e6,
            "train h": p.training_hours,
            "test h": p.evaluation_hours,
            "all h": p.hours,
        }
        for p in plans
    }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.loc["total", ["times", "all h"]] = frame[["times", "all h"]].sum()
    return frame


FORMATS = {
    **{"times": "{:.0f}", "M param": "{:.2f}", "GMAC/img": "{:.3f}", "MiB weights": "{:.1f}"},
    **{"MiB/img": "{:.2f}", "M images": "{:.2f}"},
    **{"train h": "{:.2f}", "test h": "{:.3f}", "all h": "{:,.2f}"},
}


def _table(plans: list[RunPlan], card: Device | None, devices: int) -> Iterator[str]:
    formatters = {column: text.format for column, text in FORMATS.items()}
    yield table(plans, card, devices).to_string(na_rep="", formatters=formatters)
    yield (
        "GMAC/img: multiply-adds of a training step, in thousand millions. MiB weights: with "
        "gradients and momentum. MiB/img: kept for the backward pass."
    )


def _batch(plan: RunPlan, card: Device | None, devices: int) -> str:
    """The largest batch of a device: "1,754", or "56 < 64" where 64 are needed."""
    if card is None:
        return "-"
    fits, needed = plan.memory.largest_batch(card.memory_gib), _per_device(plan, devices)
    return f"{fits:,}" if fits >= needed else f"{fits:,} < {needed:,}"


def _per_device(plan: RunPlan, devices: int) -> int:
    return -(-plan.experiment.batch_size // devices)


def paper_table() -> pd.DataFrame:
    """The paper's own weeks on four Titan Black (Section 3.3): what share of peak they imply."""
    low, high = paper_weeks()
    seconds = on_device(PAPER_DEVICE, PAPER_DEVICES)
    rows = {}
    for net in dict.fromkeys(RUNS[row.run].config for row in ROWS if row.table == 3):
        most, least = paper_shares(net)
        work = paper_work(net)
        days = seconds(work) / (24 * _HOUR)
        comes_out = ", comes out" * (7 * low <= days <= 7 * high)
        rows[net] = {
            "EFLOP": f"{2 * work.multiply_adds / 1e18:.1f}",
            f"share of peak if it took {low} weeks": f"{100 * most:.0f} %",
            f"if it took {high} weeks": f"{100 * least:.0f} %",
            f"days at {100 * SHARE:.0f} %": f"{days:.1f}",
            "verdict": ("plausible" if most < 1 else "more than the peak") + comes_out,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


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
    yield f"trainings in {results_dir}: {found.machine}"
    yield "each expected from the trainings of all other runs, not from its own"
    yield f"{'run':30}{'seed':>5}{'recorded s':>12}{'expected s':>12}{'off':>8}"
    right = told = 0
    for job, expected in check(found.trainings):
        name = f"{job.experiment.data}/{job.experiment.name}"
        if expected is None:
            yield f"{name:30}{job.seed:>5}{job.seconds:>12.1f}{'nothing like it':>20}"
            continue
        off = expected / job.seconds - 1
        told, right = told + 1, right + (abs(off) <= WITHIN)
        yield f"{name:30}{job.seed:>5}{job.seconds:>12.1f}{expected:>12.1f}{off:>+8.0%}"
    yield f"{right} of {told} within {WITHIN:.0%}"


def devices_table() -> pd.DataFrame:
    """The devices there are, with the figures of their data sheets."""
    rows = {
        d.name: {
            "GiB": d.memory_gib,
            "float32 TFLOP/s": f"{d.float32_tflops:.1f}",
            "bf16 TFLOP/s": "-" if d.bf16_tflops is None else f"{d.bf16_tflops:.1f}",
            "GB/s": d.bandwidth_gb_s,
            "source": d.source,
        }
        for d in DEVICES.values()
    }
    return pd.DataFrame.from_dict(rows, orient="index")
