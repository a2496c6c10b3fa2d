"""From names to records: parents first, one seed of all before the next.

What is recorded already is skipped, what was interrupted goes on. Several commands in one folder
share the work: none does what another is at, and what a killed one left is taken over.
"""

import shutil
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import Timeout

from vggrepro import UserError, distributed
from vggrepro.device import instructions, processor
from vggrepro.files import file_lock, sweep
from vggrepro.study import store
from vggrepro.study.budgets import at_budget, data_of
from vggrepro.study.experiments import FUSIONS, Task, needs, with_needs
from vggrepro.study.progress import Progress
from vggrepro.study.provenance import code, describe
from vggrepro.study.run import Run, fuse
from vggrepro.study.second_round import Kind
from vggrepro.study.status import complete
from vggrepro.study.store import Where
from vggrepro.study.workload import expected

WAIT = 2.0  # seconds before looking again when all that is left is being done by others


class BusyError(UserError):
    """Another process is at that run."""


def asked(names: Iterable[str], seeds: Iterable[int]) -> list[Task]:
    """Every name with every seed, one seed of all before the next."""
    names = list(names)
    return [(name, seed) for seed in seeds for name in names]


def run(names: list[str], budget: str, data_name: str | None, seeds: list[int], where: Where):
    """`run_tasks` of `names`, for each seed."""
    run_tasks(asked(names, seeds), budget, data_name, where)


def run_tasks(
    wanted: list[Task],
    budget: str,
    data_name: str | None,
    where: Where,
    bar: Progress | None = None,
) -> None:
    """Train, evaluate and fuse all that is wanted and what it needs, in this order.

    Of several that were asked for, those that another process is at come last, when it has ended;
    what a run starts from is waited for.
    Started by torchrun, all ranks together do one after the other. A run that diverges stops only
    what starts from it; that is left out, and named at the end. `bar` is that of the command that
    this is a part of; it has one of its own if there is none.

    Raises `UserError` for bad input, if something was left out, or if another process is at the
    only run that was asked for; `KeyboardInterrupt` after an interrupted training has been
    recorded.
    """
    chosen = where.machine()
    todo, data = with_needs(wanted), data_of(budget, data_name)
    with distributed.group(chosen.device), ExitStack() as held:
        shown = distributed.rank() == 0
        if shown:
            print(f"device: {describe(chosen)}", file=sys.stderr)
        bar = bar or held.enter_context(Progress(expected(todo, budget, data), shown))
        runs = {}
        for name, seed in todo:
            # Only what was asked for is run again; its parents are reused.
            here = replace(where, fresh=where.fresh and (name, seed) in wanted)
            runs[name, seed] = Run(at_budget(name, budget, data), seed, here, chosen, bar)
        distributed.first(lambda: _check_photos(list(runs.values())))
        first, *others = runs.values()
        for other in others:  # at one budget all have the same
            other.photos = first.photos
        # Two that run all anew would each do everything, so --fresh does not wait for another.
        patient = len(wanted) > 1 and not where.fresh
        left_out = _run_all(runs, bar, impatient=() if patient else wanted)
        held.close()  # the bar has ended before what was left out is said
        distributed.first(lambda: complain(left_out))


def kind_here(where: Where) -> Kind:
    """The code and the kind of machine that a record made here would name."""
    chosen = where.machine()
    name, known = processor(chosen.device), instructions()
    return Kind(*code(), name, known, torch.get_num_threads(), chosen.precision, version("torch"))


def _check_photos(runs: list[Run]) -> None:
    """Raise `UserError` if photos are missing, before a folder is made that looks like a begun run.

    Where all is begun, it may be recorded as well, and then needs no photos; with --fresh it does.
    """
    photos = runs[0].photos
    if any(run.where.fresh or not run.folder.is_dir() for run in runs):
        photos.check()


def complain(left_out: list[str]) -> None:
    """Raise `UserError` if something was left out."""
    if left_out:
        raise UserError(f"all done but what could not be: {'; '.join(left_out)}")


def _run_all(runs: dict[Task, Run], bar: Progress, impatient: Collection[Task]) -> list[str]:
    """Every task, those that others are at last: what had to be left out, and why.

    Raises `BusyError` if another process is at one of the `impatient`.
    """
    without: dict[Task, str] = {}  # what has no weights, and why
    left_out, told, left = [], set(), list(runs)
    while left:
        later: list[Task] = []
        for task in left:
            this, needed = runs[task], needs(*task)
            if any(need in later for need in needed):
                later.append(task)
                continue
            lacking = next((need for need in needed if need in without), None)
            if lacking is not None:
                verb = "fuses" if task[0] in FUSIONS else "starts from"
                left_out.append(f"{task[0]} {verb} {lacking[0]}, which is {without[lacking]}")
                this.say(f"left out: {left_out[-1]}")
                without[task] = "left out"
            else:
                try:
                    problem = run_one(this)
                except BusyError:
                    if task in impatient:
                        raise
                    # Of processes that share a rerun nobody wants to know which is at what.
                    if task not in told and not bar.shared:
                        this.say("another process is at it; coming back to it later")
                        told.add(task)
                    later.append(task)
                    continue
                if problem:
                    without[task] = problem
            bar.finish(task)
        if len(later) == len(left):
            time.sleep(WAIT)
        left = later
    return left_out


def run_one(this: Run) -> str | None:
    """One run or fusion with one seed, what it needs being there: all its records.

    Returns why it left no weights to start from, None if it did. Raises `BusyError` if another
    process is at it, `UserError` for a folder that cannot be written.
    """
    with ExitStack() as held:
        if not distributed.first(lambda: _ours(this, held)):
            raise BusyError(f"another process is working on {this.folder}; wait for it to end")
        if this.experiment.name in FUSIONS:
            return fuse(this)
        begun = this.folder / store.BEGUN_ANEW
        if distributed.first(begun.exists):  # killed on its way: go on, whatever was asked now
            this.where = replace(this.where, fresh=True)
        elif this.where.fresh:
            distributed.first(lambda: _clear(this.folder, begun))
        return this.complete()


def _ours(this: Run, held: ExitStack) -> bool:
    """Whether the run is ours: locked, or complete in a folder that is read-only."""
    try:
        return lock(this.folder, held)
    except UserError:
        recorded = complete(this.where.results_dir, this.experiment, this.seed)
        if this.where.fresh or not recorded:
            raise
        return True


def lock(folder: Path, held: ExitStack) -> bool:
    """Whether the run is ours until `held` ends; the system ends it for a process that dies.

    What a killed process left half written is removed. Raises `UserError` for a folder that cannot
    be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(file_lock(folder / ".lock", timeout=0))
    except Timeout:
        return False
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}, or lock it: {error.strerror}. Give permission, or choose a "
            "folder on another disk"
        ) from error
    sweep(folder)
    return True


def _clear(folder: Path, begun: Path) -> None:
    """Forget the weights of a run; its records stay until there are new ones."""
    for old in folder.glob("*.pt"):
        old.unlink()
    shutil.rmtree(folder / "posteriors", ignore_errors=True)
    begun.touch()
