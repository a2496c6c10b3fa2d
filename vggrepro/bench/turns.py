"""The harness of `vggrepro bench`: what is compared takes turns, only ratios within a turn count.

Machines are noisy and shared; a ratio of two measurements taken within a second of each other is
far steadier than either. What is measured is in `speed`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from vggrepro import cost
from vggrepro.device import Machine
from vggrepro.models import VGG, initialise
from vggrepro.study.records import Measured
from vggrepro.study.workload import training_step

Step = Callable[[], object]


class Side:
    """One way to do some work. Only `run` is timed; `settle` before it and `rest` after are not."""

    name: str
    amount: float
    """What it does once, in the unit of the comparison: images, or operations."""
    first: int = 1
    """How often it is tried before it is known how long it takes."""
    most: int = 10**6

    def run(self, times: int) -> None:
        """Do the work so many times. The first run of a new number is never on the clock."""
        raise NotImplementedError

    def settle(self) -> None:
        """Be as if in the middle of the work."""

    def rest(self) -> None:
        """Leave the processor to the others."""


@dataclass
class Repeated(Side):
    """The same step again and again."""

    name: str
    step: Step
    amount: float

    def run(self, times: int) -> None:
        """So many steps."""
        for _ in range(times):
            self.step()


def fitted(side: Side, seconds: float) -> int:
    """How often a side does its work in about `seconds`; it has run so often then, and rests."""
    first = min(side.first, side.most)
    side.run(first)
    each = elapsed(lambda: side.run(first)) / first
    times = max(1, min(side.most, round(seconds / each)))
    side.run(times)
    side.rest()
    return times


def take_turns(
    sides: Sequence[Side], seconds: float, rounds: int, done: Step = lambda: None
) -> dict[str, tuple[float, ...]]:
    """Amounts per second of each side, one for each round of turns of about `seconds`.

    `done` is called after each round.
    """
    times = [fitted(side, seconds) for side in sides]
    rates: dict[str, tuple[float, ...]] = {side.name: () for side in sides}
    for _ in range(rounds):
        for side, n in zip(sides, times, strict=True):
            side.settle()
            took = elapsed(lambda side=side, n=n: side.run(n))
            rates[side.name] += (n * side.amount / took,)
            side.rest()
        done()
    return rates


def elapsed(step: Step) -> float:
    """Seconds that it takes, the device's own work included."""
    _wait()
    started = time.perf_counter()
    step()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measured(name: str, unit: str, values: Iterable[float], **of: str | float) -> Measured:
    """What a record has of one quantity, to six digits: more than repeat."""
    return Measured(name=name, unit=unit, of=of, values=tuple(float(f"{v:.6g}") for v in values))


# --- a training step on one batch in memory -------------------------------------------------


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

    @property
    def _size(self) -> dict[str, int | float]:
        return {"width": self.width, "crop": self.crop, "hidden": self.hidden}

    def model(self, config: str) -> VGG:
        """A net of that size with He's initialisation."""
        model = VGG(config, self.classes, **self._size, input_divisor=60.0)
        initialise(model, "he", seed=0)
        return model

    def tera_operations(self, config: str) -> float:
        """Of the forward and backward pass of one batch, 10^12; a multiply-add is two."""
        net = cost.layers(config, num_classes=self.classes, **self._size)
        return 2 * training_step(net).multiply_adds * self.batch / 1e12


def resident_step(
    model: nn.Module,
    geometry: Geometry,
    machine: Machine,
    *,
    update: bool = True,
    layout: torch.memory_format = torch.channels_last,
    fused: bool = True,
) -> Step:
    """A training step of `model` on one batch that is on the device; without `update` no SGD."""
    shape = (geometry.batch, 3, geometry.crop, geometry.crop)
    images = torch.randn(shape).to(machine.device, memory_format=layout)
    targets = torch.randint(geometry.classes, (geometry.batch,), device=machine.device)
    model.to(machine.device, memory_format=layout).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, 0.9, weight_decay=5e-4, fused=fused)

    def step() -> None:
        with machine.autocast():
            logits = model(images)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(logits.float(), targets).backward()
        if update:
            optimizer.step()

    return step


def saved_bytes(step: Step) -> int:
    """Bytes kept between the forward and the backward pass of one step, weights included.

    A tensor that autograd keeps several times counts once.
    """
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(seen.values())
