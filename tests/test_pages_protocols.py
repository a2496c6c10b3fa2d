"""What the chapters about protocols and fusion compute from declarations and from records."""

import json

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.records_by_hand import PROVENANCE, eval_path, eval_record
from vggrepro import configs
from vggrepro.pages import figures, protocols, report, verdicts
from vggrepro.study import paper, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import FUSIONS, RUNS, Evaluation, several_scales
from vggrepro.study.records import FusionRecord, summarise
from vggrepro.windows import PROTOCOLS

matplotlib.use("Agg")
THREE_Q = several_scales(RUNS["D-jitter"])
DENSE, CROPS, BOTH = (
    Evaluation(protocol, THREE_Q) for protocol in ("dense", "multi-crop", "multi-crop & dense")
)
NETS = ("D-jitter", "E-jitter")
PARENTS = {"D-jitter/seed0/dense-256+384+512": "12ab" * 16}
TWO_NETS, TWO_SEEDS = "D-jitter+E-jitter", "D-jitter+D-jitter"


@pytest.fixture
def column(tmp_path):
    return report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")


def record(column, run, evaluation, seed, wrong, parents=None, **changes):
    """Write an evaluation of eleven images of which those numbered `wrong` are wrong."""
    correct = np.ones(11, bool)
    correct[list(wrong)] = False
    experiment = at_budget(run, column.budget)
    made = eval_record(
        experiment,
        seed,
        protocol=evaluation.protocol,
        test_scales=evaluation.test_scales,
        **summarise(correct, correct, np.full(11, -1.0)),
        **changes,
    )
    if parents is not None:
        made = FusionRecord(**json.loads(made.model_dump_json(exclude={"kind"})), parents=parents)
    store.write(made, eval_path(column.results_dir, experiment, seed, evaluation))


# --- cost ---------------------------------------------------------------------------------


def test_the_papers_numbers_of_windows_each_seen_twice():
    table = protocols.protocol_table(["D-jitter"], [])
    windows = {label: int(count) for label, count in table.windows.items()}
    assert windows["multi-crop, 3 Q"] == 75
    assert windows["AlexNet's 10, Q = 256"] == 5
    assert windows["GoogLeNet's 144, 4 Q"] == 72
    assert windows["dense, 3 Q"] == 3
    assert windows["multi-crop & dense, 3 Q"] == 78


def test_the_work_of_crops_is_that_of_as_many_centre_crops():
    experiment = at_budget("D-jitter", "reduced", "imagenette")
    once = protocols.work_of(experiment, Evaluation("centre-crop", (384,))).multiply_adds
    crops, dense, both = (
        protocols.work_of(experiment, tested).multiply_adds for tested in (CROPS, DENSE, BOTH)
    )
    assert crops == 75 * once
    assert both == crops + dense


def test_one_table_has_work_time_and_errors_of_all_nets(column):
    for seed, rate in ((0, 100.0), (1, 50.0)):
        provenance = PROVENANCE.model_copy(update={"images_per_second": rate, "wall_seconds": 0.1})
        record(column, "D-jitter", CROPS, seed, [0], provenance=provenance)
    table = protocols.protocol_table(NETS, [column])
    assert [title for title in table if "×" in title] == ["× at 224 px", "× at 32 px"]
    crops, dense = table.loc["multi-crop, 3 Q"], table.loc["dense, Q = 256"]
    assert crops["× at 32 px"] == "75.0"
    assert crops[f"ms, {column.title}"] == "15.0"
    assert crops[f"D, {column.title}"] == f"{100 / 11:.1f} ± 0.0<br>n = 2"
    assert (crops["D, paper"], crops["E, paper"]) == ("24.6", "24.6")
    assert dense[f"D, {column.title}"] == dense[f"ms, {column.title}"] == "not run"
    assert dense[f"E, {column.title}"] == "–"  # nobody asked for it


def test_a_readers_own_photos_have_a_cost():
    own = at_budget("D-jitter", "reduced", "folder")
    photos = at_budget("D-jitter", "reduced", "imagenette")
    assert protocols.work_of(own, DENSE) == protocols.work_of(photos, DENSE)


