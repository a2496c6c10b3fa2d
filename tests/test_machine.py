"""The machine of a run: what it is asked for, what it says, ways to train that change nothing."""

import os
import re
import subprocess
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.image_sets import CPU, image_set
from tests.test_trainer import TINY, an_epoch, net
from tests.test_trainer import sets as sets  # the fixture
from vggrepro import UserError, data, device
from vggrepro.data import images
from vggrepro.evaluators import evaluate
from vggrepro.study import provenance
from vggrepro.trainer import sgd, train


@given(st.integers(0, 300), st.one_of(st.none(), st.integers(1, 300)))
def test_parts_hold_every_image_once(count, micro_batch):
    parts = replace(CPU, micro_batch=micro_batch).parts(count)
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert parts  # a rank without images takes part too
    assert all(p.stop - p.start <= (micro_batch or count) for p in parts)


def test_parts_of_no_images_are_refused():
    with pytest.raises(UserError, match="micro_batch must be at least 1, not -1"):
        device.choose("cpu", micro_batch=-1)


def test_the_default_way_has_the_key_and_the_command_it_always_had():
    assert CPU.key() == ["float32", torch.get_num_threads()]
    assert provenance.options(CPU) == f"--precision float32 --threads {torch.get_num_threads()}"
    other = replace(CPU, micro_batch=8, compile=True)
    assert other.key() != CPU.key()
    assert provenance.options(other).endswith("--micro-batch 8 --compile")


