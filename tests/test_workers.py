"""Processes that share a rerun: how many, what they are told, and that none outlives it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vggrepro.study import where
from vggrepro.study.progress import Progress
from vggrepro.study.where import Where


@pytest.mark.parametrize(
    ("asked", "cores", "gpu", "device", "found"),
    [
        (3, 2, False, "auto", 3),
        (0, 2, False, "auto", 2),
        (0, 64, False, "cpu", where.MOST),
        (0, 8, True, "auto", 1),
        (0, 8, True, "cpu", where.MOST),
        (2, 8, True, "auto", 2),
    ],
)
def test_as_many_as_asked_for_or_one_for_each_core(monkeypatch, asked, cores, gpu, device, found):
    monkeypatch.setattr(where, "cores", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert where.count(asked, device) == found


def test_the_help_says_how_many(vggrepro):
    said = " ".join(vggrepro("rerun", "--help")[1].replace("│", " ").split())
    assert "0: one for each core, at most 4, and one if there is a GPU." in said


def test_where_says_itself_as_options():
    where = Where(Path("here"), Path("photos"), threads=1, download=True, micro_batch=8)
    assert where.options() == [
        *("--results-dir", "here", "--data-dir", "photos", "--download", "--device", "auto"),
        *("--precision", "auto", "--threads", "1", "--micro-batch", "8"),
    ]


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt])
def test_no_process_outlives_the_rerun(monkeypatch, problem):
    started, real = [], subprocess.Popen

    def endless_run(command, **options):
        assert command[:4] == [sys.executable, "-c", where.HELPER, "run"]
        assert command[4:] == ["A-S256", "--budget", "smoke"]
        endless = [sys.executable, "-c", "import threading; threading.Event().wait()"]
        started.append(real(endless, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", endless_run)
    try:
        with where.helping(2, ["A-S256", "--budget", "smoke"]):
            assert [process.poll() for process in started] == [None, None]
            if problem:
                raise problem
    except KeyboardInterrupt:
        assert problem
    assert all(process.poll() is not None for process in started)


def test_what_others_have_done_counts_as_speed():
    tasks = {("A", 0): 10.0, ("B", 0): 10.0}
    for shared, found in ((False, 10.0), (True, 0.0)):
        bar = Progress(tasks, shown=False, shared=shared)
        bar.finish(("A", 0))
        assert (bar._total - bar._done, bar._found) == (10.0, found)
