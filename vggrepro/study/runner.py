"""From names to records: parents first, one seed of all before the next.

What is recorded already is skipped, what was interrupted goes on. Several commands in one folder
share the work: none does what another is at, and what a killed one left is taken over.
"""

import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from vggrepro import UserError, distributed
from vggrepro.device import Machine, choose, instructions, processor
from vggrepro.study import store
from vggrepro.study.budgets import at_budget, data_of
from vggrepro.study.experiments import DECLARED, FUSIONS, Experiment, lineage
from vggrepro.study.progress import Progress, expected
from vggrepro.study.provenance import describe
from vggrepro.study.run import Run, fuse, photos_of
from vggrepro.study.where import Where

WAIT = 2.0  # seconds before looking again when all that is left is being done by others


class BusyError(UserError):
    """Another process is at that run."""


Task = tuple[str, int]
"""A run or a fusion, and a seed."""


def asked(names: Iterable[str], seeds: Iterable[int]) -> list[Task]:
    """Every name with every seed, one seed of all before the next."""
    names = list(names)
    return [(name, seed) for seed in seeds for name in names]


def run(names: list[str], budget: str, data_name: str | None, seeds: list[int], where: Where):
    """`run_tasks` of `names`, for each seed."""
    run_tasks(asked(names, seeds), budget, data_name, where)


def run_tasks(wanted: list[Task], budget: str, data_name: str | None, where: Where) -> None:
    """Train, evaluate and fuse all that is wanted and what it needs, in this order.

    Of several that were asked for, those that another process is at come last, when it has ended;
    what a run starts from is waited for.
    Started by torchrun, all ranks together do one after the other. A run that diverges stops only
    what starts from it; that is left out, and named at the end.

    Raises `UserError` for bad input, if something was left out, or if another process is at the
    only run that was asked for; `KeyboardInterrupt` after an interrupted training has been
    recorded.
    """
    chosen = choose(where.device, where.precision, where.threads, where.micro_batch, where.compile)
    with distributed.group(chosen.device):
        if distributed.rank() == 0:
            print(f"device: {describe(chosen)}", file=sys.stderr)
        distributed.first(lambda: _check_photos(wanted, budget, data_name, where))
        with _progress(wanted, budget, data_name, where) as bar:
            here = replace(where, progress=bar)
            left_out = _run_all(wanted, budget, data_name, here, chosen)
        distributed.first(lambda: _complain(left_out))


def machine_kind(where: Where) -> tuple:
    """What a record made here would name as its kind of machine: `second_round.Kind.machine`."""
    chosen = choose(where.device, where.precision, where.threads)
    name, known = processor(chosen.device), instructions()
    return (name, known, torch.get_num_threads(), chosen.precision, version("torch"))


def _check_photos(wanted: list[Task], budget: str, data_name: str | None, where: Where) -> None:
    """Raise `UserError` if photos are missing, before a folder is made that looks like a begun run.

    Where all is begun, it may be recorded as well, and then needs no photos; with --fresh it does.
    """
    todo = [(at_budget(name, budget, data_name), seed) for name, seed in tasks(wanted)]
    begun = (store.folder_of(where.results_dir, e, seed).is_dir() for e, seed in todo)
    if all(begun) and not where.fresh:
        return
    photos_of(todo[0][0], where).check()


def _progress(
    wanted: list[Task], budget: str, data_name: str | None, where: Where
) -> AbstractContextManager[Progress]:
    """The bar of the command that this is a part of, or one over all tasks."""
    if where.progress is not None:
        return nullcontext(where.progress)
    parts = expected(tasks(wanted), budget, data_of(budget, data_name))
    return Progress(parts, shown=distributed.rank() == 0)


def _complain(left_out: list[str]) -> None:
    if left_out:
        raise UserError(f"all done but what could not be: {'; '.join(left_out)}")


