"""`vggrepro bench lrn`: what LRN costs in time and memory (Section 2.1)."""

import time
from dataclasses import replace

import numpy as np
from torch import nn
from tqdm import tqdm

from vggrepro.bench.turns import Geometry, Repeated, resident_step, saved_bytes, take_turns
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
    measured: list[Measured] = []
    started = time.perf_counter()
    with tqdm(total=rounds * len(geometries), desc="A against A-LRN", unit="round") as bar:
        for geometry in geometries:
            measured += step_costs(NETS, geometry, machine, rounds, bar)
    seconds, command = time.perf_counter() - started, f"vggrepro bench lrn {options(machine)}"
    return BenchRecord(
        name="lrn",
        settings={"rounds": rounds, "precision": machine.precision},
        measured=tuple(measured),
        provenance=provenance(machine, command, wall_seconds=seconds, images_per_second=0.0),
    )


def lines(record: BenchRecord) -> list[str]:
    """The medians for a terminal."""
    found = [f"{'':>8}{'net':>16}{'ms per image':>16}{'kept, kB per image':>22}"]
    for measured in record.measured:
        if measured.name == "training step":
            of, median = measured.of, np.median(measured.values)
            kept = record.values("kept", **of)[0] / 1000
            found.append(f"{of['crop']:>5} px{of['net']:>16}{median:>16.3f}{kept:>22.1f}")
    return found


def step_costs(
    nets: tuple[str, ...], geometry: Geometry, machine: Machine, rounds: int, bar: tqdm
) -> list[Measured]:
    """Of each net the bytes kept for the backward pass, then the milliseconds of a step, by turns.

    Both for one image: bytes that do not grow with the batch, as those of weights in bfloat16,
    are not counted. A name may end in "(torch)": then LRN is torch's own.
    """
    kept, sides = [], []
    half = replace(geometry, batch=geometry.batch // 2)
    for net in nets:
        step, smaller = (resident_step(_model(net, g), g, machine) for g in (geometry, half))
        more = (saved_bytes(step) - saved_bytes(smaller)) / (geometry.batch - half.batch)
        of = {"net": net, **geometry.of}
        kept.append(Measured(name="kept", unit="bytes/image", of=of, values=(more,)))
        sides.append(Repeated(net, step, geometry.batch))
    rates = take_turns(sides, TURN_SECONDS, rounds, bar.update)
    return kept + [
        Measured(
            name="training step",
            unit="ms/image",
            of={"net": net, **geometry.of},
            values=tuple(round(1000 / rate, 5) for rate in found),
        )
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
