"""What a card can do, and what of it is reached: the measurements of a GPU session.

In turns, as in `vggrepro bench`: training steps of D as a share of the fastest matrix product;
what each switch alone is worth; training from photos and testing, beside torchvision's usual way;
peak memory. One record, `bench/gpu.json`. A side that fails is named in the settings of the record.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from vggrepro.bench import rival, speed
from vggrepro.bench.turns import Geometry, Repeated, Step, resident_step
from vggrepro.data import load
from vggrepro.data.images import data_root
from vggrepro.device import Machine, choose
from vggrepro.files import expanded, make_writable
from vggrepro.process import in_order
from vggrepro.study import store
from vggrepro.study.experiments import Experiment
from vggrepro.study.provenance import provenance
from vggrepro.study.records import BenchRecord, Measured


@dataclass(frozen=True)
class Size:
    """How large and how long things are measured."""

    geometries: tuple[Geometry, ...]
    product: int
    """Side of the matrices whose product is the peak."""
    plan: speed.Plan
    wide: dict
    """What makes the nets of the two comparisons from photos to results."""


PAPER = Geometry(crop=224, width=1.0, hidden=4096, batch=256, classes=1000)
CIFAR = Geometry(crop=32, width=1.0, hidden=4096, batch=128, classes=10)
TINY = Geometry(crop=32, width=1 / 16, hidden=32, batch=8, classes=10)
SIZES = {
    "gpu-32": Size(
        (PAPER, CIFAR),
        8192,
        speed.Plan(rounds=3, seconds=0.5),
        speed.PAPER_WIDTH,
    ),
    "smoke": Size(
        (replace(TINY, crop=64), TINY),
        256,
        speed.Plan(rounds=2, seconds=0.02),
        {"width": 1 / 16, "hidden": 32, "crop": 32, "batch_size": 8},
    ),
}
SIZES["gpu-128"] = SIZES["gpu-32"]  # the same card, whichever trainings follow
SECONDS_AT_FULL_WIDTH = 2.0  # that a turn was given when the session was predicted
PARTS, SWITCHES = 2, 6  # comparisons from photos to results, and sides of a step


def seconds_of(budget: str) -> float:
    """How long the measurements should take; compiling and drawing photos come on top."""
    size = SIZES[budget]
    fits, plan = 3, size.plan
    turns = (fits + plan.rounds) * plan.seconds
    sides = 4 + SWITCHES * len(size.geometries) + 2 * PARTS
    return sides * turns + 3 * (fits + plan.rounds) * SECONDS_AT_FULL_WIDTH


class Notes(dict):
    """What failed, by its name: settings of the record."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """What fails in here is noted, and the rest goes on."""
        try:
            yield
        except Exception as error:
            self[f"failed: {name}"] = f"{type(error).__name__}: {error}"[:200]

    def tried(self, name: str, make: Callable[[], Step]) -> Step | None:
        """A step that has run once, or None if that fails."""
        with self.of(name):
            step = make()
            step()
            return step


def peak(machine: Machine, size: Size) -> list[Measured]:
    """TFLOP/s of the steps of D beside those of a matrix product and of a convolution."""
    dtype = torch.bfloat16 if machine.precision == "bf16" else torch.float32
    n = size.product
    a, b = (torch.randn(n, n, device=machine.device, dtype=dtype) for _ in range(2))
    sides = [
        Repeated("matrix product", lambda: a @ b, 2 * n**3 / 1e12),
        speed.convolution(machine, size.geometries[0].batch),
    ]
    for geometry in size.geometries:
        step = resident_step(geometry.model("D"), geometry, machine)
        work = geometry.tera_operations("D")
        sides.append(Repeated(f"D at {geometry.crop} px", step, work))
    return speed.compared("arithmetic", "TFLOP/s", sides, size.plan)


def switches(
    geometry: Geometry, machine: Machine, size: Size, notes: Notes
) -> tuple[list[Measured], list[Measured]]:
    """Images per second of a step of D, each switch alone, and the other libraries' nets."""

    def as_trained(net: nn.Module | None = None, **switched) -> Step:
        net = geometry.model("D") if net is None else net
        return resident_step(net, geometry, machine, **switched)

    def graphs() -> Step:
        shape = (geometry.batch, 3, geometry.crop, geometry.crop)
        images = torch.randn(shape, device=machine.device)
        images = images.to(memory_format=torch.channels_last)
        net = geometry.model("D").to(machine.device, memory_format=torch.channels_last).train()
        with torch.autocast("cuda", torch.bfloat16, machine.precision == "bf16", False):
            return as_trained(torch.cuda.make_graphed_callables(net, (images,)))

    def torchvision() -> Step:
        net = rival.PlainVGG(_declared(geometry), geometry.classes)
        plain = replace(machine, precision="float32")
        layout = torch.contiguous_format
        step = resident_step(net, geometry, plain, layout=layout, fused=False)

        def as_usual() -> None:
            with rival.as_pytorch_has_it():
                step()

        return as_usual

    def timm() -> Step:
        import timm

        return as_trained(timm.create_model("vgg16", num_classes=geometry.classes))

    backend = "inductor" if machine.device.type == "cuda" else "eager"  # which needs no compiler
    makers: dict[str, Callable[[], Step]] = {
        "as trained": as_trained,
        "default layout": lambda: as_trained(layout=torch.contiguous_format),
        "unfused SGD": lambda: as_trained(fused=False),
        "torch.compile": lambda: as_trained(torch.compile(geometry.model("D"), backend=backend)),
        "torchvision, float32": torchvision,
    }
    if machine.device.type == "cuda":
        makers["CUDA graphs"] = graphs
    if geometry.crop == 224:
        makers["timm"] = timm
    sides, memory = [], []
    for name, make in makers.items():
        if machine.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
        step = notes.tried(f"{name}, {geometry.crop} px", make)
        if step is None:
            continue
        sides.append(Repeated(name, step, geometry.batch))
        if machine.device.type == "cuda":
            mib = (torch.cuda.max_memory_allocated() - before) / 2**20
            of = {"side": name, **geometry.of}
            memory.append(Measured(name="memory", unit="MiB", of=of, values=(round(mib, 1),)))
    return speed.compared("step", "images/s", sides, size.plan, **geometry.of), memory


