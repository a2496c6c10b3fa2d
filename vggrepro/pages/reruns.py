"""From chapters to their rerun: their runs, shared among processes, then each with its records."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vggrepro import UserError
from vggrepro.files import cores, make_writable
from vggrepro.pages import render
from vggrepro.process import helping
from vggrepro.study import programme, progress
from vggrepro.study.compare import compare
from vggrepro.study.experiments import with_needs
from vggrepro.study.progress import CHAPTER, CHAPTER_WORK, Progress
from vggrepro.study.store import MOST_PROCESSES, RECORDED, RERUN, ROOT, Where
from vggrepro.study.workload import expected

EXECUTED = ROOT / "_build" / "rerun"
BUILT = ROOT / "_build" / "html" / "index.html"


def rerun(
    scripts: Sequence[Path], budget: str, data: str, seeds: int, where: Where, processes: int
) -> None:
    """Run what the chapters need with so many seeds, then execute each into `EXECUTED`.

    `processes` as for `count`. Raises `UserError` as `runner.run_tasks` does, and when all chapters
    have been tried one that names those that failed.
    """
    make_writable(EXECUTED)  # before the trainings, which the chapters come after
    names = list(dict.fromkeys(n for s in scripts for n in programme.CHAPTER_RUNS.get(s.stem, ())))
    chapters = {(script.stem, None): CHAPTER_WORK for script in scripts}
    parts = chapters
    if names:
        from vggrepro.study import runner  # heavy, and a chapter without runs opens without it

        wanted = runner.asked(names, range(seeds))
        parts = expected(with_needs(wanted), budget, data) | chapters
    # Two that run all anew would each do everything.
    processes = 1 if where.fresh or not names else count(processes, where.device)
    if processes > 1 and where.threads is None:
        where = replace(where, threads=max(1, cores() // processes))
    with Progress(parts, shared=processes > 1) as bar:
        if names:
            given = wanted, budget, data, where
            with helping(processes - 1, runner.run_tasks, *given):
                runner.run_tasks(*given, bar)
        # The records are there now, if there are any: the chapters only have to show them.
        make_writable(where.results_dir)
        shown = {"budget": budget, "data": data, "seeds": seeds}
        shown |= {
            "data_dir": str(where.data_dir or ""),
            "results_dir": str(where.results_dir.resolve()),
        }
        copies = [EXECUTED / f"{script.stem}.ipynb" for script in scripts]
        parameters = [shown if render.takes_parameters(script) else {} for script in scripts]
        failed = []
        with render.mapping(min(processes, len(scripts))) as each:
            executed = iter(each(render.execute, scripts, copies, parameters))
            for task, work in chapters.items():
                with bar.part(task, CHAPTER, work, 1):
                    output = next(executed)
                bar.finish(task)
                if isinstance(output, UserError):
                    failed.append(str(output))
                else:
                    progress.say(f"executed {output}")
    render.raise_failed(failed)


def count(workers: int, device: str) -> int:
    """How many processes: as many as asked for; for 0 one for each core, at most `MOST_PROCESSES`.

    With a GPU one process has all of it, unless more were asked for.
    """
    if workers:
        return workers
    if device != "cpu":
        import torch  # heavy, and asked only to find a GPU

        if torch.cuda.is_available():
            return 1
    return min(MOST_PROCESSES, cores())


def came_out(recorded: Path, rerun: Path, budget: str) -> str:
    """How a rerun at that budget came out beside the records, run by run, in one sentence.

    Raises `UserError` as `compare` does.
    """
    like = compare(recorded, rerun).like
    rows = [row for row in like if row.key.budget == budget and row.by_seed]
    if not rows:
        return f"Nothing that is like this rerun is recorded at budget {budget}."
    runs = {(row.key.data, row.key.run) for row in rows}
    same = runs - {(row.key.data, row.key.run) for row in rows if not row.same}
    if same == runs:
        return f"{len(same)} of {len(same)} runs have the recorded digests."
    furthest = max(abs(row.difference) for row in rows)
    return (
        f"{len(runs)} runs, at most {furthest:.1f} points from the recorded errors; "
        f"{len(same)} with the recorded digests."
    )


def main(budget: str) -> None:
    """What `make` ends with: how the rerun came out, and where the book is."""
    try:
        print(came_out(RECORDED, RERUN, budget))
    except UserError as error:
        print(f"The rerun cannot be compared: {error}.")
    print(f"The book with your rerun beside the recorded study: {BUILT.as_uri()}")


if __name__ == "__main__":
    main(sys.argv[1])
