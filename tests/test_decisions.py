"""From record files to verdicts: records of a known truth, written and read as the study's are."""

from dataclasses import replace

import numpy as np
import pytest

from tests.records_by_hand import (
    CENTRE_256,
    CENTRE_384,
    NETS,
    ONE_Q,
    SHORT,
    THREE_Q,
    common,
    write,
    write_nets,
)
from vggrepro import UserError
from vggrepro.study import store
from vggrepro.study.budgets import BUDGETS
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Study, decide, decide_all
from vggrepro.study.experiments import Evaluation
from vggrepro.study.records import BenchRecord, Measured
from vggrepro.study.rules import POOLED, median_ratio


def test_nothing_recorded_is_not_run_and_arithmetic_holds(tmp_path):
    found = decide_all(tmp_path)
    assert list(found) == list(CLAIMS)
    for key, decision in found.items():
        expected = "holds" if CLAIMS[key].test == "arithmetic" else "not run"
        assert decision.word == expected and decision.reason
    assert found["seven-by-seven"].exact == pytest.approx(100 * 22 / 27)
    # From the exact weights of A and E in the literature, and 64 x 224 x 224 more activations.
    assert found["parameters"].exact == pytest.approx(100 * (143_652_544 / 132_851_392 - 1))
    assert found["parameters"].here == "143.65 of 144 million"
    assert "(E)" in found["parameters"].reason and "8.1 %" in found["parameters"].reason


def test_a_known_truth_gets_its_words(tmp_path):
    write_nets(tmp_path, NETS)
    write_nets(tmp_path, SHORT, rng_seed=1)
    found = decide_all(tmp_path)
    words = {key: decision.word for key, decision in found.items()}
    assert words["lrn-does-not-help"] in ("holds", "negligible")
    assert words["depth-a-to-d"] == "holds and matters"
    assert words["d-beats-c"] == "holds and matters"
    assert words["depth-saturates"] == "not run"
    decision = found["depth-a-to-d"]
    assert decision.n == 3 and decision.interval.low < 4 < decision.interval.high
    # 5 nets x 3 seeds, of 5: (5 - 1)(3 - 1) degrees of freedom; the short nets are not pooled.
    assert decision.interval.df == 8
    # A wrong image costs 1.9 nats more than a right one: 4 points are 0.076 nats.
    assert decision.log_loss.estimate == pytest.approx(1.9 * decision.interval.estimate / 100, 0.01)
    # So has its spread, which is pooled from log-losses and not from points.
    width = decision.log_loss.half_width
    assert width == pytest.approx(1.9 * decision.interval.half_width / 100, 0.02)


def test_swapped_errors_contradict(tmp_path):
    write_nets(tmp_path, NETS | {"A-S256": 16.0, "D-S256": 20.0})
    write_nets(tmp_path, {"A-short": 20.0, "D-short": 24.0}, rng_seed=1)
    found = decide_all(tmp_path)
    assert found["depth-a-to-d"].word == "contradicted"
    assert found["d-beats-c"].word == "contradicted"
    # LRN is 4 points worse now.
    assert found["lrn-does-not-help"].word == "holds"


def test_primary_claims_share_one_chance_and_secondary_do_not(tmp_path):
    write_nets(tmp_path, NETS)
    found = decide_all(tmp_path)
    primary = {key: d for key, d in found.items() if d.claim.primary}
    assert len(primary) == 6 and all(d.step for d in primary.values())
    levels = sorted(d.step.level for d in primary.values())
    # Three of the six are run and clear; those that are not run still count.
    assert levels == pytest.approx([0.05 / 6, 0.05 / 5, 0.05 / 4, *[0.05 / 3] * 3])
    assert found["depth-b-to-d"].step is None
    assert found["depth-b-to-d"].decided_by.confidence == 0.95
    for key in ("depth-a-to-d", "d-beats-c"):
        level = found[key].step.level
        assert found[key].decided_by.confidence == pytest.approx(1 - level)
    one_sided = found["lrn-does-not-help"]
    assert one_sided.decided_by.confidence == pytest.approx(1 - 2 * one_sided.step.level)


