"""Several processes: one net trained by two, and several commands that share one folder."""

import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributed import TCPStore

from tests.image_sets import CPU, Sets, coloured_set, image_set, statistics_of
from tests.running import digests, folder, snapshot
from vggrepro import UserError, distributed, trainer
from vggrepro.checkpoints import weights_digest
from vggrepro.evaluators import evaluate
from vggrepro.models import initialise
from vggrepro.study import runner, store
from vggrepro.study.experiments import Experiment
from vggrepro.study.run import Run, build
from vggrepro.trainer import batches, rescaled, train

ROOT = Path(__file__).parents[1]
# 41 images in batches of 20: of the last one rank 1 has nothing.
TINY = Experiment(
    "tiny",
    "A-LRN",
    crop=32,
    width=1 / 16,
    hidden=32,
    epochs=3,
    batch_size=20,
    learning_rate=0.01,
    schedule="steps",
    input_divisor=60.0,
    dropout=0.0,
)


# --- processes that have torch already ------------------------------------------------------


def _call(queue, environment, number, function, arguments):
    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        queue.put((number, function(*arguments)))
    except SystemExit as stop:
        queue.put((number, f"exit {stop.code}"))
    except BaseException:
        queue.put((number, traceback.format_exc()))


def in_processes(function, *arguments, ranks=True):
    """What `function` returns in each of two processes: ranks as of torchrun, or on their own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["vggrepro.study.runner", "torch._dynamo"]
    )  # slow to import: once
    # As under torchrun, which holds the store where ranks meet: no free port has to be guessed.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    meeting |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    queue = context.Queue()
    processes = []
    for number in range(2):
        environment = {"OMP_NUM_THREADS": "1"}
        if ranks:
            place = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
            environment |= place | meeting
        call = (queue, environment, number, function, arguments)
        processes.append(context.Process(target=_call, args=call))
        processes[-1].start()
    try:
        found = dict(queue.get(timeout=600) for _ in processes)
    finally:
        for process in processes:
            process.join(timeout=5)
            process.kill()
    return [found[number] for number in range(2)]


# --- one net, two ranks -----------------------------------------------------------------------


def tiny_sets():
    images = coloured_set(41)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images.images])
    return Sets(images, coloured_set(13, split="minival", seed=1), statistics_of(pixels))


def train_and_test(path, experiment=TINY, chosen=CPU):
    """A training, and tests of its net on sets of 7 images and of 1: all that comes of it."""
    told = {"train": 0, "eval": 0, "dense": 0}

    def progress(stage, images):
        told[stage] += images

    with distributed.group(CPU.device):
        model = build(experiment, 4)
        initialise(model, "he", seed=0)
        given = {"device": chosen, "checkpoint": path, "progress": progress}
        training = train(model, tiny_sets(), experiment, **given)
        model.set_pixel_mean((120.0, 110.0, 100.0))
        given = {"device": CPU, "progress": lambda n: progress("dense", n)}
        tested = [
            evaluate(model, images, protocol, 384, **given)
            for images in (image_set(7), image_set(1))
            for protocol in ("dense", "multi-crop")
        ]
        weights = {name: w.numpy() for name, w in model.state_dict().items()}
        return {
            "weights": weights,
            "digest": weights_digest(model.state_dict()),
            "curve": training.curve,
            "tested": [(one.posteriors, one.positions) for one in tested],
            "told": told,
            "wrote": distributed.rank() == 0,
        }


@pytest.fixture(scope="module")
def alone_and_together(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks")
    return train_and_test(path / "one.pt"), in_processes(train_and_test, path / "two.pt")


def test_two_ranks_end_in_the_weights_of_one(alone_and_together):
    one, (first, second) = alone_and_together
    assert first["digest"] == second["digest"]
    start = build(TINY, 4)
    initialise(start, "he", seed=0)
    for name, before in start.state_dict().items():
        learnt = one["weights"][name] - before.numpy()
        difference = first["weights"][name] - one["weights"][name]
        assert np.abs(difference).max() < 1e-3 * np.abs(learnt).max(), name


def test_two_ranks_sum_gradients_over_parts_of_a_batch(alone_and_together, tmp_path):
    one, _ = alone_and_together
    parts = replace(CPU, micro_batch=4)  # three parts on each rank, one on the last batch
    first, second = in_processes(train_and_test, tmp_path / "parts.pt", TINY, parts)
    assert first["digest"] == second["digest"]
    for name, wanted in one["weights"].items():
        np.testing.assert_allclose(first["weights"][name], wanted, rtol=1e-3, atol=1e-5)


def summed_in_parts(micro_batch):
    """How often gradients are averaged in a step, and a weight's gradient after it."""
    with distributed.group(CPU.device):
        model = build(replace(TINY, config="A"), 4)
        initialise(model, "he", seed=0)
        model.set_pixel_mean((120.0, 110.0, 100.0))
        net, averaged = distributed.parallel(model), []
        if distributed.world() > 1:
            net.register_comm_hook(averaged, _averaged)
        cut = rescaled(tiny_sets(), TINY, model)
        batch = next(batches(cut, replace(TINY, batch_size=17), 0, 0))  # 9 and 8 images
        chosen = replace(CPU, micro_batch=micro_batch)
        trainer.step(net, torch.optim.SGD(model.parameters(), 0.0), batch, chosen)
        return averaged.count(0), model.classifier[-1].weight.grad.numpy()


