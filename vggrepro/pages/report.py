"""Records into what a chapter shows: tables, sentences, provenance, commands.

A chapter starts with `rerun_column`, which checks its parameters. A
number that was not obtained reads "not run", with the command that would obtain it.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from vggrepro import UserError
from vggrepro.files import expanded
from vggrepro.study import paper, programme, second_round, store
from vggrepro.study.budgets import at_budget, data_of, data_size
from vggrepro.study.decisions import Study
from vggrepro.study.experiments import (
    FUSIONS,
    ROWS,
    RUNS,
    Evaluation,
    Experiment,
    Row,
    centre_crop,
    evaluation_in,
    evaluations_of,
)
from vggrepro.study.records import EvalRecord, FirstStepsRecord, TrainRecord
from vggrepro.study.rules import AT_CHANCE, Side, gains, one_q
from vggrepro.study.store import RECORDED

PACKAGE = Path(__file__).parents[1]

Record = TypeVar("Record")

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
    seeds: tuple[int, ...] | None = None  # shown alone, where not all that is recorded counts

    def experiment(self, run: str) -> Experiment:
        """The declaration of that run in this column."""
        return at_budget(run, self.budget, self.data)

    def trainings(self, run: str) -> dict[int, TrainRecord]:
        """The trainings of that run by seed, failed ones too."""
        return self._counted(store.trainings(self.results_dir, self.experiment(run)))

    def evaluations(self, run: str, evaluation: Evaluation) -> dict[int, EvalRecord]:
        """The tests of that run by seed."""
        found = store.evaluations(self.results_dir, self.experiment(run), evaluation)
        return self._counted(found)

    def _counted(self, found: dict[int, Record]) -> dict[int, Record]:
        return {s: one for s, one in found.items() if self.seeds is None or s in self.seeds}

    def at_chance(self, run: str) -> tuple[int, ...]:
        """Seeds whose net is no better than chance on minival after its last epoch.

        None for your own folder of photos, whose classes only you can count.
        """
        if self.data == "folder":
            return ()
        limit = AT_CHANCE * 100 * (1 - 1 / data_size(self.experiment(run)).classes)
        ended = ((s, r.curve[-1]) for s, r in self.trainings(run).items() if r.status == "ok")
        return tuple(seed for seed, last in ended if last.minival_error > limit)

    def idle(self, run: str) -> tuple[int, ...]:
        """Seeds whose net learnt nothing or diverged: a mean with them is the error of no net."""
        chance, found = self.at_chance(run), self.trainings(run).items()
        return tuple(seed for seed, r in found if seed in chance or r.status == "diverged")

    def rows(self) -> pd.DataFrame:
        """What it shows of `store.frame`: records as they are declared now, no pilots, no twins."""
        table = store.frame(self.results_dir)
        here = (table.budget == self.budget) & (table.data == self.data)
        once = ~table.path.str.contains("/train-")  # see `store.twin_path`
        return table[here & once & table.as_declared & (table["round"] != "pilot")]

    def recorded(self, run: str, evaluation: Evaluation) -> str:
        """The recorded errors of an evaluation, or why there are none."""
        found, trained = self.evaluations(run, evaluation), self.trainings(run)
        failed = {seed: record.status for seed, record in trained.items() if record.status != "ok"}
        if not found:
            return ", ".join(f"{how} (seed {seed})" for seed, how in failed.items()) or "not run"
        idle = [str(seed) for seed in self.at_chance(run) if seed in found]
        diverged = [str(seed) for seed, how in failed.items() if how == "diverged"]
        notes = ["pilot"] if all(record.pilot for record in found.values()) else []
        notes += [f"at chance: seed {', '.join(idle)}"] if idle else []
        notes += [f"diverged: seed {', '.join(diverged)}"] if diverged else []
        errors = [record.top1_error for record in found.values()]
        # A mean with a net at chance in it is the error of no net, and one without it hides it.
        singly = idle or diverged
        text = ", ".join(f"{e:.1f}" for e in errors) if singly else mean_and_spread(errors)
        return text + (f" ({'; '.join(notes)})" if notes else "")

    def cell(self, run: str, evaluation: Evaluation) -> str:
        """The same in a table, over two lines for a phone; – if not declared."""
        if evaluation not in evaluations_of(run):
            return "–"
        return self.recorded(run, evaluation).replace(", n = ", "<br>n = ")


def recorded_columns(data_sets: Sequence[str] = programme.DATA) -> list[Column]:
    """The recorded study, a column for each of these data sets."""
    return [Column(DATA_NAMES[data], store.RECORDED, programme.BUDGET, data) for data in data_sets]


def second_column(data: str, results_dir: Path = RECORDED) -> Column:
    """The second round on a data set, by the units of it that count."""
    seeds = tuple(second_round.counted(results_dir, data))
    return Column(DATA_NAMES[data], results_dir, second_round.BUDGET, data, seeds)


def rerun_column(
    budget: str, data: str, seeds: int, rerun: bool, data_dir: str, results_dir: str
) -> Column | None:
    """Check a chapter's parameters: the column of the rerun that they name, None without one.

    It is shown with `rerun`, or with a `results_dir` of records made before; "" and 0 mean the
    default. Raises `UserError` whose last line names the parameter or the allowed values.
    """
    texts = {"budget": budget, "data": data, "data_dir": data_dir, "results_dir": results_dir}
    for name, value in texts.items():
        if not isinstance(value, str):
            raise UserError(
                f"{name} must be text, not {value!r}: of papermill's options -p {name} 2012 is a "
                f"number, -r {name} 2012 is text"
            )
    data = data_of(budget, data or None)
    if not isinstance(rerun, bool):
        raise UserError(f"rerun must be True or False, not {rerun!r}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 0:
        raise UserError(f"seeds must be a whole number, 0 for the budget's own; not {seeds!r}")
    if not (rerun or results_dir):
        return None
    folder = expanded(results_dir) if results_dir else store.RERUN
    if not rerun and not folder.is_dir():
        raise UserError(
            f"results_dir: no folder {folder.resolve()}; name one with records, or set rerun to "
            "True to make them"
        )
    return Column(f"rerun: {DATA_NAMES[data]}, {budget}", folder, budget, data)


# --- numbers ------------------------------------------------------------------------------


def paper_value(row: Row) -> float:
    """The paper's number for a row, in percent."""
    where = {"protocol": row.evaluation.protocol, "test_scales": row.evaluation.test_scales}
    if row.run in RUNS:
        low, high = RUNS[row.run].train_scale
        train_scale = low if low == high else f"[{low};{high}]"
        where |= {"net": RUNS[row.run].config, "train_scale": train_scale}
    elif not row.evaluation.test_scales:
        own = (evaluation_in(row.evaluation, run).test_scales for run in FUSIONS[row.run].runs)
        where["test_scales"] = " | ".join(",".join(map(str, scales)) for scales in own)
    return paper.value(row.table, **where)


