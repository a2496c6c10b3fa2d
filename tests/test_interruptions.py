"""Accidents while training: whatever happens, the same command ends in the same records."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.running import PowerCutError, after_step, digests, folder, power_cut
from vggrepro import UserError
from vggrepro.study import runner, store
from vggrepro.study.status import missing_commands, status_lines


@contextmanager
def stopping(smoke, results_dir, step, name):
    """A process that trains A-S256 and gets a signal after `step` steps."""
    script = Path(__file__).with_name("stopping.py")
    command = [
        *(sys.executable, script, str(step), name),
        *("run", "A-S256", "--budget", "smoke", "--results-dir", results_dir),
        *("--cache-dir", smoke.cache_dir, "--threads", "1", "--device", "cpu"),
        *("--precision", "float32"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=root, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_stopped(process):
    """Until SIGSTOP has had its effect; a process that does not get there ends, and fails."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), process.stderr.read()


@pytest.mark.parametrize("step", [1, 4, 5, 8])
def test_a_power_cut_at_any_step_changes_nothing(study, smoke, tmp_path, step):
    """Four steps make an epoch: in the first one and at its end, in the last and at its end."""
    where = replace(smoke, results_dir=tmp_path)
    with after_step(step, power_cut), pytest.raises(PowerCutError):
        runner.run(["A-S256"], "smoke", None, [0], where)
    assert digests(tmp_path, "A-S256") == {}
    assert (folder(tmp_path, "A-S256") / "checkpoint.pt").exists() == (step > 4)
    runner.run(["A-S256"], "smoke", None, [0], where)
    assert digests(tmp_path, "A-S256") == digests(study, "A-S256")
    assert not (folder(tmp_path, "A-S256") / "checkpoint.pt").exists()


@pytest.mark.parametrize("write", range(1, 9))
def test_a_power_cut_at_any_write_changes_nothing(study, smoke, tmp_path, monkeypatch, write):
    """Two checkpoints, the training's record, the weights; posteriors and records of two
    evaluations: each not finished.
    """
    where = replace(smoke, results_dir=tmp_path)
    rename, left = Path.replace, [write]

    def cut(self, target):
        left[0] -= 1
        return rename(self, target) if left[0] else power_cut()

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(Path, "replace", cut)
        runner.run(["A-S256"], "smoke", None, [0], where)
    assert len(digests(tmp_path, "A-S256")) == [0, 0, 0, 1, 1, 1, 1, 2][write - 1]
    runner.run(["A-S256"], "smoke", None, [0], where)
    assert digests(tmp_path, "A-S256") == digests(study, "A-S256")
    assert store.verify(store.record_files(tmp_path)) == []


def test_two_processes_and_kill_9(study, smoke, tmp_path):
    """While one process trains another is sent away; after `kill -9` it goes on from there."""
    where = replace(smoke, results_dir=tmp_path)
    with stopping(smoke, tmp_path, 6, "SIGSTOP") as process:
        wait_until_stopped(process)
        with pytest.raises(UserError, match=r"another process is working on .*A-S256/seed0"):
            runner.run(["A-S256"], "smoke", None, [0], where)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert digests(tmp_path, "A-S256") == {}
    assert (folder(tmp_path, "A-S256") / "checkpoint.pt").exists()
    with after_step(5, power_cut):  # the four steps of the second epoch are all that is left
        runner.run(["A-S256"], "smoke", None, [0], where)
    assert digests(tmp_path, "A-S256") == digests(study, "A-S256")


def test_ctrl_c_is_recorded_and_goes_on(study, smoke, tmp_path):
    with stopping(smoke, tmp_path, 6, "SIGINT") as process:
        _, err = process.communicate(timeout=600)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("vggrepro: stopped in epoch 2; the same command")
    assert "Traceback" not in err
    path = folder(tmp_path, "A-S256") / "train.json"
    record = store.read(path)
    assert record.status == "interrupted"
    assert len(record.curve) == 1
    assert store.verify([path]) == []
    with after_step(5, power_cut):
        runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=tmp_path))
    assert digests(tmp_path, "A-S256") == digests(study, "A-S256")


@pytest.mark.parametrize("again_fresh", [True, False])
def test_a_killed_fresh_run_goes_on_and_says_what_it_is(study, smoke, tmp_path, again_fresh):
    """Its old record is not taken for the last word, and no epoch is trained twice."""
    shutil.copytree(study, tmp_path / "copied")
    where = replace(smoke, results_dir=tmp_path / "copied")
    with after_step(6, power_cut), pytest.raises(PowerCutError):
        runner.run(["A-S256"], "smoke", None, [0], replace(where, fresh=True))
    (state,) = [line for line in status_lines(where.results_dir) if " A-S256 " in line]
    assert state.endswith("seed 0 interrupted")
    assert any("run A-S256" in c for c in missing_commands(where.results_dir, "smoke", "synthetic"))
    with after_step(5, power_cut):  # the four steps of the second epoch are all that is left
        runner.run(["A-S256"], "smoke", None, [0], replace(where, fresh=again_fresh))
    assert digests(where.results_dir, "A-S256") == digests(study, "A-S256")
    (state,) = [line for line in status_lines(where.results_dir) if " A-S256 " in line]
    assert state.endswith("seed 0 complete")
