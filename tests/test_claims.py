"""The claims as data: whatever they name exists, and they are fixed as `method` has them."""

import pytest

from vggrepro import UserError
from vggrepro.study import paper
from vggrepro.study.budgets import BUDGETS
from vggrepro.study.claims import CLAIMS, claim_named
from vggrepro.study.experiments import RUNS, single_scale
from vggrepro.study.rules import FEWEST_SEEDS, POOLED, RULES, TESTS, Side

ALL = list(CLAIMS.values())
EMPIRICAL = [claim for claim in ALL if claim.sides]


def sides_of(claim) -> list[Side]:
    pairs = [
        claim.sides,
        claim.less,
        claim.other_length,
        *(pair for _, pair in (*claim.controls, *claim.rivals)),
    ]
    return [side for pair in pairs if pair for side in pair]


@pytest.mark.parametrize("claim", ALL, ids=lambda c: c.key)
def test_what_a_claim_names_exists(claim):
    assert claim.quote is None or claim.quote in paper.QUOTES
    assert claim.rule in RULES and claim.test in TESTS
    assert claim.data in BUDGETS["reduced"].data
    for side in sides_of(claim):
        assert set(side.run.split("+")) <= set(RUNS)
    assert claim.statement.endswith(".") and claim.cannot.endswith(".")


@pytest.mark.parametrize("claim", EMPIRICAL, ids=lambda c: c.key)
def test_sides_are_fit_to_be_compared(claim):
    assert claim.seeds >= FEWEST_SEEDS and claim.matters > 0
    first, second = claim.sides
    assert first != second
    if claim.test == "between trainings":  # pooled by centre crop at each net's own Q
        for side in claim.sides:
            assert side.evaluation.protocol == "centre-crop"
            assert side.evaluation.test_scales == (single_scale(RUNS[side.run]),)
        assert set(POOLED[claim.data]) & {first.run, second.run}
        assert single_scale(RUNS[first.run]) == single_scale(RUNS[second.run])
    else:  # `Study.interval` knows by the protocol which spread a difference has
        centre = all(side.evaluation.protocol == "centre-crop" for side in claim.sides)
        assert centre == (claim.test == "measurement")
    if claim.test == "same weights":
        assert first.run == second.run or first.run.startswith(f"{second.run}+")
    # A side may choose its Q only if the other may choose among the same.
    assert (first.or_else, first.evaluation) == (second.or_else, second.evaluation) or not (
        first.or_else or second.or_else
    )


def test_equal_epochs_means_equal_everything_but_the_scale():
    first, second = (RUNS[side.run] for side in CLAIMS["jitter-equal-epochs"].sides)
    assert (first.init_from, first.stage, first.length, first.epochs) == (
        second.init_from,
        second.stage,
        second.length,
        second.epochs,
    )
    assert first.train_scale != second.train_scale


def test_extra_training_is_compared_with_as_much():
    from_a, from_random = (RUNS[side.run] for side in CLAIMS["net-a-start"].sides)
    assert from_random.length == from_a.length + RUNS[from_a.init_from].length
    for run in CLAIMS["small-filters"].sides:
        assert RUNS[run.run].init == "he" and RUNS[run.run].init_from is None


def test_six_claims_are_primary():
    fixed = {claim.key: (claim.data, claim.matters) for claim in ALL if claim.primary}
    assert fixed == {
        "lrn-does-not-help": ("cifar10", 0.5),
        "depth-a-to-d": ("cifar10", 0.5),
        "d-beats-c": ("cifar10", 0.5),
        "small-filters": ("cifar10", 1.0),
        "jitter-equal-epochs": ("imagenette", 1.0),
        "several-q-jittered": ("imagenette", 0.3),
    }


@pytest.mark.parametrize(
    ("key", "difference"),
    [  # by hand from the printed tables
        ("lrn-does-not-help", 0.1),
        ("depth-a-to-d", 2.6),
        ("depth-saturates", 0.3),
        ("d-beats-c", 1.1),
        ("jitter-as-in-the-paper", 1.2),
        ("several-q-jittered", 0.8),
        ("several-q-help-jittered-more", 0.5),
        ("both-beat-multi-crop", 0.2),
        ("two-nets-beat-one", 0.8),
    ],
)
def test_differences_of_the_paper(key, difference):
    assert CLAIMS[key].paper.difference == difference


def test_no_difference_has_a_reason():
    for claim in ALL:
        # A reason is a sentence, a place is not.
        assert claim.paper.where.endswith(".") == (claim.paper.difference is None)


def test_pooled_nets_exist_and_are_none_of_the_initialisation_chapter():
    for runs in POOLED.values():
        assert set(runs) <= set(RUNS)
        assert not [run for run in runs if "glorot" in run or "normal" in run]


def test_unknown_claim_names_the_claims():
    with pytest.raises(UserError, match="depth-a-to-d"):
        claim_named("depth")
