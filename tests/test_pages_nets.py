"""Figures and tables of the chapters about nets, against other ways to the same numbers."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate2d

from tests.records_by_hand import eval_path, eval_record, train_path, train_record
from vggrepro import cost
from vggrepro.configs import CONFIGS, FROM_NET_A
from vggrepro.models import VGG, copy_from_a, named_layers
from vggrepro.pages import nets, report
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Evaluation

matplotlib.use("Agg")
CENTRE = Evaluation("centre-crop", (256,))
LINE = ("A-S256", "B-S256", "D-S256", "E-S256")


@pytest.fixture
def column(tmp_path):
    """A with three seeds, C and E with one; B and D are not run. Every error is 3 in 11."""
    for run, seeds in (("A-S256", 3), ("C-S256", 1), ("E-S256", 1)):
        experiment = at_budget(run, "smoke")
        for seed in range(seeds):
            training = train_record(experiment, seed)
            store.write(training, train_path(tmp_path, experiment, seed))
            path = eval_path(tmp_path, experiment, seed, CENTRE)
            store.write(eval_record(experiment, seed), path)
    yield report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")
    plt.close("all")


def points(ax, marker="o"):
    """Coordinates of the markers of that kind that a panel shows."""
    lines = [line for line in ax.lines if line.get_marker() == marker]
    return sorted(tuple(xy) for line in lines for xy in line.get_xydata())


def test_error_stands_over_the_number_of_weight_layers(column):
    paper, ours = nets.against_depth(LINE, ("C-S256",), [column]).axes[:2]
    assert points(paper) == [(11, 29.6), (13, 28.7), (16, 27.0), (19, 27.3)]
    assert points(paper, "s") == [(16, 28.1)]
    assert points(ours) == [(depth, pytest.approx(300 / 11)) for depth in (11, 11, 11, 19)]
    assert points(ours, "s") == [(16, pytest.approx(300 / 11))]
    assert [label.get_text() for label in ours.get_xticklabels()] == [
        "11\nA", "13\nB", "16\nC, D", "19\nE",
    ]  # fmt: skip


def test_panels_without_records_say_so(tmp_path):
    empty = report.Column("recorded", tmp_path, "smoke", "synthetic")
    depth = nets.against_depth(LINE, (), [empty]).axes[1]
    costs = nets.cost_and_error(LINE, [empty]).axes
    for ax in (depth, *costs):
        assert "not run" in [text.get_text() for text in ax.texts]
    plt.close("all")


@given(st.lists(st.sampled_from([1, 3, 5, 7]), max_size=4))
def test_ways_through_a_stack_are_what_torch_finds(kernels):
    side = 1 + sum(kernel - 1 for kernel in kernels)
    start = torch.zeros(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    image = start
    for kernel in kernels:
        ones = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
        image = torch.nn.functional.conv2d(image, ones)
    (ways,) = torch.autograd.grad(image.sum(), start)
    np.testing.assert_array_equal(nets.paths(kernels), ways[0, 0].numpy())


def test_every_place_that_is_seen_is_numbered():
    figure = nets.seen_through({"two": [3, 3], "one": [5]})
    numbers = [[int(text.get_text()) for text in ax.texts] for ax in figure.axes]
    assert numbers[1] == [1] * 25
    assert (len(numbers[0]), sum(numbers[0]), max(numbers[0])) == (25, 81, 9)
    plt.close("all")


@given(st.integers(0, 50))
def test_two_small_filters_are_a_large_one_until_a_relu_is_between(seed):
    image = np.random.default_rng(seed).uniform(size=(12, 9))
    single, stack, with_relu = nets.responses(image).values()
    flipped = correlate2d(image, nets.BOTH[::-1, ::-1], mode="valid")
    np.testing.assert_allclose(single, flipped, atol=1e-12)
    np.testing.assert_allclose(stack, single, atol=1e-12)
    assert single.shape == (8, 5)
    assert (with_relu >= 0).all() and with_relu.max() > 0 > single.min()


def test_receptive_fields_are_level_at_1x1_layers():
    (ax,) = nets.field_growth(("B", "C", "D"), (32, 224)).axes
    fields = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert fields["C"][5] == fields["C"][6] == fields["B"][5]
    assert (fields["C"][-1], fields["D"][-1]) == (140, 196)
    assert ax.get_ylabel() == "receptive field, px"
    plt.close("all")


def test_padding_is_shown_for_every_layer_and_crop():
    ax = nets.padding("C", (32, 224)).axes[0]
    shares = dict(
        zip([t.get_text() for t in ax.get_yticklabels()], ax.images[0].get_array(), strict=True)
    )
    assert len(shares) == 13
    assert shares["conv5_1"][0] == pytest.approx(100 * (1 - (2 * 2 / (3 * 2)) ** 2))
    assert list(shares["conv5_3"]) == [0, 0]  # 1x1
    assert [text.get_text() for text in ax.texts][-4:] == ["56", "9", "0", "0"]
    plt.close("all")


def test_cost_is_that_of_the_trained_size(column):
    run = "A-S256"
    declared = column.experiment(run)
    layers = cost.convolutions("A", width=declared.width, crop=declared.crop)
    with torch.device("meta"):
        net = VGG("A", 10, width=declared.width, crop=declared.crop, hidden=8)
    convolutions = [m for m in net.features if isinstance(m, torch.nn.Conv2d)]
    weights = sum(m.weight.numel() for m in convolutions)
    multiply_adds = sum(layer.multiply_adds for layer in layers)
    left, right = nets.cost_and_error([run], [column]).axes[:2]
    assert points(left) == [(weights / 1e6, pytest.approx(300 / 11))] * 3
    assert points(right) == [(multiply_adds / 1e6, pytest.approx(300 / 11))] * 3


# --- tables -------------------------------------------------------------------------------


def test_epochs_count_those_of_the_parents(column):
    ax = nets.timelines(("A-S256", "D-S256", "D-he-long"), column).axes[0]
    ends = [(round(bar.get_y() + 0.35), bar.get_x(), bar.get_x() + bar.get_width())
            for bar in ax.patches]  # fmt: skip
    assert ends == [(0, 0, 2), (1, 0, 2), (1, 2, 4), (2, 0, 4)]
    assert [text.get_text() for text in ax.texts] == ["A: 2", "A: 2", "D: 2", "D: 4"]


def test_errors_have_a_column_for_what_is_recorded_and_none_for_the_same_again(column):
    table = nets.error_table(("A-S256", "B-S256"), [column])
    assert list(table) == ["paper, dense", f"{column.title}, centre crop"]
    assert list(table.iloc[:, 0]) == ["29.6", "28.7"]
    assert table.iloc[1, 1] == "–"
    dense = Evaluation("dense", (256,))
    experiment = column.experiment("A-S256")
    path = eval_path(column.results_dir, experiment, 0, dense)
    for size, shown in (("1x1", False), ("2x1", True)):
        made = eval_record(experiment, 0, protocol="dense", positions={size: 11})
        store.write(made, path)
        table = nets.error_table(("A-S256",), [column])
        assert (f"{column.title}, dense" in table) == shown


def test_sizes_are_those_of_the_fact_sheet():
    table = nets.sizes_table(("B", "C", "D"))
    assert list(table["weight layers"]) == [13, 16, 16]
    assert list(table["multiply-adds, billions"]) == ["11.31", "11.77", "15.47"]
    assert nets.more_weights("D", "C") == pytest.approx(47.2, abs=0.05)


@pytest.mark.parametrize("config", ["A", "B", "D", "E"])
def test_bold_is_what_is_copied(config):
    """Whether a layer is copied is asked of the copying itself."""
    size = {"num_classes": 3, "width": 1 / 64, "crop": 32, "hidden": 4}
    parent, child = VGG("A", **size), VGG(config, **size)
    for parameter in parent.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    copy_from_a(child, parent.state_dict())
    copied = {name for name, layer in named_layers(child).items() if (layer.weight == 7).all()}
    assert copied == set(FROM_NET_A)
    cells = nets.inherited_table([config])[config]
    for i, block in enumerate(CONFIGS[config], start=1):
        lines = cells[f"block {i}"].split("<br>")
        bold = {f"conv{i}_{j}" for j, line in enumerate(lines, start=1) if "<b>" in line}
        assert len(lines) == len(block)
        assert bold == {name for name in copied if name.startswith(f"conv{i}_")}


def test_the_fit_is_a_mean_over_seeds_of_the_last_epoch(column):
    table = nets.fit_table(["A-S256", "B-S256"], [column])
    trained = store.trainings(column.results_dir, column.experiment("A-S256")).values()
    last = [record.curve[-1] for record in trained]
    train = sum(epoch.train_error for epoch in last) / len(last)
    minival = sum(epoch.minival_error for epoch in last) / len(last)
    assert table.loc["A", column.title] == f"{train:.1f} → {minival:.1f}"
    assert table.loc["B", column.title] == "not run"
