"""Processes that share a rerun: how many, what they are told, and that none outlives it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import Timeout

from tests.children import hold
from vggrepro import process
from vggrepro.files import file_lock
from vggrepro.pages import reruns
from vggrepro.study.progress import Progress
from vggrepro.study.store import MOST_PROCESSES

ROOT = Path(__file__).parents[1]
PATIENCE = 600  # seconds: longer than a process takes to begin on the busiest machine


@pytest.mark.parametrize(
    ("asked", "cores", "gpu", "device", "found"),
    [
        (3, 2, False, "auto", 3),
        (0, 2, False, "auto", 2),
        (0, 64, False, "cpu", MOST_PROCESSES),
        (0, 8, True, "auto", 1),
        (0, 8, True, "cpu", MOST_PROCESSES),
        (2, 8, True, "auto", 2),
    ],
)
def test_as_many_as_asked_for_or_one_for_each_core(monkeypatch, asked, cores, gpu, device, found):
    monkeypatch.setattr(reruns, "cores", lambda: cores)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert reruns.count(asked, device) == found


def test_the_help_says_how_many(vggrepro):
    said = " ".join(vggrepro("rerun", "--help")[1].replace("│", " ").split())
    assert "0: one for each core, at most 4, and one if there is a GPU." in said


def held(folder, count):
    """The locks of so many helpers, when they hold them."""
    begun = time.monotonic()
    while len(found := list(folder.glob("*.held"))) < count:
        assert time.monotonic() < begun + PATIENCE
        time.sleep(0.05)
    return [path.with_suffix(".lock") for path in found]


@pytest.mark.parametrize("problem", [None, KeyboardInterrupt])
def test_no_process_outlives_the_rerun(tmp_path, capfd, problem):
    try:
        with process.helping(2, hold, tmp_path):
            locks = held(tmp_path, 2)
            for lock in locks:
                with pytest.raises(Timeout), file_lock(lock, timeout=0):
                    pass
            if problem:
                raise problem
    except KeyboardInterrupt:
        assert problem
    for lock in locks:
        with file_lock(lock, timeout=0):
            pass
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_helpers_end_with_their_parent(tmp_path):
    code = (
        "import pathlib, sys, threading\n"
        "from tests.children import hold\n"
        "from vggrepro import process\n"
        "with process.helping(1, hold, pathlib.Path(sys.argv[1])):\n"
        "    threading.Event().wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) as parent:
        try:
            (lock,) = held(tmp_path, 1)
        finally:
            parent.kill()
    with file_lock(lock, timeout=PATIENCE):
        pass


def test_ctrl_c_is_not_for_helpers(tmp_path, capfd):
    with process.helping(1, hold, tmp_path):
        (helper,) = multiprocessing.active_children()
        os.kill(helper.pid, signal.SIGINT)  # as it begins
        assert held(tmp_path, 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_helpers_do_not_begin_without_their_parent(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from tests.children import hold\n"
        "from vggrepro import process\n"
        "with process.helping(1, hold, pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    # Ends when the helper's output is closed: when it ends, or just before it would hold the lock.
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=PATIENCE).stdout == b""
    time.sleep(0.5)
    assert not list(tmp_path.iterdir())


def test_what_others_have_done_counts_as_speed():
    tasks = {("A", 0): 10.0, ("B", 0): 10.0}
    for shared, found in ((False, 10.0), (True, 0.0)):
        bar = Progress(tasks, shown=False, shared=shared)
        bar.finish(("A", 0))
        assert (bar._total - bar._done, bar._found) == (10.0, found)
