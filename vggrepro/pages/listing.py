"""What `vggrepro list` prints: every row of the paper's tables, and every run that no row has."""

from collections.abc import Iterator
from pathlib import Path

from vggrepro.pages import report
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import FUSIONS, ROWS, RUNS, Evaluation, centre_crop


def lines(results_dir: Path, budget: str, data: str) -> Iterator[str]:
    """A line for each row, then one for each evaluation of `beside_rows`."""

    def line(name: str, run: str, evaluation: Evaluation, paper: str) -> str:
        recorded = report.recorded(results_dir, at_budget(run, budget, data), evaluation)
        return f"{name:43}{evaluation.name:30}{paper:>7}   {recorded}"

    yield f"top-1 errors in percent; budget {budget}, data {data}, records in {results_dir}"
    yield f"{'row':43}{'protocol and Q':30}{'paper':>7}   recorded"
    for row in ROWS:
        yield line(row.name, row.run, row.evaluation, f"{report.paper_value(row):.1f}")
    yield f"\n{'run or fusion that no table has':43}{'protocol and Q':30}{'paper':>7}   recorded"
    for run, evaluation in beside_rows():
        yield line(run, run, evaluation, "–")


def beside_rows() -> list[tuple[str, Evaluation]]:
    """Runs and fusions of no row: of a run its centre crop, of a fusion all that is declared."""
    rows = {row.run for row in ROWS}
    runs = [(run, centre_crop(run)) for run in RUNS if run not in rows]
    fusions = [f for f in FUSIONS.values() if f.name not in rows]
    return runs + [(f.name, evaluation) for f in fusions for evaluation in f.evaluations]
