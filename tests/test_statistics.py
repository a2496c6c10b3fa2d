"""Statistics against scipy, worked examples, and simulated studies of known truth.

Simulations are seeded. A rate from N studies has a standard error of sqrt(p (1 - p) / N); the
tolerances are about four of them.
"""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vggrepro.study.rules import (
    Interval,
    any_false,
    deciding,
    difference,
    gains,
    holm,
    p_value,
    paired,
    pooled,
    smallest_found,
    verdict,
)

errors = st.floats(0, 100)
TABLE = {"A": {0: 17.0, 1: 16.5, 2: 17.4}, "B": {0: 16.1, 1: 16.2, 2: 16.0}}


# A study: nets with true errors, a shared effect of each seed, and the spread of a training.
def study(rng, truth: dict[str, float], n: int = 5, sd: float = 0.35, fewer: int = 0):
    """`fewer` seeds less for the nets in the second half."""
    seeds = rng.normal(0, 0.5, n)
    kept = {net: n - fewer * (i >= len(truth) / 2) for i, net in enumerate(truth)}
    return {
        net: {k: mean + seeds[k] + rng.normal(0, sd) for k in range(kept[net])}
        for net, mean in truth.items()
    }


def compare(errors, first="D", second="A") -> Interval:
    return difference(pooled(errors), gains(errors[first], errors[second]).values())


# --- against other ways to compute it -------------------------------------------------------


def test_paired_is_scipys_paired_t():
    first, second = [16.1, 16.2, 16.0, 15.7], [17.0, 16.5, 17.4, 15.9]
    found = paired(np.subtract(second, first))
    expected = stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert found.low == pytest.approx(interval.low)
    assert found.high == pytest.approx(interval.high)
    assert found.p_two_sided() == pytest.approx(expected.pvalue)
    one_sided = stats.ttest_rel(second, first, alternative="greater").pvalue
    assert found.p_above() == pytest.approx(one_sided)
    assert found.p_below() == pytest.approx(1 - one_sided)
    assert found.n == 4


def test_two_nets_pooled_are_the_paired_t():
    found = pooled(TABLE)
    gaps = [TABLE["A"][k] - TABLE["B"][k] for k in range(3)]
    assert found.df == 2
    assert found.sd == pytest.approx(np.std(gaps, ddof=1) / np.sqrt(2))
    ours, theirs = compare(TABLE, "B", "A"), paired(gaps)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_pooled_is_the_two_way_table_by_hand():
    # Means 2, 4, 6 of seeds and of nets; the rest is +-1 in four cells of nine.
    table = np.array([[1, 2, 3], [3, 4, 5], [5, 6, 7]], float)
    table += [[1, -1, 0], [-1, 1, 0], [0, 0, 0]]
    found = pooled({str(i): dict(enumerate(row)) for i, row in enumerate(table)})
    assert found == (pytest.approx(1.0), 4)  # 4 squares of one over (3 - 1)(3 - 1)


def test_unbalanced_pooled_is_a_regression_by_hand():
    # B lacks seed 2, which then says nothing of the spread: A and B over the other two.
    unbalanced = {"A": TABLE["A"], "B": {k: TABLE["B"][k] for k in (0, 1)}}
    both = {net: {k: TABLE[net][k] for k in (0, 1)} for net in TABLE}
    assert pooled(unbalanced) == (pytest.approx(pooled(both).sd), 1)


def test_no_degrees_of_freedom_is_no_spread():
    lonely = pooled({"A": TABLE["A"]})
    assert lonely.df == 0 and np.isnan(lonely.sd)
    assert pooled({}).df == 0
    assert difference(lonely, gains(TABLE["A"], TABLE["B"]).values()) is None
    assert difference(pooled(TABLE), gains({0: 1.0}, {1: 2.0}).values()) is None
    assert paired([0.3]) is None


def test_only_common_seeds_count():
    shared = gains({0: 10.0, 1: 10.0}, {0: 11.0, 1: 12.0, 2: 99.0})
    found = difference(pooled(TABLE), shared.values())
    assert (found.estimate, found.n) == (1.5, 2)


def test_identical_differences_are_certain():
    found = paired([0.5, 0.5, 0.5])
    assert (found.low, found.high, found.p_two_sided()) == (0.5, 0.5, 0.0)
    assert paired([0.0, 0.0, 0.0]).p_two_sided() == 1.0


