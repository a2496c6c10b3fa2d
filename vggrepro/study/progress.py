"""One bar over all that a command does, with the time that is left.

Every part of the work counts by its multiply-adds (see `workload`), and the bar measures how fast
this machine gets through them. What is found done already moves the bar without counting as speed.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from tqdm import tqdm

#: A run or a fusion with its seed, or a chapter with None.
Task = tuple[str, int | None]
#: Of a run: its training, or its test under a protocol at one Q (the paper's number).
Part = str | tuple[str, int]
TRAINING = "training"
CHAPTER = "executing the chapter"
CHAPTER_WORK = 5e11  # multiply-adds that take about as long


class Progress:
    """A bar over tasks and their multiply-adds: a context manager.

    It appears with the first part that is really worked on. What was not expected, such as a net
    that is trained again because its weights are gone, makes the whole longer.
    """

    def __init__(
        self, tasks: Mapping[Task, float] | None = None, shown: bool = True, shared: bool = False
    ) -> None:
        """`shared`: others are at these tasks too, and what they have done counts as our speed."""
        self.shared = shared
        self._left = dict(tasks or {})
        self._shown, self._tasks = shown, len(self._left)
        self._total = sum(self._left.values())
        self._done = self._found = 0.0  # all that is done; what of it was not done by us
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            if not self._left:
                self._show(f"{self._tasks} of {self._tasks}")
            self._bar.close()

    @contextmanager
    def part(
        self, task: Task, part: Part, work: float, count: int, unit: str = ""
    ) -> Iterator[Callable[..., None]]:
        """Work on a part of a task that has `count` units and `work` multiply-adds.

        Gives `update(done, found=False)`, to be called with how many more units are done; `found`
        says that they had been done before, as the epochs in a checkpoint.
        """
        known = min(work, self._left.get(task, 0.0))
        if task in self._left:
            self._left[task] -= known
        self._total += work - known
        before, seen, counted = self._done, 0, 0
        started = time.perf_counter()
        self._show(self._label(task, part))

        def update(done: int = 1, found: bool = False) -> None:
            nonlocal seen, counted
            seen += done
            if found:
                self._found += work * done / count
            elif unit:
                counted += done
                rate = counted / max(time.perf_counter() - started, 1e-9)
                self._bar.set_postfix_str(f"{rate:,.1f} {unit}/s", refresh=False)
            self._move(before + work * min(1.0, seen / count))

        yield update
        self._move(before + work)

    def finish(self, task: Task) -> None:
        """Nothing is left to do of a task: what was not worked on was there, or cannot be done."""
        skipped = self._left.pop(task, 0.0)
        self._found += 0 if self.shared else skipped
        self._move(self._done + skipped)

    def _label(self, task: Task, part: Part) -> str:
        name, seed = task
        name += "" if seed is None else f" seed {seed}"
        part = part if isinstance(part, str) else "{} Q={}".format(*part)
        number = min(self._tasks - len(self._left) + 1, self._tasks)
        return f"{number}/{self._tasks} {name}, {part}" if self._tasks > 1 else f"{name}, {part}"

    def _show(self, label: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=self._total,
                initial=self._found,
                file=_shown_on(),
                disable=not self._shown,
                smoothing=0,  # the mean rate so far: single parts are not expected that exactly
                miniters=0,
                mininterval=1.0,
                dynamic_ncols=True,
                bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            )
        self._bar.set_postfix_str("", refresh=False)
        self._bar.set_description_str(label, refresh=False)
        self._move(self._done)
        self._bar.refresh()

    def _move(self, done: float) -> None:
        self._done = done
        if self._bar is not None:
            self._bar.initial = self._found
            # Sums in another order may pass the whole by a rounding, of which tqdm would warn.
            self._bar.total = max(self._total, done)
            self._bar.update(done - self._bar.n)


class _InNotebook:
    """A file for a bar in a notebook: its last line alone is shown, and stays in the notebook."""

    encoding = "utf-8"

    def __init__(self, display: Callable[..., Any]) -> None:
        self._shown = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        if text.strip():
            self._shown.update({"text/plain": text.strip()}, raw=True)

    def flush(self) -> None:
        pass


def _shown_on() -> Any:
    """Where a bar goes: to the terminal, or in a notebook to one place of its output."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell and hasattr(shell, "kernel"):
        return _InNotebook(ipython.display.display)
    return sys.stderr


def say(text: str) -> None:
    """A line on standard output, above the bar if there is one."""
    tqdm.write(text, file=sys.stdout)
