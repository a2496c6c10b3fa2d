"""What a folder of records holds and what it lacks, for `vggrepro list` and `status`."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from vggrepro.study import gpu_round, programme, second_round, store
from vggrepro.study.budgets import ALL_BUDGETS, CALIBRATION, at_budget
from vggrepro.study.experiments import FUSIONS, RUNS, Experiment, evaluations_of, in_order
from vggrepro.study.starts import DECLARED, FIRST_STEPS


def missing_commands(
    results_dir: Path, budget: str, data: str, data_dir: Path | None = None, seeds: int = 1
) -> list[str]:
    """One command for each run or fusion without complete records, parents first.

    For the shell, with DATA for a folder of photos that is not named, and in the order in which
    `run --all` goes: one seed of all before the next.
    """
    where = ["--results-dir", str(results_dir)]
    if data_dir or data != "synthetic":
        where += ["--data-dir", str(data_dir or "DATA")]
    return [
        shlex.join(
            ["vggrepro", "run", name, "--budget", budget, "--data", data]
            + (["--seed", str(seed)] if seeds > 1 else [])
            + where
        )
        for seed in range(seeds)
        for name in in_order([*RUNS, *FUSIONS])
        if not complete(results_dir, at_budget(name, budget, data), seed)
    ]


def elsewhere(recorded: Path, rerun: Path) -> Iterator[str]:
    """Where a reader's own records are, for who looks at the recorded study; if that is there."""
    if not recorded.is_dir():
        yield f"\n{store.NO_CLONE}"
    folders = {path.parents[2] for path in rerun.glob("*/*/*/seed*/*.json")}
    for folder in sorted(folders):
        budget, data = folder.parts[-2:]
        if budget in ALL_BUDGETS and data in ALL_BUDGETS[budget].data:
            options = ["--budget", budget, "--data", data, "--results-dir", str(rerun)]
            yield f"\nyour own: {shlex.join(['vggrepro', 'list', *options])}"


def complete(results_dir: Path, experiment: Experiment, seed: int) -> bool:
    """Whether a run or a fusion has all its records, under its declaration as it is now."""
    return _state(results_dir, experiment, seed) in ("complete", "pilot", "diverged")


def _state(results_dir: Path, experiment: Experiment, seed: int) -> str:
    """How far a run or a fusion is, in words."""
    folder, candidate = store.folder_of(results_dir, experiment, seed), False
    done = "complete"
    if experiment.name not in FUSIONS:
        trained = store.trainings(results_dir, experiment).get(seed)
        if (folder / store.BEGUN_ANEW).exists():
            return "interrupted"
        if trained is None and (folder / "train.json").exists():
            return "made under another declaration"
        if trained is None:
            return "interrupted" if (folder / "checkpoint.pt").exists() else "not trained"
        if trained.status != "ok":
            return trained.status
        candidate = experiment.budget in CALIBRATION  # never tested on val
        done = "pilot" if trained.pilot and not candidate else done
    tested = candidate or all(
        seed in store.evaluations(results_dir, experiment, evaluation)
        for evaluation in evaluations_of(experiment.name)
    )
    return done if tested else "evaluations missing"


def status_lines(results_dir: Path) -> Iterator[str]:
    """What `results_dir` holds and lacks: a line per budget and data set, and per run in it."""
    if not results_dir.is_dir():
        yield f"{results_dir}: no records yet"
        return
    yield f"{results_dir}:"
    lines = [*_run_lines(results_dir), *second_round.status_lines(results_dir)]
    lines += [*gpu_round.status_lines(results_dir), *_first_steps_lines(results_dir)]
    measured = sorted((results_dir / "bench").glob("*.json"))
    lines += [f"  measured: {store.read(path).name}" for path in measured]
    yield from lines or ["  no records"]


def _run_lines(results_dir: Path) -> Iterator[str]:
    """Per budget and data set how many runs are begun, then how far each of their seeds is."""
    for budget, data in ((b.name, data) for b in ALL_BUDGETS.values() for data in b.data):
        every = [at_budget(name, budget, data) for name in (*RUNS, *FUSIONS)]
        begun = {e: seeds for e in every if (seeds := _begun(results_dir, e))}
        if not begun:
            continue
        line = (
            f"  {budget} on {data}: {sum(e.name in RUNS for e in begun)} of {len(RUNS)} runs begun"
        )
        if budget == programme.BUDGET and data in programme.DATA:
            tasks = programme.tasks(data)
            done = sum(complete(results_dir, at_budget(run, budget, data), k) for run, k in tasks)
            line += f"; {done} of the study's {len(tasks)} trainings and fusions complete"
        yield line
        for e, seeds in begun.items():
            states = (f"seed {seed} {_state(results_dir, e, seed)}" for seed in seeds)
            yield f"    {e.name:20} {', '.join(states)}"


def _begun(results_dir: Path, experiment: Experiment) -> list[int]:
    """The seeds of a run whose folders hold more than a lock: that alone is nothing done."""
    run = store.folder_of(results_dir, experiment, 0).parent
    folders = sorted(f for f in run.glob("seed*") if f.name[4:].isdecimal())
    return [int(f.name[4:]) for f in folders if any(p.name != ".lock" for p in f.glob("*"))]


def _first_steps_lines(results_dir: Path) -> Iterator[str]:
    """For each data set, how many starts are recorded and which of them diverged."""
    for folder in sorted((results_dir / FIRST_STEPS).glob("*/")):
        records = map(store.read, sorted(folder.glob("*/seed*/first-steps.json")))
        found = [record for record in records if record.run in DECLARED]
        if found:
            done = len({record.run for record in found})
            yield f"  {FIRST_STEPS} on {folder.name}: {done} of {len(DECLARED)} starts"
        for record in found:
            if record.status != "ok":
                yield f"    {record.run:20} seed {record.seed} {record.status}: {record.reason}"
