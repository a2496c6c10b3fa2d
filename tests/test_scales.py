"""Tables and figures of the chapters on scales, from records whose numbers are known."""

import re

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.records_by_hand import PROVENANCE, eval_path, eval_record, train_path, train_record
from vggrepro.models import VGG, initialise, to_dense
from vggrepro.pages import report, scales
from vggrepro.pages.page import Chapter
from vggrepro.study import programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import (
    RUNS,
    Evaluation,
    centre_crop,
    evaluations_of,
    one_scale,
    three_scales,
)
from vggrepro.study.records import summarise
from vggrepro.windows import cut, dense_window, positions, scaled, score_map

matplotlib.use("Agg")
PLT = scales.plt
IMAGES = 50  # so that errors are multiples of two points


@pytest.fixture(autouse=True)
def closed():
    yield
    PLT.close("all")


@pytest.fixture
def column(tmp_path):
    return report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")


def write(column, run, evaluation, errors, **changes):
    """Records of that evaluation with these top-1 errors in percent, by seed."""
    experiment = column.experiment(run)
    for seed, error in errors.items():
        wrong = round(error * IMAGES / 100)
        correct = np.arange(IMAGES) >= wrong
        record = eval_record(
            experiment, seed, protocol=evaluation.protocol, test_scales=evaluation.test_scales,
            data={"name": "synthetic", "split": "val", "count": IMAGES, "fingerprint": "8e" * 32},
            **summarise(correct, correct, np.full(IMAGES, -1.0)), **changes,
        )  # fmt: skip
        assert record.top1_error == pytest.approx(error)
        path = eval_path(column.results_dir, experiment, seed, evaluation)
        store.write(record, path)


def dense(*scales):
    return Evaluation("dense", scales)


# --- score maps ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test_scale", "short_side"),
    [(224, 1), (256, 2), (288, 3), (352, 5), (384, 6), (416, 7), (512, 10), (640, 14), (768, 18)],
)
def test_score_maps_at_the_papers_geometry(test_scale, short_side):
    assert score_map((480, 640), test_scale, 224)[0] == short_side
    assert score_map((640, 480), test_scale, 224)[1] == short_side


@given(
    size=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    crop=st.integers(32, 100),
    more=st.integers(0, 150),
)
def test_positions_are_the_places_of_a_grid_of_32_px(size, crop, more):
    trimmed = dense_window(size, crop + more, crop)
    by_hand = [
        (trimmed.left + x, trimmed.top + y)
        for y in range(0, trimmed.height - crop + 1, 32)
        for x in range(0, trimmed.width - crop + 1, 32)
    ]
    found = positions(trimmed, crop)
    assert [(w.left, w.top) for w in found] == by_hand
    assert {w[3:] for w in found} == {(crop, crop)}
    rows, columns = score_map(size, crop + more, crop)
    assert rows * columns == len(by_hand)


@torch.no_grad()
@pytest.mark.parametrize("size", [(110, 110), (110, 170), (150, 110)])
def test_a_position_is_the_score_of_its_crop(size):
    """With kernels of one pixel there is no padding, the one thing in which the two differ."""
    model = VGG("A", 4, width=1 / 16, crop=64, hidden=16).eval()
    initialise(model, "he", seed=0)
    for layer in model.features:
        if isinstance(layer, torch.nn.Conv2d):
            centre = layer.weight[..., 1:2, 1:2].clone()
            layer.weight.zero_()
            layer.weight[..., 1:2, 1:2] = 3 * centre
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)

    def tensor(window):
        pixels = torch.from_numpy(cut(image, window).copy()).permute(2, 0, 1)
        return pixels[None].float() / 255

    scores = to_dense(model)(tensor(dense_window(size, 110, 64)))[0]
    assert tuple(scores.shape[1:]) == score_map(size, 110, 64)
    crops = torch.cat([tensor(window) for window in positions(dense_window(size, 110, 64), 64)])
    assert torch.allclose(scores.flatten(1).T, model(crops), atol=1e-5)
    assert scores.flatten(1).std(1).min() > 1e-3  # the positions do differ


