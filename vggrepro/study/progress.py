"""One bar over all that a command does, with the time that is left.

Every part of the work counts by its multiply-adds, and the bar measures how fast this machine
gets through them. What is found done already moves the bar without counting as speed.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Self

from tqdm import tqdm

from vggrepro import cost
from vggrepro.study.budgets import PUBLISHED, at_budget, data_size
from vggrepro.study.experiments import FUSIONS, Experiment, evaluations_of
from vggrepro.windows import PROTOCOLS, scaled

#: A run or a fusion with its seed, or a chapter with None.
Task = tuple[str, int | None]
TRAINING = "training"
CHAPTER = "executing the chapter"

_CHAPTER = 5e11  # multiply-adds that take about as long as executing a chapter


def testing(protocol: str, test_scale: int) -> str:
    """What the part is called in which a net is tested at one Q (the paper's number)."""
    return f"{protocol} Q={test_scale}"


@cache
def multiply_adds(experiment: Experiment, part: str) -> float:
    """Of a part of a run, about: by the images that it sees and the sizes at which it sees them.

    A step is three times a forward pass. A folder of photos is taken to be as large as Imagenette.
    Raises `ValueError` for a part that is neither `TRAINING` nor from `testing`.
    """
    if experiment.data not in (*PUBLISHED, "synthetic"):
        experiment = replace(experiment, data="imagenette")
    e, size = experiment, data_size(experiment)
    net = {"num_classes": size.classes, "width": e.width, "crop": e.crop, "hidden": e.hidden}
    once = float(cost.multiply_adds(e.config, **net))
    if part == TRAINING:
        return 3 * once * e.epochs * size.train
    protocol, test_scale = part.split(" Q=")
    windows = PROTOCOLS[protocol](size.typical, scaled(int(test_scale), e.crop), e.crop)
    crops = sum(window.height * window.width for window in windows) / e.crop**2
    return 2 * once * crops * size.val  # each window is seen mirrored, too


def expected(tasks: Iterable[Task], budget: str, data: str) -> dict[Task, dict[str, float]]:
    """The parts of every run and fusion, with their multiply-adds. A fusion only averages."""
    found: dict[Task, dict[str, float]] = {}
    for name, seed in tasks:
        parts = [] if name in FUSIONS else [TRAINING, *_tests_of(name)]
        experiment = at_budget(name, budget, data)
        found[name, seed] = {part: multiply_adds(experiment, part) for part in parts}
    return found


def _tests_of(run: str) -> Iterator[str]:
    for evaluation in evaluations_of(run):
        yield from (testing(*part) for part in evaluation.parts)


def chapters(stems: Iterable[str]) -> dict[Task, dict[str, float]]:
    """Executing each of the chapters."""
    return {(stem, None): {CHAPTER: _CHAPTER} for stem in stems}


class Progress:
    """A bar over tasks, each with parts and their multiply-adds: a context manager.

    It appears with the first part that is really worked on. A part that was not expected, such as
    a net that is trained again because its weights are gone, makes the whole longer.
    """

    def __init__(
        self,
        tasks: Mapping[Task, Mapping[str, float]] | None = None,
        shown: bool = True,
        shared: bool = False,
    ) -> None:
        """`shared`: others are at these tasks too, and what they have done counts as our speed."""
        self.shared = shared
        self._left = {task: dict(parts) for task, parts in (tasks or {}).items()}
        self._shown = shown
        self._tasks, self._finished = len(self._left), 0
        self._total = sum(work for parts in self._left.values() for work in parts.values())
        self._done = self._found = 0.0  # all that is done; what of it was not done by us
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._show(self._bar.desc if self._left else f"{self._tasks} of {self._tasks}")
            self._bar.close()

    @contextmanager
    def part(
        self, task: Task, part: str, work: float, count: int, unit: str = ""
    ) -> Iterator[Callable[..., None]]:
        """Work on a part that has `count` units; `work` is its multiply-adds.

        Gives `update(done, found=False)`, to be called with how many more units are done; `found`
        says that they had been done before, as the epochs in a checkpoint.
        """
        parts = self._left.get(task, {})
        self._total += 0 if part in parts else work
        share = parts.pop(part, work)
        before, seen, counted = self._done, 0, 0
        started = time.perf_counter()
        self._show(self._label(task, part))

        def update(done: int = 1, found: bool = False) -> None:
            nonlocal seen, counted
            seen += done
            if found:
                self._found += share * done / max(count, 1)
            else:
                counted += done
                rate = counted / max(time.perf_counter() - started, 1e-9)
                if unit:
                    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
                    self._bar.set_postfix_str(f"{shown} {unit}/s", refresh=False)
            self._move(before + share * min(1.0, seen / max(count, 1)))

        yield update
        self._move(before + share)

    @contextmanager
    def chapter(self, stem: str) -> Iterator[None]:
        """Execute a chapter."""
        with self.part((stem, None), CHAPTER, _CHAPTER, 1):
            yield
        self.finish((stem, None))

    def finish(self, task: Task) -> None:
        """Nothing is left to do of a task: what was not worked on was there, or cannot be done."""
        self._finished += task in self._left
        skipped = sum(self._left.pop(task, {}).values())
        self._found += 0 if self.shared else skipped
        self._move(self._done + skipped)

    @property
    def remaining(self) -> float:
        """Multiply-adds of what is to be done."""
        return self._total - self._done

    def _label(self, task: Task, part: str) -> str:
        name, seed = task
        label = f"{name}, {part}" if seed is None else f"{name} seed {seed}, {part}"
        number = f"{min(self._finished + 1, self._tasks)}/{self._tasks} "
        return number + label if self._tasks > 1 else label

    def _show(self, label: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                desc=label,
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
        self._bar.total, self._bar.initial = max(self._total, self._done), self._found
        self._bar.n = self._done
        self._bar.refresh()

    def _move(self, done: float) -> None:
        step, self._done = done - self._done, done
        if self._bar is not None:
            self._bar.initial = self._found
            # Sums in another order may pass the whole by a rounding, of which tqdm would warn.
            self._bar.total = max(self._total, self._bar.n + step)
            self._bar.update(step)


class _InNotebook:
    """A file for a bar in a notebook: its last line alone is shown, and stays in the notebook."""

    encoding = "utf-8"

    def __init__(self, shown: Callable[..., Any]) -> None:
        self._shown, self._handle = shown, None

    def write(self, text: str) -> None:
        line = {"text/plain": text.strip()}
        if not line["text/plain"]:
            return
        if self._handle is None:
            self._handle = self._shown(line, raw=True, display_id=True)
        else:
            self._handle.update(line, raw=True)

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