def test_only_dense_evaluations_without_a_partner_are_left_out():
    for run, single in (("D-jitter", {256, 384}), ("E-jitter", {384})):
        found = protocols.compared(run)
        dense = {e.test_scales[0] for e in found if e.protocol == "dense" and e != DENSE}
        assert dense == single
        assert {DENSE, CROPS, BOTH} <= set(found)
        work = [protocols.work_of(RUNS[run], e).multiply_adds for e in found]
        assert work == sorted(work)


def test_the_papers_errors_come_from_its_tables():
    assert report.paper_error("D-jitter", BOTH) == 24.4
    assert report.paper_error("E-jitter", Evaluation("dense", (384,))) == 25.5
    assert report.paper_error(TWO_NETS, BOTH) == 23.7
    assert report.paper_error("D-jitter", Evaluation("alexnet-10", (256,))) is None


@pytest.mark.parametrize(
    ("rate", "wall", "expected"),
    [(200.0, 0.1, 1 / 200), (0.4, 27.5, 2.5), (0.0, 0.0, float("nan"))],
)
def test_time_per_image_is_from_the_more_exact_number(rate, wall, expected):
    provenance = PROVENANCE.model_copy(update={"images_per_second": rate, "wall_seconds": wall})
    found = protocols.seconds_per_image(eval_record(provenance=provenance))
    assert found == pytest.approx(expected, nan_ok=True)


# --- padding ------------------------------------------------------------------------------


