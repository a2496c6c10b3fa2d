"""Records on disk: read with one message, replaced only when asked, found by declaration."""

import errno
import json
import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vggrepro
from tests.records_by_hand import (
    CENTRE_CROP,
    EXPERIMENT,
    eval_record,
    path_of,
    train_record,
    written,
)
from vggrepro import UserError, files
from vggrepro.data import cache
from vggrepro.study import runner, second_round, store
from vggrepro.study.store import NotRecordedError

KINDS = pytest.mark.parametrize("make", [train_record, eval_record])


# --- reading --------------------------------------------------------------------------------


def _changed(**changes):
    content = json.loads(train_record().model_dump_json())
    return json.dumps({**content, **changes})


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not a readable record"),
        ("{", "not a readable record"),
        ("[]", "not a readable record"),
        ("\xff\xfe", "not a readable record"),
        (_changed(kind="average"), "average"),
        (_changed(kind=["train"]), "not a readable record"),
        (_changed(schema_version=2), "schema version 2"),
        (_changed(schema_version=None), "schema version None"),
        (_changed(top1_eror=25.3), "top1_eror: Extra inputs are not permitted"),
        (_changed(curve=[{"epoch": 0}]), "curve.0.learning_rate: Field required"),
        (_changed(status="fine"), "status: "),
    ],
)
def test_what_is_not_a_record_gets_one_message(tmp_path, text, part):
    path = tmp_path / "train.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError) as caught:
        store.read(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)
    assert list(store.problems(path)) == [str(caught.value)]


def test_no_record_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="no record at"):
        store.read(tmp_path / "train.json")


# --- writing --------------------------------------------------------------------------------


@KINDS
def test_a_record_replaces_another_and_the_umask_says_who_may_read_it(make, tmp_path):
    path = written(make(), tmp_path)
    before = os.umask(0o077)
    try:
        store.write(make(precision="bf16"), path)
    finally:
        os.umask(before)
    assert store.read(path).precision == "bf16"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("fails", [(os, "fsync"), (Path, "replace")])
