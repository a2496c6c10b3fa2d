"""The second round: its design, its units, its rules, and that nobody sees it before it ends."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from tests.records_by_hand import PROVENANCE, eval_path, train_path, train_record
from vggrepro import UserError
from vggrepro.cli import app
from vggrepro.pages.method import welch_words
from vggrepro.study import second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.compare import evaluations
from vggrepro.study.decisions import decide_second_round as decide_all
from vggrepro.study.experiments import RUNS, SECOND_ROUND, Experiment, evaluations_of
from vggrepro.study.records import DataUsed, EvalRecord, summarise
from vggrepro.study.rules import Interval, verdict, welch
from vggrepro.study.second_round import CLAIMS, PRIMARY, Kind

MADE = PROVENANCE.model_copy(
    update={"versions": PROVENANCE.versions | {"instructions": "AVX2"}, "processor": "p"}
)
TRUTH = {"A": 20.0, "A-LRN": 20.0, "B": 17.0, "B-5x5": 19.0, "C": 17.0, "D": 15.0, "E": 15.0}
IMAGES = 10_000


def nets(run: str, seed: int, evaluation) -> float:
    """Errors in percent: nets by `TRUTH`, and scales so that jitter, several Q and crops help."""
    rng = np.random.default_rng([seed, *map(ord, run)])
    if run.startswith("D-he-100"):
        base = {"S256": 20.0, "S384": 20.0, "jitter": 16.0}[run.split("-")[-1]]
        base -= 1.5 * (len(evaluation.test_scales) > 1) + 0.8 * ("crop" in evaluation.protocol)
    else:
        base = TRUTH[run.split("-he-")[0]] + 3 * run.endswith("25")
    return base + rng.normal(0, 0.1)


def record(
    folder, run, data, seed, error: Callable[..., float], made=MADE, minival=20.0, budget="reduced"
) -> None:
    """All records of one run with one seed."""
    e = at_budget(run, budget, data)
    trained = train_record(e, seed, minival_error=minival, provenance=made)
    store.write(trained, train_path(folder, e, seed))
    common = {name: getattr(trained, name) for name in ("experiment", "seed", "precision")}
    for evaluation in evaluations_of(run):
        correct = np.arange(IMAGES) >= round(error(run, seed, evaluation) * IMAGES / 100)
        tested = EvalRecord(
            **common,
            weights_digest=trained.weights_digest,
            provenance=made,
            protocol=evaluation.protocol,
            test_scales=evaluation.test_scales,
            test_pixels=evaluation.test_scales,
            data=DataUsed(name=data, split="val", count=IMAGES, fingerprint=""),
            **summarise(correct, correct, np.where(correct, -0.1, -2.0)),
        )
        store.write(tested, eval_path(folder, e, seed, evaluation))


def unit(folder, data, seed, error=nets, made=MADE, **minival: float) -> None:
    """All sides of a unit."""
    for run in second_round.RUNS[data]:
        record(folder, run, data, seed, error, made, minival.get(run, 20.0))


def everything(folder, error=nets) -> None:
    for data in second_round.RUNS:
        for seed in range(3, 8):
            unit(folder, data, seed, error)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    everything(folder)
    return folder


# --- the design ---------------------------------------------------------------------------------


def test_the_design_as_it_was_fixed():
    assert not set(SECOND_ROUND) & set(RUNS)
    assert {run for runs in second_round.RUNS.values() for run in runs} == set(SECOND_ROUND)
    for run in SECOND_ROUND.values():
        assert (run.init, run.init_from, run.inherit, run.dropout) == ("he", None, None, 0.5)
    sides = {key: [side.run for side in claim.sides] for key, claim in PRIMARY.items()}
    assert sides["2-depth"] == ["D-he-50", "A-he-50"]
    assert sides["2-context"] == ["D-he-50", "C-he-50"]
    assert sides["2-non-linearity"] == ["C-he-50", "B-he-50"]
    assert sides["2-small-filters"] == ["B-he-50", "B-5x5-he-50"]
    margins = [claim.matters for claim in CLAIMS.values()]
    assert margins[: len(PRIMARY)] == [0.5, 0.5, 0.5, 1.0, 1.0, 0.3, 0.2]
    assert margins[len(PRIMARY) :] == [0.5, 0.5, 0.02, 0.5, 0.5, 1.0, 1.0, 0.3, 0.3, 1.0, 0.2, 0.2]
    rules = {key: claim.rule for key, claim in CLAIMS.items() if claim.rule != "lower"}
    assert rules == {"2-saturates": "saturates", "2-lrn": "not worse"}
    ours = {"depth-log-loss", "jitter-best-q", "jitter-centre-crop", "several-q-help-jittered-more"}
    assert {key for key, claim in CLAIMS.items() if claim.ours} == {f"2-{key}" for key in ours}
    paper = [claim.paper.difference for claim in CLAIMS.values()]
    assert paper[: len(PRIMARY)] == [2.6, 1.1, 0.6, 7.0, 1.2, 0.8, 0.2]
    said = [-0.3, 0.1, None, 0.9, 1.7, None, None, 0.4, 0.5, None, 0.4, 0.2]
    assert paper[len(PRIMARY) :] == said
    assert [claim.family for claim in PRIMARY.values()] == ["nets"] * 4 + ["scale"] * 3
    assert second_round.UNITS == 5 and second_round.SEEDS[:5] == (3, 4, 5, 6, 7)


def test_all_that_decides_is_as_the_commit_of_the_design_had_it():
    """`e717297`, before the first run: the digest was computed from that commit's own claims."""
    decide = ("sides", "also", "less", "other_length", "alive", "rule", "test", "data", "seeds")
    decide += ("matters", "metric", "ours", "controls", "paper")
    fixed = {
        key: [getattr(claim, name) for name in decide] + [claim.family or None]
        for key, claim in CLAIMS.items()
    }
    digest = hashlib.sha256(repr(fixed).encode()).hexdigest()
    assert digest == "6b659075fc1b88306a81f0e1b34f5766203bf28e9111acef1e17576f39328372"