def _declared(geometry: Geometry) -> Experiment:
    """What `rival` asks of a declaration."""
    return Experiment("D", "D", width=geometry.width, crop=geometry.crop, hidden=geometry.hidden)


def measure(
    machine: Machine, budget: str, data_dir: Path | None, scratch: Path
) -> Iterator[tuple[list[Measured], Notes]]:
    """Everything so far and what failed, after each block: a later one may be stopped."""
    size, notes, measured = SIZES[budget], Notes(), []
    with notes.of("peak"):
        measured += peak(machine, size)
    yield measured, notes
    for geometry in size.geometries:
        with notes.of(f"switches, {geometry.crop} px"):
            found, memory = switches(geometry, machine, size, notes)
            measured += found + memory
        if machine.device.type == "cuda":
            torch.cuda.empty_cache()
        yield measured, notes
    with notes.of("photos"):
        name = "synthetic" if data_dir is None else "cifar10"
        counts = (60, 20) if budget == "smoke" else (2000, 200)
        photos = load(name, data_dir, cache_dir=scratch, counts=counts)
        for what, compare in (("training", speed.training), ("testing", speed.testing)):
            with notes.of(what):
                measured += compare(photos, machine, size.plan, **size.wide)
            yield measured, notes


def main() -> None:
    """The command line that `gpu_session.py` uses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--work", type=lambda name: expanded(name).resolve(), required=True)
    parser.add_argument("--budget", required=True, choices=SIZES)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    if options.data_dir:  # what fails later is only noted
        data_root("cifar10", options.data_dir)
    make_writable(options.work)
    machine, began = choose(options.device), time.perf_counter()
    # The photos are decoded into the folder of the trainings' cache, beside the records.
    scratch = options.work.with_name(f"{options.work.name}-cache")
    command = f"python tools/gpu_bench.py --device {options.device} --budget {options.budget}"
    for measured, notes in measure(machine, options.budget, options.data_dir, scratch):
        if measured:
            record = BenchRecord(
                name="gpu",
                settings={"precision": machine.precision, "budget": options.budget, **notes},
                measured=tuple(measured),
                provenance=provenance(machine, command, time.perf_counter() - began),
            )
            store.write(record, store.bench_path(options.work, "gpu"))
    for one in measured:
        said = f"{min(one.values):,.1f} to {max(one.values):,.1f} {one.unit}"
        print(one.name, said, *(f"{key}={value}" for key, value in one.of.items()), sep=", ")
    for name, why in notes.items():
        print(f"{name}: {why}")


if __name__ == "__main__":
    with in_order():
        main()
