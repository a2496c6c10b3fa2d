"""From names to records: parents first, one seed of all before the next.

What is recorded already is skipped, what was interrupted goes on, and two processes in one
folder never do the same run twice.
"""

import shutil
import sys
from dataclasses import replace

from filelock import FileLock, Timeout

from vggrepro import UserError, machine, results
from vggrepro.budgets import at_budget
from vggrepro.experiments import FUSIONS, RUNS, Experiment, in_order, lineage
from vggrepro.fusions import fuse
from vggrepro.machine import Machine
from vggrepro.recording import say
from vggrepro.runs import Run, Where


def run(names: list[str], budget: str, data_name: str | None, seeds: list[int], where: Where):
    """Train, evaluate and fuse `names` and what they need for each seed.

    A run that diverges stops only what starts from it; that is left out, and named at the end.
    Raises `UserError` for bad input or if something was left out, `KeyboardInterrupt` after an
    interrupted training has been recorded.
    """
    chosen = machine.choose(where.device, where.precision, where.threads)
    print(f"device: {machine.describe(chosen)}", file=sys.stderr)
    without: dict[tuple[str, int], str] = {}  # what has no weights, and why
    left_out = []
    for name, seed in _tasks(names, seeds):
        experiment = at_budget(name, budget, data_name)
        lacking = next((need for need in _needs(name, seed) if need in without), None)
        if lacking:
            verb = "fuses" if name in FUSIONS else "starts from"
            left_out.append(f"{name} {verb} {lacking[0]}, which is {without[lacking]}")
            without[name, seed] = "left out"
            say(experiment, seed, f"left out: {left_out[-1]}")
            continue
        # Only what was asked for is run again; its parents are reused.
        fresh = where.fresh and name in names and seed in seeds
        problem = run_one(experiment, seed, replace(where, fresh=fresh), chosen)
        if problem:
            without[name, seed] = problem
    if left_out:
        raise UserError(f"all done but what could not be: {'; '.join(left_out)}")


def _tasks(names: list[str], seeds: list[int]) -> list[tuple[str, int]]:
    """(run or fusion, seed), each after all that it needs, nothing twice."""
    tasks: dict[tuple[str, int], None] = {}
    for seed in seeds:
        for name in in_order(names):
            for member, of_seed in FUSIONS[name].members(seed) if name in FUSIONS else ():
                tasks |= dict.fromkeys((ancestor, of_seed) for ancestor in lineage(member))
            tasks[name, seed] = None
    return list(tasks)


def _needs(name: str, seed: int) -> tuple[tuple[str, int], ...]:
    """What a run starts from, or what a fusion is made of."""
    if name in FUSIONS:
        return FUSIONS[name].members(seed)
    parent = RUNS[name].init_from
    return ((parent, seed),) if parent else ()


def run_one(experiment: Experiment, seed: int, where: Where, chosen: Machine) -> str | None:
    """One run or fusion with one seed, what it needs being there: all its records.

    Returns why it left no weights to start from, None if it did. Raises `UserError` if another
    process is at it.
    """
    folder = results.folder_of(where.results_dir, experiment, seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", blocking=False).acquire()
    except Timeout as error:
        raise UserError(f"another process is working on {folder}; wait for it to end") from error
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    with lock:
        this = Run(experiment, seed, where, chosen, folder)
        if experiment.name in FUSIONS:
            return fuse(this)
        if where.fresh:
            for old in ("checkpoint.pt", "weights.pt"):
                (folder / old).unlink(missing_ok=True)
            shutil.rmtree(folder / "posteriors", ignore_errors=True)
        return this.complete()
