"""Devices a run may be planned for, with the figures of their data sheets."""

from dataclasses import dataclass

from vggrepro import UserError


@dataclass(frozen=True)
class Device:
    """One card. Peaks are dense (no sparsity), with sums in float32, as PyTorch computes them."""

    name: str
    memory_gib: float
    """As sold; how much of it is left to a run is in `memory`."""
    float32_tflops: float
    bf16_tflops: float | None
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


# fmt: off
DEVICES: dict[str, Device] = {
    d.name: d
    for d in (
        # The paper's (Section 3.3). No tensor cores before the V100.
        Device("titan-black",  6,  5.1,  None,    336, "specification: 2880 cores at 889 MHz"),
        Device("gtx-1080-ti", 11, 11.3,  None,    484, "specification: 3584 cores at 1582 MHz"),
        # Their tensor cores know float16 but not bfloat16.
        Device("v100",        16, 15.7,  None,    900, "NVIDIA V100 data sheet, SXM2 16 GB"),
        Device("t4",          16,  8.1,  None,    300, "NVIDIA T4 data sheet"),
        # GeForce cards halve the rate of tensor cores when sums are in float32.
        Device("rtx-3090",    24, 35.6,  71.0,    936, "NVIDIA GA102 white paper"),
        Device("rtx-4090",    24, 82.6, 165.2,   1008, "NVIDIA Ada white paper"),
        Device("a100-40",     40, 19.5, 312.0,   1555, "NVIDIA A100 data sheet, SXM 40 GB"),
        Device("a100-80",     80, 19.5, 312.0,   2039, "NVIDIA A100 data sheet, SXM 80 GB"),
        # The sheet's 1979 is with sparsity.
        Device("h100",        80, 67.0, 989.5,   3350, "NVIDIA H100 data sheet, SXM"),
    )
}
# fmt: on

SHARE = 0.35
"""ASSUMPTION: the share of its peak that a device reaches, unless another is given. What the
paper's own time implies lies on both sides of it, see `rates.paper_shares`."""

THIS_MACHINE = "this-machine"
"""In place of a device: the machine of the recorded trainings, at their rate."""


def device_named(name: str) -> Device:
    """The device of that name.

    Raises `UserError`, naming the devices there are.
    """
    if name not in DEVICES:
        raise UserError(
            f"unknown device {name!r}; choose one of: {', '.join([*DEVICES, THIS_MACHINE])}"
        )
    return DEVICES[name]
