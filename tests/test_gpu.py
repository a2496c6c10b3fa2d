"""What only a GPU can tell: `pytest -m gpu`. Without CUDA all of it is skipped.

The processor in float32 is the reference; TF32 is off, so the card may differ in rounding alone.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.image_sets import CPU, Sets, coloured_set, image_set, small_net, statistics_of
from tests.running import after_step
from vggrepro.augmentations import Draws, Rescaled
from vggrepro.checkpoints import weights_digest
from vggrepro.device import choose
from vggrepro.evaluators import evaluate
from vggrepro.models import to_dense
from vggrepro.recipe import Recipe
from vggrepro.trainer import batches, rescaled, sgd, step, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.01, schedule="steps")
CONFIGS = ("A", "A-LRN", "B-5x5", "C", "D", "E")


@pytest.fixture
def gpu():
    """The card in float32."""
    return choose("cuda", "float32")


@pytest.fixture(scope="module")
def sets():
    images = coloured_set(40)
    pixels = np.concatenate([image.reshape(-1, 3) for image in images.images])
    return Sets(images, coloured_set(12, split="minival", seed=1), statistics_of(pixels))


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("config", CONFIGS)
def test_logits_are_those_of_the_processor(gpu, config):
    net, images = small_net(config), noise(4, 3, 64, 64)
    with torch.inference_mode():
        wanted = net(images)
        found = net.to(gpu.device)(images.to(gpu.device)).cpu()
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("every_offset", [False, True])
def test_dense_maps_are_those_of_the_processor(gpu, every_offset):
    net, images = to_dense(small_net("D"), every_offset=every_offset), noise(2, 3, 96, 128)
    with torch.inference_mode():
        wanted = net(images)
        found = net.to(gpu.device)(images.to(gpu.device)).cpu()
    assert found.shape[-2:] == wanted.shape[-2:]
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("protocol", ["centre-crop", "dense", "multi-crop"])
def test_posteriors_are_those_of_the_processor(gpu, protocol):
    images = image_set(8, sizes=((80, 96), (96, 80)))
    wanted, found = (
        evaluate(small_net(), images, protocol, 256, device=device, progress=False).posteriors
        for device in (CPU, gpu)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_one_training_step_is_that_of_the_processor(gpu, sets):
    trained = []
    for device in (CPU, gpu):
        net = small_net("A-LRN", crop=32).train()
        for dropout in (m for m in net.modules() if isinstance(m, torch.nn.Dropout)):
            dropout.p = 0.0  # its masks come from generators of their own
        net.to(device.device, memory_format=torch.channels_last)
        cut = rescaled(sets, RECIPE, net)
        first = next(batches(cut, RECIPE, 0, 0))
        done = step(net, sgd(net, RECIPE), first, device).cpu()
        trained.append((done, {name: p.detach().cpu() for name, p in net.named_parameters()}))
    (wanted_done, wanted), (done, found) = trained
    torch.testing.assert_close(done, wanted_done, rtol=1e-4, atol=1e-3)
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sizes", [((32, 32),), ((40, 48), (52, 40))])
def test_windows_and_draws_are_the_same_to_the_byte(gpu, sizes):
    images = image_set(50, sizes=sizes)
    cut = Rescaled(images, None, (37, 37), 32)
    resident = cut.on(gpu.device)
    for epoch in range(3):
        draws = Draws.of(0, epoch, 50)
        order = np.random.default_rng(epoch).permutation(50)
        found = resident.batch(order, draws)
        assert found.is_cuda
        assert torch.equal(found.cpu(), cut.batch(order, draws))


def trained(sets, device, tmp_path, name, epochs=4):
    net = small_net("D", crop=32).train()
    path = tmp_path / name
    training = train(
        net, sets, replace(RECIPE, epochs=epochs), 0, device=device, checkpoint=path, progress=False
    )
    return weights_digest(net.state_dict()), training


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_two_trainings_of_one_seed_are_one(sets, tmp_path, precision):
    gpu = choose("cuda", precision)
    first, second = (trained(sets, gpu, tmp_path, name) for name in ("one", "two"))
    assert first[0] == second[0]
    assert first[1].curve == second[1].curve
    assert first[1].status == "ok"


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(sets, tmp_path):
    gpu = choose("cuda", "bf16")
    whole, _ = trained(sets, gpu, tmp_path, "whole")

    def stop():
        raise KeyboardInterrupt

    with after_step(5, stop):  # in the second epoch of three batches each
        _, stopped = trained(sets, gpu, tmp_path, "stopped")
    assert (stopped.status, len(stopped.curve)) == ("interrupted", 1)
    again, finished = trained(sets, gpu, tmp_path, "stopped")
    assert len(finished.curve) == 4
    assert again == whole


def test_bfloat16_computes_in_bfloat16_and_keeps_float32(gpu, sets):
    seen, net = set(), small_net("A", crop=32)
    wanted = evaluate(net, sets.minival, "dense", 256, device=gpu, progress=False).posteriors
    net.features[0].register_forward_hook(lambda layer, x, y: seen.add(y.dtype))
    bf16 = choose("cuda", "bf16")
    found = evaluate(net, sets.minival, "dense", 256, device=bf16, progress=False).posteriors
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    np.testing.assert_allclose(found, wanted, atol=0.03)
