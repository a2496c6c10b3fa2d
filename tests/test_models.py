import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vggrepro import UserError
from vggrepro.configs import CONFIGS
from vggrepro.models import (
    INITIALISATIONS,
    LRN,
    LRN_ALPHA,
    VGG,
    copy_from_a,
    initialise,
    named_layers,
    to_dense,
)

SMALL = {"num_classes": 7, "width": 1 / 16, "crop": 64, "hidden": 24}
configs = st.sampled_from(sorted(CONFIGS))


def small_net(config="A", *, seed=0, **changes):
    model = VGG(config, **{**SMALL, **changes}).eval()
    initialise(model, "he", seed=seed)
    return model


def random_images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the nets ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fully_connected():
    """The 123.6 million weights of fc6 to fc8, for all nets.

    A million numbers are drawn and repeated: a prime number, so that no two rows are alike.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = {"0": (4096, 25088), "3": (4096, 4096), "6": (1000, 4096)}
    drawn = torch.randn(1_000_003, generator=generator)
    state = {}
    for index, shape in shapes.items():
        count = shape[0] * shape[1]
        weight = drawn.mul((2 / shape[1]) ** 0.5).repeat(count // len(drawn) + 1)[:count]
        state[f"classifier.{index}.weight"] = weight.view(shape)
        state[f"classifier.{index}.bias"] = torch.randn(shape[0], generator=generator)
    return state


@pytest.mark.parametrize(("config", "name"), [("A", 11), ("B", 13), ("D", 16), ("E", 19)])
def test_torchvision_weights_give_bit_identical_outputs(config, name, fully_connected):
    generator = torch.Generator().manual_seed(name)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{name}")().eval()
        ours = VGG(config).eval()
    state = dict(fully_connected)
    for key, value in theirs.features.state_dict().items():
        drawn = torch.randn(value.shape, generator=generator)
        fan_in = value[0].numel()
        state[f"features.{key}"] = drawn * (2 / fan_in) ** 0.5 if value.dim() == 4 else drawn
    # `assign` only saves copying half a gigabyte for each net.
    theirs.load_state_dict(state, strict=True, assign=True)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    images = random_images(1, 3, 224, 224)
    with torch.inference_mode():
        logits = ours(images)
        assert torch.equal(logits, theirs(images))
    assert logits.std() > 0.1


def naive_forward(model, config, images):
    """Section 2.1 in the paper's order: ReLU, then LRN, then pool, written out."""
    parameters = {k: (m.weight, m.bias) for k, m in named_layers(model).items()}
    maps = images
    for i, block in enumerate(CONFIGS[config], start=1):
        for j, conv in enumerate(block, start=1):
            maps = F.conv2d(maps, *parameters[f"conv{i}_{j}"], padding=(conv.kernel - 1) // 2)
            if conv.relu:
                maps = maps.clamp(min=0)
            if conv.lrn:
                maps = F.local_response_norm(maps, 5, alpha=5 * LRN_ALPHA, beta=0.75, k=2.0)
        maps = F.max_pool2d(maps, 2)
    units = F.linear(maps.flatten(1), *parameters["fc6"]).clamp(min=0)
    units = F.linear(units, *parameters["fc7"]).clamp(min=0)
    return F.linear(units, *parameters["fc8"])


@pytest.mark.parametrize("config", CONFIGS)
def test_logits_and_gradients_are_those_of_the_papers_order(config):
    model = small_net(config).double()
    images = random_images(2, 3, 64, 64).double().requires_grad_()
    ours, naive = model(images), naive_forward(model, config, images)
    torch.testing.assert_close(ours, naive)
    weights = list(model.parameters())
    gradients = torch.autograd.grad(ours.square().sum(), [images, *weights])
    expected = torch.autograd.grad(naive.square().sum(), [images, *weights])
    torch.testing.assert_close(gradients, expected)
    assert gradients[0].abs().max() > 0


def test_pool_comes_before_relu_so_that_relu_has_a_quarter_of_the_work():
    kinds = [type(module).__name__ for module in VGG("D", **SMALL).features]
    pools = [i for i, kind in enumerate(kinds) if kind == "MaxPool"]
    assert len(pools) == 5
    assert all(kinds[i - 1 : i + 2] == ["Conv2d", "MaxPool", "ReLU"] for i in pools)
    # LRN needs what ReLU leaves, so the first pool of A-LRN stays last.
    lrn_block = [type(module).__name__ for module in VGG("A-LRN", **SMALL).features[:4]]
    assert lrn_block == ["Conv2d", "ReLU", "LRN", "MaxPool"]


def test_c_linear_differs_from_c_by_the_relu_alone():
    with_relu, linear = small_net("C"), small_net("C-linear")
    assert len(with_relu.features) == len(linear.features) + 3
    images = random_images(1, 3, 64, 64)
    assert with_relu.features(images).min() == 0
    assert linear.features(images).min() < 0


@given(
    config=configs,
    num_classes=st.integers(1, 1000),
    width=st.floats(1 / 100, 1.5),
    crop=st.integers(32, 260),
    hidden=st.integers(1, 4096),
)
@settings(max_examples=20, deadline=None)
def test_any_size_gives_one_row_of_logits_per_image(config, num_classes, width, crop, hidden):
    with torch.device("meta"):
        model = VGG(config, num_classes, width=width, crop=crop, hidden=hidden)
        assert model(torch.empty(2, 3, crop, crop)).shape == (2, num_classes)
        side = crop + 40
        dense = to_dense(model)(torch.empty(1, 3, side, crop))
    assert dense.shape == (1, num_classes, side // 32 - crop // 32 + 1, 1)


def test_images_that_do_not_fit_are_user_errors():
    model = small_net(crop=64)
    for size in [(96, 96), (63, 64), (64, 96), (8, 8)]:
        with pytest.raises(UserError, match="takes 64 px crops"):
            model(torch.zeros(1, 3, *size))
    with pytest.raises(UserError, match="at least 64 px on both sides"):
        to_dense(model)(torch.zeros(1, 3, 200, 63))


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"dropout": -0.1}, {"input_divisor": 0.0}])
def test_bad_options_are_user_errors(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        VGG("A", **SMALL, **changes)


def test_bfloat16_channels_last_training_step_is_near_float32():
    model = small_net("A-LRN", width=1 / 8)
    images = random_images(4, 3, 64, 64)
    exact = model(images)
    model.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images.to(memory_format=torch.channels_last))
    logits.float().square().sum().backward()
    assert torch.allclose(logits.float(), exact, atol=0.05 * exact.std().item())
    for parameter in model.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


