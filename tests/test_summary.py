"""The page about the whole study: its sentences follow the records, and no deviation is missing."""

import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records_by_hand import CENTRE_256, NETS, SHORT, write, write_nets
from vggrepro.pages import figures, summary
from vggrepro.pages.report import PACKAGE
from vggrepro.pages.summary import ABOUT_ERRORS, cost, declared_table, other_budgets
from vggrepro.pages.verdicts import Verdicts
from vggrepro.study import store
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import RUNS

DATA = ("cifar10", "imagenette")


# --- claims and results ----------------------------------------------------------------------


def test_without_records_nothing_is_claimed(tmp_path):
    found = Verdicts(tmp_path)
    counts = summary.counts_table(found)
    primary = sum(c.primary for c in CLAIMS.values())
    assert counts.loc["not run", "primary"] == primary
    assert set(counts.drop("not run")["primary"]) == {"–"}
    assert summary.primary_sentence(found).startswith(
        f"Of the first round's {primary} primary claims: 6 not run."
    )
    assert "yet" in summary.disagreement_sentence(found)
    figure = summary.overview(found)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts.count("not run") == len(ABOUT_ERRORS)
    figures.plt.close("all")


def test_each_claim_is_counted_once_and_named_by_its_word(tmp_path):
    write_nets(tmp_path, NETS | {"A-from-A": 15.0})
    write_nets(tmp_path, SHORT, rng_seed=1)
    found = Verdicts(tmp_path)
    counts = summary.counts_table(found).replace("–", 0)
    assert counts.to_numpy().sum() == len(CLAIMS)
    assert counts.loc["reversed by its control", "primary"] == 1
    assert "1 reversed by its control" in summary.primary_sentence(found)


def test_a_training_made_twice_counts_once():
    """A-S256 and A-he with seed 0 on CIFAR-10 end in the same weights."""
    table = store.frame()
    trained = table[(table.kind == "train") & ~table["round"].isin(["quick", "pilot"])]
    twice = trained[trained.weights_digest.duplicated(keep=False) & trained.weights_digest.ne("")]
    assert set(twice.run) == {"A-S256", "A-he"} and len(twice) == 2
    said = summary.counts_sentence(table)
    assert said.startswith(f"{len(trained) - 1} trainings for the study, ")
    hours = float(summary.cost_table(table).loc["in all", "core-hours"])
    assert f"{hours:.0f} core-hours in all" in said


def by_seed(error):
    return {0: error, 1: error + 0.5, 2: error - 0.5}


@pytest.mark.parametrize("other", [26.0, 14.0])
def test_photos_that_disagree_are_named(tmp_path, other):
    for data, deep in (("cifar10", 16.0), ("imagenette", other)):
        write(tmp_path, "A-S256", CENTRE_256, by_seed(20.0), data)
        write(tmp_path, "D-S256", CENTRE_256, by_seed(deep), data)
        write(tmp_path, "B-S256", CENTRE_256, {0: 18.0, 1: 18.8, 2: 18.0}, data)
    text = summary.disagreement_sentence(Verdicts(tmp_path))
    named = CLAIMS["depth-a-to-d"].statement in text
    assert named == (other > 20.0)
    assert "CIFAR-10: +4.0" in text if named else "none of them lies beyond zero" in text


# --- figures ---------------------------------------------------------------------------------


def test_every_claim_has_a_line_with_the_papers_difference_and_a_dot_a_seed(tmp_path):
    for run, error in (("A-S256", 20.0), ("D-S256", 17.0)):
        write(tmp_path, run, CENTRE_256, by_seed(error))
    (ax,) = summary.overview(Verdicts(tmp_path)).axes
    diamonds = [x for line in ax.lines if line.get_marker() == "D" for x in line.get_xdata()]
    said = [c.paper.difference for c in ABOUT_ERRORS if c.paper.difference is not None]
    assert sorted(diamonds) == sorted(said)
    dots = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 3]
    assert [pytest.approx([3.0] * 3)] == dots
    low, high = ax.get_xlim()
    assert low < -73.8 and high > 12.8, "all that is recorded is inside"
    names = [text.get_text() for text in ax.texts]
    assert "A − D *" in names and "E − D: no change" in names
    figures.plt.close("all")


def test_the_front_figure_has_a_dot_for_every_seed_of_both_nets():
    found = Verdicts()
    found.second = {}  # as before it is complete
    said = summary.depth_and_time(found)
    (ax,) = figures.plt.gcf().axes
    assert "50 epochs, random weights: A 15.1, D 13.7." in said
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3] * 6
    assert len({line.get_color() for line in dots}) == 2
    figures.plt.close("all")