def test_a_full_disk_leaves_the_old_record(tmp_path, monkeypatch, fails):
    path = written(train_record(), tmp_path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*fails, full)
    with pytest.raises(UserError, match=r"train\.json: No space left on device\. What was there"):
        store.write(train_record(precision="bf16"), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["train.json"]


def test_a_folder_is_writable_or_a_user_error(tmp_path, monkeypatch):
    files.make_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*/file: it is not a folder\. Give"):
        files.make_writable(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot write to .*/file/c: Not a directory\. Give"):
        files.make_writable(tmp_path / "file" / "c")

    def refused(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    with pytest.raises(UserError, match=r"cannot write to .*/a: Permission denied\. Give"):
        files.make_writable(tmp_path / "a")


def test_a_file_system_without_locks_is_a_user_error_and_no_wait_for_ever(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def missing(*args):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    (tmp_path / ".lock").touch()  # left behind, as every lock file is
    with ExitStack() as held, pytest.raises(UserError, match=r"or lock it: .*not implemented"):
        runner.lock(tmp_path, held)
    with pytest.raises(UserError, match=r"choose another cache .*--cache-dir \(cache_dir\)"):
        cache.kept(tmp_path / "small", lambda: np.zeros(1))


def test_a_file_in_the_way_is_a_user_error(tmp_path):
    (tmp_path / "smoke").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write"):
        written(train_record(), tmp_path)


# --- reading many ---------------------------------------------------------------------------


def test_seeds_are_sorted_as_numbers(tmp_path):
    for seed in (10, 0, 2):
        written(train_record(seed=seed), tmp_path)
        written(eval_record(seed=seed), tmp_path)
    assert list(store.trainings(tmp_path, EXPERIMENT)) == [0, 2, 10]
    assert list(store.evaluations(tmp_path, EXPERIMENT, CENTRE_CROP)) == [0, 2, 10]


def test_current_is_the_record_of_the_same_declaration(tmp_path):
    path = path_of(train_record(), tmp_path)
    with pytest.raises(NotRecordedError, match="not run"):
        store.current(path, EXPERIMENT)
    written(train_record(), tmp_path)
    assert store.current(path, EXPERIMENT) == store.read(path)


@pytest.mark.parametrize(
    "change", [{"epochs": 3}, {"learning_rate": 0.03, "init": "glorot"}, {"counts": (240, 61)}]
)
def test_a_changed_declaration_makes_a_record_old(tmp_path, change):
    path = written(train_record(), tmp_path)
    now = replace(EXPERIMENT, **change)
    with pytest.raises(NotRecordedError) as caught:
        store.current(path, now)
    assert all(name in str(caught.value) for name in change)
    assert store.trainings(tmp_path, now) == {}


def test_a_field_declared_later_had_its_default_before(tmp_path):
    record = train_record()
    older = {k: v for k, v in record.experiment.items() if k != "length"}
    path = written(record.model_copy(update={"experiment": older}), tmp_path)
    assert store.current(path, EXPERIMENT).experiment == older
    with pytest.raises(NotRecordedError, match=r"\(length changed\)"):
        store.current(path, replace(EXPERIMENT, length=2.0))


def test_a_damaged_record_is_not_passed_over(tmp_path):
    path = written(train_record(), tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match="not a readable record"):
        store.trainings(tmp_path, EXPERIMENT)


def test_a_provisional_recipe_is_marked():
    pilot = train_record(replace(EXPERIMENT, recipe="pilot-1"))
    assert (pilot.run, pilot.pilot) == ("A-S256", True)
    assert not train_record(replace(EXPERIMENT, recipe="frozen-1")).pilot


# --- all in one table -----------------------------------------------------------------------


def test_the_table_has_a_row_for_every_record_with_the_numbers_that_it_holds():
    table = vggrepro.results()
    assert list(table) == list(store._COLUMNS)
    shown = second_round.shown(store.RECORDED, store.record_files(store.RECORDED))
    paths = [path for path in shown if path.parts[-2] != "bench"]
    assert [store.RECORDED / path for path in table.path] == paths
    for path, error, minival in zip(paths, table.top1_error, table.minival_error, strict=True):
        record = store.read(path)
        assert record.kind in ("eval", "fusion") or np.isnan(error)
        assert error == getattr(record, "top1_error", error) or np.isnan(error)
        if record.kind == "train" and record.curve:
            assert minival == record.curve[-1].minival_error
    of_some = ["protocol", "test_scales", "train_error", "minival_error", "init_from"]
    of_some += ["top1_error", "top5_error", "log_loss", "parent_weights"]
    assert not table.drop(columns=of_some).isna().any(axis=None)


def test_a_row_is_the_record_that_it_is_of(tmp_path):
    written(train_record(), tmp_path)
    written(eval_record(), tmp_path)
    tested, trained = (row for _, row in store.frame(tmp_path).iterrows())
    assert (trained.kind, trained["round"], trained.run, trained.config) == (
        "train",
        "first",
        "A-S256",
        "A",
    )
    assert (trained.budget, trained.data, trained.seed, trained.train_scale) == (
        "smoke",
        "synthetic",
        0,
        "256",
    )
    assert (trained.minival_error, trained.seconds, trained.as_declared) == (60.5, 12.5, True)
    assert (tested.protocol, tested.test_scales, tested.images) == ("centre-crop", "256", 11)
    assert tested.top1_error == pytest.approx(100 * 3 / 11)
    assert tested.path == "smoke/synthetic/A-S256/seed0/eval-centre-crop-256.json"
    assert tested.weights_digest == trained.weights_digest


@pytest.mark.parametrize(
    ("change", "round_"), [({"epochs": 3}, "first"), ({"recipe": "pilot-1"}, "pilot")]
)
def test_the_table_says_what_was_declared_otherwise(tmp_path, change, round_):
    written(train_record(replace(EXPERIMENT, **change)), tmp_path)
    table = store.frame(tmp_path)
    assert (list(table["round"]), list(table.as_declared)) == ([round_], [False])


def test_the_beginning_is_declared_as_it_was_then():
    table = store.frame(store.RECORDED)
    begun = table[table.path.str.startswith("pilots/")]
    assert set(begun["round"]) == {"pilot"}
    assert begun.as_declared.any()


def test_a_folder_that_is_not_there_has_no_table(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nope", "file"):
        with pytest.raises(UserError, match=f"no folder .*{name}: name one that"):
            vggrepro.results(tmp_path / name)


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    assert store.frame(tmp_path).empty


def test_errors_by_run(tmp_path):
    for seed in range(2):
        written(eval_record(seed=seed), tmp_path)
    (line,) = store.by_run(store.frame(tmp_path)).reset_index().to_dict("records")
    assert (line["run"], line["mean"], line["std"], line["count"]) == ("A-S256", 27.27, 0.0, 2)