def paper_error(run: str, evaluation: Evaluation) -> float | None:
    """The paper's top-1 error of a run under an evaluation, percent; None if no table has it."""
    rows = (row for row in ROWS if (row.run, row.evaluation) == (run, evaluation))
    return next(map(paper_value, rows), None)


def paper_cell(run: str, evaluation: Evaluation) -> str:
    """The same in a table, – if no table of the paper has it."""
    error = paper_error(run, evaluation)
    return "–" if error is None else f"{error:.1f}"


def errors(column: Column, run: str, evaluation: Evaluation | None = None) -> dict[int, float]:
    """Top-1 error in percent by seed, by centre crop and flip unless another test is named."""
    found = column.evaluations(run, evaluation or centre_crop(run))
    return {seed: record.top1_error for seed, record in found.items()}


def mean_and_spread(values: Sequence[float]) -> str:
    """`25.3 ± 0.4, n = 3`: mean and sample standard deviation over seeds."""
    if len(values) == 1:
        return f"{values[0]:.1f}, n = 1"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}, n = {len(values)}"


def error_table(
    rows: Sequence[tuple[str, str, Evaluation]], columns: Sequence[Column]
) -> pd.DataFrame:
    """Top-1 errors, %, the paper's first: a row per (label, run, evaluation)."""
    table = {
        label: {"paper: ILSVRC-2012, full": paper_cell(*test)}
        | {column.title: column.cell(*test) for column in columns}
        for label, *test in rows
    }
    return pd.DataFrame.from_dict(table, orient="index")


