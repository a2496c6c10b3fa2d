"""How a record was made: code, versions and hardware, but no user, host or path."""

import os
import platform
import re
import resource
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from vggrepro import __version__, distributed
from vggrepro.device import Machine, instructions, processor
from vggrepro.study.records import Provenance

PACKAGE = Path(__file__).parents[1]
PROC = Path("/proc")

# The system counts the peak of memory in KiB, macOS in bytes.
_MAXRSS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10


def _git(*arguments: str) -> str | None:
    """What git says, None if it refuses. It takes no lock of a user who works beside us."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    given = {"cwd": PACKAGE, "env": environment, "capture_output": True, "text": True}
    try:
        done = subprocess.run(["git", *arguments], timeout=30, check=True, **given)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def code() -> tuple[str, bool]:
    """The commit of the package, `unknown` without one, and whether it may differ from that.

    It may also in a clone that git does not read.
    """
    # An installed package may lie in a folder of another repository, which does not track it.
    tracked = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = (tracked and _git("rev-parse", "HEAD")) or "unknown"
    changes = _git("status", "--porcelain", "--", ".")
    return commit, (PACKAGE.parent / ".git").exists() if changes is None else bool(changes)


def describe(machine: Machine) -> str:
    """One line for people: `cpu (AMD EPYC, 2 threads), bf16`."""
    threads = torch.get_num_threads()
    name = processor(machine.device)
    return f"{_devices(machine)} ({name}, {threads} threads), {machine.precision}"


def _devices(machine: Machine) -> str:
    """`cpu`, or `cuda x 4` when so many processes train one net."""
    world = distributed.world()
    return f"{machine.device.type} x {world}" if world > 1 else machine.device.type


def options(machine: Machine) -> str:
    """What a command says to compute on such a machine."""
    text = f"--precision {machine.precision} --threads {torch.get_num_threads()}"
    text += f" --micro-batch {machine.micro_batch}" if machine.micro_batch else ""
    return text + (" --compile" if machine.compile else "")


def forget_peak(machine: Machine) -> None:
    """Let the peak of memory that records name begin anew: that of a run, not of those before it.

    Where the system offers no way (macOS), it stays that of the process.
    """
    if machine.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(machine.device)
    else:
        with suppress(OSError):
            (PROC / "self" / "clear_refs").write_text("5")


def memory_mib(kind: str, pid: int | str = "self") -> float | None:
    """What Linux counts of a process, `VmHWM` or `RssAnon`; None if the system does not tell."""
    with suppress(OSError):
        if found := re.search(rf"{kind}:\s+(\d+) kB", (PROC / str(pid) / "status").read_text()):
            return int(found[1]) / 1024
    return None


def _peak_mib() -> float:
    # `getrusage` would not forget what the program held that started this one.
    peak = memory_mib("VmHWM")
    if peak is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MAXRSS_PER_MIB
    return peak


def provenance(machine: Machine, command: str, seconds: float, images: int = 0) -> Provenance:
    """How a record of so many images was made: code, versions and hardware.

    No user, host or path. `dirty` looks at the package alone: records and notebooks may change
    while a study runs.
    """
    on_gpu = machine.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(machine.device) / 2**20 if on_gpu else _peak_mib()
    commit, dirty = code()
    return Provenance(
        command=command,
        commit=commit,
        dirty=dirty,
        versions={
            "vggrepro": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
            # No version; but this is the one field that may grow without changing old digests.
            "instructions": instructions(),
        },
        device=_devices(machine),
        processor=processor(machine.device),
        threads=torch.get_num_threads(),
        finished=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        wall_seconds=round(seconds, 1),
        images_per_second=round(images / seconds, 1) if seconds else 0.0,
        peak_memory_mib=round(peak, 1),
    )
