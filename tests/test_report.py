"""Tables, sentences and figures of chapters, from records whose numbers are known."""

import ast
import inspect
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from tests.records_by_hand import PROVENANCE, eval_path, eval_record, train_path, train_record
from vggrepro import UserError, models
from vggrepro.pages import figures, nets, report
from vggrepro.study import programme, store
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.experiments import FUSIONS, ROWS, RUNS, Evaluation
from vggrepro.study.records import BenchRecord, Measured, summarise

matplotlib.use("Agg")
CENTRE = Evaluation("centre-crop", (256,))
PAIR = ("A-S256", "A-LRN-S256")


@pytest.fixture
def column(tmp_path):
    """Two runs, three seeds each, with denominators for the net with LRN."""
    for run in PAIR:
        experiment = at_budget(run, "smoke")
        for seed in range(3):
            record = train_record(experiment, seed)
            if run == "A-LRN-S256":
                spread = (2.0, 2.1, 2.5, 4.0, 6.0)
                curve = [replace(e, lrn_denominator=spread) for e in record.curve]
                record = record.model_copy(update={"curve": tuple(curve)})
            store.write(record, train_path(tmp_path, experiment, seed))
            path = eval_path(tmp_path, experiment, seed, CENTRE)
            store.write(eval_record(experiment, seed), path)
    return report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")


def test_a_rerun_has_the_budgets_own_photos_and_the_usual_folder(tmp_path):
    assert report.rerun_column("smoke", "", 0, False, "", "") is None
    made, shown = (
        report.rerun_column("smoke", "", 0, rerun, "", folder)
        for rerun, folder in ((True, ""), (False, str(tmp_path)))
    )
    assert (made.data, made.results_dir) == ("synthetic", store.RERUN)
    assert (shown.title, shown.results_dir) == ("rerun: drawn images, smoke", tmp_path)
    assert [c.data for c in report.recorded_columns()] == ["cifar10", "imagenette"]


def test_a_folder_of_records_is_there_or_is_made_by_a_rerun(tmp_path):
    for there in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match=f"results_dir: no folder {there}; name one with"):
            report.rerun_column("smoke", "", 0, False, "", str(there))
    assert report.rerun_column("smoke", "", 0, True, "", str(tmp_path / "none"))


def test_a_folder_of_records_may_be_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "records").mkdir()
    for rerun in (True, False):
        column = report.rerun_column("smoke", "", 0, rerun, "", "~/records")
        assert column.results_dir == tmp_path / "records"
    with pytest.raises(UserError, match=f"results_dir: no folder {tmp_path}/none;"):
        report.rerun_column("smoke", "", 0, False, "", "~/none")


@pytest.mark.parametrize(
    ("wrong", "allowed"),
    [
        ({"budget": "quik"}, "smoke, quick, reduced, gpu, full"),
        ({"data": "cifar"}, "synthetic"),
        ({"seeds": -1}, "whole number"),
        ({"seeds": "3"}, "whole number"),
        ({"rerun": "yes"}, "True or False"),
        ({"data_dir": 2012}, "-r data_dir 2012 is text"),
        ({"results_dir": 7}, "-r results_dir"),
    ],
)
def test_a_bad_parameter_names_what_is_allowed(wrong, allowed):
    good = {"budget": "quick", "data": "", "seeds": 0, "rerun": False}
    good |= {"data_dir": "", "results_dir": ""}
    with pytest.raises(UserError) as error:
        report.rerun_column(**good | wrong)
    assert allowed in str(error.value).splitlines()[-1]


def test_errors_stand_beside_the_papers(column):
    dense = Evaluation("dense", (256,))
    rows = [("A", "A-S256", CENTRE), ("B", "B-S256", CENTRE), ("C", "C-S256", dense)]
    table = report.error_table(rows, [column])
    by_hand = [r.top1_error for r in store.evaluations(
        column.results_dir, column.experiment("A-S256"), CENTRE).values()]  # fmt: skip
    assert table.loc["A", column.title].startswith(f"{np.mean(by_hand):.1f} ± ")
    assert table.loc["A", column.title].endswith("n = 3")
    assert table.loc["B", column.title] == "not run"
    assert list(table["paper: ILSVRC-2012, full"]) == ["–", "–", "28.1"]


def test_what_was_made_before_the_recipe_was_frozen_is_called_a_pilot(tmp_path, monkeypatch):
    monkeypatch.setitem(BUDGETS["smoke"].data["synthetic"], "recipe", "pilot-9")
    experiment = at_budget("A-S256", "smoke")
    path = eval_path(tmp_path, experiment, 0, CENTRE)
    store.write(eval_record(experiment, 0), path)
    column = report.Column("", tmp_path, "smoke", "synthetic")
    assert column.recorded("A-S256", CENTRE).endswith("n = 1 (pilot)")


