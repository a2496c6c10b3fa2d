"""Chapters: from ``book/NAME.py`` to the executed notebook ``book/NAME.ipynb``.

The script (py:percent) is the source and the notebook is made from it, never the other way, so
rendering a chapter twice writes the same bytes. ``python -m vggrepro.pages.render`` renders;
``--check`` renders into ``_build/`` and compares with what is committed.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vggrepro import UserError
from vggrepro.files import cores, make_writable, write_atomically
from vggrepro.process import begin_in_pool, in_order, is_alive, unheard
from vggrepro.study.store import MOST_PROCESSES

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
RENDERED = ROOT / "_build" / "render"

#: The README's picture, and the chapter and the figure that it is.
PICTURE, PICTURE_OF = BOOK / "assets" / "result.svg", ("index", "fig-front")

#: The page that shows what reruns of all other chapters have left.
LAST = "comparison"

#: A chapter reads records and draws; a cell that takes longer than this (seconds) is stuck.
CELL_TIMEOUT = 600
#: On the busiest machine a kernel needs minutes to start.
START_TIMEOUT = 900
STARTS = 5

# What else a notebook's metadata may hold depends on who wrote it and when.
_KEPT_METADATA = ("kernelspec", "language_info")
_RUN_METADATA = ("papermill", "execution", "lines_to_next_cell")
_COPY = re.compile(r"\.(\d+)\.(source|running)\.ipynb$")  # of the process of that number
_KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def chapters() -> list[Path]:
    """Return the scripts of all chapters, the front page among them, in the order of names.

    The page that shows what reruns of the others have left comes last.
    """
    scripts = (path for path in BOOK.glob("*.py") if path.name[0] != ".")  # editors leave such
    found = sorted(scripts, key=lambda path: (path.stem == LAST, path.stem))
    if not found:
        raise UserError(
            f"No chapters in {BOOK}. The book is not part of the installed package: "
            "clone the repository and install it with `pip install -e .`."
        )
    return found


def find_chapter(name: str) -> Path:
    """Return the script of the chapter called ``name``: ``02``, ``lrn``, ``02_lrn`` or its path.

    Raises UserError, which lists the chapters, unless exactly one fits.
    """
    stem = Path(name).stem
    found = [path for path in chapters() if stem in (path.stem, *path.stem.split("_", 1))]
    if len(found) != 1:
        known = ", ".join(path.stem for path in chapters())
        raise UserError(f"No single chapter is called {name!r}; there are: {known}.")
    return found[0]


def takes_parameters(script: Path) -> bool:
    """Whether the chapter has a cell of a rerun's parameters; the front page has none."""
    return re.search(r"^budget\b", script.read_text(encoding="utf-8"), re.MULTILINE) is not None


def normalise(notebook: "NotebookNode") -> "NotebookNode":
    """Strip in place what differs between two runs of the same cells, and return the notebook.

    Cell ids become positions; timestamps, tool metadata and the interpreter's version go.
    """
    import nbformat

    metadata = {key: notebook.metadata[key] for key in _KEPT_METADATA if key in notebook.metadata}
    metadata["kernelspec"] = dict(_KERNEL)
    metadata.get("language_info", {}).pop("version", None)
    notebook.metadata = nbformat.from_dict(metadata)
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{position:02d}"
        for key in _RUN_METADATA:
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", ()):  # a figure that says itself what it shows
            if alt := output.get("metadata", {}).pop("image/svg+xml", {}).get("alt"):
                cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["alt"] = alt
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        elif "injected-parameters" in cell.metadata.tags:
            cell.metadata.tags = ["injected-parameters", "hide-input"]
    notebook.nbformat_minor = 5  # the first with cell ids; papermill and jupytext write others
    return notebook


def execute(
    script: Path,
    output: Path,
    parameters: Mapping[str, Any] | None = None,
    *,
    cell_timeout: int | None = None,
) -> Path:
    """Execute a chapter into ``output`` and return that path.

    ``parameters`` replace those of the chapter's parameters cell. ``cell_timeout`` is in seconds;
    None waits for ever. ``output`` is written only when every cell has run. Otherwise UserError
    carries the last line of the error, and the copy with the traceback is beside it as
    ``NAME.failed.ipynb``. UserError also if its folder cannot be written.
    """
    try:
        import jupytext
        import nbformat
        import papermill
        from nbclient.exceptions import CellTimeoutError
        from papermill.exceptions import PapermillExecutionError
        from tenacity import Retrying, retry_if_exception_message, stop_after_attempt
    except ImportError as error:
        raise UserError(
            f"Running chapters needs {error.name}: pip install -c constraints.txt -e '.[book]'"
        ) from error

    make_writable(output.parent)
    _sweep(output.parent)
    # By process, so that two commands at one chapter do not write into each other's copies.
    source = output.with_name(f"{output.stem}.{os.getpid()}.source.ipynb")
    running = output.with_name(f"{output.stem}.{os.getpid()}.running.ipynb")
    nbformat.write(normalise(jupytext.read(script)), source)
    # Jupyter chooses a kernel's ports before the kernel opens them: another may have been faster.
    not_started = retry_if_exception_message(match="Kernel died before replying")
    until_started = Retrying(retry=not_started, stop=stop_after_attempt(STARTS), reraise=True)
    try:
        # As a file, not a node: papermill would store a whole node in the notebook's metadata.
        until_started(
            papermill.execute_notebook,
            str(source),
            str(running),
            parameters=dict(parameters or {}),
            kernel_name=_KERNEL["name"],
            cwd=str(script.parent),
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            execution_timeout=cell_timeout,
            extra_arguments=["--IPKernelApp.log_level=50"],  # it warns of TCP on each start
            coalesce_streams=True,  # where the kernel cuts its output depends on the clock
        )
    except PapermillExecutionError as error:
        reason = error.evalue.strip().split("\n")[-1] or error.ename
        raise _failure(script, running, output, reason) from error
    except (CellTimeoutError, RuntimeError) as error:  # the kernel is stuck, or has died
        raise _failure(script, running, output, str(error).strip().split("\n")[0]) from error
    else:
        executed = normalise(nbformat.read(running, as_version=4))
        nbformat.write(executed, running)
        return running.replace(output)
    finally:
        source.unlink(missing_ok=True)
        running.unlink(missing_ok=True)  # it is there still if this is stopped


