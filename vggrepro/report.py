"""Records into what a chapter shows: tables, sentences, provenance, commands.

A chapter starts with `options`, which checks its parameters and reruns what is asked for. A
number that was not obtained reads "not run", with the command that would obtain it.
"""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown

from vggrepro import UserError, paper, results
from vggrepro.budgets import BUDGETS, at_budget, data_of, deviations
from vggrepro.experiments import (
    RUNS,
    Evaluation,
    Experiment,
    Row,
    evaluations_of,
    in_order,
    single_scale,
)
from vggrepro.records import EvalRecord, Record

# Which runs a chapter reads; parents are added where they are needed.
CHAPTER_RUNS: dict[str, tuple[str, ...]] = {"02_lrn": ("A-S256", "A-LRN-S256")}

DATA_NAMES = {
    "cifar10": "CIFAR-10",
    "imagenette": "Imagenette",
    "imagenet": "ILSVRC-2012",
    "synthetic": "drawn images",
    "folder": "your photos",
}


# --- a chapter's parameters ---------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One column of results: a folder of records at one budget on one data set."""

    title: str
    results_dir: Path
    budget: str
    data: str

    def experiment(self, run: str) -> Experiment:
        """The declaration of that run in this column."""
        return at_budget(run, self.budget, self.data)


@dataclass(frozen=True)
class Options:
    """The checked parameters of a chapter: what to read, what to rerun."""

    budget: str
    data: str
    seeds: int
    rerun: bool
    data_dir: Path | None
    results_dir: Path

    def ensure(self, runs: Iterable[str]) -> None:
        """Train and evaluate `runs` if a rerun was asked for; recorded ones are skipped."""
        if self.rerun:
            from vggrepro import runner

            where = runner.Where(self.results_dir, self.data_dir)
            runner.run(list(runs), self.budget, self.data, list(range(self.seeds)), where)

    def columns(self) -> list[Column]:
        """The recorded study on each of its data sets, then the reader's rerun if there is one."""
        found = [
            Column(f"recorded: {DATA_NAMES[data]}, reduced", results.RECORDED, "reduced", data)
            for data in ("cifar10", "imagenette")
        ]
        if self.rerun:
            title = f"rerun: {DATA_NAMES[self.data]}, {self.budget}"
            found.append(Column(title, self.results_dir, self.budget, self.data))
        return found


