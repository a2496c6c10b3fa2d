"""The chapter on costs: its tables against the paper, the planner and records made by hand."""

import re
from dataclasses import asdict

import matplotlib
import numpy as np
import pandas as pd
import pytest

from tests.records_by_hand import PROVENANCE, eval_path, eval_record, train_path, train_record
from vggrepro.bench import planner
from vggrepro.bench.planner import DEVICES
from vggrepro.cost import multiply_adds, parameters
from vggrepro.pages import costs, report
from vggrepro.study import paper, programme, store, workload
from vggrepro.study.budgets import at_budget
from vggrepro.study.experiments import Evaluation
from vggrepro.study.records import BenchRecord, Measured

matplotlib.use("Agg")
NETS = tuple(paper.TABLE_1)


def bench_record():
    """A step of 1, 2, 3 … ms for the nets in turn; full width is 16 times as slow."""
    measured = []
    for place, net in enumerate(NETS):
        kept, times = (1000.0 * (place + 1),), (place + 1.0, place + 1.2, place + 0.9)
        measured += [
            Measured(name="kept", unit="bytes/image", of={"net": net}, values=kept),
            Measured(name="training step", unit="ms/image", of={"net": net}, values=times),
        ]
    for width, rates_ in ((0.25, (800.0, 720.0, 880.0)), (1.0, (50.0, 40.0, 60.0))):
        of = {"side": "vggrepro", "width": width}
        measured.append(Measured(name="training", unit="images/s", of=of, values=rates_))
    settings = {"data": "imagenette", "threads": 2, "precision": "bf16", "train_images": 8522}
    p = PROVENANCE
    return BenchRecord(name="speed", settings=settings, measured=tuple(measured), provenance=p)


@pytest.fixture
def columns(tmp_path):
    """A column with two seeds of A and an evaluation of D-jitter."""
    experiment = at_budget("A-S256", "smoke")
    for seed, speed in enumerate((900.0, 1100.0)):
        p = PROVENANCE.model_copy(update={"images_per_second": speed, "wall_seconds": 90.0})
        record = train_record(experiment, seed, provenance=p)
        store.write(record, train_path(tmp_path, experiment, seed))
    tested, evaluation = at_budget("D-jitter", "smoke"), Evaluation("dense", (384,))
    p = PROVENANCE.model_copy(update={"wall_seconds": 0.022, "images_per_second": 500.0})
    record = eval_record(tested, 0, protocol="dense", test_scales=(384,), provenance=p)
    store.write(record, eval_path(tmp_path, tested, 0, evaluation))
    return [report.Column("rerun: drawn images, smoke", tmp_path, "smoke", "synthetic")]


def numbers(frame, column):
    return [float(re.match(r"[\d,.]+", cell)[0].replace(",", "")) for cell in frame[column]]


# --- nets -----------------------------------------------------------------------------------


def test_nets_beside_table_2_and_the_measurements():
    frame = costs.nets_table(bench_record())
    assert list(frame.index) == ["A", "A-LRN", "B", "C", "D", "E"]
    weights = numbers(frame, "weights, million (224 px)")
    assert weights == [round(parameters(net) / 1e6, 1) for net in NETS]
    in_table_2 = [paper.value(2, net=net, metric="params_millions", split="") for net in NETS]
    assert [round(w) for w in weights] == in_table_2
    # A step is three forward passes, but for the gradient of the images.
    forward = np.array([multiply_adds(net) for net in NETS]) / 1e9
    steps = np.array(numbers(frame, "step, GMAC (224 px)"))
    assert (2.9 * forward < steps + 0.05).all() and (steps - 0.05 < 3 * forward).all()
    assert numbers(frame, "step, ms (64 px)") == [1, 2, 3, 4, 5, 6]
    assert numbers(frame, "kept, kB, as autograd counts (64 px)") == [1, 2, 3, 4, 5, 6]


def test_trainings_as_recorded(columns):
    frame = costs.trainings_table(columns)
    cell = frame.loc["A", columns[0].title]
    assert cell == "1,000 images/s<br>1.5 min, 321 MiB<br>n = 2"
    assert list(frame.index) == ["A"]  # no row for what was not run


def test_a_twin_is_not_one_more_training():
    table = costs.trainings_table(report.recorded_columns())
    planned = [programme.seeds(data)["A-S256"] for data in programme.DATA]
    assert [int(cell.split("n = ")[1]) for cell in table.loc["A"]] == planned


# --- speed ----------------------------------------------------------------------------------


def test_ratios_are_taken_within_a_round():
    # The machine is half as fast in the second round: the ratios do not see it.
    sides = {"vggrepro": (400, 200), "torchvision": (100, 50), "step alone": (500, 250)}
    measured = [
        Measured(name="training", unit="images/s", of={"side": side, "width": 0.25}, values=values)
        for side, values in sides.items()
    ]
    of = {"what": "--help"}
    measured.append(Measured(name="starting", unit="s", of=of, values=(0.7, 0.4, 0.6)))
    record = bench_record().model_copy(update={"measured": tuple(measured)})
    found = costs.speeds(record)
    assert list(found.unit) == ["×", " %", " s"]  # full width was not measured, nor was memory
    np.testing.assert_allclose(list(found.rounds[:2]), [[4, 4], [80, 80]])
    lines = list(costs.speed_lines(record))
    assert [" ".join(line.split()[:4]) for line in lines[1:]] == [
        "4.00× (4.00 to 4.00)",
        "80.0 % (80.0 to",
        "0.600 s (0.400 to",
    ]
    assert lines[2].endswith("updated weights, against: the step alone on one batch in memory")
    assert lines[3].endswith("  vggrepro --help")
    table = costs.speed_table(record)
    assert table.index[2] == "0.600 s<br>(0.400 to 0.700)"
    assert table["of what"].iloc[2] == "<code>vggrepro --help</code>"


