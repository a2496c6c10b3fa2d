"""The signal at every layer: against numbers worked out by hand, and against theory."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from vggrepro import UserError, models
from vggrepro.models import VGG, initialise, named_layers
from vggrepro.pages import starts as theory
from vggrepro.signal import measure, rms
from vggrepro.study import starts


def layers_of(net):
    return {name: m for name, m in net.named_modules() if hasattr(m, "weight")}


def root_mean_square(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_a_net_of_two_layers_by_hand():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    images, targets = rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])
    before = images @ first.T
    hidden = np.maximum(before, 0)
    logits = hidden @ second.T
    posteriors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    at_logits = posteriors - np.eye(2)[targets]
    at_hidden = at_logits @ second * (before > 0)

    net = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(inplace=True), nn.Linear(4, 2, bias=False)
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(first))
        net[2].weight.copy_(torch.from_numpy(second))
    found = measure(net, layers_of(net), torch.from_numpy(images), torch.from_numpy(targets))

    assert list(found) == ["0", "2"]
    # logits are made float32 for the loss
    assert found["0"] == pytest.approx(
        [root_mean_square(v) for v in (hidden, at_hidden, first, at_hidden.T @ images / 5)],
        rel=1e-5,
    )
    assert found["2"] == pytest.approx(
        [root_mean_square(v) for v in (logits, at_logits, second, at_logits.T @ hidden / 5)],
        rel=1e-5,
    )


def small_vgg(config="D", init="he"):
    model = VGG(config, 5, width=1 / 8, crop=32, hidden=64)
    initialise(model, init, seed=1)
    return model


def batch(count=4):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((count, 3, 32, 32), generator=generator)
    return images, torch.arange(count) % 5


def test_a_vgg_layer_by_layer_before_pooling():
    model = small_vgg()
    images, targets = batch()
    found = measure(model, named_layers(model), images, targets)
    x, expected = images, []
    last_of_block = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    for name, layer in named_layers(model).items():
        if name.startswith("conv"):
            x = F.conv2d(x, layer.weight, padding=1).relu()
        else:
            x = F.linear(x.flatten(1), layer.weight)
            x = x if name == "fc8" else x.relu()
        expected.append(x.square().mean().sqrt().item())
        x = F.max_pool2d(x, 2) if name in last_of_block else x
    assert [layer.activation for layer in found.values()] == pytest.approx(expected, rel=1e-5)


def test_the_net_is_left_as_it_was():
    model = small_vgg().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure(model, named_layers(model), *batch())
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_nothing_hangs_on_how_many_images_there_are():
    model = small_vgg("A")
    images, targets = batch()
    once = measure(model, named_layers(model), images, targets)
    twice = measure(model, named_layers(model), images.repeat(2, 1, 1, 1), targets.repeat(2))
    for name, layer in once.items():
        assert layer == pytest.approx(twice[name], rel=1e-4)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_no_size_that_float32_has_is_lost(size):
    assert rms(torch.full((3, 4), size)) == pytest.approx(size, rel=1e-6)


def test_bfloat16_keeps_the_size_of_a_fading_signal():
    """The losses may be in bfloat16: it has float32's range, and rounding is no loss of scale."""
    model = small_vgg("E", "normal-std")
    images, targets = batch()
    exact = measure(model, named_layers(model), images, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = measure(model, named_layers(model), images, targets)
    assert exact["fc7"].activation < 1e-12
    for name, layer in exact.items():
        assert rounded[name] == pytest.approx(layer, rel=0.05), name


# --- theory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("init", "gain"), [("he", 1.0), ("glorot", 0.7071), ("normal-std", 0.16)])
def test_every_layer_of_a_wide_net_has_the_gain_of_theory(init, gain):
    """512 units a layer: std 0.01 gives 0.01 * sqrt(512 / 2) = 0.16, He exactly 1."""
    generator = torch.Generator().manual_seed(3)
    modules = []
    for _ in range(8):
        modules += [nn.Linear(512, 512, bias=False), nn.ReLU(inplace=True)]
        models.INITIALISATIONS[init](modules[-2].weight, generator)
    net = nn.Sequential(*modules, nn.Linear(512, 3))
    images = torch.randn((64, 512), generator=generator)
    found = [at.activation for at in measure(net, layers_of(net), images, torch.zeros(64).long())
             .values()][:-1]  # fmt: skip
    measured = (found[-1] / rms(images)) ** (1 / 8)
    assert measured == pytest.approx(gain, rel=0.05)
    assert theory.gain(init, 512, 512) == pytest.approx(gain, rel=1e-3)


inits = st.sampled_from(["normal-variance", "normal-std", "glorot", "he"])


@given(inits, st.integers(40, 120), st.integers(40, 120), st.sampled_from([1, 3]))
def test_the_spread_of_weights_is_that_of_what_is_drawn(init, fan, units, kernel):
    weight = torch.empty((units, fan, kernel, kernel))
    models.INITIALISATIONS[init](weight, torch.Generator().manual_seed(fan))
    expected = theory.standard_deviation(init, fan * kernel**2, units * kernel**2)
    assert weight.std().item() == pytest.approx(expected, rel=0.1)


def test_the_spread_of_pytorchs_own_start():
    torch.manual_seed(0)
    spread = nn.Conv2d(64, 64, 3).weight.std().item()
    assert spread == pytest.approx(theory.standard_deviation("pytorch", 576, 576), rel=0.02)


@pytest.mark.parametrize("net", starts.NETS)
def test_fans_are_pytorchs(net):
    with torch.device("meta"):
        layers = named_layers(VGG(net, 10, width=0.5, crop=64, hidden=100))
    expected = {n: nn.init._calculate_fan_in_and_fan_out(m.weight) for n, m in layers.items()}
    assert theory.fans(net, width=0.5, crop=64, hidden=100, num_classes=10) == expected


def test_the_two_readings_of_the_paper_differ_by_ten_per_layer():
    letter, other = (
        theory.expected_activations("A", init, 1.0)[-1]
        for init in ("normal-variance", "normal-std")
    )
    assert letter / other == pytest.approx(10.0**11)
    with torch.device("meta"):
        layers = named_layers(VGG("A"))
    product = math.prod(
        0.1 * math.sqrt(layer.weight[0].numel() / 2) for layer in layers.values()
    ) * math.sqrt(2)
    assert letter == pytest.approx(product)


def test_gain_grows_with_the_root_of_the_width_only_where_the_spread_is_fixed():
    wide, narrow = theory.fans("D"), theory.fans("D", width=0.25)
    for init, ratio in (("normal-std", 2.0), ("he", 1.0), ("glorot", 1.0)):
        gains = [theory.gain(init, *fans["conv4_2"]) for fans in (wide, narrow)]
        assert gains[0] / gains[1] == pytest.approx(ratio)


# --- declarations ----------------------------------------------------------------------------


def test_parents_come_first_and_have_the_same_sizes():
    found = starts.chosen(["D-from-A"], "imagenette", crop=96, width=0.5)
    assert [e.name for e in found] == [starts.PARENT, "D-from-A"]
    assert {(e.crop, e.width, e.hidden, e.data, e.data_size) for e in found} == {
        (96, 0.5, 2048, "imagenette", "160px")
    }
    assert [e.name for e in starts.chosen([])] == list(starts.DECLARED)


def test_the_random_starts_change_nothing_but_the_rule():
    one, other = (starts.DECLARED[f"E-{init}"] for init in ("normal-std", "glorot"))
    differ = {key for key, value in vars(one).items() if value != vars(other)[key]}
    assert differ == {"name", "init"}
    assert (one.width, one.hidden, one.input_divisor, one.learning_rate) == (1.0, 4096, 1.0, 0.01)


@pytest.mark.parametrize(
    ("names", "data", "allowed"),
    [(["D-xavier"], "synthetic", "D-glorot"), (["D-he"], "cifar100", "cifar10")],
)
def test_a_bad_name_is_told_what_there_is(names, data, allowed):
    with pytest.raises(UserError, match="unknown") as error:
        starts.chosen(names, data)
    assert allowed in str(error.value)


def test_gradients_are_kept_and_modes_come_back_whatever_the_caller_does():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    net[2].eval()
    given = layers_of(net), torch.ones(2, 3), torch.tensor([0, 1])
    expected = measure(net, *given)
    with torch.no_grad():
        assert measure(net, *given) == expected
    assert (net.training, net[2].training) == (True, False)
    net[0].requires_grad_(False)
    with pytest.raises(UserError, match="0 cannot be measured frozen"):
        measure(net, *given)
