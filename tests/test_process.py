"""How a command ends: one line and an exit status, whatever happens; and no process outlives it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tests.running import digests, folder
from vggrepro import UserError, process
from vggrepro.study import provenance, runner
from vggrepro.study.store import Where

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "vggrepro"]


def ended(code, **options):
    """What a Python process leaves that runs `code` within `in_order`."""
    text = "from vggrepro.process import in_order\nwith in_order():\n    " + code
    given = {"stderr": subprocess.PIPE, "text": True, "cwd": ROOT} | options
    return subprocess.run([sys.executable, "-c", text], **given)


# --- one line and a status ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise KeyboardInterrupt", 130, "stopped; the same command goes on"),
        ("raise KeyboardInterrupt('stopped here')", 130, "stopped here"),
        ("from vggrepro import UserError; raise UserError('no')", 1, "no"),
        ("raise BrokenPipeError", 141, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 130, "stopped; the same"),
        ("import warnings; warnings.warn('take care')", 0, "warning: take care"),
        ("raise SystemExit(2)", 2, None),
        ("open('nowhere')", 1, "nowhere: No such file or directory"),
        ("open('x' * 5000)", 1, "x"),
        ("from vggrepro import UserError; raise UserError('\\x1b[2Jé')", 1, "\\x1b[2Jé"),
        ("raise OSError(28, 'No space left on device')", 1, "cannot write what there is to say"),
        ("raise MemoryError", 1, "not enough memory: "),
        ("raise OSError(12, 'Cannot allocate memory')", 1, "not enough memory: "),
        ("raise type('OutOfMemoryError', (RuntimeError,), {})", 1, "not enough memory: "),
        ("raise RuntimeError('DefaultCPUAllocator: can\\'t allocate memory')", 1, "not enough"),
    ],
)
def test_whatever_ends_a_command_is_one_line(code, status, said):
    done = ended(code)
    assert done.returncode == status
    assert len(done.stderr.splitlines()) == (said is not None)
    assert done.stderr.startswith(f"vggrepro: {said or ''}" if said else "")


@pytest.mark.parametrize("code", ["1 / 0", "raise RuntimeError", "[][1]"])
def test_what_nobody_foresaw_is_one_line_and_a_file(code, tmp_path):
    done = ended(code, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == process.UNEXPECTED
    (line,) = done.stderr.splitlines()
    (file,) = tmp_path.iterdir()
    assert line.startswith("vggrepro: unexpected ") and str(file) in line
    assert file.read_text().startswith("Traceback (most recent call last)")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_is_one_without_a_reader(stream):
    """As `>&-` closes it: Python then has none."""
    code = f"import sys; sys.{stream} = None\nwith in_order():\n    open('nowhere')"
    text = "from vggrepro.process import in_order\n" + code
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr == "" if stream == "stderr" else "vggrepro: nowhere" in done.stderr


def test_without_room_for_a_traceback_there_is_still_a_line(tmp_path):
    """With every folder for such files taken away."""
    code = "import tempfile; tempfile.tempdir = '/nowhere'; 1 / 0"
    done = ended(code)
    assert done.returncode == process.UNEXPECTED
    assert "its traceback cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
@pytest.mark.parametrize("command", ["--help", "list", "plan", "status", "run --help"])
def test_a_full_disk_behind_the_output(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *command.split()], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert done.returncode == 1
    assert done.stderr == ("vggrepro: cannot write what there is to say: No space left on device\n")


@pytest.mark.parametrize("command", ["--help", "list", "plan", "run --help", "run --seed x"])
def test_a_pipe_that_nobody_reads(command):
    """The reader has left before anything is written, as `head` does after its lines."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run([*COMMAND, *command.split()], stdout=pipe, stderr=pipe, cwd=ROOT)
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_with_nobody_left_to_tell_there_is_a_status():
    with open("/dev/full", "w") as full:
        assert ended("raise KeyboardInterrupt", stdout=full, stderr=full).returncode == 130


def test_no_home_is_one_line(tmp_path):
    code = """from vggrepro.data import cache; import platformdirs
    cache.user_cache_path = lambda *a, **k: platformdirs.PlatformDirs and __import__(
        'pathlib').Path('~/.cache/vggrepro')
    cache.default_cache_dir()"""
    done = ended(code)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no home folder for the image cache: name one with --cache-dir" in done.stderr


def test_python_callers_see_exceptions_and_warnings():
    with pytest.raises(UserError), warnings.catch_warnings():
        from vggrepro.data import load

        load("mnist")