def options(
    budget: str, data: str, seeds: int, rerun: bool, data_dir: str, results_dir: str
) -> Options:
    """Check a chapter's parameters; "" and 0 mean the default.

    Raises `UserError` whose last line names the allowed values.
    """
    data = data_of(budget, data or None)
    if not isinstance(rerun, bool):
        raise UserError(f"rerun must be True or False, not {rerun!r}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 0:
        raise UserError(f"seeds must be a whole number, 0 for the budget's own; not {seeds!r}")
    return Options(
        budget=budget,
        data=data,
        seeds=seeds or BUDGETS[budget].seeds,
        rerun=rerun,
        data_dir=Path(data_dir) if data_dir else None,
        results_dir=Path(results_dir) if results_dir else results.RERUN,
    )


# --- numbers ------------------------------------------------------------------------------


def paper_value(row: Row, metric: str = "top1_error") -> float:
    """The paper's number for a row, in percent."""
    run = RUNS[row.run]
    low, high = run.train_scale
    return paper.value(
        row.table,
        net=run.config,
        train_scale=low if low == high else f"[{low};{high}]",
        test_scales=row.evaluation.test_scales,
        protocol=row.evaluation.protocol,
        metric=metric,
    )


def errors(column: Column, run: str, evaluation: Evaluation) -> dict[int, float]:
    """Top-1 error in percent by seed."""
    found = results.evaluations(column.results_dir, column.experiment(run), evaluation)
    return {seed: record.top1_error for seed, record in found.items()}


def mean_and_spread(values: Sequence[float]) -> str:
    """`25.3 ± 0.4 % (n = 3)`: mean and sample standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.1f} % (n = 1)"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f} % (n = {len(values)})"


def recorded(results_dir: Path, experiment: Experiment, evaluation: Evaluation) -> str:
    """The recorded errors of an evaluation as one cell, or why there are none."""
    found = results.evaluations(results_dir, experiment, evaluation)
    if found:
        pilot = ", pilot" if all(record.pilot for record in found.values()) else ""
        return mean_and_spread([r.top1_error for r in found.values()]) + pilot
    failed = [
        f"{record.status} (seed {seed})"
        for seed, record in results.trainings(results_dir, experiment).items()
        if record.status != "ok"
    ]
    return ", ".join(failed) or "not run"


def error_table(
    rows: Sequence[tuple[str, str, Evaluation, float | None]], columns: Sequence[Column]
) -> pd.DataFrame:
    """Top-1 errors: a row per (label, run, evaluation, the paper's value or None)."""
    table = {}
    for label, run, evaluation, value in rows:
        cells = {"paper: ILSVRC-2012, full": "–" if value is None else f"{value:.1f} %"}
        for column in columns:
            cells[column.title] = recorded(column.results_dir, column.experiment(run), evaluation)
        table[label] = cells
    return pd.DataFrame.from_dict(table, orient="index")


def deviations_table(run: str, columns: Sequence[Column]) -> pd.DataFrame:
    """What each column changes against the paper, generated from the declarations."""
    table: dict[str, dict[str, str]] = {}
    for column in columns:
        for deviation in deviations(column.experiment(run)):
            row = table.setdefault(
                deviation.field.replace("_", " "),
                {"paper": _shown(deviation.paper), "why": deviation.why},
            )
            row[column.title] = _shown(deviation.ours)
    frame = pd.DataFrame.from_dict(table, orient="index")
    order = ["paper", *(c.title for c in columns), "why"]
    return frame.reindex(columns=order).fillna("as the paper")


def _shown(value: object) -> str:
    return (
        "–"
        if value in ("", (0, 0), ())
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


# --- a chapter's furniture ----------------------------------------------------------------


def claim_box(*keys: str) -> Markdown:
    """The paper's sentences, in the paper's voice, each with its section."""
    quotes = (paper.quote(key) for key in keys)
    lines = "\n>\n".join(f"> “{q.text}”  \n> — Section {q.section}" for q in quotes)
    return Markdown(lines)


def source(module: str, name: str) -> Markdown:
    """The library's own code of a function or class, without importing its module."""
    path = Path(__file__).with_name(f"{module}.py")
    text = path.read_text(encoding="utf-8")
    parts = name.split(".")
    nodes: list[ast.stmt] = ast.parse(text).body
    for part in parts:
        node = next(n for n in nodes if getattr(n, "name", None) == part)
        nodes = getattr(node, "body", [])
    return Markdown(f"```python\n{ast.get_source_segment(text, node, padded=True)}\n```")


def provenance_table(columns: Sequence[Column], runs: Sequence[str]) -> pd.DataFrame:
    """Where every training that the chapter shows comes from, one line each."""
    rows = []
    for column in columns:
        for run in runs:
            trained = results.trainings(column.results_dir, column.experiment(run))
            for seed, record in trained.items():
                p = record.provenance
                rows.append(
                    {
                        "run": f"{run}, seed {seed}",
                        "column": column.title,
                        "recipe": record.experiment["recipe"],
                        "status": record.status,
                        "commit": p.commit[:8] + (" (modified)" if p.dirty else ""),
                        "torch": p.versions["torch"],
                        "on": f"{p.processor}, {p.threads} thread{'s' * (p.threads > 1)}",
                        "precision": record.precision,
                        "minutes": f"{p.wall_seconds / 60:.1f}",
                        "result digest": record.result_digest[:12],
                    }
                )
    return pd.DataFrame(rows)


def commands(chapter: str, runs: Sequence[str]) -> Markdown:
    """How to rerun this chapter, to be copied."""
    return Markdown(
        f"""```bash
# on drawn images, in minutes
papermill book/{chapter}.ipynb out.ipynb -p budget quick -p rerun True

# on real photos, as recorded above (torchvision downloads them with --download)
vggrepro run {" ".join(runs)} --budget reduced --data cifar10 --data-dir DATA --seeds 3
vggrepro rerun {chapter} --budget reduced --data cifar10 --data-dir DATA --seeds 3
```"""
    )


# --- what there is ------------------------------------------------------------------------


def missing_commands(results_dir: Path, budget: str, data: str) -> list[str]:
    """One command for each run that has no complete record for seed 0, parents first."""
    return [
        f"vggrepro run {name} --budget {budget} --data {data} --results-dir {results_dir}"
        for name in in_order(list(RUNS))
        if not _complete(results_dir, at_budget(name, budget, data), 0)
    ]


def _complete(results_dir: Path, experiment: Experiment, seed: int) -> bool:
    trained = results.trainings(results_dir, experiment).get(seed)
    if trained is None or trained.status == "interrupted":
        return False
    if trained.status == "diverged":
        return True
    return all(
        seed in results.evaluations(results_dir, experiment, evaluation)
        for evaluation in evaluations_of(experiment.name)
    )


def status_lines(results_dir: Path) -> list[str]:
    """What `results_dir` holds and lacks: a line per budget and data set, and per run in it."""
    if not results_dir.is_dir():
        return [f"{results_dir}: no records yet"]
    lines = [f"{results_dir}:"]
    for budget in BUDGETS.values():
        for data in budget.data:
            folder = results_dir / budget.name / data
            if not folder.is_dir():
                continue
            done = [name for name in RUNS if (folder / name).is_dir()]
            lines.append(f"  {budget.name} on {data}: {len(done)} of {len(RUNS)} runs begun")
            lines += [
                f"    {_status_of(results_dir, at_budget(n, budget.name, data))}" for n in done
            ]
    if len(lines) == 1:
        lines.append("  no records")
    return lines


def _status_of(results_dir: Path, experiment: Experiment) -> str:
    trained = results.trainings(results_dir, experiment)
    parts = []
    for folder in sorted(results.folder_of(results_dir, experiment, 0).parent.glob("seed*")):
        seed = int(folder.name[4:])
        if seed not in trained:
            state = (
                "made under another declaration"
                if (folder / "train.json").exists()
                else ("interrupted" if (folder / "checkpoint.pt").exists() else "not trained")
            )
        elif trained[seed].status != "ok":
            state = trained[seed].status
        elif _complete(results_dir, experiment, seed):
            state = "pilot" if trained[seed].pilot else "complete"
        else:
            state = "evaluations missing"
        parts.append(f"seed {seed} {state}")
    return f"{experiment.name:20} {', '.join(parts)}"


def records_of(columns: Sequence[Column], runs: Sequence[str]) -> list[Record]:
    """All trainings that a chapter shows."""
    return [
        record
        for column in columns
        for run in runs
        for record in results.trainings(column.results_dir, column.experiment(run)).values()
    ]


def centre_crop(run: str) -> Evaluation:
    """The evaluation that decides claims about nets: centre crop and flip at the run's own Q."""
    return Evaluation("centre-crop", (single_scale(RUNS[run]),))


def map_sizes(records: Iterable[EvalRecord]) -> str:
    """The score maps of dense evaluation: `1x1 (58 %), 1x2 (40 %), …`."""
    total: dict[str, int] = {}
    for record in records:
        for size, count in record.positions.items():
            total[size] = total.get(size, 0) + count
    everything = sum(total.values())
    parts = sorted(total.items(), key=lambda item: -item[1])
    return ", ".join(f"{size} ({100 * count / everything:.0f} %)" for size, count in parts)