def test_positions_per_image_are_counted_from_records(column):
    maps = {"1x2": 30, "2x2": 20}
    write(column, "D-S256", dense(256), {0: 20}, positions=maps)
    table = scales.score_maps_table(["D-S256"], [column])
    assert list(table["paper, 224 px crops"])[:3] == ["1", "2", "3"]
    per_image = table[f"{column.title}, per image"]
    assert per_image["Q = 256"] == "2.8"  # (30 * 2 + 20 * 4) / 50
    assert per_image["Q = 512"] == "–"
    assert table.loc["Q = 512", column.title] == "2 (73 px)"


# --- tables -------------------------------------------------------------------------------


def test_cifar_is_left_out_of_the_recorded_columns_only(tmp_path):
    recorded = Chapter("06", "reduced", "", 0, False, "", "")
    assert [c.data for c in recorded.columns] == ["imagenette"]
    rerun = Chapter("06", "reduced", "cifar10", 0, False, "", str(tmp_path))
    assert [c.data for c in rerun.columns] == ["imagenette", "cifar10"]


def test_runs_are_named_by_their_scales():
    names = [scales.name_of(run) for run in ("D-S256", "D-S384-longer", "C-jitter")]
    assert names == ["D, S = 256", "D, S = 384, longer", "C, S ∈ [256; 512]"]
    assert [run for run in RUNS if scales.is_control(run)] == [
        "C-S384-longer",
        "D-S384-longer",
        "E-S384-longer",
    ]


def test_the_curve_has_every_single_scale_that_is_declared():
    assert scales.single_test_scales("D-jitter") == (256, 320, 384, 448, 512)
    assert scales.single_test_scales("C-S256") == (256,)


def test_the_best_scale_is_chosen_on_the_seeds_that_have_all(column):
    for q, error in ((256, 30), (320, 28), (384, 26), (448, 22), (512, 24)):
        write(column, "D-jitter", dense(q), {0: error, 2: error + 4})
    write(column, "D-jitter", dense(256), {1: 2})  # alone at 256: no step in the curve
    found = scales.errors_by_scale(column, "D-jitter")
    assert list(found.index) == [0, 2]
    table = scales.by_scale_table(["D-jitter", "D-S384-longer"], [column])
    bold = [q for q in table.index if "<b>" in "".join(table.loc[q])]
    assert bold == ["Q = 448"]


def test_a_gain_is_over_the_seeds_that_have_both(column):
    write(column, "D-S256", dense(256), {0: 30, 1: 20, 2: 90})
    write(column, "D-S256", dense(224, 256, 288), {0: 26, 1: 22})
    found = scales.gained(column, "D-S256").T.to_dict("list")
    assert found == {0: pytest.approx([30, 26]), 1: pytest.approx([20, 22])}
    table = scales.gains_table(["D-S256", "D-S384-longer"], [column])
    assert table.loc["D, S = 256", "paper"] == "27.0 → 26.6<br>+0.4"
    ours = table.loc["D, S = 256", column.title]
    assert ours == "25.0 → 24.0<br>+1.0 ± 4.2, n = 2"
    assert list(table.loc["D, S = 384, longer"]) == ["352, 384, 416", "–", "not run"]


def test_what_dense_evaluation_gains_is_by_seed_and_processor(column):
    experiment = column.experiment("D-S384")
    for seed, error in ((0, 30), (1, 26)):
        write(column, "D-S384", Evaluation("centre-crop", (384,)), {seed: error})
        write(column, "D-S384", dense(384), {seed: 24})
        provenance = PROVENANCE.model_copy(update={"processor": f"processor {seed}"})
        trained = train_record(experiment, seed, provenance=provenance)
        store.write(trained, train_path(column.results_dir, experiment, seed))
    found = scales.dense_gains(column, ["D-S384"], 384)
    assert found.to_dict() == pytest.approx(
        {("D-S384", 0, "processor 0"): 6, ("D-S384", 1, "processor 1"): 2}
    )


@pytest.mark.parametrize("run", programme.CHAPTER_RUNS["07_test_scales"])
def test_every_gain_is_of_evaluations_that_are_declared(run):
    needed = {one_scale(run), three_scales(run)}
    assert needed <= set(evaluations_of(run))


