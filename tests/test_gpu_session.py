"""A session on a GPU, as far as a processor can tell. All of it: see `tools/README.md`."""

import csv
import json
import sys
import tarfile

import pytest

from tools import gpu_session, gpu_trainings
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.where import Where


def test_all_nets_of_a_seed_come_before_the_next():
    found = gpu_trainings.tasks("gpu-32")
    nets = ["E", "D", "C", "B", "A-LRN", "B-5x5", "A"]
    assert found[:8] == [*((f"{net}-he-50", 0) for net in nets), ("E-he-50", 1)]
    assert len(found) == 7 * len(gpu_trainings.SEEDS)
    for run, _ in found[:7]:
        declared = at_budget(run, "gpu-32", "cifar10")
        assert (declared.width, declared.hidden, declared.crop, declared.epochs) == (
            1,
            4096,
            32,
            50,
        )


def test_the_round_is_the_second_one_but_for_the_channels():
    for run in gpu_trainings.RUNS:
        narrow, wide = (at_budget(run, budget, "cifar10") for budget in ("reduced", "gpu-32"))
        differing = {name for name in vars(wide) if getattr(wide, name) != getattr(narrow, name)}
        assert differing == {"budget", "width", "hidden"}


def test_what_is_recorded_is_skipped_and_nothing_is_begun_without_time(
    smoke, tmp_path, monkeypatch
):
    begun = []
    monkeypatch.setattr(gpu_trainings, "run_tasks", lambda tasks, *given: begun.extend(tasks))
    where = Where(tmp_path)
    everything = gpu_trainings.tasks("smoke")
    first = store.train_path(tmp_path, at_budget(everything[0][0], "smoke"), 0)
    first.parent.mkdir(parents=True)
    first.write_text("{}")
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
    assert set(rows) >= {"install", "tests", "bench", "trainings"}
    assert sum(rows[f"training {run}"] for run in gpu_trainings.RUNS) < rows["trainings"]


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


@pytest.mark.parametrize("arguments", [["--budget", "full"], ["--device", "tpu"]])
def test_what_is_not_there_is_refused(arguments):
    with pytest.raises(SystemExit):
        gpu_session.main(arguments)
