"""Where a command works: folders, device, and by how many processes. Nothing heavy.

Small nets leave cores idle when several threads share one of them. Processes that share the runs,
as several commands in one folder do, keep every core busy.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from vggrepro.files import cores
from vggrepro.process import end_with_parent, in_order
from vggrepro.study.store import RERUN

if TYPE_CHECKING:
    from vggrepro.device import Machine

MOST = 4  # processes for one rerun: each holds a net and its batches in memory


@dataclass(frozen=True)
class Where:
    """Where a run reads and writes, and on what it computes.

    Only `device`, `precision`, `threads`, `micro_batch`, `compile` and the number of processes can
    change the bits of a result; records name them all.
    """

    results_dir: Path = RERUN
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
def helping(helpers: int, work: Callable[..., object], *arguments: object) -> Iterator[None]:
    """While this lasts, so many processes do `work(*arguments)` beside this one, which does it too.

    What they cannot do, or leave when they die, this process comes to, and says why it fails; so
    nothing that they print is needed.
    """
    new = get_context("spawn").Process  # no fork: there may be threads
    started = [new(target=_help, args=(work, *arguments)) for _ in range(helpers)]
    # Ctrl-C is for this process, which ends the others; they inherit that they do not hear it.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for process in started:
            process.start()
    finally:
        signal.signal(signal.SIGINT, heard)
    try:
        yield
    finally:
        for process in started:
            process.terminate()  # nothing is left for it to do, or all is to end
        for process in started:
            process.join()


def _help(work: Callable[..., object], *arguments: object) -> None:
    """In a process of its own: work without a word, and no longer than who wants the help."""
    end_with_parent()
    if not parent_process().is_alive():  # it has died while this one began
        return
    with open(os.devnull, "w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())
    with in_order():
        work(*arguments)