# --- what `vggrepro list` prints -----------------------------------------------------------


def listed(results_dir: Path, budget: str, data: str) -> Iterator[str]:
    """A line for each row; then for runs of no row by centre crop, for fusions by all they have."""
    here = Column("", results_dir, budget, data)

    def line(name: str, run: str, evaluation: Evaluation, paper: str) -> str:
        found = here.recorded(run, evaluation)
        return f"{name:43}{evaluation.name:30}{paper:>7}   {found}"

    yield f"top-1 errors in percent; budget {budget}, data {data}, records in {results_dir}"
    yield f"{'row':43}{'protocol and Q':30}{'paper':>7}   recorded"
    for row in ROWS:
        yield line(row.name, row.run, row.evaluation, f"{paper_value(row):.1f}")
    yield f"\n{'run or fusion that no table has':43}{'protocol and Q':30}{'paper':>7}   recorded"
    in_rows = {row.run for row in ROWS}
    for run in (run for run in (*RUNS, *FUSIONS) if run not in in_rows):
        for evaluation in FUSIONS[run].evaluations if run in FUSIONS else [centre_crop(run)]:
            yield line(run, run, evaluation, "–")


# --- a chapter's furniture ----------------------------------------------------------------


def claim_box(*keys: str) -> Markdown:
    """The paper's sentences, in the paper's voice, each with its section."""
    quotes = (paper.quote(key) for key in keys)
    lines = "\n>\n".join(f"> “{q.text}”  \n> — Section {q.section}" for q in quotes)
    return Markdown(lines)


def source(module: str, name: str) -> Markdown:
    """Our own code of a function, class or constant of a module, such as `bench.turns`.

    Read, not imported: some modules bring torch.
    """
    path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
    text = path.read_text(encoding="utf-8")
    nodes: list[ast.stmt] = ast.parse(text).body
    for part in name.split("."):
        node = next(n for n in nodes if _name(n) == part)
        nodes = getattr(node, "body", [])
    return Markdown(f"```python\n{ast.get_source_segment(text, node, padded=True)}\n```")


