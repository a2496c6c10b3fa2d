"""Rendering: the same bytes twice, and nothing written when a chapter fails."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext

import nbformat
import papermill
import pytest
from jupyter_client.connect import LocalPortCache

from tests import children
from tests.running import PowerCutError, power_cut
from vggrepro import UserError
from vggrepro.pages import render, reruns
from vggrepro.study import programme

CHAPTER = """# %% [markdown]
# # A chapter

# %% tags=["parameters"]
budget: str = "reduced"

# %%
import sys
import warnings

if budget not in ("quick", "reduced"):
    raise ValueError(f"no budget {budget!r}\\nthe budgets are quick, reduced")
for word in "one two".split():
    print(word, flush=True)
    print(word, file=sys.stderr, flush=True)

# %%
import matplotlib.pyplot as plt

plt.plot([1, 2, 3])
plt.show()
"""


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    monkeypatch.setattr(render, "BOOK", tmp_path)
    monkeypatch.setattr(render, "ROOT", tmp_path)
    monkeypatch.setattr(render, "RENDERED", tmp_path / "_build")
    monkeypatch.setattr(render, "cores", lambda: 1)  # other processes would know nothing of this
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
    script = tmp_path / "07_some_name.py"
    script.write_text(CHAPTER)
    return script


def status(*arguments):
    """The exit status of rendering."""
    try:
        render.main(arguments)
    except SystemExit as end:
        return end.code
    return 0


def test_rendering_twice_writes_the_same_bytes(chapter, capsys):
    assert status() == 0
    notebook = chapter.with_suffix(".ipynb")
    first = notebook.read_bytes()
    assert b"image/png" in first
    assert status("--check") == 0

    notebook.write_bytes(first.replace(b'"two', b'"2wo'))
    capsys.readouterr()
    assert status("--check") == 1
    assert "07_some_name.ipynb differs" in (said := capsys.readouterr().err)
    assert "07_some_name.ipynb differs from" in said
    assert b'"2wo' in notebook.read_bytes()


def test_parameters_and_streams(chapter, tmp_path):
    output = render.execute(chapter, tmp_path / "out" / "x.ipynb", {"budget": "quick"})
    cells = nbformat.read(output, as_version=4).cells
    assert "injected-parameters" in cells[2].metadata.tags
    assert [(out.name, out.text) for out in cells[3].outputs] == [
        ("stdout", "one\ntwo\n"),
        ("stderr", "one\ntwo\n"),
    ]
    assert [path.name for path in output.parent.iterdir()] == ["x.ipynb"]


def test_a_failing_chapter_leaves_only_its_traceback(chapter, tmp_path):
    output = tmp_path / "out" / "x.ipynb"
    output.parent.mkdir()
    output.write_text("what was there")
    with pytest.raises(UserError) as caught:
        render.execute(chapter, output, {"budget": "quik"})
    failed = output.with_name("x.failed.ipynb")
    assert str(caught.value).splitlines()[-1] == "the budgets are quick, reduced"
    assert str(failed) in str(caught.value)
    assert "ValueError" in failed.read_text()
    assert output.read_text() == "what was there"


def test_a_chapter_without_runs_shows_a_folder_without_records(vggrepro, chapter, tmp_path):
    chapter.write_text(
        '# %% tags=["parameters"]\nbudget = data = data_dir = results_dir = ""\nseeds = 0\n'
        "# %%\nfrom vggrepro.pages import report\n\n"
        "print(bool(report.rerun_column(budget, data, seeds, False, data_dir, results_dir)))\n"
    )
    records = tmp_path / "records"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(reruns, "EXECUTED", tmp_path / "out")
        status, _, err = vggrepro("rerun", "07", "--results-dir", records)
    assert status == 0, err
    assert list(records.iterdir()) == []
    (output,) = nbformat.read(tmp_path / "out" / "07_some_name.ipynb", 4).cells[-1].outputs
    assert output.text == "True\n"


def test_processes_share_the_chapters(vggrepro, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "BOOK", tmp_path)
    monkeypatch.setattr(reruns, "EXECUTED", tmp_path / "out")
    monkeypatch.setattr(programme, "CHAPTER_RUNS", {"07_one": ("A-S256",)})
    monkeypatch.setattr(reruns, "helping", lambda *given: nullcontext())
    for name in ("07_one", "08_two"):
        (tmp_path / f"{name}.py").write_text(f"# %%\nprint('{name}')\n")
    from vggrepro.study import runner

    monkeypatch.setattr(runner, "run_tasks", lambda *given: None)
    status, out, err = vggrepro("rerun", "all", "--workers", "2", "--results-dir", tmp_path / "rec")
    copies = [tmp_path / "out" / f"{name}.ipynb" for name in ("07_one", "08_two")]
    assert (status, out.splitlines()) == (0, [f"executed {copy}" for copy in copies]), err
    printed = [nbformat.read(copy, 4).cells[0].outputs[0].text for copy in copies]
    assert printed == ["07_one\n", "08_two\n"]


def test_a_folder_that_cannot_be_written_is_known_before_the_trainings(
    vggrepro, chapter, tmp_path, monkeypatch
):
    from vggrepro.study import runner

    monkeypatch.setattr(runner, "run_tasks", lambda *given: pytest.fail("it was trained"))
    monkeypatch.setattr(programme, "CHAPTER_RUNS", {chapter.stem: ("A-S256",)})
    (tmp_path / "file").touch()
    monkeypatch.setattr(reruns, "EXECUTED", tmp_path / "file" / "rerun")
    status, out, err = vggrepro("rerun", "07", "--results-dir", tmp_path / "records")
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert f"vggrepro: cannot write to {tmp_path}/file/rerun: Not a directory" in err
    with pytest.raises(UserError, match="cannot write to"):
        render.execute(chapter, tmp_path / "file" / "x.ipynb")


def test_a_cell_that_takes_too_long(chapter, tmp_path):
    chapter.write_text("# %%\nimport time\n\ntime.sleep(60)\n")
    with pytest.raises(UserError, match="timed out"):
        render.execute(chapter, tmp_path / "x.ipynb", cell_timeout=1)
    assert not (tmp_path / "x.ipynb").exists()


def test_a_kernel_whose_port_is_taken_starts_again(chapter, tmp_path, monkeypatch):
    ports = []

    def chosen(self, ip):
        ports.append(free(self, ip) if ports else taken.getsockname()[1])
        return ports[-1]

    free = LocalPortCache.find_available_port
    monkeypatch.setattr(LocalPortCache, "find_available_port", chosen)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        output = render.execute(chapter, tmp_path / "x.ipynb")
    assert output.exists()
    assert len(ports) == 10  # a kernel has five


def test_a_kernel_that_never_starts(chapter, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(LocalPortCache, "find_available_port", lambda self, ip: port)
        monkeypatch.setattr(render, "STARTS", 2)
        with pytest.raises(UserError, match="Kernel died before replying"):
            render.execute(chapter, tmp_path / "x.ipynb")
    assert not (tmp_path / "x.ipynb").exists()


# --- chapters that fail, and chapters that are stopped ------------------------------------------


def several(chapter, monkeypatch, name):
    """Four chapters, of which the first and the third fail in the function of that name."""

    def work(script, *_, **__):
        if script.stem in ("01_bad", "03_worse"):
            raise UserError(f"Chapter {script.stem} failed")
        if script.stem == "02_old":
            return "02_old.ipynb differs"

    chapter.unlink()
    for stem in ("01_bad", "02_old", "03_worse", "04_good"):
        chapter.with_name(f"{stem}.py").touch()
    monkeypatch.setattr(render, name, work)


def test_all_chapters_are_checked_before_one_message(chapter, monkeypatch, capsys):
    several(chapter, monkeypatch, "check")
    assert status("--check") == 1
    out, err = capsys.readouterr()
    assert out == "unchanged 04_good.ipynb\n"
    assert err.splitlines() == [
        "vggrepro: Chapter 01_bad failed",
        "Chapter 03_worse failed",
        "02_old.ipynb differs",
        "Render again with `make render`.",
    ]


def test_all_chapters_are_rerun_before_one_message(vggrepro, chapter, tmp_path, monkeypatch):
    several(chapter, monkeypatch, "execute")
    monkeypatch.setattr(reruns, "EXECUTED", tmp_path / "out")
    code, out, err = vggrepro("rerun", "all", "--results-dir", tmp_path / "records")
    assert (code, len(out.splitlines())) == (1, 2)
    assert err.endswith("vggrepro: Chapter 01_bad failed\nChapter 03_worse failed\n")


def test_a_pool_gives_what_a_chapter_is_refused_for():
    with render.mapping(2) as each:
        assert [str(e) for e in each(children.refuse, "ab")] == ["a is refused", "b is refused"]


def test_what_stops_a_pool_ends_what_is_in_work_and_begins_nothing(tmp_path):
    before = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt), render.mapping(2) as each:
        each(children.stay, [tmp_path] * 8, range(8))
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert multiprocessing.active_children() == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"0.begun", "0.ended", "1.begun", "1.ended"}


def test_a_process_that_is_killed_is_one_message_and_ends_the_others():
    before = multiprocessing.active_children()
    killed = pytest.raises(UserError, match="was killed, perhaps for lack of memory")
    with killed, render.mapping(2) as each:
        list(each(children.be_killed, "ab"))
    assert multiprocessing.active_children() == before


def test_ctrl_c_is_one_line_and_leaves_no_copy(chapter, tmp_path, monkeypatch, capsys):
    def stopped(source, running, **_):
        nbformat.write(nbformat.v4.new_notebook(), running)
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", stopped)
    assert status() == 130
    assert capsys.readouterr() == ("", "vggrepro: stopped; the same command begins anew\n")
    assert list((tmp_path / "_build").iterdir()) == []


def test_copies_of_killed_processes_are_removed_by_the_next(chapter, tmp_path, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    theirs = [tmp_path / f"x.{dead.pid}.{kind}.ipynb" for kind in ("source", "running")]
    alive = tmp_path / f"x.{os.getppid()}.running.ipynb"
    whole = [tmp_path / "x.ipynb", tmp_path / f"{dead.pid}.ipynb"]
    for path in (*theirs, alive, *whole):
        path.write_text("{}")
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: power_cut())
    with pytest.raises(PowerCutError):
        render.execute(chapter, tmp_path / "07.ipynb")
    assert set(tmp_path.glob("*.ipynb")) == {alive, *whole}


@pytest.mark.parametrize("name", ["07", "some_name", "07_some_name", "book/07_some_name.ipynb"])
def test_names_of_a_chapter(chapter, name):
    assert render.find_chapter(name) == chapter


def test_the_page_that_compares_comes_last(chapter):
    for name in ("comparison", "index", "method"):
        chapter.with_name(f"{name}.py").write_text(CHAPTER)
    order = [path.stem for path in render.chapters()]
    assert order == ["07_some_name", "index", "method", "comparison"]


def test_unknown_chapter_and_no_book(chapter, capsys):
    assert status("08") == 1
    assert "there are: 07_some_name" in capsys.readouterr().err
    chapter.unlink()
    with pytest.raises(UserError, match="clone the repository"):
        render.chapters()


BAR = """# %%
import time

from vggrepro.study.progress import Progress, say

with Progress({("A-S256", 0): 1.0}) as bar:
    with bar.part(("A-S256", 0), "training", 1.0, 5, "img") as update:
        for _ in range(5):
            time.sleep(0)
            update()
            bar._bar.refresh()
    bar.finish(("A-S256", 0))
say("done")
"""


def test_a_bar_leaves_one_line_in_a_notebook(chapter, tmp_path):
    chapter.write_text(BAR)
    (cell,) = nbformat.read(render.execute(chapter, tmp_path / "x.ipynb"), 4).cells
    shown, said = cell.outputs
    assert len(shown.data["text/plain"].splitlines()) == 1
    assert shown.data["text/plain"].startswith("1 of 1: 100%")
    assert said.text == "done\n"