# --- local response normalisation -------------------------------------------------------------


def reference_lrn(activations, k=2.0, n=5, alpha=1e-4, beta=0.75):
    """Section 3.3 of Krizhevsky et al. (2012), loop by loop."""
    channels = activations.shape[1]
    out = np.empty_like(activations)
    for i in range(channels):
        first, last = max(0, i - n // 2), min(channels - 1, i + n // 2)
        total = np.zeros_like(activations[:, 0])
        for j in range(first, last + 1):
            total += activations[:, j] ** 2
        out[:, i] = activations[:, i] / (k + alpha * total) ** beta
    return out


@pytest.mark.parametrize("channels", [1, 3, 5, 16])
def test_lrn_is_krizhevskys_formula(channels):
    activations = 100 * random_images(2, channels, 4, 5).double().relu()
    ours = LRN()(activations)
    torch.testing.assert_close(ours.numpy(), reference_lrn(activations.numpy()))
    # PyTorch divides alpha by n = 5, the formula does not.
    theirs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(activations)
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, activations * 2**-0.75, rtol=0.05)


def test_images_stay_as_they_were():
    images = torch.full((1, 3, 64, 64), 100.0)
    found = VGG("A", 2, width=1 / 16, crop=64, hidden=8, pixel_mean=(40, 50, 60)).normalised(images)
    assert (images == 100).all() and found[0, :, 0, 0].tolist() == [60, 50, 40]


def test_lrn_denominator_is_the_base_of_the_power():
    activations = 100 * random_images(2, 8, 4, 4).relu()
    base = LRN().denominator(activations)
    assert base.min() >= 2.0
    torch.testing.assert_close(LRN()(activations), activations / base**0.75)


def test_lrn_keeps_dtype_and_layout_and_computes_in_float32():
    activations = 100 * random_images(2, 16, 8, 8).relu()
    low = activations.bfloat16().to(memory_format=torch.channels_last)
    out = LRN()(low)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert LRN().denominator(low).dtype == torch.float32
    # The inputs are exact in bfloat16, so only the rounding of the result is left.
    assert torch.equal(out, LRN()(low.float()).bfloat16())


