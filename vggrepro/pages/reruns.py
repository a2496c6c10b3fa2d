"""From chapters to their rerun: their runs, shared among processes, then each with its records."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vggrepro.files import make_writable
from vggrepro.pages import render
from vggrepro.study import programme, progress
from vggrepro.study.progress import Progress
from vggrepro.study.store import ROOT
from vggrepro.study.where import Where, cores, count, helping

EXECUTED = ROOT / "_build" / "rerun"


def rerun(
    scripts: Sequence[Path], budget: str, data: str, seeds: int, where: Where, processes: int
) -> None:
    """Run what the chapters need with so many seeds, then execute each into `EXECUTED`.

    `processes` as for `where.count`. Raises `UserError` as `runner.run_tasks` and
    `render.execute` do.
    """
    make_writable(EXECUTED)  # before the trainings, which the chapters come after
    names = list(dict.fromkeys(n for s in scripts for n in programme.CHAPTER_RUNS.get(s.stem, ())))
    parts = progress.chapters(script.stem for script in scripts)
    if names:
        from vggrepro.study import runner  # heavy, and a chapter without runs opens without it

        wanted = runner.asked(names, range(seeds))
        parts = progress.expected(runner.tasks(wanted), budget, data) | parts
    # Two that run all anew would each do everything.
    processes = 1 if where.fresh or not names else count(processes, where.device)
    if processes > 1 and where.threads is None:
        where = replace(where, threads=max(1, cores() // processes))
    with Progress(parts, shared=processes > 1) as bar:
        if names:
            said = ["--budget", budget, "--data", data, "--seeds", str(seeds)]
            with helping(processes - 1, [*names, *where.options(), *said]):
                runner.run_tasks(wanted, budget, data, replace(where, progress=bar))
        # The records are there now, if there are any: the chapters only have to show them.
        make_writable(where.results_dir)
        shown = {"budget": budget, "data": data, "seeds": seeds}
        shown |= {
            "data_dir": str(where.data_dir or ""),
            "results_dir": str(where.results_dir.resolve()),
        }
        for script in scripts:
            parameters = shown if render.takes_parameters(script) else {}
            with bar.chapter(script.stem):
                output = render.execute(script, EXECUTED / f"{script.stem}.ipynb", parameters)
            progress.say(f"executed {output}")
