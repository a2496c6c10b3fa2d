"""A record that was changed, moved or cannot be true: every command that reads it says so."""

import hashlib
import json
import os
import shutil

import pytest

from tests.records_by_hand import (
    EXPERIMENT,
    PROVENANCE,
    eval_path,
    eval_record,
    train_record,
    written,
)
from vggrepro.study import store
from vggrepro.study.experiments import Evaluation
from vggrepro.study.records import NOT_REPEATABLE, BenchRecord, FusionRecord, Measured

DENSE = Evaluation("dense", (256,))


@pytest.fixture
def folder(tmp_path):
    """A training and two of its evaluations, in a folder that all commands read."""
    results = tmp_path / "results"
    written(train_record(), results)
    written(eval_record(), results)
    dense = eval_record(protocol=DENSE.protocol, test_scales=DENSE.test_scales)
    store.write(dense, eval_path(results, EXPERIMENT, 0, DENSE))
    return results


def place(folder, name):
    return store.folder_of(folder, EXPERIMENT, 0) / name


# --- edits, by name: of the bytes of a file ---------------------------------------------------


def swapped(path):
    other = path.with_name("eval-centre-crop-256.json")
    path.rename(path.with_name("kept"))
    other.rename(path)
    path.with_name("kept").rename(other)


def moved(path):
    path.rename(path.with_name(path.name.replace("256", "384")))


def linked(path):
    path.symlink_to(path.rename(path.with_name("kept")))


def replaced_by(make):
    def edit(path):
        path.unlink()
        make(path)

    return edit


def text(change):
    def edit(path):
        path.write_bytes(change(path.read_bytes()))

    return edit