def _run_all(
    wanted: list[Task], budget: str, data_name: str | None, where: Where, chosen: Machine
) -> list[str]:
    """Every task, those that others are at last: what had to be left out, and why."""
    # Two that run all anew would each do everything, so --fresh does not wait for another.
    patient = len(wanted) > 1 and not where.fresh
    without: dict[Task, str] = {}  # what has no weights, and why
    left_out = []
    left, later = tasks(wanted), []
    told = set()
    while left:
        for name, seed in left:
            experiment, needs = at_budget(name, budget, data_name), _needs(name, seed)
            if any(need in later for need in needs):
                later.append((name, seed))
                continue
            lacking = next((need for need in needs if need in without), None)
            if lacking:
                verb = "fuses" if name in FUSIONS else "starts from"
                left_out.append(f"{name} {verb} {lacking[0]}, which is {without[lacking]}")
                without[name, seed] = "left out"
                where.progress.finish((name, seed))
                Run(experiment, seed, where, chosen).say(f"left out: {left_out[-1]}")
                continue
            # Only what was asked for is run again; its parents are reused.
            fresh = where.fresh and (name, seed) in wanted
            try:
                problem = run_one(experiment, seed, replace(where, fresh=fresh), chosen)
            except BusyError:
                if not patient and (name, seed) in wanted:
                    raise
                later.append((name, seed))
                # Of processes that share a rerun nobody wants to know which is at what.
                if (name, seed) not in told and not where.progress.shared:
                    Run(experiment, seed, where, chosen).say(
                        "another process is at it; coming back to it later"
                    )
                    told.add((name, seed))
                continue
            where.progress.finish((name, seed))
            if problem:
                without[name, seed] = problem
        if len(later) == len(left):
            time.sleep(WAIT)
        left, later = later, []
    return left_out


def tasks(wanted: Iterable[Task]) -> list[Task]:
    """All that is wanted, each after all that it needs, nothing twice."""
    found: dict[Task, None] = {}
    for name, seed in wanted:
        for member, of_seed in FUSIONS[name].members(seed) if name in FUSIONS else [(name, seed)]:
            found |= dict.fromkeys((ancestor, of_seed) for ancestor in lineage(member))
        found[name, seed] = None
    return list(found)


def _needs(name: str, seed: int) -> tuple[Task, ...]:
    """What a run starts from, or what a fusion is made of."""
    if name in FUSIONS:
        return FUSIONS[name].members(seed)
    parent = DECLARED[name].init_from
    return ((parent, seed),) if parent else ()


def run_one(experiment: Experiment, seed: int, where: Where, chosen: Machine) -> str | None:
    """One run or fusion with one seed, what it needs being there: all its records.

    Returns why it left no weights to start from, None if it did. Raises `BusyError` if another
    process is at it, `UserError` for a folder that cannot be written.
    """
    folder = store.folder_of(where.results_dir, experiment, seed)
    with ExitStack() as held:
        if not distributed.first(lambda: lock(folder, held)):
            raise BusyError(f"another process is working on {folder}; wait for it to end")
        this = Run(experiment, seed, where, chosen)
        if experiment.name in FUSIONS:
            return fuse(this)
        begun = folder / store.BEGUN_ANEW
        if distributed.first(begun.exists):  # killed on its way: go on, whatever was asked now
            this.where = replace(where, fresh=True)
        elif where.fresh:
            distributed.first(lambda: _clear(folder, begun))
        return this.complete()


def lock(folder: Path, held: ExitStack) -> bool:
    """Whether the run is ours until `held` ends; the system ends it for a process that dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(FileLock(folder / ".lock", blocking=False))
    except Timeout:
        return False
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    return True


def _clear(folder: Path, begun: Path) -> None:
    """Forget the weights of a run; its records stay until there are new ones."""
    for old in folder.glob("*.pt"):
        old.unlink()
    shutil.rmtree(folder / "posteriors", ignore_errors=True)
    begun.touch()
