"""Time and memory, measured: what is compared takes turns, and only ratios within a round count.

Machines are noisy and shared; a ratio of two measurements taken within a second of each other is
far steadier than either.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from tqdm import tqdm

from vggrepro.machine import Machine, provenance
from vggrepro.models import LRN, VGG, initialise
from vggrepro.records import BenchRecord, Measured

STEPS_AT_ONCE_SECONDS = 0.5


@dataclass(frozen=True)
class Geometry:
    """Sizes at which nets are compared: a budget's, or the paper's own."""

    crop: int
    width: float
    hidden: int
    batch: int
    classes: int

    @property
    def of(self) -> dict[str, int | float]:
        """What a measurement says about it."""
        return {"crop": self.crop, "width": self.width, "batch": self.batch}


GEOMETRIES = (
    Geometry(crop=32, width=0.25, hidden=256, batch=128, classes=10),
    Geometry(crop=64, width=0.25, hidden=256, batch=64, classes=10),
    Geometry(crop=224, width=1.0, hidden=4096, batch=4, classes=1000),
)


def lrn(machine: Machine, rounds: int = 12) -> BenchRecord:
    """A against A-LRN: milliseconds and bytes for one image of a training step (Section 2.1).

    A-LRN is measured with our LRN, and with torch's `LocalResponseNorm` in its place, so that
    the cost of the idea can be told from the cost of one implementation. Takes a few minutes.
    """
    measured: list[Measured] = []
    started = time.perf_counter()
    with tqdm(total=rounds * len(GEOMETRIES), desc="A against A-LRN", unit="round") as bar:
        for geometry in GEOMETRIES:
            for net, step in _contestants(geometry, machine).items():
                saved = _saved_bytes(step) / geometry.batch
                of = {"net": net, **geometry.of}
                measured.append(Measured(name="kept", unit="bytes/image", of=of, values=(saved,)))
            measured += _in_turns(geometry, machine, rounds, bar)
    return BenchRecord(
        name="lrn",
        settings={"rounds": rounds, "precision": machine.precision},
        measured=tuple(measured),
        provenance=provenance(
            machine,
            f"vggrepro bench lrn --precision {machine.precision}",
            wall_seconds=time.perf_counter() - started,
            images_per_second=0.0,
        ),
    )


def _contestants(geometry: Geometry, machine: Machine) -> dict[str, Callable[[], None]]:
    """A training step on one resident batch for each net."""
    generator = torch.Generator().manual_seed(0)
    shape = (geometry.batch, 3, geometry.crop, geometry.crop)
    images = torch.randn(shape, generator=generator).to(
        machine.device, memory_format=torch.channels_last
    )
    targets = torch.randint(geometry.classes, (geometry.batch,), generator=generator)
    targets = targets.to(machine.device)
    steps = {}
    for name in ("A", "A-LRN", "A-LRN (torch)"):
        model = VGG(
            name.split()[0],
            geometry.classes,
            width=geometry.width,
            crop=geometry.crop,
            hidden=geometry.hidden,
            input_divisor=60.0,
        )
        initialise(model, "he", seed=0)
        if name.endswith("(torch)"):
            _use_torchs_lrn(model)
        model.to(machine.device, memory_format=torch.channels_last)
        steps[name] = _step(model, images, targets, machine)
    return steps


def _use_torchs_lrn(model: VGG) -> None:
    for i, module in enumerate(model.features):
        if isinstance(module, LRN):
            # torch divides alpha by the window, the paper's formula does not
            model.features[i] = nn.LocalResponseNorm(
                module.size, alpha=module.alpha * module.size, beta=module.beta, k=module.k
            )


def _step(
    model: VGG, images: torch.Tensor, targets: torch.Tensor, machine: Machine
) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, fused=True)
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        with machine.autocast():
            logits = model(images)
        optimizer.zero_grad(set_to_none=True)
        criterion(logits.float(), targets).backward()
        optimizer.step()

    return step


@contextmanager
def _counting(seen: dict[int, int]) -> Iterator[None]:
    """Note the bytes of every tensor that autograd keeps for the backward pass, each once."""

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield


def _saved_bytes(step: Callable[[], None]) -> int:
    """Bytes kept between the forward and the backward pass of one step, weights included."""
    seen: dict[int, int] = {}
    with _counting(seen):
        step()
    return sum(seen.values())


def _in_turns(geometry: Geometry, machine: Machine, rounds: int, bar: tqdm) -> list[Measured]:
    """Milliseconds per image of each net, `rounds` times, the nets taking turns."""
    steps = _contestants(geometry, machine)
    counts = {}
    for name, step in steps.items():
        step()  # the first one chooses algorithms and allocates
        counts[name] = max(1, round(STEPS_AT_ONCE_SECONDS / _seconds(step, 1)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(1000 * _seconds(step, counts[name]) / geometry.batch)
        bar.update()
    return [
        Measured(
            name="training step",
            unit="ms/image",
            of={"net": name, **geometry.of},
            values=tuple(round(t, 5) for t in taken),
        )
        for name, taken in times.items()
    ]


def _seconds(step: Callable[[], None], times: int) -> float:
    """Mean seconds of one step, over `times` of them."""
    _wait()
    started = time.perf_counter()
    for _ in range(times):
        step()
    _wait()
    return (time.perf_counter() - started) / times


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