@given(st.sampled_from(("A", "C", "D", "E", "B-5x5", "D-7x7")), st.integers(32, 230))
def test_units_free_of_padding_are_those_that_keep_a_constant(config, crop):
    # Means of ones are one, unless a zero of the padding is among them.
    x = torch.ones(1, 1, crop, crop, dtype=torch.float64)
    for block, free in zip(
        configs.blocks(config), protocols.free_of_padding(config, crop), strict=True
    ):
        for conv in block:
            k = conv.kernel
            x = F.avg_pool2d(x, k, stride=1, padding=k // 2, count_include_pad=True)
        x = F.avg_pool2d(x, 2)
        row = (x[0, 0] > 1 - 1e-9).any(0).nonzero().flatten().tolist()
        assert x.shape[-1] == free.side
        assert row == list(range(free.first, free.first + free.free))


def test_padding_in_words():
    said = protocols.padding_sentence("D", 224)
    assert "field of 404 px" in said
    assert "all but 1 of the 7×7 units" in said
    assert "can reach all of the 2×2 units" in protocols.padding_sentence("D", 64)


# --- where a protocol looks ---------------------------------------------------------------


@given(st.integers(224, 700), st.integers(224, 700), st.sampled_from((256, 384, 512)))
def test_a_map_has_a_centre_for_every_position(height, width, q):
    size = (height, width)
    windows = PROTOCOLS["dense"](size, q, 224)
    rows, columns = (side // 32 - 6 for side in (windows[0].height, windows[0].width))
    found = protocols.centres(size, windows, 224)
    assert len(found) == rows * columns
    finer = protocols.centres(size, windows, 224, 16)
    assert len(finer) == (2 * rows - 1) * (2 * columns - 1)
    # Trimmed evenly, a map lies about the middle of the image, to the pixel of Q.
    middle = np.mean(found, axis=0)
    assert np.abs(middle - np.array([width, height]) / 2).max() <= min(size) / q + 1e-9


def test_a_crop_has_one_centre():
    found = PROTOCOLS["multi-crop"]((256, 256), 256, 224)
    centres = protocols.centres((256, 256), found, 224)
    assert len(centres) == 25
    assert (centres[0], centres[12], centres[24]) == ((112, 112), (128, 128), (144, 144))


def test_every_protocol_has_its_panel():
    drawn = protocols.windows()
    titles = [ax.get_title() for ax in drawn.axes if ax.get_title()]
    assert len(titles) == len(PROTOCOLS)
    assert "multi-crop\nQ = 384, windows: 25" in titles
    padded = protocols.padding("D", (224, 64))
    assert [ax.get_xlabel() for ax in padded.axes[-2:]] == ["0 %", "0 %"]
    assert len(protocols.grids(64, 256).axes) == 2
    figures.plt.close("all")


# --- errors -------------------------------------------------------------------------------


def test_every_seed_is_a_dot_and_the_line_joins_what_is_better_than_all_cheaper(column):
    for evaluation, wrong in ((DENSE, [0, 1]), (CROPS, [0]), (BOTH, [0, 1, 2])):
        for seed in range(2):
            record(column, "D-jitter", evaluation, seed, wrong)
    ax = protocols.cost_and_error("D-jitter", [column]).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [2, 2, 2]
    numbers = [text.get_text() for text in ax.texts]
    (names,) = [[text.get_text() for text in one.texts] for one in ax.figure.legends]
    assert [name.split("  ")[0] for name in names] == numbers
    assert {name.split("  ")[1] for name in names} == {
        "dense, 3 Q", "multi-crop, 3 Q", "multi-crop & dense, 3 Q"
    }  # fmt: skip
    (frontier,) = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert list(frontier.get_ydata()) == pytest.approx([200 / 11, 100 / 11])
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "multiply-adds per image, G")
    figures.plt.close("all")


def test_what_was_not_run_says_so(column):
    (ax,) = protocols.cost_and_error("D-jitter", [column]).axes
    assert "not run" in [text.get_text() for text in ax.texts]
    figures.plt.close("all")


def test_a_difference_of_differences_is_shown(column):
    claim = CLAIMS["several-q-help-jittered-more"]
    for (first, second), wrong in ((claim.sides, [0, 1, 2]), (claim.less, [0])):
        record(column, first.run, first.evaluation, 0, [])
        record(column, second.run, second.evaluation, 0, wrong)
    table = verdicts.differences_table(claim.key, columns=[column])
    assert list(table[column.title]) == [f"{200 / 11:+.1f}<br>n = 1"]


# --- fusion -------------------------------------------------------------------------------


def test_who_takes_part_and_at_which_q():
    found = dict(protocols.members("ILSVRC-submission"))
    assert len(found) == 7
    assert found["D-S384"] == Evaluation("dense", (352, 384, 416))
    assert dict(protocols.members(TWO_SEEDS)) == {"D-jitter": DENSE}
    assert [protocols.short(f) for f in FUSIONS] == ["7 nets", "D + E", "D + D"]


def test_images_that_both_nets_get_wrong(column):
    record(column, "D-jitter", DENSE, 0, [0, 1, 2])
    record(column, "D-jitter", DENSE, 1, [2, 3])
    record(column, "E-jitter", DENSE, 0, [1, 2])
    record(column, TWO_NETS, DENSE, 0, [2], parents=PARENTS)
    record(column, TWO_SEEDS, DENSE, 0, [2, 3], parents=PARENTS)
    record(column, TWO_SEEDS, DENSE, 1, [], parents=PARENTS)  # its second net, seed 2, is not there
    table = protocols.overlap_table((TWO_SEEDS, TWO_NETS), [column])
    shares = [f"{100 * n / 11:.1f}" for n in range(4)]
    one, two, three = shares[1:]
    assert list(table.loc["D + D"])[1:] == [three, two, one, two, "1"]
    assert list(table.loc["D + E"])[1:] == [three, two, two, one, "1"]


def test_nets_tested_on_other_images_do_not_overlap(column):
    record(column, "D-jitter", DENSE, 0, [0])
    other = eval_record().data.model_copy(update={"fingerprint": "00" * 32})
    record(column, "E-jitter", DENSE, 0, [0], data=other)
    record(column, TWO_NETS, DENSE, 0, [0], parents=PARENTS)
    table = protocols.overlap_table((TWO_NETS,), [column])
    assert list(table.loc["D + E"])[1:] == ["not run"] * 4 + ["0"]


def test_table_7_is_whole():
    printed = protocols.table_7()
    assert len(printed) == max(row.row for row in paper.table(7))
    cells = printed[list(protocols.TABLE_7)].to_numpy().ravel()
    numbers = [cell for cell in cells if cell != "–"]
    merged = sum("merged" in row.split for row in paper.table(7))
    assert len(numbers) == len(paper.table(7)) + merged  # one cell over two columns
    assert sum(cell.endswith("*") for cell in numbers) == 2 * merged
