"""The command line: what it says, where it says it, and its exit status."""

import io
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.records_by_hand import eval_path, eval_record, train_record, written
from vggrepro import cli
from vggrepro.study import programme, store
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.experiments import FUSIONS, RUNS, centre_crop, comes_first, in_order
from vggrepro.study.records import DataUsed, summarise
from vggrepro.study.store import Where


def options(smoke, results_dir):
    return [
        *("--budget", "smoke", "--results-dir", results_dir, "--cache-dir", smoke.cache_dir),
        *("--threads", "1", "--device", "cpu", "--precision", "float32"),
    ]


# --- help and usage -------------------------------------------------------------------------


def test_nothing_heavy_is_imported_for_help_or_a_bad_name():
    code = """if True:
        import sys
        from vggrepro import cli
        for arguments in (["--help"], ["run", "--help"], ["run", "Z"], ["run"]):
            sys.argv = ["vggrepro", *arguments]
            try:
                cli.main()
            except SystemExit as stop:
                assert stop.code == (0 if "--help" in arguments else 1), (arguments, stop.code)
            heavy = {"torch", "torchvision", "pandas", "matplotlib"} & set(sys.modules)
            assert not heavy, (arguments, heavy)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_terminal_cannot_show_is_no_reason_to_stop():
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [sys.executable, "-m", "vggrepro", "list"]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout


def test_help_names_the_commands(vggrepro):
    status, out, err = vggrepro("--help")
    assert (status, err) == (0, "")
    known = "list results run rerun status verify compare plan train evaluate"
    for command in known.split():
        assert f" {command} " in out


def test_results_are_printed_also_as_csv(vggrepro, tmp_path):
    written(eval_record(), tmp_path / "made")
    options = ["--results-dir", str(tmp_path / "made")]
    assert "27.27" in vggrepro("results", *options)[1]
    printed = vggrepro("results", *options, "--csv")[1]
    assert pd.read_csv(io.StringIO(printed)).top1_error.round(2).tolist() == [27.27]
    status, _, err = vggrepro("results", "--results-dir", str(tmp_path / "none"))
    assert (status, err.startswith("vggrepro: no folder")) == (1, True)


def test_results_without_an_error_say_what_there_is(vggrepro, tmp_path):
    options = ["--results-dir", tmp_path]
    said = f"no errors are recorded in {tmp_path}; there are "
    assert vggrepro("results", *options)[:2] == (0, f"{said}no records to show\n")
    for seed in (0, 1):
        written(train_record(seed=seed), tmp_path)
    assert vggrepro("results", *options)[:2] == (0, f"{said}2 train (--csv lists them)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["run", "A-S256", "--nosuch"], "--nosuch"),
        (["run", "A-S256", "--seeds", "0"], "--seeds"),
        (["run", "A-S256", "--seed", "-1"], "--seed"),
        (["run", "A-S256", "--threads", "two"], "--threads"),
    ],
)
def test_wrong_usage_is_2_without_a_traceback(vggrepro, arguments, message):
    status, out, err = vggrepro(*arguments)
    assert status == 2
    assert message in out + err
    assert "Traceback" not in err


# --- bad input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [
        (["run"], [*RUNS, *FUSIONS]),
        (["run", "D-S257"], [*RUNS, *FUSIONS]),
        (["run", "A-S256", "D-S257", "--budget", "smoke"], list(RUNS)),
        (["run", "A-S256", "--budget", "tiny"], list(BUDGETS)),
        (["run", "A-S256", "--budget", "smoke", "--data", "mnist"], ["synthetic"]),
        (["run", "A-S256", "--budget", "reduced", "--data", "x"], list(BUDGETS["reduced"].data)),
        (["run", "A-S256", "--budget", "smoke", "--device", "tpu"], ["auto", "cpu", "cuda"]),
        (["run", "A-S256", "--budget", "smoke", "--device", "mps"], ["auto", "cpu", "cuda"]),
        (["run", "A-S256", "--budget", "smoke", "--precision", "fp8"], ["bf16", "float32"]),
        (["run", "--study", "--data", "mnist"], list(BUDGETS["reduced"].data)),
        (["run", "--study", "--data", "folder"], ["cifar10", "imagenette"]),
        (["run", "A-S256", "--study"], ["--study", "names of runs", "contradict"]),
        (["run", "--all", "--study"], ["--study", "--all", "contradict"]),
        (["run", "--study", "--budget", "quick"], ["--study", "--budget", "contradict"]),
        (["run", "--study", "--seeds", "1"], ["--study", "--seeds", "contradict"]),
        (["run", "A-S256", "--all"], ["--all", "names of runs", "contradict"]),
        (["run", "A-S256", "--seed", "0", "--seeds", "2"], ["--seed and --seeds", "contradict"]),
        (["plan", "--study", "--budget", "full"], ["--study", "--budget", "contradict"]),
        (["plan", "--paper", "--check"], ["--paper and --check contradict"]),
        (["plan", "--paper", "--study"], ["--paper and --study contradict"]),
        (["plan", "--check", "--devices", "3"], ["--check and --devices contradict"]),
        (["plan", "--check", "--budget", "full"], ["--check and --budget contradict"]),
        (["plan", "--devices", "3", "--share", "0.1"], ["--devices does nothing", "--device ("]),
        (["plan", "--share", "0.1"], ["--share does nothing without --device"]),
        (["plan", "--study"], ["--study does nothing without --device"]),
        (["plan", "--data", "imagenet"], ["--data does nothing without --device"]),
        (["list", "--seeds", "3"], ["--seeds does nothing without --missing: leave it out"]),
        (["list", "--data-dir", "x"], ["--data-dir does nothing without --missing"]),
        (["bench", "lrn", "--data", "x"], ["--data does nothing in `bench lrn`", "leave it out"]),
        (["bench", "lrn", "--cache-dir", "x"], ["--cache-dir does nothing in `bench lrn`"]),
        (["run", "--study", "--seed", "9", "--data", "cifar10"], ["seeds 0 to 2, not 9"]),
        (["list", "--budget", "tiny"], list(BUDGETS)),
        (["list", "--data", "mnist"], list(BUDGETS["reduced"].data)),
        (["rerun", "99_nothing"], []),
    ],
)
def test_bad_input_is_one_line_with_the_choices(vggrepro, tmp_path, arguments, choices):
    status, out, err = vggrepro(*arguments, "--results-dir", tmp_path / "results")
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("vggrepro: ")
    assert all(choice in line for choice in choices)
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_cuda_where_there_is_none(vggrepro, tmp_path, device):
    status, _, err = vggrepro(
        *("run", "A-S256", "--budget", "smoke"),
        *("--device", device, "--results-dir", tmp_path / "results"),
    )
    assert status == 1
    assert len(err.splitlines()) == 1
    assert "cpu" in err


@pytest.mark.parametrize(
    ("data_dir", "message"),
    [
        ([], "--data-dir"),
        (["--data-dir", "/no/such/folder"], "/no/such/folder does not exist: name the folder"),
        (["--data-dir", "/"], "Imagenette is not in /imagenette2-160: `vggrepro run` with"),
    ],
)
@pytest.mark.parametrize("command", [["run", "A-S256", "--budget", "reduced"], ["first-steps"]])
def test_a_missing_data_folder_leaves_nothing_begun(vggrepro, tmp_path, command, data_dir, message):
    arguments = [*command, "--data", "imagenette", *data_dir]
    records, cache = tmp_path / "results", tmp_path / "cache"
    status, _, err = vggrepro(
        *arguments, "--results-dir", records, "--cache-dir", cache, "--device", "cpu"
    )
    assert status == 1
    assert err.splitlines()[-1].startswith("vggrepro: ")
    assert message in err
    assert "Traceback" not in err
    assert not records.exists()


def test_without_photos_what_is_all_recorded_is_skipped_but_not_run_again(
    vggrepro, tmp_path, monkeypatch
):
    from vggrepro.study import runner

    asked = []
    monkeypatch.setattr(runner, "run_one", asked.append)
    (tmp_path / "reduced" / "cifar10" / "A-S256" / "seed0").mkdir(parents=True)
    arguments = ["run", "A-S256", "--budget", "reduced", "--data", "cifar10"]
    where = ["--results-dir", tmp_path, "--device", "cpu"]
    assert vggrepro(*arguments, *where)[0] == 0
    status, _, err = vggrepro(*arguments, *where, "--fresh")
    assert status == 1 and "--data-dir" in err
    assert len(asked) == 1


# --- run ------------------------------------------------------------------------------------


def test_run_says_what_it_did(vggrepro, smoke, study, tmp_path):
    status, out, err = vggrepro("run", "A-S256", "--seed", "1", *options(smoke, tmp_path))
    assert (status, out) == (0, "")
    folder = tmp_path / "smoke" / "synthetic" / "A-S256" / "seed1"
    for name in ("centre-crop-256", "dense-256"):
        error = store.read(folder / f"eval-{name}.json").top1_error
        assert f"smoke/synthetic/A-S256 seed 1: {name}: top-1 error {error:.2f} %" in err
    seed_0 = store.read(study / "smoke" / "synthetic" / "A-S256" / "seed0" / "train.json")
    seed_1 = store.read(folder / "train.json")
    assert seed_1.weights_digest != seed_0.weights_digest
    assert seed_1.provenance.threads == 1


def test_the_recorded_command_makes_the_record(vggrepro, smoke, study, tmp_path):
    record = store.read(study / "smoke" / "synthetic" / "A-S256" / "seed0" / "train.json")
    program, *arguments = shlex.split(record.provenance.command)
    assert program == "vggrepro"
    where = ["--results-dir", tmp_path, "--cache-dir", smoke.cache_dir]
    assert vggrepro(*arguments, *where)[0] == 0
    again = store.read(tmp_path / "smoke" / "synthetic" / "A-S256" / "seed0" / "train.json")
    assert again.result_digest == record.result_digest


def test_a_second_run_is_already_recorded(vggrepro, smoke, copied):
    status, _, err = vggrepro("run", "C-S256", *options(smoke, copied))
    assert status == 0
    assert err.count("already recorded") == 2


@pytest.mark.parametrize(
    ("arguments", "tasks"),
    [
        (["--study", "--seed", "0", "--data", "cifar10"], None),
        (["A-S256", "C-S256", "--seeds", "2"], ["A-S256 0", "C-S256 0", "A-S256 1", "C-S256 1"]),
        (["A-S256", "--seed", "3"], ["A-S256 3"]),
    ],
)
def test_what_a_command_asks_for(vggrepro, monkeypatch, tmp_path, arguments, tasks):
    from vggrepro.study import runner

    asked = []
    monkeypatch.setattr(runner, "run_tasks", lambda *given: asked.append(given))
    flags = ["--download", "--compile", "--threads", "1", "--micro-batch", "8"]
    status, _, err = vggrepro("run", *arguments, *flags, "--results-dir", tmp_path)
    assert (status, err) == (0, "")
    ((wanted, budget, data, where),) = asked
    if tasks is None:
        expected = [task for task in programme.tasks("cifar10") if task[1] == 0]
        assert (wanted, budget, data) == (expected, programme.BUDGET, "cifar10")
    else:
        assert [f"{name} {seed}" for name, seed in wanted] == tasks
    # Every option arrives where it belongs.
    assert where == Where(tmp_path, download=True, threads=1, micro_batch=8, compile=True)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), KeyboardInterrupt("stopped in epoch 3")])
def test_ctrl_c_is_130(vggrepro, monkeypatch, tmp_path, stop):
    from vggrepro.study import runner

    def interrupted(*args):
        raise stop

    monkeypatch.setattr(runner, "run_tasks", interrupted)
    status, _, err = vggrepro("run", "A-S256", "--results-dir", tmp_path)
    assert (status, err) == (130, f"vggrepro: {str(stop) or 'stopped; the same command goes on'}\n")


# --- verify ---------------------------------------------------------------------------------


def test_verify_believes_what_was_written(vggrepro, study):
    count = len(store.record_files(study))
    assert vggrepro("verify", "--results-dir", study) == (
        0,
        f"{count} records, all as they were written\n",
        "",
    )


def test_verify_names_an_edited_record(vggrepro, copied):
    path = copied / "smoke" / "synthetic" / "C-S256" / "seed0" / "eval-dense-256.json"
    text = path.read_text()
    at = text.index('"top1_error": ') + len('"top1_error": ')
    path.write_text(text[:at] + str(1 + int(text[at]) % 9) + text[at + 1 :])
    status, out, err = vggrepro("verify", "--results-dir", copied)
    assert (status, out) == (1, "")
    *problems, summary = err.splitlines()
    assert all(line.startswith(f"{path}: ") for line in problems)
    assert any("edited after it was written" in line for line in problems)
    assert any("not that of its images" in line for line in problems)
    assert summary == f"vggrepro: {len(problems)} problems in 7 records"


def test_verify_without_records(vggrepro, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "RECORDED", tmp_path / "results")
    monkeypatch.setattr(cli, "RERUN", tmp_path / "rerun")
    for arguments in ([], ["--results-dir", tmp_path]):
        status, _, err = vggrepro("verify", *arguments)
        assert status == 1
        assert "no records in" in err


# --- list and status ------------------------------------------------------------------------


def test_list_shows_the_paper_beside_the_records(vggrepro, study):
    status, out, _ = vggrepro("list", "--budget", "smoke", "--results-dir", study)
    assert status == 0
    lines = {" ".join(line.split()[:2]): line for line in out.splitlines()}
    recorded = study / "smoke" / "synthetic" / "C-S256" / "seed0" / "eval-dense-224+256+288.json"
    ours = f"{store.read(recorded).top1_error:.1f}"
    row = lines["table4/C-S256 dense-224+256+288"].split(maxsplit=3)
    assert row[:3] == ["table4/C-S256", "dense-224+256+288", "27.7"]
    assert row[3] in (f"{ours}, n = 1", f"{ours} (at chance: seed 0)")
    assert " 25.6 " in lines["table3/D-jitter dense-384"]
    assert lines["table3/D-jitter dense-384"].endswith("not run")


def test_list_ends_with_what_no_table_has_by_plain_name(vggrepro, tmp_path, monkeypatch):
    own = replace(RUNS["A-S256"], name="my-net", init="he")
    monkeypatch.setitem(RUNS, "my-net", own)
    experiment = at_budget("my-net", "smoke")
    for seed, wrong in ((0, 27), (1, 29)):
        correct = np.arange(100) >= wrong
        used = DataUsed(name="synthetic", split="val", count=100, fingerprint="8e" * 32)
        outcome = summarise(correct, correct, -1.0 * ~correct)
        tested = eval_record(experiment, seed, data=used, **outcome)
        path = eval_path(tmp_path, experiment, seed, centre_crop("my-net"))
        store.write(tested, path)
    status, out, _ = vggrepro("list", "--budget", "smoke", "--results-dir", tmp_path)
    assert status == 0
    rows, others = (part.splitlines() for part in out.split("\n\n"))
    assert all(line.startswith("table") for line in rows[2:])
    assert others[0].startswith("run or fusion that no table has")
    found = {line.split()[0]: line.split()[1:] for line in others[1:]}
    assert len(found) == len(others) - 1
    assert found["my-net"] == ["centre-crop-256", "–", "28.0", "±", "1.4,", "n", "=", "2"]
    assert found["A-short"] == ["centre-crop-256", "–", "not", "run"]
    assert found["D-S384-longer"][0] == "centre-crop-384"
    assert found["D-jitter+D-jitter"][0] == "dense-256+384+512"
    of_rows = {line.split()[0].split("/")[1] for line in rows[2:]}
    assert sorted([*found, *of_rows]) == sorted([*RUNS, *FUSIONS])  # each `run` takes, and no other


def test_help_says_which_names_run_takes(vggrepro):
    said = " ".join(vggrepro("run", "--help")[1].replace("│", " ").split())
    assert "without table and protocol: D-jitter for table3/D-jitter or table5/D-jitter/" in said


def test_list_missing_prints_commands_parents_first(vggrepro, study):
    status, out, _ = vggrepro("list", "--missing", "--budget", "smoke", "--results-dir", study)
    assert status == 0
    commands = [shlex.split(line) for line in out.splitlines()]
    names = [command[2] for command in commands]
    everything = in_order([*RUNS, *FUSIONS])
    assert names == [name for name in everything if name not in ("A-S256", "C-S256")]
    expected = ["--budget", "smoke", "--data", "synthetic", "--results-dir", str(study)]
    assert all(c[:2] == ["vggrepro", "run"] and c[3:] == expected for c in commands)


def test_list_missing_for_several_seeds_and_a_folder_with_a_space(vggrepro, study, tmp_path):
    spaced = tmp_path / "a folder"
    shutil.copytree(study, spaced)
    status, out, _ = vggrepro(
        *("list", "--missing", "--budget", "smoke", "--results-dir", spaced, "--seeds", "2"),
    )
    assert status == 0
    commands = [shlex.split(line) for line in out.splitlines()]
    wanted = [(c[2], c[c.index("--seed") + 1]) for c in commands]
    everything = in_order([*RUNS, *FUSIONS])
    recorded = {("A-S256", "0"), ("C-S256", "0")}
    assert wanted == [(n, s) for s in "01" for n in everything if (n, s) not in recorded]
    assert all(c[c.index("--results-dir") + 1] == str(spaced) for c in commands)


def test_status_tells_complete_from_incomplete(vggrepro, copied):
    (copied / "smoke" / "synthetic" / "A-S256" / "seed0" / "eval-dense-256.json").unlink()
    status, out, _ = vggrepro("status", "--results-dir", copied)
    assert status == 0
    assert f"smoke on synthetic: 2 of {len(RUNS)} runs begun" in out
    states = {line.split()[0]: line for line in out.splitlines()[2:]}
    assert states["A-S256"].endswith("seed 0 evaluations missing")
    assert states["C-S256"].endswith(("seed 0 complete", "seed 0 pilot"))


def test_status_passes_over_folders_that_hold_only_a_lock(vggrepro, copied):
    for place in ("smoke/synthetic/B-S256", "quick/synthetic/A-S256", "first-steps/folder/A-he"):
        (copied / place / "seed0").mkdir(parents=True)
        (copied / place / "seed0" / ".lock").touch()
    (copied / "smoke" / "synthetic" / "A-S256" / "seed1").mkdir()
    (copied / "smoke" / "synthetic" / "A-S256" / "seed0.bak" / "old").mkdir(parents=True)
    status, out, _ = vggrepro("status", "--results-dir", copied)
    assert status == 0
    assert f"smoke on synthetic: 2 of {len(RUNS)} runs begun" in out
    assert not [word for word in ("B-S256", "seed 1", "quick", "first-steps") if word in out]


def test_status_of_nothing(vggrepro, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "RECORDED", tmp_path)
    monkeypatch.setattr(cli, "RERUN", tmp_path / "none")
    status, out, _ = vggrepro("status")  # a rerun need not have been made
    assert (status, out) == (0, f"{tmp_path}:\n  no records\n{tmp_path}/none: no records yet\n")


def test_a_folder_that_is_not_there_is_told(vggrepro, tmp_path):
    folder = tmp_path / "resluts"
    (tmp_path / "file").touch()
    for command in ("list", "status"):
        for missing in (folder, tmp_path / "file"):
            status, out, err = vggrepro(command, "--results-dir", missing)
            assert (status, out) == (1, "")
            assert err.startswith(f"vggrepro: no folder {missing}: name one that")
    status, out, _ = vggrepro("list", "--missing", "--results-dir", folder)
    assert status == 0 and "vggrepro run A-S256" in out


# --- names that forgive -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("D", "did you mean D-S256 or D-he?"),
        ("d-s256", "D-S256?"),
        ("vgg16", "did you mean D-S256 or D-he?"),
        ("VGG11", "A-S256 or A-he?"),
        ("D-jiter", "D-jitter?"),
        ("nothing-like-it", "choose one of: A-S256"),
    ],
)
def test_a_name_that_is_nearly_right_suggests_the_run_and_runs_nothing(
    vggrepro, tmp_path, name, meant
):
    status, out, err = vggrepro("run", name, "--results-dir", tmp_path / "made")
    assert (status, out, len(err.splitlines())) == (1, "", 1)
    assert meant in err
    assert not (tmp_path / "made").exists()


def test_a_run_says_what_comes_first_and_how_to_do_without():
    assert comes_first("D-S256", ["D-S256"]) == (
        "D-S256 starts from A-S256; trained first: A-S256; D-he starts from random weights"
    )
    assert "trained first: A-S256, D-S256, D-S384;" in comes_first("D-jitter", [])
    assert comes_first("D-he", []) == comes_first("D-jitter+E-jitter", []) == ""
    assert comes_first("D-S256", ["A-S256", "D-S256"]) == ""


def test_what_is_no_option_of_a_run_points_to_train(vggrepro):
    status, _, err = vggrepro("run", "D-he", "--epochs", "3")
    assert status == 2 and "--epochs is an option of `vggrepro train`" in err
    status, _, err = vggrepro("list", "--epochs", "3")
    assert status == 2 and "train" not in err


def test_list_finds_what_a_first_run_wrote(vggrepro, study, monkeypatch):
    monkeypatch.setattr(cli, "RERUN", study)
    last = vggrepro("list")[1].splitlines()[-1]
    assert last == f"your own: vggrepro list --budget smoke --data synthetic --results-dir {study}"
    words = shlex.split(last)[3:]
    assert vggrepro(*words)[1].startswith("top-1 errors in percent; budget smoke")


def test_without_a_clone_it_is_said_where_the_study_is(tmp_path):
    installed, here = tmp_path / "installed", tmp_path / "here"
    shutil.copytree(Path(cli.__file__).parent, installed / "vggrepro")
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for command in ("list", "results", "verify"):
        done = subprocess.run(
            [sys.executable, "-m", "vggrepro", command],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert "comes with a clone" in done.stdout + done.stderr, command
        assert "Traceback" not in done.stderr