@pytest.mark.parametrize("micro_batch", [1, 5, 16, 64])
def test_parts_of_a_batch_make_its_step(sets, micro_batch):
    def trained(chosen):
        experiment = replace(TINY, dropout=0.0)
        model = net(experiment)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        seen = []
        told = lambda stage, n: seen.append(n)  # noqa: E731
        found = an_epoch(model, optimizer, sets, experiment, 0, 0, chosen, told)
        return model, found, seen

    whole, plain, batches = trained(CPU)
    parts, found, same_batches = trained(replace(CPU, micro_batch=micro_batch))
    assert found == pytest.approx(plain, rel=1e-5)
    assert same_batches == batches
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_compile_compiles_the_net_that_trains(sets, tmp_path, monkeypatch):
    compiled = []

    class Noted(nn.Module):
        def __init__(self, net, mode):
            super().__init__()
            self._orig_mod, self.mode, self.calls = net, mode, 0
            compiled.append(self)

        def forward(self, images):
            self.calls += self.training
            return self._orig_mod(images)

    monkeypatch.setattr(torch, "compile", Noted)
    experiment = replace(TINY, epochs=1)
    weights = []
    for chosen in (CPU, replace(CPU, compile=True)):
        model = net(experiment)
        path = tmp_path / str(chosen.compile)
        train(model, sets, experiment, device=chosen, checkpoint=path, progress=False)
        weights.append(model.state_dict())
    (noted,) = compiled
    assert noted.calls == 3  # 40 images in batches of 16
    assert noted.mode is None
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_bfloat16_is_what_convolutions_compute_in_and_nothing_that_is_kept(sets):
    """All recorded runs have it, so an autocast that is off would make them lie."""
    bf16, seen = replace(CPU, precision="bf16"), set()
    model, plain = net(), net()
    for one in (model, plain):
        one.set_pixel_mean(sets.pixels.mean)
    quiet = {"progress": False}
    whole = evaluate(plain, sets.minival, "dense", device=CPU, **quiet).posteriors
    model.features[0].register_forward_hook(lambda layer, x, y: seen.add(y.dtype))
    tested = evaluate(model, sets.minival, "dense", device=bf16, **quiet).posteriors
    assert tested.dtype == np.float32
    np.testing.assert_allclose(tested.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(tested, whole, atol=0.02)
    assert not np.array_equal(tested, whole)
    optimizer = sgd(model, TINY)
    an_epoch(model, optimizer, sets, TINY, 0, 0, bf16)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {s["momentum_buffer"].dtype for s in optimizer.state.values()} == {torch.float32}
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize(("fast", "precision"), [(True, "bf16"), (False, "float32")])
def test_auto_takes_bfloat16_where_the_processor_has_it(monkeypatch, fast, precision):
    monkeypatch.setattr(device, "_bf16_is_fast", lambda device: fast)
    assert device.choose("cpu").precision == precision


@pytest.fixture
def cuda_flags():
    """Switches of PyTorch's own, which monkeypatch cannot put back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    names = ("allow_tf32", "deterministic", "benchmark")
    before = [getattr(cudnn, name) for name in names], matmul.allow_tf32
    yield cudnn, matmul
    for name, value in zip(names, before[0], strict=True):
        setattr(cudnn, name, value)
    matmul.allow_tf32 = before[1]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_tf32_is_on_where_it_was_asked_for_and_nowhere_else(cuda_flags, precision):
    cudnn, matmul = cuda_flags
    cudnn.allow_tf32 = matmul.allow_tf32 = precision != "tf32"
    cudnn.deterministic = False
    device._set_up_cuda(precision)
    assert cudnn.allow_tf32 == matmul.allow_tf32 == (precision == "tf32")
    assert cudnn.deterministic


@pytest.mark.parametrize(("threads", "said"), [(4, 0), (5, 1), (999, 1)])
def test_more_threads_than_cores_are_said_and_taken(monkeypatch, threads, said):
    """A record that was made with more cores can be repeated."""
    monkeypatch.setattr(device, "cores", lambda: 4)
    taken = []
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        device.choose("cpu", "float32", threads)
    assert [str(one.message).startswith(f"--threads {threads} on 4 cores") for one in found] == (
        [True] * said
    )
    assert taken == [threads]


def test_tf32_is_a_gpus():
    with pytest.raises(UserError, match="auto, bf16 or float32"):
        device.choose("cpu", "tf32")


def test_the_commit_is_that_of_this_package_or_unknown(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages" / "vggrepro"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    monkeypatch.setattr(provenance, "PACKAGE", installed)

    # Whatever this user's git does at a commit: hooks, signatures.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "--message", "of another project")
    made = provenance.provenance(CPU, "", 1.0)
    assert made.commit == "unknown"
    git("add", ".")
    git("commit", "--message", "now it is its own")
    made = provenance.provenance(CPU, "", 1.0)
    assert re.fullmatch("[0-9a-f]{40}", made.commit)


def test_photos_that_are_decoded_each_time_get_all_cores(monkeypatch):
    cached = image_set(3)
    assert cached.loading_threads == 1
    streamed = replace(cached, images=data.images.StreamedImages(None, ["a", "b", "c"], None, None))
    monkeypatch.setattr(images, "cores", lambda: 8)
    assert streamed.loading_threads == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert streamed.loading_threads == 2
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cached.loading_threads == 2  # the processor has nothing else to do


def test_the_peak_of_memory_begins_anew_with_each_run(tmp_path, monkeypatch):
    """The system's own counter, which this asks to forget; how much there is, is not tested."""
    own = tmp_path / "self"
    own.mkdir()
    monkeypatch.setattr(provenance, "PROC", tmp_path)
    provenance.forget_peak(CPU)
    assert (own / "clear_refs").read_text() == "5"
    (own / "status").write_text("VmPeak:\t  999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert provenance.provenance(CPU, "", 1.0).peak_memory_mib == 2
    monkeypatch.setattr(provenance, "PROC", tmp_path / "no")
    provenance.forget_peak(CPU)  # macOS has none: the peak stays that of the process
    usage = type("usage", (), {"ru_maxrss": 300 * provenance._MAXRSS_PER_MIB})
    monkeypatch.setattr(provenance.resource, "getrusage", lambda who: usage)
    made = provenance.provenance(CPU, "", 1.0)
    assert made.peak_memory_mib == 300