def test_depth_needs_the_same_sign_at_another_length(tmp_path):
    write_nets(tmp_path, NETS)
    assert "not checked" in decide("depth-a-to-d", tmp_path).reason
    write_nets(tmp_path, {"A-short": 21.0, "D-short": 24.0}, seeds=range(3), rng_seed=1)
    found = decide("depth-a-to-d", tmp_path)
    assert found.word == "inconclusive" and "another length" in found.reason


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_seeds_than_fixed_are_no_verdict(tmp_path, seeds):
    write_nets(tmp_path, NETS, seeds=range(seeds))
    found = decide("depth-b-to-d", tmp_path)
    assert (found.word, found.n) == ("too few seeds", seeds)
    assert f"{seeds} of the 3" in found.reason
    assert found.difference == pytest.approx(NETS["B-S256"] - NETS["D-S256"], abs=1.0)
    assert (found.interval is None) == (seeds == 1)


def test_further_seeds_are_not_used(tmp_path):
    write_nets(tmp_path, NETS)
    before = decide("depth-b-to-d", tmp_path).interval
    write(tmp_path, "D-S256", CENTRE_256, {5: 90.0, 6: 90.0})
    after = decide("depth-b-to-d", tmp_path).interval
    assert after == before  # nor does the spread of all nets change


def test_a_verdict_is_provisional_until_all_pooled_nets_are_there(tmp_path):
    write_nets(tmp_path, NETS, seeds=range(3))
    missing = 3 * (len(POOLED["cifar10"]) - len(NETS))
    reason = decide("depth-b-to-d", tmp_path).reason
    assert reason.endswith(f"provisional, the pooled spread lacks {missing} trainings")
    others = [run for run in POOLED["cifar10"] if run not in NETS]
    write_nets(tmp_path, dict.fromkeys(others, 20.0), seeds=range(3))
    assert "provisional" not in decide("depth-b-to-d", tmp_path).reason


def test_pilots_decide_nothing(tmp_path, pilots):
    write_nets(tmp_path, NETS)
    found = decide("depth-b-to-d", tmp_path)
    assert found.word == "not run" and "pilot" in found.reason and found.interval is None


def test_pilots_of_a_frozen_recipe_are_no_records(tmp_path, monkeypatch):
    for recipe in ("pilot-9", "frozen"):
        monkeypatch.setitem(BUDGETS["reduced"].data["cifar10"], "recipe", recipe)
        if recipe == "pilot-9":
            write_nets(tmp_path, NETS)
            assert "pilot" in decide("depth-b-to-d", tmp_path).reason
    assert decide("depth-b-to-d", tmp_path).word == "not run"


def test_same_weights_are_compared_seed_by_seed(tmp_path):
    one = {0: 20.0, 1: 25.0, 2: 30.0}
    gains = {0: 0.8, 1: 0.9, 2: 0.85}
    write(tmp_path, "D-jitter", ONE_Q, one, "imagenette")
    write(tmp_path, "D-jitter", THREE_Q, {k: one[k] - gains[k] for k in one}, "imagenette")
    found = decide("several-q-jittered", tmp_path)
    assert found.word == "holds and matters"
    assert found.interval.estimate == pytest.approx(np.mean(list(gains.values())))
    # The same gain for the net at a fixed scale: nothing is left of the interaction.
    own = Evaluation("dense", (352, 384, 416))
    write(tmp_path, "D-S384-longer", ONE_Q, one, "imagenette")
    write(tmp_path, "D-S384-longer", own, {k: one[k] - gains[k] for k in one}, "imagenette")
    found = decide("several-q-help-jittered-more", tmp_path)
    assert found.interval.estimate == pytest.approx(0, abs=1e-9)
    assert found.word == "negligible"


def test_best_q_is_the_lowest_mean_and_needs_all(tmp_path):
    scales = (256, 320, 384, 448, 512)
    for run, errors in (
        ("D-jitter", (24, 22, 20, 21, 23)),
        ("D-S384-longer", (26, 24, 25, 26, 28)),
    ):
        for q, error in list(zip(scales, errors, strict=True))[:-1]:
            write(
                tmp_path, run, Evaluation("dense", (q,)),
                {k: error + k / 10 for k in range(5)}, "imagenette",
            )  # fmt: skip
    assert decide("jitter-best-q", tmp_path).word == "not run"
    for run in ("D-jitter", "D-S384-longer"):
        write(tmp_path, run, Evaluation("dense", (512,)), dict.fromkeys(range(5), 29), "imagenette")
    assert decide("jitter-best-q", tmp_path).interval.estimate == pytest.approx(4.0)