def _name(node: ast.stmt) -> str | None:
    """What a statement defines."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node
    return getattr(target, "name", None) or getattr(target, "id", None)


def provenance_table(columns: Sequence[Column], runs: Sequence[str]) -> pd.DataFrame:
    """Where every training that the chapter shows comes from, one line each."""
    rows = []
    for column in columns:
        for run in runs:
            for seed, record in column.trainings(run).items():
                made = {
                    "run": f"{run}, seed {seed}",
                    "column": column.title,
                    "recipe": record.experiment["recipe"],
                    "status": record.status,
                }
                rows.append(made | made_by(record))
    return table_by("run", rows, empty="not run")


def table_by(name: str, rows: Sequence[Mapping[str, object]], empty: str = "none") -> pd.DataFrame:
    """Rows as the book shows them: each by its cell of that name, which heads the column."""
    if not rows:
        return pd.DataFrame({empty: []})
    return pd.DataFrame(rows).set_index(name).rename_axis(index=None, columns=name)


def made_by(record: TrainRecord | FirstStepsRecord) -> dict[str, str]:
    """By what code, where and how fast a training was made, and what it ended in."""
    p = record.provenance
    return {
        "commit": p.commit[:8] + " (modified)" * p.dirty,
        "torch": p.versions["torch"],
        "on": f"{p.processor}, {p.threads} thread{'s' * (p.threads > 1)}",
        "precision": record.precision,
        "minutes": f"{p.wall_seconds / 60:.1f}",
        "result digest": record.result_digest[:12],
    }


def show(frame: pd.DataFrame, classes: str = "numbers") -> HTML:
    """A table as the book shows it: no index clutter, scrolling on a phone."""
    return HTML(frame.to_html(border=0, escape=False, classes=classes))


# --- findings in plain words ----------------------------------------------------------------

CONTRADICTED = "the records now say otherwise"
"""What a sentence shows in place of an untroubled number; the tests look for it in the book."""
ONE_SEED = "¹"

Tested = str | Side
"""A run, by centre crop and flip at its own Q; or a run with the protocol it is tested by."""


@dataclass(frozen=True)
class Findings:
    """What the sentences of a chapter compare: records of the study, without pilots.

    A text is written once, while the records grow. So a chapter takes the numbers of its sentences
    from here, and where the records do not say (any more) what a sentence says, it says so itself.
    """

    study: Study = field(default_factory=lambda: Study(RECORDED, programme.BUDGET))

    def lower(self, data: str, better: Tested, worse: Tested) -> str:
        """By how many points the error of `better` is lower, as `1.5`, mean over shared seeds."""
        return self._said(self._gains(data, better, worse), lambda gain: gain > 0)

    def alike(self, data: str, one: Tested, other: Tested, within: float) -> str:
        """How far apart the errors of the two are, as `0.2`, where that is less than `within`."""
        gains = self._gains(data, one, other)
        sign = -1 if gains and np.mean(gains) < 0 else 1
        return self._said([sign * gain for gain in gains], lambda gain: gain < within)

    def error(self, data: str, run: Tested) -> str:
        """Mean top-1 error over seeds in percent, as `15.6`."""
        return self._said(list(self._errors(data, run).values()))

    def by_seed(self, data: str, run: Tested) -> str:
        """Top-1 error of every seed in percent, as `38.4, 29.6`."""
        return ", ".join(f"{e:.1f}" for e in self._errors(data, run).values()) or "not run"

    def train_error(self, data: str, run: str) -> str:
        """Mean error on training images after the last epoch in percent, as `12.2`."""
        return self._said(list(self._train_errors(data, run).values()))

    def fits_better(self, data: str, better: str, worse: str) -> str:
        """Errors on training images after the last epoch: `11.1 % against 12.2 %`, lower first."""
        return self._fits(data, better, worse, np.less)

    def fits_worse(self, data: str, worse: str, better: str) -> str:
        """The same where a sentence names the higher one first: `12.2 % against 11.1 %`."""
        return self._fits(data, worse, better, np.greater)

    def _fits(self, data: str, one: str, other: str, as_said: np.ufunc) -> str:
        found = [self._train_errors(data, run) for run in (one, other)]
        shared = sorted(found[0].keys() & found[1].keys())
        if not shared:
            return "not run"
        here, there = ([errors[seed] for seed in shared] for errors in found)
        said = f"{self._said(here)} % against {self._said(there)} %"
        return said if as_said(np.mean(here), np.mean(there)) else f"{said} (**{CONTRADICTED}**)"

    def basis(self, one_seed: bool = False, **runs: str) -> str:
        """How many seeds the words rest on, by a run that stands for its photos' others.

        With `one_seed` the mark of what has one is explained: where the words have it.
        """
        n = {DATA_NAMES[data]: len(self._errors(data, run)) for data, run in runs.items()}
        parts = ", ".join(f"{seeds} on {name}" for name, seeds in n.items())
        mark = f"; {ONE_SEED} marks what has one" if one_seed else ""
        return (
            f"*The first round, means over its seeds: {parts}{mark}. "
            "Nets are compared by the seeds that both have, so a difference need not be that "
            "of the means in a table. Words describe what was seen; only a verdict decides.*"
        )

    def _errors(self, data: str, tested: Tested) -> dict[int, float]:
        side = tested if isinstance(tested, Side) else one_q(tested, "centre-crop")
        return self.study.errors(side, data)

    def _gains(self, data: str, better: Tested, worse: Tested) -> list[float]:
        return list(gains(*(self._errors(data, side) for side in (better, worse))).values())

    def _train_errors(self, data: str, run: str) -> dict[int, float]:
        found = store.trainings(self.study.results_dir, at_budget(run, self.study.budget, data))
        return {
            seed: record.curve[-1].train_error
            for seed, record in found.items()
            if record.status == "ok" and not record.pilot
        }

    def _said(
        self, by_seed: Sequence[float], as_said: Callable[[float], bool] = lambda mean: True
    ) -> str:
        if not by_seed:
            return "not run"
        mean = float(np.mean(by_seed))
        mark = ONE_SEED * (len(by_seed) == 1)
        return f"{mean:.1f}{mark}" if as_said(mean) else f"{mean:+.1f}{mark} (**{CONTRADICTED}**)"
