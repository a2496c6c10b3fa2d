import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vggrepro import UserError, cost
from vggrepro.configs import CONFIGS
from vggrepro.models import LRN, VGG, count_parameters, named_layers, to_dense

# Exact totals at 1000 classes; A, B, D and E are also torchvision's published counts.
PARAMETERS = {
    "A": 132_863_336,
    "A-LRN": 132_863_336,
    "B": 133_047_848,
    "C": 133_638_952,
    "C-linear": 133_638_952,
    "D": 138_357_544,
    "E": 143_667_240,
    "B-5x5": 134_503_528,
}
GIGA_MULTIPLY_ADDS = {
    "A": 7.609,
    "B": 11.308,
    "C": 11.771,
    "D": 15.470,
    "E": 19.632,
    "B-5x5": 9.356,
}

sizes = st.fixed_dictionaries(
    {
        "num_classes": st.integers(1, 1000),
        "width": st.floats(1 / 64, 1.5),
        "crop": st.integers(32, 300),
        "hidden": st.integers(1, 4096),
    }
)
configs = st.sampled_from(sorted(CONFIGS))


def meta_net(config, **size):
    with torch.device("meta"):
        return VGG(config, **size)


@pytest.mark.parametrize("config", PARAMETERS)
def test_parameters_are_exact(config):
    assert cost.parameters(config) == PARAMETERS[config]
    assert count_parameters(meta_net(config)) == PARAMETERS[config]


@pytest.mark.parametrize("config", GIGA_MULTIPLY_ADDS)
def test_multiply_adds_at_224_px(config):
    assert round(cost.multiply_adds(config) / 1e9, 3) == GIGA_MULTIPLY_ADDS[config]


def test_convolutions_and_classifier_of_the_fact_sheet():
    conv_parts = {"A": 9_220_480, "B": 9_404_992, "C": 9_996_096, "D": 14_714_688, "E": 20_024_384}
    for config, expected in conv_parts.items():
        layers = cost.layers(config)
        assert sum(layer.parameters for layer in layers if layer.kind == "conv") == expected
        assert [layer.parameters for layer in layers[-3:]] == [102_764_544, 16_781_312, 4_097_000]
    assert sum(layer.parameters - layer.weights for layer in cost.layers("D")) == 13_416


@given(config=configs, size=sizes)
@settings(max_examples=15, deadline=None)
def test_every_figure_agrees_with_the_net(config, size):
    model = meta_net(config, **size)
    layers = {layer.name: layer for layer in cost.layers(config, **size)}
    modules = named_layers(model)

    assert cost.parameters(config, **size) == count_parameters(model)
    assert [name for name, layer in layers.items() if layer.weights] == list(modules)
    for name, module in modules.items():
        assert layers[name].weights == module.weight.numel()
        assert layers[name].parameters - layers[name].weights == module.bias.numel()

    shapes = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _m, _i, out, name=name: shapes.update({name: out}))
    for i, module in enumerate(model.features):
        if isinstance(module, LRN):  # not counted in the paper's way of counting
            model.features[i] = torch.nn.Identity()
    counter = FlopCounterMode(display=False)
    with counter:
        model(torch.empty(1, 3, size["crop"], size["crop"], device="meta"))
    # torch counts a multiplication and an addition as two.
    assert counter.get_total_flops() == 2 * cost.multiply_adds(config, **size)
    for name, output in shapes.items():
        assert layers[name].activations == output.numel()
        if layers[name].kind == "conv":
            assert layers[name].output_shape == tuple(output.shape[1:])


def positive_net(config, crop):
    """A net of a few channels in which every input in reach has a positive gradient.

    Positive weights and inputs keep every ReLU open; an average over the same window replaces
    the max-pool, which would pass the gradient to one of its four inputs only.
    """
    model = VGG(config, num_classes=1, width=1 / 64, crop=crop, hidden=1, dropout=0).double()
    for module in named_layers(model).values():
        nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        nn.init.zeros_(module.bias)
    for i, module in enumerate(model.features):
        if isinstance(module, nn.MaxPool2d):
            model.features[i] = nn.AvgPool2d(2, 2)
    return model


