"""What a folder of records holds and what it lacks, for `vggrepro list` and `status`."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from vggrepro.study import programme, second_round, store
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


def status_lines(results_dir: Path) -> list[str]:
    """What `results_dir` holds and lacks: a line per budget and data set, and per run in it."""
    if not results_dir.is_dir():
        return [f"{results_dir}: no records yet"]
    lines = [f"{results_dir}:"]
    for budget in ALL_BUDGETS.values():
        for data in budget.data:
            if not (results_dir / budget.name / data).is_dir():
                continue
            every = [at_budget(name, budget.name, data) for name in (*RUNS, *FUSIONS)]
            done = [experiment for experiment in every if _begun(results_dir, experiment)]
            if not done:
                continue
            begun = sum(experiment.name in RUNS for experiment in done)
            lines.append(f"  {budget.name} on {data}: {begun} of {len(RUNS)} runs begun")
            if budget.name == programme.BUDGET and data in programme.DATA:
                lines[-1] += f"; {_of_the_study(results_dir, data)}"
            lines += [f"    {_status_of(results_dir, experiment)}" for experiment in done]
    lines += second_round.status_lines(results_dir)
    lines += _first_steps_lines(results_dir)
    measured = sorted((results_dir / "bench").glob("*.json"))
    lines += [f"  measured: {store.read(path).name}" for path in measured]
    if len(lines) == 1:
        lines.append("  no records")
    return lines


def _begun(results_dir: Path, experiment: Experiment) -> list[Path]:
    """The folders of a run's seeds that hold more than a lock: that alone is nothing done."""
    run = store.folder_of(results_dir, experiment, 0).parent
    folders = sorted(f for f in run.glob("seed*") if f.name[4:].isdecimal())
    return [f for f in folders if any(path.name != ".lock" for path in f.glob("*"))]


def _of_the_study(results_dir: Path, data: str) -> str:
    """How much of the programme on these photos is recorded."""
    tasks = programme.tasks(data)
    done = sum(
        complete(results_dir, at_budget(run, programme.BUDGET, data), seed) for run, seed in tasks
    )
    return f"{done} of the study's {len(tasks)} trainings and fusions complete"


def _first_steps_lines(results_dir: Path) -> list[str]:
    """For each data set, how many starts are recorded and which of them diverged."""
    lines = []
    for folder in sorted((results_dir / FIRST_STEPS).glob("*/")):
        paths = [p for p in folder.glob("*/seed*/first-steps.json") if p.parts[-3] in DECLARED]
        done = {path.parts[-3] for path in paths}
        if not done:
            continue
        lines.append(f"  {FIRST_STEPS} on {folder.name}: {len(done)} of {len(DECLARED)} starts")
        lines += [
            f"    {record.run:20} seed {record.seed} {record.status}: {record.reason}"
            for record in map(store.read, sorted(paths))
            if record.status != "ok"
        ]
    return lines


def _status_of(results_dir: Path, experiment: Experiment) -> str:
    seeds = [int(folder.name[4:]) for folder in _begun(results_dir, experiment)]
    states = (f"seed {seed} {_state(results_dir, experiment, seed)}" for seed in seeds)
    return f"{experiment.name:20} {', '.join(states)}"
