"""Where the time of a training step goes: shares by kind of operation, from torch's profiler.

A target that is missed is missed for a reason: the shares say how much there is still to win.
"""

from collections.abc import Sequence

import torch

from vggrepro.bench.turns import Geometry, Turn, resident_step
from vggrepro.device import Machine
from vggrepro.study.records import Measured

# What the operations of PyTorch that do the work belong to, by a part of their names; the first
# that fits counts.
KINDS: tuple[tuple[str, str], ...] = (
    ("convolution_backward", "convolution, backward"),
    ("conv", "convolution, forward"),
    ("max_pool", "pooling"),
    ("fill_", "pooling"),  # zeroes the gradient before pooling's backward pass writes into it
    ("zero_", "pooling"),
    ("threshold", "ReLU"),
    ("clamp", "ReLU"),
    ("relu", "ReLU"),
    ("mm", "fully connected"),
    ("bernoulli", "dropout"),
    ("native_dropout", "dropout"),
    ("fused_sgd", "update"),
    ("copy_", "casts and copies"),
)
OTHER = "everything else"
STEPS = 5


def kind_of(operation: str) -> str:
    """What kind of work an operation such as `aten::convolution_backward` is."""
    return next((kind for part, kind in KINDS if part in operation), OTHER)


def profile(geometries: Sequence[Geometry], machine: Machine) -> list[Measured]:
    """Percent of a step of D by kind of operation, at each size."""
    measured = []
    for geometry in geometries:
        step = resident_step(geometry.model("D"), geometry, machine)
        step()
        for kind, share in _shares(step, machine).items():
            of = {"kind": kind, "width": geometry.width, "crop": geometry.crop}
            measured.append(Measured(name="profile", unit="%", of=of, values=(round(share, 4),)))
    return measured


def _shares(step: Turn, machine: Machine) -> dict[str, float]:
    with torch.profiler.profile() as found:
        for _ in range(STEPS):
            step()
    on_gpu = machine.device.type == "cuda"  # not yet run on one
    seconds: dict[str, float] = {}
    for event in found.key_averages():
        own = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        seconds[kind_of(event.key)] = seconds.get(kind_of(event.key), 0.0) + own
    total = sum(seconds.values())
    return {kind: 100 * own / total for kind, own in seconds.items()}
