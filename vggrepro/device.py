"""The machine that trains or tests: its device, and the precision that it computes in."""

import os
import platform
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vggrepro import UserError
from vggrepro.files import cores

PRECISIONS = ("auto", "bf16", "float32", "tf32")


def _bf16_is_fast(device: torch.device) -> bool:
    """Whether the processor has bfloat16 instructions; without them autocast only costs."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    # The environment may hold oneDNN back from what the processor can do.
    allowed = torch.backends.mkldnn.is_available()
    allowed = allowed and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return allowed and any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


@dataclass(frozen=True)
class Machine:
    """A device, the precision of convolutions on it ("bf16", "float32", "tf32"), ways to train.

    With `micro_batch` the gradient of a batch is summed over parts of so many images, so that the
    paper's batch of 256 fits a small card; with `compile` the training step is compiled.
    """

    device: torch.device
    precision: str
    micro_batch: int | None = None
    compile: bool = False

    def key(self) -> list:
        """What of this can change the bits of a training; the default ways add nothing."""
        ways = [f"micro-batch {self.micro_batch}"] if self.micro_batch else []
        ways += ["compiled"] if self.compile else []
        ways += [self.device.type] if self.device.type != "cpu" else []
        return [self.precision, torch.get_num_threads(), *ways]

    def autocast(self) -> AbstractContextManager:
        """bfloat16 for convolutions and matrix products; weights and updates stay float32."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    def compiled(self, net: nn.Module) -> nn.Module:
        """The net for training, compiled if that was asked for; the weights are shared."""
        if not self.compile:
            return net
        # On a GPU this mode records CUDA graphs, which save the launches: not yet run on one. Their
        # memory is used again by the next part of a batch, so gradients cannot be summed up there.
        graphs = self.device.type == "cuda" and self.micro_batch is None
        return torch.compile(net, mode="reduce-overhead" if graphs else None)

    def parts(self, count: int) -> list[slice]:
        """`count` images in parts of at most `micro_batch`; one, perhaps empty, without."""
        size = self.micro_batch or max(count, 1)
        return [slice(i, min(i + size, count)) for i in range(0, count, size)] or [slice(0, 0)]

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device, without waiting for the copy where the device allows it."""
        if self.device.type == "cuda" and not tensor.is_cuda:  # untested
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)


def choose(
    device: "Machine | str" = "auto",
    precision: str = "auto",
    threads: int | None = None,
    micro_batch: int | None = None,
    compile: bool = False,
) -> Machine:
    """The machine for `--device`, `--precision`, `--threads`, `--micro-batch` and `--compile`.

    "auto" takes CUDA if there is one, and bfloat16 if the processor has the instructions. The
    number of threads decides in which order sums are rounded, so the same record needs the same
    number. A machine is taken as it is. Raises `UserError` for a device or a precision that is not
    there.
    """
    if isinstance(device, Machine):
        return device
    if threads is not None:
        if threads > cores():
            warnings.warn(
                f"--threads {threads} on {cores()} cores: slower than {cores()}, and of use only "
                "to repeat a record that was made with as many",
                stacklevel=2,
            )
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"unknown device {device!r}; use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: PyTorch sees no CUDA device here. Use --device cpu, or check "
            "`python -c 'import torch; print(torch.cuda.is_available())'` and the driver"
        )
    chosen = torch.device(device)
    if micro_batch is not None and micro_batch < 1:
        raise UserError(f"micro_batch must be at least 1, not {micro_batch}")
    if precision not in PRECISIONS:
        raise UserError(f"unknown precision {precision!r}; use one of: {', '.join(PRECISIONS)}")
    if precision == "auto":
        precision = "bf16" if _bf16_is_fast(chosen) else "float32"
    elif precision == "bf16" and not _bf16_is_fast(chosen):
        warnings.warn(
            f"bf16 without the instructions ({instructions()}): slow, and rounded otherwise than "
            "with them; records made with them cannot be repeated here",
            stacklevel=2,
        )
    if precision == "tf32" and chosen.type != "cuda":
        raise UserError("--precision tf32 is a GPU's; use auto, bf16 or float32 on the CPU")
    if chosen.type == "cuda":
        _set_up_cuda(precision)
    return Machine(chosen, precision, micro_batch, compile)


def _set_up_cuda(precision: str) -> None:
    """TF32 on purpose only, and the same algorithms each time. Untested."""
    # Without this, PyTorch multiplies float32 convolutions, and only these, in TF32.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def processor(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def instructions() -> str:
    """The processor's instruction set as PyTorch uses it: what sums are rounded by.

    `AVX2` or `AVX512`; what the environment holds PyTorch or oneDNN back to is added.
    """
    held_back = [
        f"{name}={os.environ[name]}"
        for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
        if os.environ.get(name)
    ]
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *held_back])
