"""The harness of `vggrepro bench`: what is compared takes turns, only ratios within a turn count.

Machines are noisy and shared; a ratio of two measurements taken within a second of each other is
far steadier than either. What is measured is in `lrn` and `speed`; what should come out is in
`targets`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from vggrepro.device import Machine
from vggrepro.models import VGG, initialise

Turn = Callable[[], None]


def nothing() -> None:
    """What a contestant does before its turn, unless it has to prepare."""


@dataclass(frozen=True)
class Contestant:
    """One way to do some work. Only `turn` is timed; `before` and `after` it are not."""

    name: str
    turn: Turn
    amount: float
    """What a turn does, in the unit of the comparison: images, or operations."""
    before: Turn = nothing
    after: Turn = nothing


def fitted(
    make: Callable[[int], Turn], seconds: float, *, first: int = 1, most: int = 10**6
) -> tuple[Turn, int]:
    """A turn that takes about `seconds`, and how many times `make` put the work into it.

    `make(n)` gives a turn of n times the work. `first` times are tried, once to warm up and once
    on the clock; the turn that is returned has run once too. At most `most` times are taken.
    """
    trial = make(min(first, most))
    trial()
    each = elapsed(trial) / min(first, most)
    count = max(1, min(most, round(seconds / each)))
    turn = make(count)
    turn()
    return turn, count


def repeated(step: Turn) -> Callable[[int], Turn]:
    """For `fitted`: n times the same step."""

    def make(count: int) -> Turn:
        def turn() -> None:
            for _ in range(count):
                step()

        return turn

    return make


def take_turns(
    contestants: Sequence[Contestant], rounds: int, done: Turn = nothing
) -> dict[str, list[float]]:
    """Amounts per second of each contestant, `rounds` of them; `done` is called after each."""
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            contestant.before()
            rates[contestant.name].append(contestant.amount / elapsed(contestant.turn))
            contestant.after()
        done()
    return rates


def elapsed(turn: Turn) -> float:
    """Seconds that it takes, the device's own work included."""
    _wait()
    started = time.perf_counter()
    turn()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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

    def model(self, config: str) -> VGG:
        """A net of that size with He's initialisation."""
        model = VGG(
            config,
            self.classes,
            width=self.width,
            crop=self.crop,
            hidden=self.hidden,
            input_divisor=60.0,
        )
        initialise(model, "he", seed=0)
        return model


def resident_step(
    model: nn.Module, geometry: Geometry, machine: Machine, *, update: bool = True
) -> Turn:
    """A training step of `model` on one batch that is on the device; without `update` no SGD."""
    generator = torch.Generator().manual_seed(0)
    shape = (geometry.batch, 3, geometry.crop, geometry.crop)
    images = torch.randn(shape, generator=generator).to(
        machine.device, memory_format=torch.channels_last
    )
    targets = torch.randint(geometry.classes, (geometry.batch,), generator=generator)
    targets = targets.to(machine.device)
    model.to(machine.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True
    )
    criterion = nn.CrossEntropyLoss()

    def step() -> None:
        with machine.autocast():
            logits = model(images)
        optimizer.zero_grad(set_to_none=True)
        criterion(logits.float(), targets).backward()
        if update:
            optimizer.step()

    return step


def saved_bytes(step: Turn) -> int:
    """Bytes kept between the forward and the backward pass of one step, weights included."""
    seen: dict[int, int] = {}
    with _counting(seen):
        step()
    return sum(seen.values())


@contextmanager
def _counting(seen: dict[int, int]) -> Iterator[None]:
    """Note the bytes of every tensor that autograd keeps for the backward pass, each once."""

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield
