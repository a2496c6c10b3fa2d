"""A session on a GPU, as far as a processor can tell. All of it: see `tools/README.md`."""

import csv
import json
import sys
import tarfile

import pytest

from tests.test_second_round import nets, record
from tools import gpu_session, gpu_trainings
from vggrepro.study import gpu_round, second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.decisions import decide_gpu_round
from vggrepro.study.store import Where


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
        assert differing == {"budget", "width", "hidden", *also}
        assert (wide.width, wide.hidden) == (1, 4096)
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


@pytest.mark.parametrize("arguments", [["--budget", "full"], ["--device", "tpu"]])
def test_what_is_not_there_is_refused(arguments):
    with pytest.raises(SystemExit):
        gpu_session.main(arguments)
