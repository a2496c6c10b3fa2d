import pytest

from vggrepro import UserError, configs
from vggrepro.configs import CONFIGS, Conv, blocks, layer_names, map_side


def kernels_and_channels(config):
    return [[(conv.kernel, conv.channels) for conv in block] for block in CONFIGS[config]]


def test_table_1_is_the_papers():
    # Counted and typed from Table 1: convolutions per block, which of them are 1x1.
    convs_per_block = {
        "A": [1, 1, 2, 2, 2],
        "A-LRN": [1, 1, 2, 2, 2],
        "B": [2, 2, 2, 2, 2],
        "C": [2, 2, 3, 3, 3],
        "D": [2, 2, 3, 3, 3],
        "E": [2, 2, 4, 4, 4],
    }
    for config, counts in convs_per_block.items():
        expected = [
            [(3, channels)] * count
            for count, channels in zip(counts, [64, 128, 256, 512, 512], strict=True)
        ]
        if config == "C":
            for block in expected[2:]:
                block[-1] = (1, block[-1][1])
        assert kernels_and_channels(config) == expected


def test_weight_layers_are_as_many_as_the_paper_says():
    layers = {"A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19}
    assert {config: len(layer_names(config)) for config in layers} == layers
    # "Five 5x5 conv. layers" of Section 4.1, and three fully-connected ones.
    assert len(layer_names("B-5x5")) == 5 + 3


def test_large_kernels_replace_stacks_of_the_same_receptive_field():
    def field(block):
        return 1 + sum(conv.kernel - 1 for conv in block)

    for small, large in [("B", "B-5x5"), ("D", "D-7x7")]:
        for stack, single in zip(CONFIGS[small], CONFIGS[large], strict=True):
            assert field(stack) == field(single)
            assert stack[-1].channels == single[-1].channels
    assert kernels_and_channels("D-7x7")[:2] == kernels_and_channels("D")[:2]


def test_exceptions_are_where_they_belong():
    def places(field, value):
        return [
            (config, i, j)
            for config, config_blocks in CONFIGS.items()
            for i, block in enumerate(config_blocks, start=1)
            for j, conv in enumerate(block, start=1)
            if getattr(conv, field) == value
        ]

    assert places("lrn", True) == [("A-LRN", 1, 1)]
    assert places("relu", False) == [("C-linear", i, 3) for i in (3, 4, 5)]
    assert kernels_and_channels("C-linear") == kernels_and_channels("C")


@pytest.mark.parametrize("width", [1.0, 0.25])
def test_c_wide_has_the_kernels_of_c_and_the_weights_of_d(width):
    def weights(config):
        convs = [conv for block in blocks(config, width) for conv in block]
        inputs = [3, *(conv.channels for conv in convs)]
        return sum(c.kernel**2 * n * c.channels for c, n in zip(convs, inputs, strict=False))

    def kernels(config):
        return [[conv.kernel for conv in block] for block in blocks(config)]

    assert kernels("C-wide") == kernels("C")
    assert weights("C-wide") == pytest.approx(weights("D"), rel=2e-3)
    # What is made from the block's output, and fc6, are those of C and D.
    assert [block[-1].channels for block in blocks("C-wide")][3:] == [512, 512]


def test_width_multiplies_channels_and_leaves_at_least_one():
    quarter = [block[0].channels for block in blocks("A-LRN", 0.25)]
    assert quarter == [16, 32, 64, 128, 128]
    assert blocks("A-LRN", 0.25)[0][0] == Conv(3, 16, relu=True, lrn=True)
    assert [block[0].channels for block in blocks("A", 0.001)] == [1, 1, 1, 1, 1]


def test_layer_names_follow_blocks():
    assert layer_names("A") == (
        *("conv1_1", "conv2_1", "conv3_1", "conv3_2"),
        *("conv4_1", "conv4_2", "conv5_1", "conv5_2"),
        *("fc6", "fc7", "fc8"),
    )


@pytest.mark.parametrize(("crop", "side"), [(32, 1), (63, 1), (64, 2), (223, 6), (224, 7)])
def test_map_side_rounds_down(crop, side):
    assert map_side(crop) == side


@pytest.mark.parametrize("width", [0, -1, float("nan"), float("inf"), "1", None])
def test_bad_width_is_named(width):
    with pytest.raises(UserError, match="width must be a positive number"):
        blocks("A", width)


def test_unknown_config_names_the_known_ones():
    with pytest.raises(UserError, match=r"unknown config 'F'.*A, A-LRN, B, C, D, E, B-5x5"):
        blocks("F")


@pytest.mark.parametrize(
    "cell", ["64-BN", "64x", "64-lrn", "-64", "", "2-64", "10-64", "0-64", "0", "1-0", "00"]
)
def test_a_cell_that_is_no_layer_is_refused(cell):
    with pytest.raises(
        UserError, match=r"is no layer: write 64, 1-256 \(odd kernel and channels\)"
    ):
        configs._parse_cell(cell)


@pytest.mark.parametrize("row", ["64 | 64 | 64 | 64", "64 | 64 | | 64 | 64", ""])
def test_a_row_has_five_blocks(row):
    with pytest.raises(UserError, match="five blocks of at least one layer"):
        configs.row(row)


@pytest.mark.parametrize("row", [None, 64, ["64"] * 5, b"64 | 64 | 64 | 64 | 64"])
def test_a_row_is_text(row):
    with pytest.raises(UserError, match="is no row: write five blocks"):
        configs.row(row)


LAYER = Conv(3, 64)


@pytest.mark.parametrize(
    "net",
    [
        None,
        "64 | 64 | 64 | 64 | 64",
        ((LAYER,),) * 4,
        ((LAYER,),) * 4 + ((),),
        ((64,),) * 5,
        (LAYER,) * 5,
        ((Conv(2, 64),),) * 5,
    ],
)
def test_what_is_no_net_is_named_when_it_is_built(monkeypatch, net):
    monkeypatch.setitem(CONFIGS, "mine", net)
    with pytest.raises(UserError, match=r"CONFIGS\['mine'\] is no net: put what .*row"):
        blocks("mine")


@pytest.mark.parametrize("config", [None, ["A"], 11])
def test_a_config_is_a_name(config):
    with pytest.raises(UserError, match="unknown config"):
        blocks(config)


def test_a_kernel_may_have_two_digits():
    assert configs._parse_cell("11-64") == Conv(11, 64)