def _averaged(averaged, bucket):
    averaged.append(bucket.index())
    summed = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return summed.then(lambda done: done.value()[0] / 2)


@pytest.mark.parametrize("micro_batch", [3, 8])  # 3 and 3 parts, 2 and 1
def test_gradients_are_averaged_once_a_step_however_many_parts_a_rank_has(micro_batch):
    _, wanted = summed_in_parts(None)
    for count, found in in_processes(summed_in_parts, micro_batch):
        assert count == 1
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_two_ranks_have_the_curve_of_one(alone_and_together):
    one, ranks = alone_and_together
    assert ranks[0]["curve"] == ranks[1]["curve"]
    for found, wanted in zip(ranks[0]["curve"], one["curve"], strict=True):
        for key, value in asdict(wanted).items():
            assert getattr(found, key) == pytest.approx(value, rel=1e-4), key
    assert ranks[0]["told"]["train"] == one["told"]["train"] == 3 * 41


def test_two_ranks_test_each_image_once(alone_and_together):
    one, ranks = alone_and_together
    for rank in ranks:
        for (found, positions), (wanted, here) in zip(rank["tested"], one["tested"], strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)
            np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
            assert positions == here
        assert rank["told"] == one["told"]


def test_ranks_draw_other_dropout_masks_and_one_process_the_same_as_ever(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch, "manual_seed", seeded.append)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        trainer.seed_dropout(3, 1)
    keys = [np.random.SeedSequence(key) for key in ((3, 1), (3, 1, 1))]
    assert seeded == [int(key.generate_state(1)[0]) for key in keys]
    assert seeded[0] != seeded[1]


def test_a_batch_is_split_among_the_ranks(monkeypatch):
    cut = rescaled(tiny_sets(), TINY, build(TINY, 4))

    def share_of(rank, world):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world", lambda: world)
        return list(batches(cut, TINY, 5, 1))

    whole = share_of(0, 1)
    shares = [share_of(rank, 3) for rank in range(3)]
    assert [[len(batch.targets) for batch in share] for share in shares] == [
        [7, 7, 1],
        [7, 7, 0],
        [6, 6, 0],
    ]
    for step, parts in enumerate(whole):
        assert {share[step].size for share in shares} == {parts.size}
        for k, part in enumerate(parts[:3]):  # crops, colour shifts, targets
            for rank, share in enumerate(shares):
                assert torch.equal(share[step][k], part[rank::3])


# --- runs of two ranks ------------------------------------------------------------------------


def run_a(where):
    """A-S256 by this rank."""
    try:
        runner.run(["A-S256"], "smoke", None, [0], where)
    except UserError as error:
        return str(error)
    return "done"