FILES = {
    "swapped": swapped,
    "a link": linked,
    "a dangling link": replaced_by(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replaced_by(lambda path: path.symlink_to(path.name)),
    "a folder": replaced_by(lambda path: path.mkdir()),
    "a pipe": replaced_by(os.mkfifo),
    "empty": text(lambda content: b""),
    "cut": text(lambda content: content[: len(content) // 2]),
    "a digit": text(lambda content: content.replace(b'"seed": 0', b'"seed": 1')),
    "lines end as on Windows": text(lambda content: content.replace(b"\n", b"\r\n")),
    "a space": text(lambda content: content.replace(b": ", b":  ", 1)),
    "a byte order mark": text(lambda content: b"\xef\xbb\xbf" + content),
    "no text": text(lambda content: b"\xff\xfe" + content),
    "a key twice": text(lambda content: content.replace(b'"seed": 0', b'"seed": 7,\n "seed": 0')),
    "deep": text(lambda content: b'{"kind":' * 5000 + b"0" + b"}" * 5000),
    "deep inside": text(lambda content: content.replace(b'"seed": 0', b'"seed": ' + b"[" * 5000)),
    "a list": text(lambda content: b"[]"),
    "long": text(lambda content: content + b" " * store.MOST_BYTES),
}


# --- edits, by field: sealed again, so that all digests fit -----------------------------------

LARGE = 10**11


def resealed(path, changes):
    """Change fields (`data.count` is one of a field) and compute the digests anew."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        *outer, last = name.split(".")
        part = content
        for key in outer:
            part = part[int(key) if isinstance(part, list) else key]
        part[last] = value
    for name, without in (("result_digest", NOT_REPEATABLE), ("file_digest", {"file_digest"})):
        kept = {key: value for key, value in content.items() if key not in without}
        hashed = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
        if name in content:
            content[name] = hashed
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


OF_AN_EVALUATION = [
    {"top1_error": 150.0},
    {"top1_error": -5.0},
    {"top1_error": float("nan")},
    {"top1_error": 20.0},
    {"top5_error": 0.0},
    {"log_loss": float("inf")},
    {"log_loss": 0.5},
    {"data.count": 0},
    {"data.count": 12},
    {"data.count": LARGE},
    {"correct.shape": [LARGE]},
    {"correct.dtype": "O"},
    {"correct.base64": "A"},
    {"protocol": "centre-crop"},
    {"protocol": "../dense"},
    {"test_scales": [384]},
    {"test_scales": []},
]
OF_A_TRAINING = [
    {"curve": []},
    {"curve.0.minival_error": 101.0},
    {"curve.1.train_error": -1.0},
    {"curve.1.minival_loss": float("nan")},
    {"parameters": -5},
    {"parameters": 0},
    {"data": []},
    {"status": "fine"},
    {"reason": "\x1b[2J\x1b[31mall is well"},
    {"weights_digest": "\u202e12ab"},
]
OF_BOTH = [
    {"experiment": {}},
    {"experiment.name": "../A-S256"},
    {"experiment.name": "D-S256"},
    {"experiment.data": "cifar10"},
    {"experiment.train_scale": [256]},
    {"experiment.width": "wide"},
    {"experiment": {"name": "A-S256", "config": "A"}},
    {"experiment.init_from": "../A-S256"},
    {"provenance.versions": {}},
    {"experiment": []},
    {"seed": 1},
    {"seed": -1},
    {"seed": "0"},
    {"provenance.threads": 0},
    {"provenance.wall_seconds": -1.0},
    {"provenance.finished": "2026-01-02T03:04Z\n"},
    {"provenance": {}},
    {"schema_version": 2},
    {"kind": "average"},
    {"unknown": 1},
]

EDITS = {
    **{("eval-dense-256.json", name): edit for name, edit in FILES.items()},
    **{
        ("train.json", name): edit
        for name, edit in FILES.items()
        if name not in ("swapped", "a dangling link")
    },
    **{
        (file, str(changes)): lambda path, changes=changes: resealed(path, changes)
        for file, listed in (
            ("eval-dense-256.json", OF_AN_EVALUATION + OF_BOTH),
            ("train.json", OF_A_TRAINING + OF_BOTH),
        )
        for changes in listed
    },
}

SMALL = ("--budget", "smoke")
COMMANDS = {
    "verify": lambda folder: ("verify", "--results-dir", folder),
    "results": lambda folder: ("results", "--results-dir", folder),
    "list": lambda folder: ("list", *SMALL, "--results-dir", folder),
    "status": lambda folder: ("status", "--results-dir", folder),
    "compare": lambda folder: ("compare", folder, folder),
    "plan": lambda folder: (
        *("plan", *SMALL, "--device", "this-machine", "--results-dir", folder),
    ),
}


@pytest.mark.parametrize(("file", "edit"), EDITS, ids=map("-".join, EDITS))
def test_every_command_that_reads_a_changed_record_says_so(folder, vggrepro, file, edit):
    """In one line, which names the file, with exit status 1."""
    path = place(folder, file)
    EDITS[file, edit](path)
    for name, arguments in COMMANDS.items():
        status, out, err = vggrepro(*arguments(folder))
        assert status == 1, (name, out)
        lines = err.splitlines()
        assert str(path) in err or edit == "swapped", (name, err)
        assert len(lines) == 1 or name == "verify", (name, err)
        assert "Traceback" not in err and "\x1b" not in out + err, (name, err)


def test_what_was_not_changed_passes_every_command(folder, vggrepro):
    for name, arguments in COMMANDS.items():
        status, _, err = vggrepro(*arguments(folder))
        # There is no rate for a plan in so few records.
        assert (status, err) == (0, "") or (name == "plan" and "Restore" not in err), name


def test_an_evaluation_without_its_training_is_found(folder, vggrepro):
    path = place(folder, "train.json")
    path.unlink()
    status, _, err = vggrepro("verify", "--results-dir", folder)
    assert status == 1
    assert f"rests on {path}, which is gone" in err


def test_an_evaluation_that_rests_on_other_weights_is_found(folder, vggrepro):
    resealed(place(folder, "train.json"), {"weights_digest": "34cd" * 16})
    status, _, err = vggrepro("verify", "--results-dir", folder)
    assert (status, err.count("rests on other weights")) == (1, 2)


@pytest.mark.parametrize(
    "parent", ["../D-S256/seed0/dense-256", "D-S256/seed0/../dense", "/D/seed0/dense", "D-S256"]
)
def test_a_fusion_names_nets_of_the_same_folder(folder, vggrepro, parent):
    fields = eval_record(protocol="dense").model_dump(exclude={"kind"})
    fused = FusionRecord(**fields, parents={"D-S256/seed0/dense-256": "12ab" * 16})
    path = eval_path(folder, EXPERIMENT, 0, DENSE)
    store.write(fused, path)
    resealed(path, {"parents": {parent: "12ab" * 16}})
    for name, arguments in COMMANDS.items():
        status, _, err = vggrepro(*arguments(folder))
        assert status == 1 and str(path) in err, name


@pytest.mark.parametrize(
    "changes", [{"measured": []}, {"name": "speed"}, {"measured.0.values": []}]
)
def test_measurements_are_believed_like_the_rest(folder, vggrepro, changes):
    measured = Measured(name="step", unit="ms", of={"net": "A"}, values=(1.5, 1.25))
    made = BenchRecord(name="lrn", settings={}, measured=(measured,), provenance=PROVENANCE)
    path = store.bench_path(folder, "lrn")
    store.write(made, path)
    assert vggrepro("verify", "--results-dir", folder)[0] == 0
    resealed(path, changes)
    for command in ("verify", "status", "plan", "results"):
        status, _, err = vggrepro(*COMMANDS[command](folder))
        assert status == 1 and str(path) in err, command


@pytest.mark.parametrize("depth", [100, 300, 600])
def test_what_is_nested_too_deep_is_one_line(folder, vggrepro, depth):
    path = place(folder, "train.json")
    resealed(path, {"curve.0.more": json.loads("[" * depth + "]" * depth)})
    for name, arguments in COMMANDS.items():
        status, _, err = vggrepro(*arguments(folder))
        assert status == 1 and str(path) in err, name


def test_a_moved_record_is_found_where_it_lies(folder, vggrepro):
    path = place(folder, "eval-dense-256.json")
    moved(path)
    for command in ("verify", "results", "compare", "plan"):
        status, _, err = vggrepro(*COMMANDS[command](folder))
        assert status == 1 and "eval-dense-384.json" in err, command


def test_a_record_is_read_anew_when_it_was_replaced(folder):
    path = place(folder, "train.json")
    assert store.read(path).parameters == 1234
    resealed(path, {"parameters": 4321})
    assert store.read(path).parameters == 4321


def test_a_folder_may_be_a_link(folder, tmp_path, vggrepro):
    (tmp_path / "linked").symlink_to(folder)
    assert vggrepro("verify", "--results-dir", tmp_path / "linked")[0] == 0
    shutil.rmtree(folder)
    assert vggrepro("verify", "--results-dir", tmp_path / "linked")[0] == 1


@pytest.mark.parametrize("name", ["._train.json", ".ipynb_checkpoints/train-checkpoint.json"])
def test_what_editors_hide_is_no_record(folder, vggrepro, name):
    path = place(folder, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\0")
    for command in ("verify", "results", "status"):
        assert vggrepro(*COMMANDS[command](folder))[0] == 0