def test_controls_stand_beside(tmp_path):
    for run, error in (("D-jitter", 20.0), ("D-S384-longer", 21.0), ("D-S384", 23.0)):
        noisy = {k: error + k / 5 + 0.05 * (k % 2) * (run == "D-S384") for k in range(5)}
        write(tmp_path, run, CENTRE_384, noisy, "imagenette")
    found = decide("jitter-equal-epochs", tmp_path)
    assert found.interval.estimate == pytest.approx(1.0)
    beside = {
        name: Study(tmp_path, "reduced").interval(replace(found.claim, sides=sides))
        for name, sides in (*found.claim.controls, *found.claim.rivals)
    }
    assert beside["longer training alone"].estimate == pytest.approx(2.0, abs=0.06)
    assert beside["longer training alone"].df == 4  # pooled over three nets; paired it would be 2
    assert beside["by dense evaluation"] is None


def test_another_data_set_is_reported_beside(tmp_path):
    for run, error in (("B-S256", 30.0), ("D-S256", 31.0)):
        write(
            tmp_path, run, CENTRE_256, {k: error + k * error / 100 for k in range(3)}, "imagenette"
        )
    claim = CLAIMS["depth-b-to-d"]
    study = Study(tmp_path, "reduced")
    assert study.interval(claim) is None
    there = replace(claim, data="imagenette")
    assert study.interval(there).estimate == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize(("slower", "word"), [(1.3, "holds and matters"), (0.8, "contradicted")])
def test_time_is_a_ratio_of_turns(tmp_path, slower, word):
    assert decide("lrn-costs-time", tmp_path).reason == "not measured: `vggrepro bench lrn`"
    rounds = 100 + np.arange(12.0)  # the machine slows down, the ratio of a round does not
    wobble = 1 + 0.01 * (np.arange(12) % 3 - 1)
    measured = [
        Measured(
            name="training step", unit="ms/image", of={"net": net, "crop": crop},
            values=tuple(rounds * factor),
        )
        for crop, other in ((64, 3.0), (224, slower))
        for net, factor in (("A", 1.0), ("A-LRN", other * wobble))
    ]  # fmt: skip
    _, fields = common("A-S256", "cifar10", 0)
    record = BenchRecord(
        name="lrn", settings={}, measured=tuple(measured), provenance=fields["provenance"]
    )
    store.write(record, store.bench_path(tmp_path, "lrn"))
    found = decide("lrn-costs-time", tmp_path)
    assert (found.word, found.n) == (word, 12)
    assert found.interval.estimate == pytest.approx(100 * (slower - 1), abs=0.1)
    assert found.difference == pytest.approx(found.interval.estimate)


def test_a_few_slow_rounds_do_not_move_a_median_of_ratios():
    quiet = np.log([1.5, 1.49, 1.51, 1.5, 1.52, 1.48, 1.5])
    found, disturbed = median_ratio(quiet), median_ratio([*quiet[:-1], np.log(4.0)])
    assert found.estimate == pytest.approx(50) == disturbed.estimate
    assert found.low > 45 and disturbed.low < 0  # but the interval says that they were there
    assert median_ratio(quiet[:1]) is None


def test_pilots_are_not_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(BUDGETS["reduced"].data["cifar10"], "recipe", "pilot-9")
    write_nets(tmp_path, NETS)
    claim = CLAIMS["depth-b-to-d"]
    assert Study(tmp_path, "reduced").interval(claim) is None


def test_drawn_images_decide_nothing(tmp_path):
    found = decide_all(tmp_path, "quick")
    assert found["depth-a-to-d"].reason == "budget quick does not run on cifar10"
    assert {d.word for d in found.values() if d.claim.sides} == {"not run"}


def test_unknown_names(tmp_path):
    with pytest.raises(UserError, match="unknown claim"):
        decide("depth", tmp_path)
    with pytest.raises(UserError, match="unknown budget"):
        decide_all(tmp_path, "huge")