@pytest.mark.parametrize(
    ("unit", "rounds", "shown"),
    [
        ("×", [4.3], "4.30×"),
        ("×", [4.0, 4.3, 12.34], "4.30× (4.00 to 12.3)"),
        (" %", [99.0, 100.0, 101.0], "100 % (99.0 to 101)"),
        (" MiB", [1431.2], "1,431 MiB"),
        (" s", [0.0512], "0.051 s"),
        (" s", [0.412], "0.412 s"),
        (" s", [999.9], "1000 s"),
    ],
)
def test_three_digits_with_the_range(unit, rounds, shown):
    assert costs.shown(np.array(rounds), unit) == shown


# --- growth ---------------------------------------------------------------------------------


def jobs(seconds_of):
    """Recorded trainings of D whose time is a known function of their work."""
    made = []
    for data in ("cifar10", "imagenette"):
        for run in ("A-S256", "D-S256"):
            experiment = at_budget(run, "reduced", data)
            work = workload.training(experiment)
            job = {"seconds": seconds_of(work), "machine": "a machine"}
            made.append(job | asdict(experiment) | asdict(work))
    return pd.DataFrame(made)


def test_growth_of_a_machine_that_only_computes():
    found = jobs(lambda work: work.multiply_adds / 1e11)
    said = costs.growth_sentence(found, bench_record())
    assert "twice the crop, 4.0 times the time" in said or "3.9 times" in said
    assert "4.0 times the time." in said.split("Twice the width")[1]  # half way to 16 times
    seconds = planner.fitted(found)
    base = costs.declared_at(64)
    twice = costs.hours(seconds, base, 2 * 8522) / costs.hours(seconds, base)
    assert twice == pytest.approx(2)


def test_width_is_what_bench_measured():
    record = bench_record()
    assert costs.width_factor(record, 0.25) == 1
    assert costs.width_factor(record, 0.5) == pytest.approx(4)
    assert costs.width_factor(record, 1.0) == pytest.approx(16)


# --- what was not run -----------------------------------------------------------------------


def test_the_papers_weeks():
    frame = planner.paper_table()
    assert list(frame.index) == list(NETS)
    # By hand: 370K steps of 256 images, three passes of 15.47 GMAC, four cards of 5.1 TFLOP/s.
    d = dict(zip(("exa", "two", "three", "days"), numbers(frame.T, "D"), strict=True))
    assert d["exa"] == pytest.approx(2 * 3 * 15.47e9 * 370_000 * 256 / 1e18, abs=0.06)
    assert d["two"] == pytest.approx(1e20 * d["exa"] / (14 * 86_400 * 4 * 5.1e12), abs=1)
    assert d["three"] == pytest.approx(d["two"] * 2 / 3, abs=1)
    assert d["days"] == pytest.approx(14 * d["two"] / 35, rel=0.03)  # at 35 % of the peak


def test_days_are_those_of_the_plan():
    devices = costs.devices_table()
    assert set(devices.index) == set(DEVICES)
    days = devices.loc["h100", "full: all runs on 8 cards, days"]
    plans = planner.plan("full", None, planner.on_device(DEVICES["h100"], 8))
    hours = plans["all h"].drop("total").sum()
    assert float(days) == pytest.approx(hours / 24, abs=0.06)


# --- figures --------------------------------------------------------------------------------


def test_every_round_is_a_dot():
    time, kept = costs.nets(bench_record()).axes
    assert [line.get_ydata()[0] for line in time.lines] == [1, 2, 3, 4, 5, 6]
    assert all(len(line.get_ydata()) == 3 for line in time.lines)
    assert [text.get_text() for text in kept.texts] == list(NETS)


def test_lines_of_growth_are_those_that_are_known():
    found = jobs(lambda work: work.multiply_adds / 1e11)
    drawn = costs.growth(found, bench_record())
    dot = drawn.axes[0].lines[-1]
    assert dot.get_label() == "recorded"
    job = found[found.config == "D"].iloc[-1]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (64, job.seconds / 3600)
    lines = {line.get_label(): line.get_ydata() for line in drawn.axes[1].lines}
    np.testing.assert_allclose(lines["full width"], 16 * lines["0.25 of the width"])


def test_a_rerun_shows_its_own_measurements(tmp_path):
    chosen = report.rerun_column("smoke", "", 0, False, "", str(tmp_path))
    recorded = store.read(store.bench_path(store.RECORDED, "speed"))
    assert costs.bench_of(chosen) == recorded
    own = store.write(bench_record(), store.bench_path(tmp_path, "speed"))
    assert costs.bench_of(chosen) == own
    assert costs.bench_of(None) == recorded