# --- options that cannot be or say nothing --------------------------------------------------


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run A-S256 --seed 18446744073709551616", "--seed"),
        ("run A-S256 --threads 100000", "--threads"),
        ("run A-S256 --seeds 1000000000", "--seeds"),
        ("run A-S256 --micro-batch 1000000000", "--micro-batch"),
        ("rerun 02 --workers 100000", "--workers"),
        ("first-steps --crop 100000", "--crop"),
        ("first-steps --batch 1000000000", "--batch"),
        ("first-steps --steps 100000000000", "--steps"),
        ("first-steps --width nan", "--width"),
        ("plan --device h200 --devices 1000000", "--devices"),
        ("plan --device h200 --share 7", "share"),
        ("plan --device h200 --share nan", "share"),
        ("run A-S256 --results-dir=", "--results-dir="),
        ("list --results-dir=", "--results-dir="),
        ("run A-S256 --data-dir .", "does nothing for synthetic"),
        ("run A-S256 --download", "does nothing for synthetic"),
        ("first-steps A-he --data-dir .", "does nothing for synthetic"),
        ("list --budget smoke --missing --data-dir .", "--data-dir does nothing"),
        ("list --missing --results-dir {file}", "no folder"),
        ("list --results-dir {file}", "no folder"),
        ("run A-S256 --budget reduced --data-dir ~nosuchuser/x", "~nosuchuser/x cannot be"),
        ("evaluate --weights ~nosuchuser/x --data-dir .", "~nosuchuser/x cannot be"),
    ],
)
def test_what_cannot_be_or_says_nothing_is_refused(vggrepro, tmp_path, monkeypatch, command, said):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    arguments = command.format(file="file").split()
    if "--results-dir" not in command:
        arguments += ["--results-dir", "here"] if arguments[0] != "plan" else []
    status, _, err = vggrepro(*arguments)
    assert status in (1, 2) and said in err
    assert sorted(os.listdir()) == ["file"]


def test_an_empty_argument_is_refused(vggrepro):
    assert vggrepro("run", "A-S256", "--results-dir", "")[::2] == (
        *(1, "vggrepro: there is an argument without a value: ''\n"),
    )


# --- processes --------------------------------------------------------------------------------


def test_sigterm_is_recorded_as_ctrl_c(study, smoke, tmp_path):
    script = Path(__file__).with_name("stopping.py")
    command = [
        *(sys.executable, script, "6", "SIGTERM"),
        *("run", "A-S256", "--budget", "smoke", "--results-dir", tmp_path),
        *("--cache-dir", smoke.cache_dir, "--threads", "1", "--device", "cpu"),
        *("--precision", "float32"),
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1].startswith("vggrepro: stopped in epoch 2; the same command")


# --- litter, locks and git --------------------------------------------------------------------


def test_who_holds_the_lock_removes_what_killed_processes_left(copied, smoke, tmp_path):
    own = folder(copied, "A-S256")
    left = [own / ".writing-0123", own / "posteriors" / ".writing-4567"]
    for path in left:
        path.write_bytes(b"half")
    before = digests(copied, "A-S256")
    runner.run(["A-S256"], "smoke", None, [0], Where(copied, **given(smoke)))
    assert not any(path.exists() for path in left)
    assert digests(copied, "A-S256") == before


def given(smoke):
    return {"cache_dir": smoke.cache_dir, "device": "cpu", "precision": "float32", "threads": 1}


@pytest.mark.parametrize("missing", [None, "eval-dense-256.json", "train.json"])
def test_a_read_only_folder_is_read_where_nothing_is_missing(
    copied, smoke, monkeypatch, capsys, missing
):
    def read_only(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    if missing:
        (folder(copied, "A-S256") / missing).unlink()
    monkeypatch.setattr(runner, "file_lock", read_only)
    here = Where(copied, **given(smoke))
    if missing:
        with pytest.raises(UserError, match=r"cannot write to .*Read-only file system"):
            runner.run(["A-S256"], "smoke", None, [0], here)
        return
    runner.run(["A-S256"], "smoke", None, [0], here)
    assert "A-S256 seed 0: already recorded" in capsys.readouterr().err


def test_git_is_asked_without_its_lock(monkeypatch):
    asked = []

    def run(command, env, **options):
        asked.append(env["GIT_OPTIONAL_LOCKS"])
        raise OSError

    monkeypatch.setattr(subprocess, "run", run)
    provenance.code()
    assert set(asked) == {"0"}


def test_a_clone_that_git_does_not_read_is_not_clean(tmp_path, monkeypatch):
    package = tmp_path / "clone" / "vggrepro"
    package.mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.code() == ("unknown", False)  # installed without a clone
    (package.parent / ".git").mkdir()  # what git refuses, as it does one of another user
    assert provenance.code() == ("unknown", True)


@pytest.mark.parametrize("held_back", [True, False])
def test_bf16_without_the_instructions_is_said(held_back, recwarn):
    code = (
        "from vggrepro.device import choose\n    print(choose('cpu').precision)\n"
        "    choose('cpu', 'bf16')"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2" if held_back else "DEFAULT"}
    done = ended(code, env=environment, stdout=subprocess.PIPE)
    if held_back:
        assert done.stdout == "float32\n"
    assert ("bf16 without the instructions" in done.stderr) == (done.stdout == "float32\n")