def test_lrn_gradient():
    activations = random_images(1, 6, 2, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(LRN(alpha=0.3), activations)


def test_divided_inputs_see_the_same_lrn():
    raw, divided = small_net("A-LRN"), small_net("A-LRN", input_divisor=60.0)
    images = 60 * random_images(2, 3, 64, 64)
    # Without biases all layers but LRN are linear in scale; so is the whole net if LRN's alpha
    # makes up for the division.
    torch.testing.assert_close(60 * divided(images / 60), raw(images), rtol=1e-4, atol=1e-3)
    literal = small_net("A-LRN")
    assert not torch.allclose(60 * literal(images / 60), raw(images), rtol=0.05)


def natural_images(count, side, seed=0):
    """Pixels of 0 to 255 with the 1/f amplitudes of photos, their channels correlated."""
    generator = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(side)
    amplitude = 1 / (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt().clamp(min=1 / side)
    noise = torch.randn(count, 4, side, side, generator=generator)
    planes = torch.fft.ifft2(torch.fft.fft2(noise) * amplitude).real
    planes = planes / planes.std()
    return (120 + 60 * (planes[:, :1] + 0.4 * planes[:, 1:])).clamp(0, 255)


def spread_of_denominator(input_divisor):
    """99th over 1st percentile of LRN's denominator on inputs (x - mean) / 60."""
    model = VGG("A-LRN", 10, width=1 / 4, crop=32, hidden=8, input_divisor=input_divisor)
    initialise(model, "he", seed=1)
    pixels = natural_images(8, 64)
    images = (pixels - pixels.mean(dim=(0, 2, 3), keepdim=True)) / 60
    conv, relu, lrn = model.features[:3]
    with torch.no_grad():
        denominator = lrn.denominator(relu(conv(images)))
    low, high = np.quantile(denominator.numpy(), [0.01, 0.99])
    return high / low


def test_lrn_is_alive_at_our_input_scale():
    assert spread_of_denominator(input_divisor=60.0) > 1.5
    # The literal alpha on divided inputs would make A-LRN net A times a constant.
    assert spread_of_denominator(input_divisor=1.0) < 1.01


# --- dense evaluation -------------------------------------------------------------------------


@given(config=configs, crop=st.integers(32, 140), width=st.sampled_from([1 / 64, 1 / 20, 1 / 8]))
@settings(max_examples=15, deadline=None)
def test_dense_on_a_crop_is_the_net(config, crop, width):
    model = small_net(config, crop=crop, width=width, input_divisor=60.0)
    images = random_images(2, 3, crop, crop)
    with torch.no_grad():
        scores, logits = to_dense(model)(images), model(images)
    assert scores.shape == (2, 7, 1, 1)
    torch.testing.assert_close(scores[:, :, 0, 0], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_dense_slides_the_classifier_over_the_map(layout):
    model = small_net("D").to(memory_format=layout)
    images = random_images(2, 3, 130, 200).to(memory_format=layout)
    with torch.no_grad():
        scores, maps = to_dense(model)(images), model.features(images)
        assert scores.shape == (2, 7, 3, 5)
        for i in range(3):
            for j in range(5):
                window = maps[:, :, i : i + 2, j : j + 2]
                torch.testing.assert_close(scores[:, :, i, j], model.classifier(window.flatten(1)))


def test_dense_shares_weights_and_keeps_dropout():
    model = small_net(dropout=0.3)
    dense = to_dense(model)
    assert not dense.training
    with torch.no_grad():
        model.classifier[0].weight.zero_()
        model.classifier[6].bias.fill_(3.0)
    assert dense.classifier[0].weight.abs().max() == 0
    assert (dense.classifier[6].bias == 3).all()
    model.train()
    dropouts = [m for m in to_dense(model).modules() if isinstance(m, nn.Dropout)]
    assert [(m.p, m.training) for m in dropouts] == [(0.3, True)] * 2


# --- initialisation ---------------------------------------------------------------------------


def expected_std(method, weight):
    """Standard deviation by the formula of each paper; weight is (out, in, kernel, kernel)."""
    area = weight[0, 0].numel()
    fan_out, fan_in = weight.shape[0] * area, weight.shape[1] * area
    return {
        "normal-variance": 1e-2**0.5,
        "normal-std": 1e-2,
        "glorot": (2 / (fan_in + fan_out)) ** 0.5,
        "he": (2 / fan_in) ** 0.5,
    }[method]


@pytest.mark.parametrize("method", INITIALISATIONS)
def test_initialisations_have_their_papers_spread(method):
    model = VGG("C", 40, width=1 / 4, crop=64, hidden=100)
    initialise(model, method, seed=0)
    for name, layer in named_layers(model).items():
        weight, std = layer.weight, expected_std(method, layer.weight)
        error = 4 / weight.numel() ** 0.5
        assert weight.std().item() == pytest.approx(std, rel=error), name
        assert abs(weight.mean().item()) < error * std, name
        assert layer.bias.abs().max() == 0
        # A uniform distribution ends at sqrt(3) standard deviations, a normal one goes on.
        assert (weight.abs().max() <= 3**0.5 * std * (1 + 1e-6)) == (method == "glorot"), name


def test_weights_depend_on_the_seed_alone():
    def weights(seed, global_seed, layout=torch.contiguous_format):
        torch.manual_seed(global_seed)
        model = VGG("A", **SMALL).to(memory_format=layout)
        before = torch.get_rng_state()
        initialise(model, "he", seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first = weights(3, global_seed=0)
    assert torch.equal(first, weights(3, global_seed=1))
    assert torch.equal(first, weights(3, global_seed=0, layout=torch.channels_last))
    assert not torch.equal(first, weights(4, global_seed=0))


def test_a_and_a_lrn_start_from_the_same_weights():
    pairs = zip(small_net("A").parameters(), small_net("A-LRN").parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


FROM_A = ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"]


def parent_net():
    parent = small_net("A", seed=5)
    with torch.no_grad():
        for parameter in parent.parameters():
            parameter.add_(1)
    return parent


@pytest.mark.parametrize("config", ["A", "A-LRN", "B", "C", "C-linear", "C-wide", "D", "E"])
def test_first_four_convolutions_and_classifier_come_from_a(config):
    parent = parent_net()
    model, without_parent = VGG(config, **SMALL), VGG(config, **SMALL)
    initialise(model, "normal-std", seed=2, parent=parent.state_dict())
    initialise(without_parent, "normal-std", seed=2)
    # A's layers 1 to 4 by order, whatever they are called.
    in_a = list(named_layers(parent).values())
    sources = dict(zip(FROM_A, [*in_a[:4], *in_a[-3:]], strict=True))
    others = named_layers(without_parent)
    for name, layer in named_layers(model).items():
        source = sources.get(name, others[name])
        assert torch.equal(layer.weight, source.weight), name
        assert torch.equal(layer.bias, source.bias), name


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("B-5x5", {}, "conv1_1.weight has shape .*5, 5.* 3x3 kernels"),
        ("D-7x7", {}, "conv3_1.weight"),
        ("D", {"width": 1 / 8}, "conv1_1.weight"),
        ("D", {"crop": 96}, "fc6.weight"),
        ("D", {"num_classes": 8}, "fc8.weight"),
    ],
)
def test_a_parent_that_does_not_fit_changes_nothing(config, changes, message):
    model = small_net(config, **changes)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        copy_from_a(model, parent_net().state_dict())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("config", ["A-LRN", "B", "D", "E", "B-5x5"])
def test_only_net_a_is_a_parent(config):
    with pytest.raises(UserError, match="not a state dict of net A"):
        copy_from_a(small_net("D"), small_net(config).state_dict())


def test_unknown_method_names_the_known_ones():
    with pytest.raises(UserError, match=r"unknown initialisation 'xavier'.*glorot, he"):
        initialise(VGG("A", **SMALL), "xavier", seed=0)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "0", None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(UserError, match="a seed is a whole number from 0"):
        initialise(small_net(), "he", seed=seed)


def test_the_start_depends_on_the_seed_alone():
    plain, within = small_net(), small_net()
    initialise(plain, "he", seed=3)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            initialise(within, "he", seed=np.int64(3))
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(plain.parameters(), within.parameters(), strict=True):
        assert torch.equal(one, other)