@pytest.mark.parametrize(("df", "n"), [(1, 2), (2, 3), (30, 5)])
def test_detectable_difference_is_found_four_times_in_five(df, n):
    rng = np.random.default_rng(4)
    interval = Interval(0.0, 0.3, df, n)
    shift = interval.detectable
    # Student's t by its definition, not by the distribution that the code asks.
    spread = 0.3 * np.sqrt(rng.chisquare(df, 40_000) / df)
    low = shift + 0.3 * rng.normal(size=40_000) - spread * stats.t.ppf(0.975, df)
    assert np.mean(low > 0) == pytest.approx(0.80, abs=0.01)
    assert shift > interval.half_width


# --- invariances ----------------------------------------------------------------------------


@given(st.lists(st.tuples(errors, errors), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_swapped_sides_flip_the_sign(pairs):
    there, back = (paired([sign * (b - a) for a, b in pairs]) for sign in (1, -1))
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_above() == pytest.approx(back.p_below())
    assert there.p_two_sided() == pytest.approx(back.p_two_sided())


@given(
    st.lists(st.lists(errors, min_size=4, max_size=4), min_size=2, max_size=5),
    st.lists(st.floats(-20, 20), min_size=4, max_size=4),
    st.floats(-20, 20),
)
@settings(max_examples=40, deadline=None)
def test_effects_of_seed_and_net_leave_the_spread(table, seed_effects, net_effect):
    plain = {str(i): dict(enumerate(row)) for i, row in enumerate(table)}
    del plain["1"][3]  # unbalanced
    moved = {
        net: {k: e + seed_effects[k] + (net == "1") * net_effect for k, e in row.items()}
        for net, row in plain.items()
    }
    assert pooled(moved).sd == pytest.approx(pooled(plain).sd, abs=1e-6)
    assert pooled(moved).df == pooled(plain).df
    ours, before = (compare(table, "0", "1") for table in (moved, plain))
    assert ours.estimate == pytest.approx(before.estimate + net_effect, abs=1e-6)


# --- Holm -----------------------------------------------------------------------------------


def test_holm_by_hand():
    # 0.01 < 0.05 / 4; 0.02 > 0.05 / 3 = 0.0167, so it fails and 0.03 and 0.04 with it.
    found = holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02})
    assert {key: step.level for key, step in found.items()} == pytest.approx(
        {"a": 0.05 / 4, "b": 0.05 / 3, "c": 0.05 / 3, "d": 0.05 / 3}
    )
    assert {key: step.adjusted_p for key, step in found.items()} == pytest.approx(
        {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06}
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_holm_adjusts_p_and_level_alike(p_values):
    named = {str(i): p for i, p in enumerate(p_values)}
    steps = holm(named)
    for key, p in named.items():
        assert p <= steps[key].adjusted_p <= 1
        if abs(steps[key].adjusted_p - 0.05) > 1e-12:  # not a tie of rounding
            assert (p <= steps[key].level) == (steps[key].adjusted_p <= 0.05)


@pytest.mark.parametrize("untrue", [6, 3])
def test_holm_keeps_the_family_wise_error(untrue):
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(2000):
        z = rng.normal(size=6) + 4 * (np.arange(6) >= untrue)
        p = dict(enumerate(2 * stats.norm.sf(np.abs(z))))
        wrong += any(p[i] <= holm(p)[i].level for i in range(untrue))
    assert wrong / 2000 <= 0.05 + 0.02
    assert wrong / 2000 >= 0.025  # not by never rejecting


def test_chance_of_any_false_is_that_of_coins():
    rng = np.random.default_rng(6)
    assert any_false(1) == pytest.approx(0.05)
    thrown = (rng.random((20_000, 20)) < 0.05).any(1).mean()
    assert any_false(20) == pytest.approx(thrown, abs=0.015)


# --- simulated studies ----------------------------------------------------------------------

NETS = {"A": 17.0, "LRN": 17.0, "B": 16.5, "C": 16.2, "D": 15.6, "E": 15.6}
STUDIES = 1000


@pytest.mark.parametrize(("n", "fewer"), [(5, 0), (5, 2), (3, 0)])
def test_intervals_cover_the_truth(n, fewer):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(STUDIES):
        found = compare(study(rng, NETS, n=n, fewer=fewer))
        covered += found.low < NETS["A"] - NETS["D"] < found.high
    assert covered / STUDIES == pytest.approx(0.95, abs=0.028)


def words(rng, rule, matters, true_difference, level=0.05, count=400):
    found = []
    for _ in range(count):
        errors = study(rng, {**NETS, "D": 16.0, "A": 16.0 + true_difference})
        found.append(verdict(compare(errors), rule, matters, level).word)
    return {word: found.count(word) / count for word in set(found)}


# What is wrong to say at a true difference, at the boundary where it is likeliest.
@pytest.mark.parametrize(
    ("rule", "true_difference", "wrong", "chance"),
    [
        ("lower", 0.0, {"holds", "holds and matters", "contradicted"}, 0.05),
        ("lower", 0.5, {"holds and matters"}, 0.025),
        ("lower", 0.5, {"negligible"}, 0.025),
        ("not worse", -0.5, {"holds", "negligible"}, 0.05),
        ("not worse", 0.0, {"contradicted", "negligible"}, 0.05),
        ("same", 0.5, {"holds"}, 0.05),
        ("same", -0.5, {"holds"}, 0.05),
    ],
)
def test_wrong_words_are_as_rare_as_stated(rule, true_difference, wrong, chance):
    rates = words(np.random.default_rng(8), rule, 0.5, true_difference)
    assert sum(rates.get(word, 0) for word in wrong) <= chance + 4 * np.sqrt(chance / 400)


@pytest.mark.parametrize(
    ("rule", "matters", "true_difference", "right"),
    [
        ("lower", 0.5, 3.0, "holds and matters"),
        ("lower", 0.5, -3.0, "contradicted"),
        ("lower", 3.0, 0.0, "negligible"),
        ("lower", 1.4, 1.4, "holds"),
        ("not worse", 1.5, 0.0, "holds"),
        ("not worse", 0.5, 3.0, "holds"),
        ("not worse", 0.5, -3.0, "contradicted"),
        ("not worse", 2.4, -1.2, "negligible"),
        ("same", 1.5, 0.0, "holds"),
        ("same", 0.5, 3.0, "contradicted"),
        ("same", 0.5, -3.0, "contradicted"),
        ("same", 0.05, 0.0, "inconclusive"),
    ],
)
def test_a_clear_truth_is_found(rule, matters, true_difference, right):
    rates = words(np.random.default_rng(9), rule, matters, true_difference, count=100)
    assert rates.get(right, 0) > 0.85


def test_five_seeds_find_what_method_says_they_find():
    """An SD of 0.35 in twelve nets: about 0.6 points are found with 80 % power at n = 5."""
    rng = np.random.default_rng(10)
    errors = study(rng, {str(i): 17.0 for i in range(12)})
    assert compare(errors, "0", "1").detectable == pytest.approx(0.65, abs=0.2)
    rates = words(rng, "lower", 0.5, 0.65)
    assert 0.70 < 1 - rates["inconclusive"] < 0.92


@pytest.mark.parametrize("rule", ["lower", "not worse", "same"])
def test_the_p_and_the_interval_agree(rule):
    rng = np.random.default_rng(11)
    for level, estimate in product((0.05, 0.0083), rng.normal(0, 0.6, 100)):
        interval = Interval(float(estimate), 0.2, 24, 5)
        decided = deciding(interval, rule, level)
        rejected = {
            "lower": decided.low > 0 or decided.high < 0,
            "not worse": decided.low > -0.5,
            "same": decided.low > -0.5 and decided.high < 0.5,
        }[rule]
        assert (p_value(interval, rule, 0.5) < level) == rejected


def test_inconclusive_says_what_could_have_been_found():
    found = verdict(Interval(0.2, 0.25, 24, 5), "lower", 0.5)
    assert found.word == "inconclusive"
    smallest = f"{Interval(0.2, 0.25, 24, 5).detectable:.2g}"
    assert found.reason.startswith("5 seeds find a true difference in 80 % of studies")
    assert found.reason.endswith(f"only from {smallest} on")


@pytest.mark.parametrize(
    ("rule", "matters", "found"),
    [("not worse", 0.9, {"holds", "negligible"}), ("same", 0.2, {"contradicted"})],
)
def test_what_would_be_found_is_found_four_times_in_five(rule, matters, found):
    """Simulated at the truth that the reason names, which is not zero's distance for every rule."""
    rng = np.random.default_rng(0)
    interval, n = Interval(0.0, 0.25, 24, 5), 4000
    truth = smallest_found(deciding(interval, rule), rule, matters)
    estimates = rng.normal(truth, interval.standard_error, n)
    errors = interval.standard_error * np.sqrt(rng.chisquare(interval.df, n) / interval.df)
    words = [
        verdict(replace(interval, estimate=e, standard_error=s), rule, matters).word
        for e, s in zip(estimates, errors, strict=True)
    ]
    assert sum(word in found for word in words) / n == pytest.approx(0.8, abs=0.026)


def test_not_worse_says_at_which_gain_or_loss_it_is_found():
    wide, narrow = Interval(-0.3, 0.4, 13, 3), Interval(-0.35, 0.23, 13, 3)
    reason = verdict(wide, "not worse", 0.5).reason
    assert "in 80 % of studies only if the first side is better by 0.5" in reason
    assert "first side is worse by no more than" in verdict(narrow, "not worse", 0.7).reason