@pytest.fixture(scope="module")
def two_ranks(smoke, tmp_path_factory):
    where = replace(smoke, results_dir=tmp_path_factory.mktemp("two-ranks"))
    assert in_processes(run_a, where) == ["done", "done"]
    return where


def test_two_ranks_leave_one_record(two_ranks):
    where = two_ranks.results_dir
    assert store.verify(store.record_files(where)) == []
    for path in store.record_files(where):
        provenance = store.read(path).provenance
        assert provenance.device == "cpu x 2"
        assert provenance.command.startswith("torchrun --nproc-per-node 2 -m vggrepro run A-S256")
    before = snapshot(where)
    assert in_processes(run_a, two_ranks) == ["done", "done"]
    assert snapshot(where) == before


def test_rank_0_says_what_is_wrong(two_ranks):
    where = replace(two_ranks, precision="bf16")
    told, silent = in_processes(run_a, where)
    assert "was recorded in float32" in told
    assert silent == "exit 1"


def command(smoke, results_dir, *runs):
    return [
        *("run", *runs, "--budget", "smoke", "--results-dir", results_dir),
        *("--cache-dir", smoke.cache_dir, "--threads", "1", "--device", "cpu"),
        *("--precision", "float32"),
    ]


def test_torchrun_restarts_a_killed_rank(two_ranks, smoke, tmp_path):
    """Killed in the second epoch of two, and again if the first were trained once more."""
    stopping = [ROOT / "tests" / "stopping.py", "6,5", "SIGKILL"]
    torchrun = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--max-restarts", "1", "--monitor-interval", "0.1"),
    ]
    done = subprocess.run(
        [*torchrun, *stopping, *command(smoke, tmp_path, "A-S256")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path, "A-S256") == digests(two_ranks.results_dir, "A-S256")
    assert not (folder(tmp_path, "A-S256") / "checkpoint.pt").exists()


def test_the_package_is_a_module_to_run():
    done = subprocess.run(
        [sys.executable, "-m", "vggrepro", "run", "--budget", "no"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("vggrepro: name a run")


# --- several commands, one folder -------------------------------------------------------------

SHARED = ["A-S256", "B-he", "C-S256"]  # C starts from A


def share(where):
    """Run `SHARED` and return what this process trained."""
    trained = []
    really = Run._train

    def train_and_tell(self):
        trained.append(self.experiment.name)
        return really(self)

    Run._train, runner.WAIT = train_and_tell, 0.1
    try:
        runner.run(SHARED, "smoke", None, [0], where)
    finally:
        Run._train = really
    return trained


def test_two_commands_share_the_runs(study, smoke, tmp_path):
    where = replace(smoke, results_dir=tmp_path)
    trained = in_processes(share, where, ranks=False)
    assert sorted(trained[0] + trained[1]) == SHARED
    assert store.verify(store.record_files(tmp_path)) == []
    for name in ("A-S256", "C-S256"):
        assert digests(tmp_path, name) == digests(study, name)


@contextmanager
def stopped_in_a(smoke, results_dir):
    """A command for all of `SHARED` that stands still in the second epoch of A-S256."""
    script = [sys.executable, ROOT / "tests" / "stopping.py", "6", "SIGSTOP"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*script, *command(smoke, results_dir, *SHARED)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_command_left_is_taken_over(study, smoke, tmp_path, monkeypatch, capsys):
    where = replace(smoke, results_dir=tmp_path)
    with stopped_in_a(smoke, tmp_path) as process:

        def kill_it(seconds):
            """Called when nothing is left to do but to wait."""
            assert digests(tmp_path, "A-S256") == {}
            assert len(list(tmp_path.rglob("B-he/seed0/train.json"))) == 1
            process.send_signal(signal.SIGKILL)
            process.wait()

        monkeypatch.setattr(runner, "time", SimpleNamespace(sleep=kill_it))
        assert share(where) == ["B-he", "A-S256", "C-S256"]
    assert "A-S256 seed 0: another process is at it" in capsys.readouterr().err
    assert store.verify(store.record_files(tmp_path)) == []
    for name in ("A-S256", "C-S256"):
        assert digests(tmp_path, name) == digests(study, name)