def _sweep(folder: Path) -> None:
    """Remove the copies of processes that were killed in the middle of a chapter."""
    for path in folder.glob("*.ipynb"):
        copy = _COPY.search(path.name)
        if copy and not is_alive(int(copy[1])):
            path.unlink(missing_ok=True)


def _failure(script: Path, running: Path, output: Path, reason: str) -> UserError:
    copy = output.with_name(f"{output.stem}.failed.ipynb")
    running.replace(copy)
    return UserError(
        f"Chapter {script.stem} failed; the copy with the traceback is {copy}.\n{reason}"
    )


def render(script: Path) -> Path:
    """Execute a chapter with its default parameters and put it beside its script."""
    executed = execute(script, RENDERED / f"{script.stem}.ipynb", cell_timeout=CELL_TIMEOUT)
    if script.stem == PICTURE_OF[0]:
        write_atomically(PICTURE, picture(executed, PICTURE_OF[1]))
    return executed.replace(script.with_suffix(".ipynb"))


def picture(notebook: Path, figure: str) -> bytes:
    """Return the SVG of the figure of that name in an executed notebook, on white."""
    import nbformat

    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == figure:
            drawn = cell.outputs[0].data["image/svg+xml"]
            return drawn.replace("<svg ", '<svg style="background: white" ', 1).encode()
    raise UserError(f"{notebook} has no figure called {figure}")


def check(script: Path) -> str | None:
    """Execute a chapter again; return how it differs from the committed notebook, None if not."""
    committed = script.with_suffix(".ipynb")
    if not committed.exists():
        return f"{committed.name} is missing"
    executed = execute(script, RENDERED / committed.name, cell_timeout=CELL_TIMEOUT)
    shown = PICTURE.read_bytes() if PICTURE.exists() else None
    if script.stem == PICTURE_OF[0] and shown != picture(executed, PICTURE_OF[1]):
        return f"{PICTURE.name} is not the figure of {committed.name}"
    if executed.read_bytes() == committed.read_bytes():
        return None
    return f"{committed.name} differs from {executed}"


@contextmanager
def mapping(processes: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, by so many processes; a `UserError` is what is given for the chapter that fails.

    Whatever leaves the context, such as Ctrl-C, ends what is in work and begins nothing more. Not
    by threads: papermill changes the working directory of its whole process. Raises `UserError` if
    a process is killed.
    """
    if processes < 2:
        yield lambda work, *of: map(partial(_outcome, work), *of)
        return
    others = active_children()
    pool = ProcessPoolExecutor(processes, get_context("spawn"), initializer=begin_in_pool)

    def each(work: Callable[..., Any], *of: Sequence[Any]) -> Iterator[Any]:
        with unheard():
            return pool.map(partial(_in_pool, work), *of)

    try:
        yield each
    except BaseException as end:
        for process in active_children():
            if process not in others:
                process.terminate()
        if isinstance(end, BrokenProcessPool):
            raise UserError(
                "A process that executed chapters was killed, perhaps for lack of memory. Name one "
                "chapter at a time: those that were finished are kept."
            ) from end
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(work: Callable[..., Any], *given: Any) -> Any:
    """What the work gives, or the `UserError` that it ends in: the other chapters go on."""
    try:
        return work(*given)
    except UserError as error:
        return error


def _in_pool(work: Callable[..., Any], *given: Any) -> Any:
    try:
        return _outcome(work, *given)
    except SystemExit as told:  # a pool would keep it, and begin the next chapter
        os._exit(told.code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Render or check the chapters named, or all. Ends as `in_order` says."""
    parser = argparse.ArgumentParser(prog="python -m vggrepro.pages.render", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names, such as 02_lrn or 02; default: all")
    parser.add_argument("--check", action="store_true", help="compare and change nothing")
    with in_order():
        options = parser.parse_args(arguments)
        scripts = [find_chapter(name) for name in options.chapters] or chapters()
        try:
            render_all(scripts, options.check)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command begins anew") from None


def render_all(scripts: Sequence[Path], only_check: bool) -> None:
    """Render or check these chapters, and print each that is as it should be.

    Raises `UserError` when all have been tried: it names all that failed or are stale.
    """
    failed, stale = [], []
    with mapping(min(len(scripts), MOST_PROCESSES, cores())) as each:
        outcomes = each(check if only_check else render, scripts)
        for script, outcome in zip(scripts, outcomes, strict=True):
            if isinstance(outcome, UserError):
                failed.append(str(outcome))
            elif not only_check:
                print(f"rendered {outcome.relative_to(ROOT)}", flush=True)
            elif outcome:
                stale.append(outcome)
            else:
                print(f"unchanged {script.stem}.ipynb", flush=True)
    stale += ["Render again with `make render`."] if stale else []
    raise_failed([*failed, *stale])


def raise_failed(said: Sequence[str]) -> None:
    """Raise one `UserError` that says all this, each once, if there is anything."""
    if said:
        raise UserError("\n".join(dict.fromkeys(said)))


if __name__ == "__main__":
    main()
