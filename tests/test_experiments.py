"""Declarations: complete, unique, in order, and at each budget only what the budget says."""

import copy
from collections import Counter
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vggrepro import UserError, configs, data
from vggrepro.study import paper
from vggrepro.study.budgets import BUDGETS, WHY, at_budget, budget_named, data_of, deviations
from vggrepro.study.experiments import (
    NOT_FROZEN,
    ROWS,
    RUNS,
    Evaluation,
    evaluations_of,
    in_order,
    lineage,
    run_named,
)
from vggrepro.windows import scaled

PLACES = [(budget.name, data) for budget in BUDGETS.values() for data in budget.data]
AT_EACH_BUDGET = pytest.mark.parametrize(("budget", "data"), PLACES)


# --- the registry ---------------------------------------------------------------------------


def test_every_run_of_the_study_is_declared():
    tables = {"A-S256", "A-LRN-S256", "B-S256"}
    tables |= {f"{c}-{s}" for c in "CDE" for s in ("S256", "S384", "jitter")}
    controls = {f"{c}-S384-longer" for c in "CDE"}
    controls |= {"C-linear-S256", "C-wide-S256"}
    controls |= {"A-from-A", "D-he-long", "A-he-long", "B-he", "B-5x5-he", "D-7x7-he"}
    controls |= {"A-short", "D-short"}
    controls |= {"A-LRN-short"}
    starts = {
        f"{c}-{init}" for c in "ADE" for init in ("normal-variance", "normal-std", "glorot", "he")
    }
    assert set(RUNS) == tables | controls | starts


def test_names_and_declarations_are_unique():
    assert all(name == run.name for name, run in RUNS.items())
    unnamed = Counter(replace(run, name="") for run in RUNS.values())
    assert set(unnamed.values()) == {1}
    assert {run.config for run in RUNS.values()} <= set(configs.CONFIGS)


@pytest.mark.parametrize("name", RUNS)
def test_the_paper_is_the_default(name):
    """Section 3.1, typed a second time."""
    run = RUNS[name]
    recipe = (run.batch_size, run.momentum, run.weight_decay, run.dropout, run.crop, run.width)
    assert recipe == (256, 0.9, 5e-4, 0.5, 224, 1.0)
    assert (run.epochs, run.schedule, run.data, run.input_divisor) == (74, "plateau", "imagenet", 1)
    assert run.learning_rate == (1e-2 if run.stage == "scratch" else 1e-3)
    assert not run.recipe.startswith(NOT_FROZEN)


def test_rows_are_those_of_the_papers_tables_of_single_nets():
    def scale(text):
        numbers = tuple(int(n) for n in text.strip("[]").split(";"))
        return numbers if len(numbers) == 2 else numbers * 2

    printed = Counter(
        (
            row.table,
            row.net,
            scale(row.train_scale),
            row.protocol,
            tuple(int(q) for q in row.test_scales.split(",")),
        )
        for number in (3, 4, 5)
        for row in paper.table(number)
        if (row.metric, row.split) == ("top1_error", "val")
    )
    ours = Counter(
        (
            row.table,
            RUNS[row.run].config,
            RUNS[row.run].train_scale,
            row.evaluation.protocol,
            row.evaluation.test_scales,
        )
        for row in ROWS
        if row.table != 6
    )
    assert ours == printed
    assert set(ours.values()) == {1}
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("name", RUNS)
def test_evaluations_are_a_centre_crop_and_the_rows(name):
    found = evaluations_of(name)
    assert found[0].protocol == "centre-crop"
    assert set(found[1:]) >= {row.evaluation for row in ROWS if row.run == name}
    assert len({e.name for e in found}) == len(found)


def test_names_of_evaluations():
    assert Evaluation("dense", (256,)).name == "dense-256"
    assert Evaluation("dense", (224, 256, 288)).name == "dense-224+256+288"
    assert evaluations_of("D-jitter")[0].name == "centre-crop-384"


# --- parents --------------------------------------------------------------------------------


def test_a_jittered_net_goes_back_to_net_a():
    assert lineage("D-jitter") == ("A-S256", "D-S256", "D-S384", "D-jitter")
    assert lineage("D-S384-longer") == ("A-S256", "D-S256", "D-S384", "D-S384-longer")
    assert lineage("D-he") == ("D-he",)


@pytest.mark.parametrize("name", RUNS)
def test_parents_exist_and_end_in_a_random_start(name):
    first, *_, last = (*lineage(name), name)  # a cycle would not return
    assert RUNS[first].init_from is None
    assert last == name
    run = RUNS[name]
    assert (run.init_from is None) == (run.inherit is None)
    if run.inherit == "all":
        assert RUNS[run.init_from].config == run.config
    if run.inherit == "net-a":
        assert RUNS[run.init_from].config == "A"


@given(st.lists(st.sampled_from(list(RUNS))))
def test_in_order_puts_parents_first(names):
    ordered = in_order(names)
    assert len(set(ordered)) == len(ordered)
    assert set(names) <= set(ordered)
    for place, name in enumerate(ordered):
        parent = RUNS[name].init_from
        assert parent is None or parent in ordered[:place]
    needed = {ancestor for name in names for ancestor in lineage(name)}
    assert set(ordered) == needed


# --- controls: both sides differ in their subject alone -------------------------------------


def _differences(one, other):
    one, other = asdict(one), asdict(other)
    return {field for field in one if one[field] != other[field]} - {"name", "keeps"}