@pytest.mark.parametrize("data", second_round.RUNS)
def test_every_run_has_the_recipe_of_the_study_and_its_epochs(data):
    for run in second_round.RUNS[data]:
        e = at_budget(run, "reduced", data)
        assert (e.recipe, e.init, e.stage) == ("study-1", "he", "scratch")
        assert f"-{e.epochs}" in run
        first = at_budget("D-he", "reduced", data)
        alike = ("width", "dropout", "learning_rate", "batch_size", "input_divisor", "crop")
        assert all(getattr(e, name) == getattr(first, name) for name in alike)


def test_every_claim_finds_its_evaluations():
    for claim in CLAIMS.values():
        pairs = [claim.sides, claim.also, claim.less, claim.other_length, *claim.alive]
        pairs += [sides for _, sides in claim.controls]
        for side in (side for sides in pairs if sides for side in sides):
            assert {side.evaluation, *side.or_else} <= set(evaluations_of(side.run))


def test_experiment_has_the_fields_it_had():
    """A round lives beside `Experiment`: a new field would change what the digests are over."""
    assert len(Experiment.__dataclass_fields__) == 26


# --- units --------------------------------------------------------------------------------


def kind(made=MADE, precision="float32"):
    where = (made.processor, made.versions["instructions"], made.threads, precision)
    return Kind(made.commit, made.dirty, *where, made.versions["torch"])


@pytest.mark.parametrize("changed", [{"commit": "b" * 40}, {"dirty": True}])
def test_a_unit_that_is_spoilt_or_of_another_commit_gives_its_place_to_another(tmp_path, changed):
    data = "imagenette"
    record(tmp_path, second_round.RUNS[data][0], data, 3, nets, MADE.model_copy(update=changed))
    assert {seed for _, seed in second_round.tasks(tmp_path, data, kind())} == {4, 5, 6, 7, 8}
    record(tmp_path, second_round.RUNS[data][1], data, 3, nets)  # and now by two
    assert {seed for _, seed in second_round.tasks(tmp_path, data, kind())} == {4, 5, 6, 7, 8}


@pytest.mark.parametrize("changed", [{"commit": "unknown"}, {"dirty": True}])
def test_code_of_no_commit_begins_nothing_and_completes_nothing(tmp_path, changed):
    made = MADE.model_copy(update=changed)
    with pytest.raises(UserError, match="a clean commit"):
        second_round.tasks(tmp_path, "imagenette", kind(made))
    unit(tmp_path, "imagenette", 3, made=made)
    assert second_round.counted(tmp_path, "imagenette") == []


