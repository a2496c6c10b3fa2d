"""Where a step's time goes: kinds of operations, shares, and what they leave to be won."""

import pytest

from tests.image_sets import CPU
from tests.test_targets import measured, record, training
from vggrepro.bench import speed
from vggrepro.bench import turns as bench
from vggrepro.bench.speed import OTHER, kind_of
from vggrepro.pages import costs


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution, forward"),
        ("aten::convolution_backward", "convolution, backward"),
        ("aten::max_pool2d_with_indices_backward", "pooling"),
        ("aten::threshold_backward", "ReLU"),
        ("aten::clamp_min_", "ReLU"),
        ("aten::addmm", "fully connected"),
        ("aten::_fused_sgd_", "update"),
        ("aten::copy_", "casts and copies"),
        ("aten::empty", OTHER),
    ],
)
def test_kinds_of_operations(operation, kind):
    assert kind_of(operation) == kind


def test_shares_are_of_one_whole():
    geometry = bench.Geometry(crop=32, width=1 / 16, hidden=8, batch=2, classes=3)
    found = speed.profile((geometry,), CPU)
    assert sum(m.values[0] for m in found) == pytest.approx(100, abs=0.01)
    kinds = {m.of["kind"] for m in found}
    assert {"convolution, forward", "convolution, backward", "pooling", "ReLU"} <= kinds


def profile(width, **shares):
    return [measured("profile", [v], unit="%", kind=k, width=width) for k, v in shares.items()]


@pytest.fixture
def made():
    shares = {"convolution, forward": 20.0, "convolution, backward": 30.0, "ReLU": 50.0}
    wide = {"convolution, forward": 30.0, "convolution, backward": 60.0, "pooling": 10.0}
    return record(
        *training((300, 300), (100, 100), (310, 310), 0.25),
        *training((20, 20), (10, 10), (20, 20), 1.0),
        *profile(0.25, **shares),
        *profile(1.0, **wide),
        measured("arithmetic", (2.0, 1.0), side="convolution"),
        measured("arithmetic", (1.0, 0.5), side="float32 convolution"),
        *(
            measured("testing", (rate,), side=side, protocol=protocol)
            for protocol, ours in (("multi-crop", 19.0), ("dense", 43.0))
            for side, rate in (("vggrepro", ours), ("one at a time", 10.0))
        ),
    )


def test_the_limit_is_the_ratio_over_the_share_of_convolutions(made):
    text = costs.limit_sentence(made)
    assert "2.0 times as fast in bf16" in text
    assert "convolutions take 50 % of a step" in text
    assert "training would be 6.0 times as fast as torchvision's way instead of 3.0" in text
    assert "so about the gain of bf16 is all there is: 1.9 times" in text
    assert "where a convolution gains 2.0" in text
    assert "together: 4.3 times" in text
    assert "training would be 2.2 times as fast as torchvision's way instead of 2.0" in text


def test_the_table_is_ordered_by_the_narrow_net(made):
    table = costs.profile_table(made)
    assert list(table.index) == ["ReLU", "convolution, backward", "convolution, forward"]
    assert list(table.loc["ReLU"]) == ["50.0 %", "–"]


def test_without_a_record_or_a_profile_nothing_is_said():
    for nothing in (None, record(*training((3,), (1,), (3,), 0.25))):
        assert "Not measured" in costs.limit_sentence(nothing)
        assert list(costs.profile_table(nothing)) == ["not measured"]