@AT_EACH_BUDGET
@pytest.mark.parametrize(
    ("one", "other", "subject"),
    [
        ("A-S256", "A-LRN-S256", {"config"}),
        ("B-S256", "C-S256", {"config"}),
        ("C-S256", "D-S256", {"config"}),
        ("A-from-A", "D-S256", {"config"}),
        ("B-he", "B-5x5-he", {"config"}),
        ("D-he", "D-7x7-he", {"config"}),
        ("C-jitter", "C-S384-longer", {"train_scale"}),
        ("D-jitter", "D-S384-longer", {"train_scale"}),
        ("E-jitter", "E-S384-longer", {"train_scale"}),
        ("E-glorot", "E-he", {"init"}),
        ("D-normal-std", "D-normal-variance", {"init"}),
    ],
)
def test_the_sides_of_a_comparison_differ_in_one_thing(budget, data, one, other, subject):
    assert _differences(at_budget(one, budget, data), at_budget(other, budget, data)) == subject


@AT_EACH_BUDGET
def test_lengths_of_the_controls(budget, data):
    def epochs(name):
        return at_budget(name, budget, data).epochs

    assert epochs("D-he-long") == epochs("A-S256") + epochs("D-S256") == epochs("A-he-long")
    assert epochs("A-short") == epochs("D-short") == round(epochs("A-S256") / 2)


# --- budgets --------------------------------------------------------------------------------


@AT_EACH_BUDGET
def test_at_budget_is_frozen_and_pure(budget, data):
    runs, budgets = copy.deepcopy((RUNS, BUDGETS))
    for name in RUNS:
        experiment = at_budget(name, budget, data)
        assert experiment == at_budget(name, budget, data)
        assert (experiment.name, experiment.budget, experiment.data) == (name, budget, data)
        assert experiment.epochs >= 1
        with pytest.raises(FrozenInstanceError):
            experiment.epochs = 1
    assert runs == RUNS
    assert budgets == BUDGETS


@AT_EACH_BUDGET
def test_deviations_are_the_changed_fields(budget, data):
    for name in RUNS:
        declared, ours = asdict(RUNS[name]), asdict(at_budget(name, budget, data))
        declared["epochs"] = round(74 * declared["length"])  # the subject of a run, no deviation
        changed = {f: (declared[f], ours[f]) for f in declared if declared[f] != ours[f]}
        changed.pop("budget", None)
        found = deviations(at_budget(name, budget, data))
        assert sorted((d.field, d.paper, d.ours) for d in found) == sorted(
            (field, *values) for field, values in changed.items()
        )
        assert all(d.why == WHY[d.field] and d.why for d in found)


@pytest.mark.parametrize("name", RUNS)
def test_full_is_the_paper_to_the_letter(name):
    experiment = at_budget(name, "full")
    assert experiment == replace(RUNS[name], epochs=round(74 * RUNS[name].length))
    assert deviations(experiment) == ()


@AT_EACH_BUDGET
def test_an_initialisation_run_keeps_its_initialisation(budget, data):
    subjects = {name: run.init for name, run in RUNS.items() if "init" in run.keeps}
    assert {init for init in subjects.values()} == {"normal-variance", "normal-std", "glorot", "he"}
    for name, init in subjects.items():
        assert f"-{init}" in name
        assert at_budget(name, budget, data).init == init


def test_the_second_look_changes_the_crop_alone():
    for name in RUNS:
        one, other = at_budget(name, "reduced", "imagenette"), at_budget(name, "reduced-96")
        assert asdict(other) == asdict(one) | {"budget": "reduced-96", "crop": 96}
    # No photo of 160 px on its shorter side is enlarged.
    assert scaled(256, 96) <= 160


@AT_EACH_BUDGET
def test_fine_tuning_keeps_the_papers_ratio_of_rates(budget, data):
    def rate(name):
        return at_budget(name, budget, data).learning_rate

    assert rate("D-S384") == pytest.approx(rate("D-S256") / 10)
    assert rate("D-jitter") == rate("D-S384-longer") == rate("D-S384")


def test_every_data_set_of_a_budget_can_be_loaded():
    with pytest.raises(UserError) as caught:
        data.load("no such data", "train")
    known = str(caught.value).rstrip(".").replace(",", "").split()
    assert {name for _, name in PLACES} <= set(known)


# --- scales and rates -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper_pixels", "crop", "pixels"),
    [(256, 64, 73), (256, 32, 37), (384, 64, 110), (512, 64, 146), (224, 32, 32), (288, 32, 41)],
)
def test_scaled(paper_pixels, crop, pixels):
    assert scaled(paper_pixels, crop) == pixels


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_scaled_is_the_nearest_pixel(pixels, crop):
    assert abs(224 * scaled(pixels, crop) - pixels * crop) <= 112
    assert scaled(pixels, 224) == pixels
    assert scaled(224, crop) == crop


# --- bad names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "wrong", "allowed"),
    [
        (lambda: run_named("D-S257"), "D-S257", list(RUNS)),
        (lambda: lineage("D-S257"), "D-S257", list(RUNS)),
        (lambda: in_order(["A-S256", "D-S257"]), "D-S257", list(RUNS)),
        (lambda: at_budget("D-S257", "full"), "D-S257", list(RUNS)),
        (lambda: at_budget("D-S256", "tiny"), "tiny", list(BUDGETS)),
        (lambda: budget_named("tiny"), "tiny", list(BUDGETS)),
        (lambda: data_of("reduced", "mnist"), "mnist", list(BUDGETS["reduced"].data)),
        (lambda: at_budget("D-S256", "full", "cifar10"), "cifar10", ["imagenet"]),
    ],
)
def test_bad_names_get_the_allowed_ones(call, wrong, allowed):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert repr(wrong) in message
    assert ", ".join(allowed) in message


def test_the_first_data_set_is_the_default():
    assert data_of("reduced") == at_budget("A-S256", "reduced").data == "cifar10"