def test_a_run_is_done_with_a_whole_training_and_the_tests_of_its_weights(tmp_path):
    data, run = "imagenette", second_round.RUNS["imagenette"][0]
    e = at_budget(run, "reduced", data)
    for changed in ({"status": "interrupted", "reason": "stopped"}, {"weights_digest": "other"}):
        unit(tmp_path, data, 3)
        assert second_round.counted(tmp_path, data) == [3]
        again = train_record(e, 3, provenance=MADE, **changed)
        store.write(again, train_path(tmp_path, e, 3))
        assert second_round.counted(tmp_path, data) == []


def test_units_go_on_where_they_were_begun(tmp_path):
    data, here = "imagenette", kind()
    elsewhere = MADE.model_copy(update={"processor": "another"})
    assert [seed for _, seed in second_round.tasks(tmp_path, data, here)][::3] == [3, 4, 5, 6, 7]
    unit(tmp_path, data, 3)
    record(tmp_path, second_round.RUNS[data][0], data, 4, nets, elsewhere)
    # Seed 4 waits for its kind of machine; 8 takes its place here, while there it goes on.
    assert {seed for _, seed in second_round.tasks(tmp_path, data, here)} == {5, 6, 7, 8}
    there = kind(elsewhere)
    assert {seed for _, seed in second_round.tasks(tmp_path, data, there)} == {4, 5, 6, 7}
    assert second_round.counted(tmp_path, data) == [3]
    lines = "\n".join(second_round.status_lines(tmp_path))
    assert "1 of 5 units complete" in lines and "seed 4 running: 1 of 3 runs (another" in lines


@pytest.mark.parametrize(
    "change",
    [
        {"processor": "another"},
        {"commit": "fedcba"},
        {"dirty": True},
        {"threads": 2},
        {"versions": MADE.versions | {"instructions": "AVX512"}},
    ],
)
def test_a_unit_of_two_kinds_does_not_count(tmp_path, change):
    unit(tmp_path, "imagenette", 3)
    run = second_round.RUNS["imagenette"][1]
    record(tmp_path, run, "imagenette", 3, nets, MADE.model_copy(update=change))
    (found, *_) = second_round.units(tmp_path, "imagenette")
    assert found.done == 3 and not found.complete
    assert "abandoned" in "\n".join(second_round.status_lines(tmp_path))


def test_the_first_five_to_be_completed_count(tmp_path):
    for seed, finished in zip(range(3, 9), "643215", strict=True):
        made = MADE.model_copy(update={"finished": f"2026-01-0{finished}T00:00Z"})
        unit(tmp_path, "imagenette", seed, made=made)
    assert second_round.counted(tmp_path, "imagenette") == [4, 5, 6, 7, 8]


# --- hidden -------------------------------------------------------------------------------


def test_nothing_is_shown_before_the_end(tmp_path, whole):
    for data in second_round.RUNS:
        for seed in range(3, 7):
            unit(tmp_path, data, seed)
    assert not second_round.complete(tmp_path)
    assert {d.word for d in decide_all(tmp_path).values()} == {"not run"}
    paths = store.record_files(tmp_path)
    assert paths and not list(second_round.shown(tmp_path, paths))
    assert store.frame(tmp_path).empty and len(store.frame(whole)) > len(paths)
    for command in ("status", "list", "results"):
        found = CliRunner().invoke(app, [command, "--results-dir", str(tmp_path)])
        assert found.exit_code == 0 and "he-50" not in found.output and "he-100" not in found.output
    with pytest.raises(UserError, match="no evaluation"):
        evaluations(tmp_path)
    assert len(list(second_round.shown(whole, store.record_files(whole)))) > len(paths)


# --- rules --------------------------------------------------------------------------------


def test_a_known_truth_gets_its_words(whole):
    found = decide_all(whole)
    words = {key: decision.word for key, decision in found.items()}
    assert words["2-depth"] == words["2-context"] == "holds and matters"
    assert words["2-small-filters"] == "holds and matters"
    assert words["2-non-linearity"] == "negligible"
    assert words["2-jitter"] == words["2-several-q"] == words["2-crops"] == "holds and matters"
    assert words["2-saturates"] == "saturates"
    # Two one-sided tests at half of the level each are an interval of 95 %.
    assert found["2-saturates"].decided_by.confidence == 0.95
    assert all(decision.n == 5 for decision in found.values())


