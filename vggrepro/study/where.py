"""Where a command works: folders, device, and by how many processes. Nothing heavy.

Small nets leave cores idle when several threads share one of them. Processes that share the runs,
as several commands in one folder do, keep every core busy.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vggrepro.files import cores

if TYPE_CHECKING:
    from vggrepro.device import Machine

HELPER = """
from vggrepro.process import end_with_parent
end_with_parent()
from vggrepro.cli import main
main()
"""
MOST = 4  # processes for one rerun: each holds a net and its batches in memory


@dataclass(frozen=True)
class Where:
    """Where a run reads and writes, and on what it computes.

    Only `device`, `precision`, `threads`, `micro_batch`, `compile` and the number of processes can
    change the bits of a result; records name them all.
    """

    results_dir: Path
    data_dir: Path | None = None
    cache_dir: Path | None = None
    download: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    fresh: bool = False
    micro_batch: int | None = None
    compile: bool = False

    def machine(self) -> "Machine":
        """Device and precision, chosen and checked. Raises `UserError` as `device.choose`."""
        from vggrepro.device import choose  # torch, which a help text does without

        return choose(self.device, self.precision, self.threads, self.micro_batch, self.compile)

    def options(self) -> list[str]:
        """The same as options of `vggrepro run`."""
        found = []
        for name, value in vars(self).items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                found.append(option)
            elif value not in (None, False):
                found += [option, str(value)]
        return found


# --- more processes for one rerun ------------------------------------------------------------


def count(workers: int, device: str) -> int:
    """How many processes: as many as asked for; for 0 one for each core, at most `MOST`.

    With a GPU one process has all of it, unless more were asked for.
    """
    if workers:
        return workers
    if device != "cpu":
        import torch  # heavy, and asked only to find a GPU

        if torch.cuda.is_available():
            return 1
    return min(MOST, cores())


@contextmanager
def helping(helpers: int, arguments: Sequence[str]) -> Iterator[None]:
    """While this lasts, so many processes do `vggrepro run` with `arguments` beside this one.

    What they cannot do, or leave when they die, this process comes to, and says why it fails; so
    nothing that they print is needed.
    """
    command = [sys.executable, "-c", HELPER, "run", *arguments]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command, **silent) for _ in range(helpers)]
    try:
        yield
    finally:
        for process in started:
            process.terminate()  # nothing is left for it to do, or all is to end
        for process in started:
            process.wait()
