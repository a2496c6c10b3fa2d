"""More processes for one `rerun`: each with its share of the cores, all in one folder.

Small nets leave cores idle when several threads share one of them. Processes that share the runs,
as several commands in one folder do, keep every core busy.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from vggrepro.files import cores

MOST = 4  # each holds a net and its batches in memory


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
    command = [sys.executable, "-m", "vggrepro", "run", *arguments]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen(command, **silent) for _ in range(helpers)]
    try:
        yield
    finally:
        for process in started:
            process.terminate()  # nothing is left for it to do, or all is to end
        for process in started:
            process.wait()