def test_a_sign_that_turns_depends_on_the_length(tmp_path):
    def turned(run, seed, evaluation):
        return nets(run, seed, evaluation) + (8 if run == "D-he-25" else 0)

    everything(tmp_path, turned)
    found = decide_all(tmp_path)
    assert found["2-depth"].word == found["2-context"].word == "depends on the length"
    assert found["2-small-filters"].word == "holds and matters"


def test_jitter_that_did_nothing_is_void_and_stays_in_its_family(tmp_path):
    def idle(run, seed, evaluation):
        error = nets(run, seed, evaluation)
        return error + 6 if (run, evaluation.name) == ("D-he-100-jitter", "dense-512") else error

    everything(tmp_path, idle)
    found = decide_all(tmp_path)
    assert found["2-jitter"].word == "void" and found["2-jitter"].p == 1.0
    assert "Q = 512" in found["2-jitter"].reason
    assert {found[k].step.level for k in ("2-several-q", "2-crops")} == {0.05 / 3, 0.05 / 2}


def test_both_pairs_of_jitter_have_to_hold(tmp_path):
    def one(run, seed, evaluation):
        if (run, evaluation.name) == ("D-he-100-S256", "dense-384"):
            return 15.0 + 0.01 * seed
        return nets(run, seed, evaluation)

    everything(tmp_path, one)
    assert decide_all(tmp_path)["2-jitter"].word == "contradicted"


def test_a_stalled_net_has_no_mean_and_is_not_replaced(tmp_path):
    everything(tmp_path)
    record(tmp_path, "D-he-50", "cifar10", 5, nets, minival=89.0)
    found = decide_all(tmp_path)
    assert found["2-depth"].word == "stalled" and found["2-depth"].difference is None
    assert found["2-depth"].reason == "D-he-50 stalled in 1 of 5"
    assert found["2-small-filters"].word == "holds and matters"
    record(tmp_path, "D-he-50", "cifar10", 5, nets, minival=85.0)
    record(tmp_path, "D-he-25", "cifar10", 5, nets, minival=89.0)
    assert decide_all(tmp_path)["2-depth"].word == "depends on the length"


def test_what_this_study_sharpened_never_contradicts_the_paper(tmp_path):
    def worse(run, seed, evaluation):
        return nets(run, seed, evaluation) + (8 if "jitter" in run else 0)

    everything(tmp_path, worse)
    found = decide_all(tmp_path)
    assert {d.word for d in found.values() if d.claim.ours} >= {"not so here"}
    assert not [d for d in found.values() if d.claim.ours and d.word == "contradicted"]


@pytest.mark.parametrize(
    ("estimate", "error", "word"),
    [
        (0.0, 0.05, "saturates"),
        (1.0, 0.1, "still falls"),
        (-1.0, 0.1, "rises"),
        (0.3, 0.5, "inconclusive"),
        (0.2, 0.05, "saturates"),
    ],
)
def test_saturation_has_its_own_words(estimate, error, word):
    assert verdict(Interval(estimate, error, 8, 5), "saturates", 0.5).word == word


# --- statistics ---------------------------------------------------------------------------


def test_welch_is_scipys():
    rng = np.random.default_rng(0)
    for sizes in ((5, 5), (3, 7)):
        first, second = (rng.normal(k, 1 + k, size) for k, size in enumerate(sizes))
        ours = welch(list(first), list(second))
        test = stats.ttest_ind(second, first, equal_var=False)
        assert (ours.estimate, ours.df) == pytest.approx((second.mean() - first.mean(), test.df))
        assert ours.p_two_sided() == pytest.approx(test.pvalue)
    with pytest.raises(UserError, match="two seeds"):
        welch([1.0], [1.0, 2.0])
    assert welch([1.0] * 5, [2.0] * 5).p_two_sided() == 0.0


def test_unequal_spreads_keep_the_level():
    wrong = welch_words(0.0, (1.1, 0.3), 0.5, 5, 0.05, studies=1500)
    directed = sum(wrong[word] for word in ("holds", "holds and matters", "contradicted"))
    assert directed / 1500 < 0.075, "5 %, known to within 1.1 points"


def test_a_kind_names_all_that_a_unit_shares():
    trained = train_record(provenance=MADE)
    assert Kind.of(trained) == kind()
