"""What the test protocols cost and where they differ: windows, multiply-adds, time, padding.

Arithmetic on declarations and on records; nothing is measured here and nothing needs torch.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from vggrepro import cost
from vggrepro.bench import workload
from vggrepro.pages.report import Column, paper_value
from vggrepro.study import store
from vggrepro.study.experiments import ROWS, RUNS, Evaluation, Experiment, evaluations_of
from vggrepro.study.records import EvalRecord
from vggrepro.windows import PAPER_CROP, PROTOCOLS, scaled

NAMES = {
    "centre-crop": "centre crop",
    "dense-shifted": "shifted dense",
    "alexnet-10": "AlexNet's 10",
    "googlenet-144": "GoogLeNet's 144",
    "overfeat": "OverFeat's",
}


def label(evaluation: Evaluation) -> str:
    """A protocol and its Q as a reader says it: `dense, Q = 384`, `multi-crop, 3 Q`."""
    first, *others = evaluation.test_scales or (0,)
    name = NAMES.get(evaluation.protocol, evaluation.protocol)
    return f"{name}, {1 + len(others)} Q" if others else f"{name}, Q = {first}"


def compared(run: str) -> list[Evaluation]:
    """The run's evaluations that compare protocols, the cheapest first.

    Dense evaluation at a Q that no other protocol has is left to the chapter about Q.
    """
    found = evaluations_of(run)
    shared = {e.test_scales for e in found if e.protocol != "dense"}
    chosen = [e for e in found if e.test_scales in shared]
    return sorted(chosen, key=lambda e: multiply_adds(RUNS[run], e))


def paper_error_of(run: str, evaluation: Evaluation) -> float | None:
    """The paper's top-1 error of a run under an evaluation, from whichever table has it."""
    row = next((row for row in ROWS if (row.run, row.evaluation) == (run, evaluation)), None)
    return None if row is None else paper_value(row)


# --- cost ---------------------------------------------------------------------------------


def windows_of(experiment: Experiment, evaluation: Evaluation) -> int:
    """How many windows of an image the net runs over; each is seen as it is and mirrored."""
    size = workload.data_size(_sized(experiment)).typical
    return sum(
        len(PROTOCOLS[protocol](size, scaled(q, experiment.crop), experiment.crop))
        for protocol, q in evaluation.parts
    )


@cache
def multiply_adds(experiment: Experiment, evaluation: Evaluation) -> float:
    """Multiply-adds for one image of the data set's typical shape, mirror images included."""
    sized = _sized(experiment)
    return sum(workload.per_image(sized, p, q).multiply_adds for p, q in evaluation.parts)


def _sized(experiment: Experiment) -> Experiment:
    # ASSUMPTION: a reader's own photos have the usual shape, 4:3, and ten classes; the classes
    # matter only in the last layer.
    return replace(experiment, data="imagenette") if experiment.data == "folder" else experiment


def cost_table(run: str, columns: Sequence[Column]) -> pd.DataFrame:
    """Windows, passes and multiply-adds of one image under every protocol compared.

    Multiply-adds at the paper's geometry in G, and relative to the centre crop there and at the
    crops of `columns`.
    """
    paper = RUNS[run]
    once = Evaluation("centre-crop", (PAPER_CROP,))
    rows = {}
    for evaluation in compared(run):
        windows, work = windows_of(paper, evaluation), multiply_adds(paper, evaluation)
        cells = {
            "windows": str(windows),
            "passes": str(2 * windows),
            f"G at {PAPER_CROP} px": f"{work / 1e9:,.0f}",
            f"× at {PAPER_CROP} px": f"{work / multiply_adds(paper, once):.1f}",
        }
        for crop, experiment in _by_crop(run, columns).items():
            here = multiply_adds(experiment, evaluation) / multiply_adds(experiment, once)
            cells[f"× at {crop} px"] = f"{here:.1f}"
        rows[label(evaluation)] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def _by_crop(run: str, columns: Sequence[Column]) -> dict[int, Experiment]:
    found = [column.experiment(run) for column in columns]
    return {experiment.crop: experiment for experiment in found if experiment.crop != PAPER_CROP}


def seconds_per_image(record: EvalRecord) -> float:
    """How long the recorded evaluation took for an image, in seconds; nan if that is not known."""
    rate, wall = record.provenance.images_per_second, record.provenance.wall_seconds
    if not (rate or wall):
        return float("nan")
    # Both are kept to a tenth, so the larger number is the more exact one.
    return 1 / rate if rate > wall else wall / record.data.count


def times(column: Column, run: str, evaluation: Evaluation) -> dict[int, float]:
    """Milliseconds per image by seed."""
    found = store.evaluations(column.results_dir, column.experiment(run), evaluation)
    return {seed: 1e3 * seconds_per_image(record) for seed, record in found.items()}


def time_sentence(column: Column, run: str, first: Evaluation, second: Evaluation) -> str:
    """How long two protocols took on the seeds that have both, and by arithmetic."""
    one, other = times(column, run, first), times(column, run, second)
    shared = sorted(one.keys() & other.keys())
    if not shared:
        return f"{column.title}, {run}: not run."
    experiment = column.experiment(run)
    works = [multiply_adds(experiment, evaluation) for evaluation in (first, second)]
    ratio = np.mean([other[seed] / one[seed] for seed in shared])
    record = store.evaluations(column.results_dir, experiment, first)[shared[0]]
    p = record.provenance
    return (
        f"{column.title}, {run}: {label(second)} took {np.mean([other[s] for s in shared]):.1f} ms "
        f"an image and {label(first)} {np.mean([one[s] for s in shared]):.1f} ms, "
        f"{ratio:.1f} times as long for {works[1] / works[0]:.1f} times the multiply-adds "
        f"({p.processor}, {p.threads} thread{'s' * (p.threads > 1)}, n = {len(shared)})."
    )


# --- padding ------------------------------------------------------------------------------


class Free(NamedTuple):
    """A map of a crop: `side` x `side` units, of which the central `free` x `free` see no padding.

    The first of them is number `first` in either direction.
    """

    layer: str
    side: int
    free: int
    first: int

    @property
    def share(self) -> float:
        """Share of units that padding cannot reach."""
        return (self.free / self.side) ** 2


def free_of_padding(config: str, crop: int) -> tuple[Free, ...]:
    """For the map after each pool, which units of a crop see pixels of the crop alone.

    All others also see the zeros around the crop, or around the map of a layer in between. In
    dense evaluation the image goes on there.
    """
    found = []
    for layer in cost.layers(config, crop=crop):
        if layer.kind != "pool":
            continue
        # What convolutions reach beyond the window that the pools cover, on either side.
        reach = (layer.receptive_field - layer.jump) // 2
        side = layer.output_shape[-1]
        inside = [
            unit
            for unit in range(side)
            if unit * layer.jump >= reach and (unit + 1) * layer.jump + reach <= crop
        ]
        found.append(Free(layer.name, side, len(inside), inside[0] if inside else side // 2))
    return tuple(found)


def padding_sentence(config: str, crop: int) -> str:
    """How far fc6 sees beyond a crop, and how much of its input padding can reach."""
    field = next(x for x in cost.layers(config, crop=crop) if x.name == "fc6").receptive_field
    last = free_of_padding(config, crop)[-1]
    free = last.free**2
    outside = 100 * (1 - min(1.0, crop / field) ** 2)
    return (
        f"{config} at {crop} px: fc6 has a receptive field of {field} px, and {outside:.0f} % of "
        f"its area lie outside the crop. Padding can reach {f'all but {free}' if free else 'all'} "
        f"of the {last.side}×{last.side} units that fc6 takes in."
    )