def test_a_net_that_stayed_at_chance_is_marked(tmp_path):
    experiment = at_budget("A-S256", "quick")
    for seed, error in ((0, 12.0), (1, 90.0), (2, 86.0)):  # on minival; on val all have one
        trained = train_record(experiment, seed, minival_error=error)
        store.write(trained, train_path(tmp_path, experiment, seed))
        tested = eval_record(experiment, seed)
        store.write(tested, eval_path(tmp_path, experiment, seed, CENTRE))
    column = report.Column("", tmp_path, "quick", "synthetic")
    assert column.at_chance("A-S256") == (1,)
    one = f"{tested.top1_error:.1f}"
    shown = column.recorded("A-S256", CENTRE)
    assert shown == f"{one}, {one}, {one} (at chance: seed 1)"  # no mean over them


def test_spread_is_the_sample_standard_deviation():
    assert report.mean_and_spread([20.0, 22.0]) == "21.0 ± 1.4, n = 2"
    assert report.mean_and_spread([20.0]) == "20.0, n = 1"


def test_every_row_has_the_papers_value():
    values = {row.name: report.paper_value(row) for row in ROWS}
    assert values["table3/D-S256"] == 27.0
    assert values["table4/E-jitter"] == 24.8
    assert all(20 < value < 30 for value in values.values())


def test_code_is_shown_as_it_stands():
    shown = report.source("models", "LRN.forward").data
    code = inspect.getsource(models.LRN.forward)
    assert code.rstrip() in shown
    whole = report.source("windows", "scaled").data
    ast.parse(whole.removeprefix("```python\n").removesuffix("\n```"))


def test_provenance_names_commit_and_digest(column):
    table = report.provenance_table([column], PAIR)
    assert len(table) == 6
    assert set(table["commit"]) == {PROVENANCE.commit[:8]}
    assert table["result digest"].str.len().eq(12).all()


def _bench():
    times = {"A": (10.0, 11.0, 12.0), "A-LRN": (15.0, 16.5, 18.0), "A-LRN (torch)": (20, 22, 24)}
    kept = {"A": 100.0, "A-LRN": 150.0, "A-LRN (torch)": 160.0}
    of = {"crop": 224, "width": 1.0, "batch": 4}
    measured = [
        m
        for net in times
        for m in (
            Measured(name="kept", unit="bytes/image", of={"net": net, **of}, values=(kept[net],)),
            Measured(name="training step", unit="ms", of={"net": net, **of}, values=times[net]),
        )
    ]
    return BenchRecord(
        name="lrn", settings={"rounds": 3, "precision": "bf16"}, measured=tuple(measured),
        provenance=PROVENANCE,
    )  # fmt: skip


def test_figures_show_every_seed_and_name_their_axes(column):
    dots = figures.dots(PAIR, [column]).axes[0]
    points = [line for line in dots.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in points] == [3, 3]
    assert dots.get_ylabel() == "top-1 error, %"
    curve = figures.curves(PAIR, [column]).axes[0]
    assert len(curve.lines) == 4  # two nets, minival and training images
    assert (curve.get_xlabel(), curve.get_ylabel()) == ("epoch", "top-1 error, %")
    assert nets.denominators("A-LRN-S256", [column]).axes[0].get_ylabel().startswith("LRN's")
    time = nets.lrn_costs(_bench()).axes[0]
    assert [round(bar.get_height() + 1, 3) for bar in time.patches] == [1.5, 2.0]
    figures.plt.close("all")


def test_what_was_not_run_says_so_in_a_figure(tmp_path):
    empty = report.Column("recorded", tmp_path, "smoke", "synthetic")
    drawn = [
        figures.dots(PAIR, [empty]),
        figures.curves(PAIR, [empty]),
        nets.denominators("A-LRN-S256", [empty]),
    ]
    for figure in drawn:
        assert "not run" in [text.get_text() for text in figure.axes[0].texts]
    figures.plt.close("all")


def test_every_run_of_a_chapter_is_declared():
    declared = {*RUNS, *FUSIONS}
    assert all(run in declared for runs in programme.CHAPTER_RUNS.values() for run in runs)


def test_panels_of_errors_span_as_many_points_around_their_own_data(column, tmp_path):
    wide = report.Column("recorded: wide, reduced", tmp_path / "wide", "smoke", "synthetic")
    for run, count in (("A-S256", 3), ("A-LRN-S256", 8)):
        experiment = at_budget(run, "smoke")
        wrong = np.arange(11) < count
        record = eval_record(experiment, 0, **summarise(~wrong, ~wrong, -np.ones(11)))
        store.write(record, eval_path(wide.results_dir, experiment, 0, CENTRE))
    empty = report.Column("recorded: nothing, reduced", tmp_path / "no", "smoke", "synthetic")
    figure = figures.dots(PAIR, [column, wide, empty])
    (low, high), (wide_low, wide_high) = (ax.get_ylim() for ax in figure.axes[:2])
    assert high - low == pytest.approx(wide_high - wide_low)
    assert high - low >= figures.LEAST_SPAN
    middle = (100 * 3 / 11 + 100 * 8 / 11) / 2
    assert (wide_low + wide_high) / 2 == pytest.approx(middle)
    assert wide_low < 100 * 3 / 11 and wide_high > 100 * 8 / 11
    titles = [ax.get_title() for ax in figure.axes[1:]]
    assert titles == ["recorded:\nwide,\nreduced", "recorded:\nnothing,\nreduced"]
    figures.plt.close("all")