# --- figures ------------------------------------------------------------------------------


def test_crops_shrink_with_their_scale():
    figure = scales.crops((256, 512), 64, count=2)
    (whole, *crops), (closer, *_) = np.array(figure.axes).reshape(2, 3)
    sides = [[box.get_width() for box in ax.patches] for ax in (whole, closer)]
    height = whole.images[0].get_array().shape[0]
    assert np.ptp(sides, axis=1) == pytest.approx(0)
    assert np.array(sides)[:, 0] == pytest.approx(
        [height * 64 / scaled(256, 64), height * 64 / scaled(512, 64)]
    )
    assert all(ax.images[0].get_array().shape == (64, 64, 3) for ax in crops)


def test_the_chain_is_that_of_the_declarations(column):
    ax = scales.chain(["D-jitter", "D-S384-longer"], column).axes[0]
    boxes = {t.get_text().split("\n")[0]: t for t in ax.texts if "epochs" in t.get_text()}
    assert list(boxes) == [
        "A, S = 256",
        "D, S = 256",
        "D, S = 384",
        "D, S ∈ [256; 512]",
        "D, S = 384, longer (control)",
    ]
    here = at_budget("D-jitter", "smoke")
    said = boxes["D, S ∈ [256; 512]"].get_text().split("\n")[1]
    assert said == f"37 to 73 px; {here.epochs} epochs, rate {here.learning_rate:g}"
    arrows = {(tuple(t.xyann), tuple(t.xy)) for t in ax.texts if hasattr(t, "xyann")}
    places = {name: tuple(box.get_position()) for name, box in boxes.items()}
    parents = ("A, S = 256", "D, S = 256", "D, S = 384", "D, S = 384")
    children = list(places.values())[1:]
    assert arrows == {(places[p], c) for p, c in zip(parents, children, strict=True)}


def test_seeds_are_joined_with_what_went_on_from_them(column):
    runs = ["D-S256", "D-S384", "D-S384-longer", "D-jitter"]
    for run, errors in zip(runs, ({0: 30, 1: 34}, {0: 28, 1: 30}, {}, {1: 26}), strict=True):
        write(column, run, centre_crop(run), errors)
    ax = scales.trainings([runs], [column]).axes[0]
    drawn = {(tuple(line.get_xdata()), tuple(np.round(line.get_ydata(), 6))) for line in ax.lines}
    joined = {pair for pair in drawn if len(set(pair[0])) == 2}
    assert joined == {((0, 1), (30, 28)), ((0, 1), (34, 30)), ((1, 3), (30, 26))}
    assert ((0, 0), (30, 34)) in drawn and ((3,), (26,)) in drawn


def test_the_curve_marks_what_a_net_was_trained_at(column):
    for q in (256, 320, 384, 448, 512):
        write(column, "D-jitter", dense(q), {0: q / 32 * 2, 1: q / 32 * 2 + 4})
    ax, strip = scales.curve(["D-S256", "D-jitter"], [column]).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines]
    at = [256, 320, 384, 448, 512]
    assert drawn[0] == (at, pytest.approx([q / 32 * 2 + 2 for q in at]))
    assert len(drawn) == 1
    assert [list(line.get_xdata()) for line in strip.lines] == [[256, 256], [256, 512]]
    assert list(strip.get_xticks()) == at


def test_score_maps_are_drawn_with_all_positions():
    figure = scales.looks((256, 512), (224, 64))
    for ax in figure.axes:
        rows, columns = map(int, re.search(r"(\d+) × (\d+)", ax.get_title()).groups())
        assert len(ax.lines[0].get_xdata()) == rows * columns
    assert [ax.get_title().split(": ")[1][0] for ax in figure.axes] == ["2", "1", "1", "3"]


def test_what_was_not_run_says_so(column):
    runs = ["D-S256", "D-jitter"]
    for figure in (
        scales.trainings([runs], [column]),
        scales.curve(runs, [column]),
    ):
        assert any("not run" in text.get_text() for text in figure.axes[0].texts)
