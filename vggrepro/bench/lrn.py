"""`vggrepro bench lrn`: what LRN costs in time and memory (Section 2.1)."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from vggrepro.bench import turns
from vggrepro.bench.turns import Geometry, Repeated, measured, saved_bytes
from vggrepro.device import Machine
from vggrepro.models import LRN, VGG
from vggrepro.study.provenance import options, provenance
from vggrepro.study.records import BenchRecord, Measured

TURN_SECONDS = 0.5
NETS = ("A", "A-LRN", "A-LRN (torch)")
GEOMETRIES = (
    Geometry(crop=32, width=0.25, hidden=256, batch=128, classes=10),
    Geometry(crop=64, width=0.25, hidden=256, batch=64, classes=10),
    Geometry(crop=224, width=1.0, hidden=4096, batch=4, classes=1000),
)


def lrn(
    machine: Machine, rounds: int = 12, geometries: tuple[Geometry, ...] = GEOMETRIES
) -> BenchRecord:
    """A against A-LRN: milliseconds and bytes for one image of a training step (Section 2.1).

    A-LRN is measured with our LRN, and with torch's `LocalResponseNorm` in its place, so that
    the cost of the idea can be told from the cost of one implementation. Takes a few minutes.
    """
    started = time.perf_counter()
    found = [one for geometry in geometries for one in step_costs(NETS, geometry, machine, rounds)]
    seconds, command = time.perf_counter() - started, f"vggrepro bench lrn {options(machine)}"
    return BenchRecord(
        name="lrn",
        settings={"rounds": rounds, "precision": machine.precision},
        measured=tuple(found),
        provenance=provenance(machine, command, seconds),
    )


def lines(record: BenchRecord) -> list[str]:
    """The medians for a terminal."""
    rows = [{**one.of, f"{one.name}, {one.unit}": np.median(one.values)} for one in record.measured]
    return [pd.DataFrame(rows).groupby(["crop", "net"]).first().to_string()]


def step_costs(
    nets: tuple[str, ...], geometry: Geometry, machine: Machine, rounds: int
) -> list[Measured]:
    """Of each net the bytes kept for the backward pass, then the milliseconds of a step, by turns.

    Both for one image: bytes that do not grow with the batch, as those of weights in bfloat16,
    are not counted. A name may end in "(torch)": then LRN is torch's own.
    """
    kept, sides = [], []
    half = replace(geometry, batch=geometry.batch // 2)
    for net in nets:
        step, smaller = (turns.resident_step(_model(net, g), g, machine) for g in (geometry, half))
        more = (saved_bytes(step) - saved_bytes(smaller)) / (geometry.batch - half.batch)
        kept.append(measured("kept", "bytes/image", [more], net=net, **geometry.of))
        sides.append(Repeated(net, step, geometry.batch))
    with tqdm(total=rounds, desc=f"{geometry.crop} px", unit="round", leave=False) as bar:
        rates = turns.take_turns(sides, TURN_SECONDS, rounds, bar.update)
    return kept + [
        measured("training step", "ms/image", 1000 / np.array(found), net=net, **geometry.of)
        for net, found in rates.items()
    ]


def _model(net: str, geometry: Geometry) -> VGG:
    model = geometry.model(net.split()[0])
    if net.endswith("(torch)"):
        for i, module in enumerate(model.features):
            if isinstance(module, LRN):
                # torch divides alpha by the window, the paper's formula does not
                rest = {"beta": module.beta, "k": module.k}
                alpha = module.alpha * module.size
                model.features[i] = nn.LocalResponseNorm(module.size, alpha=alpha, **rest)
    return model