def extent_of_gradient(output, images):
    """Side in pixels of what the unit in the middle of `output`'s first channel sees."""
    middle = output[0, 0, output.shape[2] // 2, output.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, images, retain_graph=True)
    rows = gradient[0, 0].sum(dim=1).nonzero()
    return int(rows.max() - rows.min()) + 1


@pytest.mark.parametrize("config", ["A-LRN", "C", "D", "E", "B-5x5", "D-7x7"])
def test_receptive_fields_are_the_extent_of_the_gradient(config):
    # Wide enough that the largest field below fc6, E's 268 px, stays clear of the padding.
    images = torch.ones(1, 3, 608, 224, dtype=torch.double, requires_grad=True)
    model = positive_net(config, crop=224)
    layers = cost.layers(config, width=1 / 64, crop=224, hidden=1, num_classes=1)
    expected = {layer.name: layer.receptive_field for layer in layers}
    block, conv, maps = 1, 0, images
    for module in model.features:
        maps = module(maps.clone())
        if isinstance(module, nn.Conv2d):
            conv += 1
            assert extent_of_gradient(maps, images) == expected[f"conv{block}_{conv}"]
        elif isinstance(module, nn.AvgPool2d):
            assert extent_of_gradient(maps, images) == expected[f"pool{block}"]
            block, conv = block + 1, 0
    assert extent_of_gradient(to_dense(model).classifier(maps), images) == expected["fc6"]


def test_receptive_fields_at_fc6_and_jumps():
    fields = {"A": 342, "B": 348, "C": 348, "D": 404, "E": 460}
    for config, field in fields.items():
        layers = cost.layers(config)
        assert [layer.receptive_field for layer in layers[-3:]] == [field] * 3
        assert [layer.jump for layer in layers if layer.kind == "pool"] == [2, 4, 8, 16, 32]


def test_layers_of_a_lrn_in_order():
    layers = cost.layers("A-LRN", width=0.25, crop=32, hidden=256, num_classes=10)
    assert [layer.name for layer in layers[:5]] == ["conv1_1", "lrn1", "pool1", "conv2_1", "pool2"]
    lrn = layers[1]
    assert (lrn.kind, lrn.parameters, lrn.multiply_adds) == ("lrn", 0, 0)
    assert lrn.output_shape == (16, 32, 32)
    assert layers[-4].output_shape == (128, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "F"}, "unknown config"),
        ({"config": "A", "crop": 31}, "crop must be at least 32 px, and whole, not 31"),
        ({"config": "A", "hidden": 0}, "hidden must be a whole number from 1 up, not 0"),
        ({"config": "A", "num_classes": 0}, "num_classes must be a whole number from 1 up, not 0"),
        ({"config": "A", "width": 0.0}, "width must be a positive number"),
    ],
)
def test_bad_sizes_are_user_errors(arguments, message):
    for function in (cost.layers, cost.parameters, cost.multiply_adds, VGG):
        with pytest.raises(UserError, match=message):
            function(**arguments)


@given(kernel=st.sampled_from([1, 3, 5, 7]), side=st.integers(1, 20))
def test_padding_share_is_what_a_convolution_of_ones_lacks(kernel, side):
    ones = torch.ones(1, 1, side, side, dtype=torch.float64)
    filters = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    seen = nn.functional.conv2d(ones, filters, padding=kernel // 2)
    assert cost.padding_share(kernel, side) == pytest.approx(1 - float(seen.mean()) / kernel**2)


@pytest.mark.parametrize(("kernel", "side"), [(2, 4), (0, 4), (-1, 4), (3, 0)])
def test_padding_share_needs_an_odd_kernel_and_a_map(kernel, side):
    with pytest.raises(UserError, match=r"kernel|side"):
        cost.padding_share(kernel, side)