# --- cost ------------------------------------------------------------------------------------


def records(*rows):
    """A `store.frame` of one net, of what `cost` reads; seconds on two threads."""
    names = ("kind", "round", "recipe", "seconds", "protocol", "test_scales", "seed")
    table = pd.DataFrame([dict(zip(names, row, strict=False)) for row in rows], columns=names)
    table["seed"] = table.seed.fillna(0)
    return table.assign(threads=2, data="cifar10", budget="b", run="r")


def test_core_hours_by_purpose(tmp_path):
    found = cost(
        records(
            ("train", "first", "study-1", 3600),
            ("train", "pilot", "pilot-1", 3600),
            ("train", "pilot", "calibrate-rate", 3600),
            ("train", "pilot", "calibrate-rate", 1800),
            ("first-steps", "first", "first-steps", 360),
        ),
        tmp_path,
    )
    hours = {purpose: hours for (purpose, _), hours in found["core-hours"].items()}
    assert hours == pytest.approx(
        {
            "the study itself": 2,
            "pilots": 2,
            "calibration": 3,
            "first steps": 0.2,
            "time and memory measured": 0,
        }
    )
    assert found.loc[("calibration", "CIFAR-10"), "trainings"] == 2


@given(st.permutations(range(5)))
def test_a_shared_pass_counts_once_in_any_order(tmp_path_factory, order):
    rows = [
        ("eval", "first", "s", 100, "dense", "256"),
        ("eval", "first", "s", 300, "dense", "256+288"),  # 200 of them new
        ("eval", "first", "s", 1000, "multi-crop", "256+288"),
        ("eval", "first", "s", 1300, "multi-crop & dense", "256+288"),  # nothing new
        ("fusion", "first", "s", 999, "dense", "256"),
    ]
    found = cost(records(*(rows[i] for i in order)), tmp_path_factory.getbasetemp()).iloc[0]
    assert found["evaluations"] == 5
    assert found["core-hours"] == pytest.approx(2 * 1300 / 3600)


def test_another_net_shares_no_pass(tmp_path):
    rows = [("eval", "first", "s", 100, "dense", "256", seed) for seed in (0, 1)]
    assert cost(records(*rows), tmp_path)["core-hours"].sum() == pytest.approx(2 * 200 / 3600)


def test_the_table_of_costs_adds_up():
    table = summary.cost_table(store.frame())
    hours = table["core-hours"].astype(float)
    assert hours["in all"] == pytest.approx(hours.drop("in all").sum(), abs=0.03)


# --- deviations ------------------------------------------------------------------------------


def test_every_remark_of_the_package_has_a_line_of_its_own():
    chapter = (store.ROOT / "book" / "summary.py").read_text(encoding="utf-8")
    places = re.findall(r"^# - `([\w.]+)`: ", chapter, re.MULTILINE)
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        remarks = re.findall(r"^\s*(?:# )?DEVIATION: ", text, re.MULTILINE)
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        listed = [
            place.removeprefix(f"{module}.") for place in places if place.startswith(f"{module}.")
        ]
        assert len(listed) == len(remarks), module
        assert all(re.search(rf"\b{name}\b", text) for name in listed)


def test_every_declared_deviation_of_every_run_is_in_the_table():
    table = declared_table(DATA)
    for name, paper in RUNS.items():
        for data, title in zip(DATA, ("CIFAR-10", "Imagenette"), strict=True):
            ours = at_budget(name, "reduced", data)
            for field in ("epochs", "learning_rate", "batch_size", "crop", "width", "init"):
                value = getattr(ours, field)
                if value == getattr(paper, field) * (paper.length if field == "epochs" else 1):
                    continue
                lines = table[[w.split("<br>")[0] == field.replace("_", " ") for w in table.index]]
                shown = f"{value:g}" if isinstance(value, float) else str(value)
                assert {"he": "He's rule"}.get(shown, shown) in set(lines[title])


def test_fields_that_differ_among_runs_say_which():
    table = declared_table(DATA)
    assert table.index.is_unique
    assert "learning rate<br>(S = 256)" in table.index
    assert "epochs<br>(S = 256, 2 × as long)" in table.index
    assert "init<br>(of runs not about it)" in table.index
    epochs = BUDGETS["reduced"].data["cifar10"]["epochs"]["jitter"]
    assert table.loc["epochs<br>(after S = 384)", "CIFAR-10"] == str(epochs)


def test_the_full_budget_deviates_in_nothing():
    lines = other_budgets().splitlines()
    assert "- `full` on ILSVRC-2012: in none of these." in lines
    assert not any("`reduced`" in line for line in lines)
    assert "input divisor" in next(line for line in lines if "`smoke`" in line)
