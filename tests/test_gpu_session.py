"""A session on a GPU, as far as a processor can tell. All of it: see `tools/README.md`."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from tests.records_by_hand import train_path, train_record
from tests.test_second_round import nets, record
from tools import gpu_bench, gpu_session, gpu_trainings
from vggrepro import UserError
from vggrepro.study import gpu_round, second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import decide_gpu_round
from vggrepro.study.store import Where

NAMED = ("-c", "user.name=a", "-c", "user.email=a@b")


def test_all_nets_of_a_seed_come_before_the_next():
    found = gpu_trainings.tasks("gpu-32")
    nets = ["E", "D", "C", "B", "A-LRN", "B-5x5", "A"]
    assert found[:8] == [*((f"{net}-he-50", 0) for net in nets), ("E-he-50", 1)]
    assert len(found) == 7 * 5
    assert len(gpu_trainings.tasks("gpu-128")) == 3 * 3
    assert len(gpu_trainings.tasks("smoke")) == 7


@pytest.mark.parametrize(("data", "also"), [("cifar10", set()), ("imagenette", {"crop"})])
def test_the_round_is_the_second_one_but_for_the_channels(data, also):
    for wide in gpu_round.PARTS[data].sides(data):
        narrow = at_budget(wide.name, "reduced", data)
        differing = {name for name in vars(wide) if getattr(wide, name) != getattr(narrow, name)}
        assert differing == {"budget", "width", "hidden", "learning_rate", *also}
        assert (wide.width, wide.hidden, wide.learning_rate) == (1, 4096, 0.001)
        assert (wide.crop, wide.epochs) == {"cifar10": (32, 50), "imagenette": (128, 100)}[data]


def test_the_claims_are_those_of_the_second_round_at_one_length():
    assert list(gpu_round.CLAIMS) == list(second_round.CLAIMS)
    for key, claim in gpu_round.CLAIMS.items():
        asked = second_round.CLAIMS[key]
        differing = {name for name in vars(claim) if getattr(claim, name) != getattr(asked, name)}
        assert differing <= {"other_length", "seeds", "cannot"}
        sides = [side.run for pair in (claim.sides, claim.also) if pair for side in pair]
        assert set(sides) <= set(gpu_round.PARTS[claim.data].runs)


@pytest.mark.parametrize("data", gpu_round.PARTS)
def test_the_round_is_decided_when_all_of_it_is_there(tmp_path, data):
    part = gpu_round.PARTS[data]
    for seed in part.seeds:
        assert not gpu_round.complete(tmp_path, data)
        assert {found.word for found in decide_gpu_round(tmp_path, data).values()} == {"not run"}
        for run in part.runs:
            record(tmp_path, run, data, seed, nets, budget=part.budget)
    assert gpu_round.complete(tmp_path, data)
    (line,) = gpu_round.status_lines(tmp_path)
    assert line == f"  GPU round on {data}: {len(part.seeds)} of {len(part.seeds)} seeds complete"
    words = {key: found.word for key, found in decide_gpu_round(tmp_path, data).items()}
    holding = {"cifar10": "2-depth", "imagenette": "2-crops"}[data]
    assert words[holding] == "holds and matters"
    assert not store.frame(tmp_path).empty  # it does not wait for the second round


def test_what_is_complete_is_skipped_and_nothing_is_begun_without_time(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(gpu_trainings, "run_tasks", lambda tasks, *given: begun.extend(tasks))
    where = Where(tmp_path)
    everything = gpu_trainings.tasks("smoke")
    record(tmp_path, everything[0][0], "synthetic", 0, nets, budget="smoke")
    e = at_budget(everything[1][0], "smoke")
    stopped = train_record(e, 0, status="interrupted", reason="stopped in epoch 2")
    store.write(stopped, train_path(tmp_path, e, 0))
    assert gpu_trainings.train("smoke", where, seconds=0.0) == everything[1:]
    assert begun == []
    assert gpu_trainings.train("smoke", where, seconds=1e9) == []
    assert begun == everything[1:]


def test_the_prediction_that_is_written_down_is_the_planners(tmp_path):
    gpu_session.predict("h200", tmp_path / "prediction.csv")
    written = gpu_session.PREDICTION.read_bytes()
    assert (tmp_path / "prediction.csv").read_bytes() == written
    lines = written.decode().splitlines()
    rows = {row["part"]: float(row["seconds"]) for row in csv.DictReader(lines)}
    assert set(rows) >= {"install", "tests", "bench"}
    for part in gpu_round.PARTS.values():
        of_a_seed = sum(rows[f"training {run}"] for run in part.runs)
        found = rows[f"trainings {part.budget}"]
        assert found == pytest.approx(len(part.seeds) * of_a_seed, rel=0.02)


def test_a_part_that_takes_too_long_is_ended_and_told(tmp_path):
    endless = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    assert gpu_session.run(endless, tmp_path / "log", 0.5) == 124
    assert gpu_session.run([sys.executable, "-c", "print('here')"], tmp_path / "log", None) == 0
    assert (tmp_path / "log").read_text() == "here\n"


def test_without_wheels_what_is_missing_is_named(tmp_path, monkeypatch, capsys):
    assert gpu_session.install(None, tmp_path / "log") == 0
    monkeypatch.setattr(gpu_session, "NEEDED", ("torch>=2.0", "no-such-package", "numpy>=99.0"))
    assert gpu_session.install(None, tmp_path / "log") == 1
    assert "not installed: no-such-package, numpy>=99.0;" in capsys.readouterr().out


def test_every_part_is_told_and_the_records_come_back(tmp_path, monkeypatch):
    work, out = tmp_path / "work", tmp_path / "out"

    def parts(options):
        record = f"open(r'{work / 'train.json'}', 'w').write('[]')"
        return {
            "tests": [sys.executable, "-c", "raise SystemExit(3)"],
            "trainings": [sys.executable, "-c", record],
        }

    monkeypatch.setattr(gpu_session, "parts", parts)
    work.mkdir()
    (work / "weights.pt").touch()
    options = ["--device", "cpu", "--budget", "smoke", "--minutes", "60"]
    assert gpu_session.main([*options, "--work", str(work), "--out", str(out)]) == 1
    told = json.loads((out / "parts.json").read_text())
    assert {part: said["status"] for part, said in told.items()} == {
        "install": 0,
        "tests": 3,
        "trainings": 0,
    }
    with tarfile.open(out / "records.tar.gz") as tar:
        assert tar.getnames() == ["train.json"]


def test_a_folder_without_git_becomes_the_checkout_that_was_sent(tmp_path, monkeypatch):
    def git(*arguments, at):
        told = subprocess.run(["git", *arguments], cwd=at, check=True, capture_output=True)
        return told.stdout.decode().strip()

    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "file").write_text("1")
    git("init", "-q", at=here)
    git("add", ".", at=here)
    git(*NAMED, "commit", "-qm", "one", at=here)
    git("clone", "-q", "--bare", "--depth", "1", here.as_uri(), tmp_path / "history", at=here)
    with tarfile.open(tmp_path / "history.tar", "w") as tar:
        tar.add(tmp_path / "history", ".")
    shutil.copytree(here, there, ignore=shutil.ignore_patterns(".git"))
    monkeypatch.setattr(gpu_session, "ROOT", there)
    for _ in range(2):  # once more changes nothing
        gpu_session.restore(tmp_path / "history.tar")
        assert git("rev-parse", "HEAD", at=there) == git("rev-parse", "HEAD", at=here)
        assert git("status", "--porcelain", at=there) == ""


def test_the_tests_of_a_gpu_start_without_the_plugins_of_the_others():
    options = gpu_session.argparse.Namespace(device="cpu", work="W", budget="smoke", data_dir=None)
    command = gpu_session.parts(options)["tests"]
    done = subprocess.run(
        [*command, "--collect-only", "-p", "no:nbval"], cwd=gpu_session.ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_no_clone_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_session, "ROOT", tmp_path / "there")
    (tmp_path / "there").mkdir()
    with tarfile.open(tmp_path / "history.tar", "w") as tar:
        tar.add(__file__, "file")
    (tmp_path / "broken.tar").write_bytes((tmp_path / "history.tar").read_bytes()[:700])
    for name in ("history.tar", "broken.tar"):
        with pytest.raises(UserError, match=f"{name} is not the archive of a bare clone"):
            gpu_session.restore(tmp_path / name)
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--budget full", "--budget: invalid choice"),
        ("--device tpu", "--device: invalid choice"),
        ("--minutes -1", "--minutes: -1 minutes cannot be"),
        ("--minutes nan", "--minutes: nan minutes cannot be"),
        ("--minutes 1e9", "--minutes: 1e9 minutes cannot be"),
        ("--minutes x", "--minutes: invalid minutes value: 'x'"),
        ("--data-dir nowhere", "--data-dir: there is no folder"),
        ("--wheels nowhere", "--wheels: there is no folder"),
        (f"--history {__file__}", "--history: there is no tar archive"),
    ],
)
def test_what_is_not_there_is_refused(capsys, arguments, said):
    with pytest.raises(SystemExit) as end:
        gpu_session.main(arguments.split())
    assert end.value.code == 2 and f"argument {said}" in capsys.readouterr().err


def test_a_session_without_a_gpu_says_so_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    places = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="PyTorch sees no CUDA device here"):
        gpu_session.main(places)
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_cannot_write_says_so_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_session, "parts", lambda options: pytest.fail("it has begun"))
    for name in ("--out", "--work"):
        places = {"--work": str(tmp_path / "work"), "--out": str(tmp_path / "out"), name: __file__}
        given = [word for pair in places.items() for word in pair]
        with pytest.raises(UserError, match=r"cannot write to .*: it is not a folder"):
            gpu_session.main(["--device", "cpu", *given])


def test_a_session_needs_nothing_but_python_to_say_what_is_missing(tmp_path):
    bare = [sys.executable, "-I", "-S", gpu_session.__file__]
    done = subprocess.run(bare, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        *(1, "vggrepro: PyTorch is not installed here: install it first, a session does not\n"),
    )


def test_what_is_stopped_is_ended_and_the_records_come_back(tmp_path, monkeypatch):
    started = []

    class Stopped(subprocess.Popen):
        def wait(self, timeout=None):
            if timeout is None:
                return super().wait()
            started.append(self)
            raise KeyboardInterrupt

    endless = [sys.executable, "-c", "import threading; threading.Event().wait()"]
    monkeypatch.setattr(gpu_session, "parts", lambda options: {"tests": endless})
    monkeypatch.setattr(subprocess, "Popen", Stopped)
    out = tmp_path / "out"
    places = ["--work", str(tmp_path / "work"), "--out", str(out)]
    with pytest.raises(KeyboardInterrupt):
        gpu_session.main(["--device", "cpu", "--budget", "smoke", *places])
    assert started[0].returncode == -signal.SIGTERM
    assert list(json.loads((out / "parts.json").read_text())) == ["install"]
    assert tarfile.is_tarfile(out / "records.tar.gz")


@pytest.mark.parametrize("tool", [gpu_bench, gpu_trainings])
def test_the_parts_refuse_what_cannot_be(tmp_path, monkeypatch, capsys, tool):
    def refused(**changed):
        given = {"device": "cpu", "budget": "smoke", "work": tmp_path / "work", "seconds": "1"}
        given |= {"data-dir": tmp_path} | changed
        words = [f"--{name}={value}" for name, value in given.items()]
        skipped = "--seconds" if tool is gpu_bench else "nothing"
        monkeypatch.setattr(sys, "argv", ["tool", *(w for w in words if skipped not in w)])
        with pytest.raises((SystemExit, UserError)) as end:
            tool.main()
        return capsys.readouterr().err + str(end.value)

    assert "it is not a folder" in refused(work=__file__)
    assert "invalid choice" in refused(budget="nope")
    if tool is gpu_bench:
        assert "does not exist" in refused(**{"data-dir": tmp_path / "nowhere"})
    else:
        assert "give how long trainings may take" in refused(seconds="-1")
        assert "give how long trainings may take" in refused(seconds="nan")
    assert list(tmp_path.iterdir()) == []
