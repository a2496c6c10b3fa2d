"""Means of posteriors: over Q, over protocols and over nets, kept, fused and recorded."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.records_by_hand import eval_path, eval_record, train_record, written
from tests.running import digests, folder, snapshot
from vggrepro import UserError, evaluators
from vggrepro.pages import report
from vggrepro.study import run, runner, status, store
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Study
from vggrepro.study.experiments import (
    FUSIONS,
    ROWS,
    RUNS,
    Evaluation,
    Fusion,
    evaluation_in,
    evaluations_of,
    in_order,
    needs,
    with_needs,
)
from vggrepro.study.records import FusionRecord
from vggrepro.windows import PROTOCOLS

TWO_NETS = "A-S256+C-S256"
ONE_Q, OWN_Q = Evaluation("dense", (256,)), Evaluation("dense", ())
BOTH = Evaluation("multi-crop & dense", (224, 256))


DECLARED = Fusion(TWO_NETS, ("A-S256", "C-S256"), (ONE_Q, OWN_Q, BOTH))


@pytest.fixture
def fusion(monkeypatch):
    """A fusion of the two nets that the tests share."""
    monkeypatch.setitem(FUSIONS, TWO_NETS, DECLARED)
    return at_budget(TWO_NETS, "smoke")


@pytest.fixture(scope="module")
def fused_once(study, smoke, tmp_path_factory):
    where = shutil.copytree(study, tmp_path_factory.mktemp("fused") / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FUSIONS, TWO_NETS, DECLARED)
        runner.run([TWO_NETS], "smoke", None, [0], replace(smoke, results_dir=where))
    return where


@pytest.fixture
def fused(fusion, fused_once, tmp_path):
    """A copy of the study with the fusion made."""
    return shutil.copytree(fused_once, tmp_path / "fused", copy_function=shutil.copy2)


def kept(where, run, protocol, q):
    """The array as numpy reads it."""
    with np.load(folder(where, run) / "posteriors" / f"{protocol}-{q}.npz") as file:
        return file["posteriors"]


# --- what is declared ---------------------------------------------------------------------


def test_names_and_parts_of_evaluations():
    assert BOTH.name == "multi-crop+dense-224+256"
    assert BOTH.parts == (("multi-crop", 224), ("multi-crop", 256), ("dense", 224), ("dense", 256))
    assert OWN_Q.name == "dense-own"
    assert evaluation_in(OWN_Q, "D-jitter") == Evaluation("dense", (256, 384, 512))
    assert evaluation_in(OWN_Q, "E-S384") == Evaluation("dense", (352, 384, 416))
    assert evaluation_in(ONE_Q, "D-jitter") == ONE_Q


def test_the_seven_nets_of_the_submission():
    """Section 4.4 and Table 6, typed a second time."""
    submission = FUSIONS["ILSVRC-submission"]
    assert [(RUNS[run].config, RUNS[run].train_scale) for run in submission.runs] == [
        ("D", (256, 256)), ("D", (384, 384)), ("D", (256, 512)), ("C", (256, 256)),
        ("C", (384, 384)), ("E", (256, 256)), ("E", (384, 384)),
    ]  # fmt: skip
    assert submission.evaluations == (OWN_Q,)
    assert {seed for _, seed in submission.members(3)} == {3}


def test_two_nets_of_one_run_have_two_seeds():
    assert FUSIONS["D-jitter+D-jitter"].members(2) == (("D-jitter", 2), ("D-jitter", 3))
    assert FUSIONS["D-jitter+E-jitter"].members(2) == (("D-jitter", 2), ("E-jitter", 2))


@pytest.mark.parametrize(
    ("name", "error"),
    [  # from the printed tables
        ("table5/D-jitter/dense", 24.8),
        ("table5/D-jitter/multi-crop", 24.6),
        ("table5/E-jitter/multi-crop+dense", 24.4),
        ("table6/ILSVRC-submission/dense", 24.7),
        ("table6/D-jitter+E-jitter/dense", 24.0),
        ("table6/D-jitter+E-jitter/multi-crop", 23.9),
        ("table6/D-jitter+E-jitter/multi-crop+dense", 23.7),
    ],
)
def test_rows_of_tables_5_and_6_have_the_papers_values(name, error):
    (row,) = (row for row in ROWS if row.name == name)
    assert report.paper_value(row) == error


def test_every_row_has_a_value_and_is_evaluated():
    assert len([row for row in ROWS if row.table == 6]) == 4
    for row in ROWS:
        assert 20 < report.paper_value(row) < 30
        assert row.evaluation in evaluations_of(row.run)


def test_every_protocol_that_is_declared_exists():
    declared = {p for name in RUNS for e in evaluations_of(name) for p, _ in e.parts}
    assert declared == set(PROTOCOLS)


@pytest.mark.parametrize("claim", [c for c in CLAIMS.values() if c.sides], ids=lambda c: c.key)
def test_what_a_claim_compares_is_evaluated(claim):
    pairs = [
        claim.sides,
        claim.less,
        claim.other_length,
        *(pair for _, pair in (*claim.controls, *claim.rivals)),
    ]
    for side in (side for pair in pairs if pair for side in pair):
        assert {side.evaluation, *side.or_else} <= set(evaluations_of(side.run))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_has_the_declaration_of_its_first_net_under_its_own_name(name):
    for budget in BUDGETS.values():
        for data in budget.data:
            found = at_budget(name, budget.name, data)
            first = at_budget(FUSIONS[name].runs[0], budget.name, data)
            assert found.name == name
            assert found.config.split("+") == [RUNS[run].config for run in FUSIONS[name].runs]
            assert replace(found, name=first.name, config=first.config) == first


# --- means by hand ------------------------------------------------------------------------


def test_several_q_are_the_mean_of_single_q(study):
    """Of the posteriors that are kept, each as it was with one Q alone."""
    record = store.read(folder(study, "C-S256") / "eval-dense-224+256+288.json")
    mean = sum(kept(study, "C-S256", "dense", q).astype(float) for q in (224, 256, 288)) / 3
    assert_outcome(record, mean.astype(np.float32))
    single = store.read(folder(study, "C-S256") / "eval-dense-256.json")
    assert_outcome(single, kept(study, "C-S256", "dense", 256))
    assert sum(record.positions.values()) == 3 * single.data.count


def assert_outcome(record, mean):
    """The record's outcomes are those of posteriors (N, classes); targets are in turn by class."""
    targets = np.repeat(np.arange(mean.shape[1]), record.data.count // mean.shape[1])
    correct, _, log_probability = record.outcomes()
    own = mean[np.arange(len(targets)), targets]
    np.testing.assert_array_equal(log_probability, np.log(own).astype(np.float16))
    np.testing.assert_array_equal(correct, mean.argmax(1) == targets)


def test_a_fusion_is_the_mean_over_nets(fused, fusion):
    for evaluation, scales in ((ONE_Q, (256,)), (OWN_Q, (224, 256, 288))):
        (record,) = store.evaluations(fused, fusion, evaluation).values()
        nets = [
            np.mean([kept(fused, run, "dense", q) for q in scales], 0, dtype=float)
            for run in ("A-S256", "C-S256")
        ]
        assert_close(record, (nets[0] + nets[1]) / 2)


def assert_close(record, mean):
    """As `assert_outcome`, but for the last bit of float16: nets are rounded before the mean."""
    targets = np.repeat(np.arange(mean.shape[1]), record.data.count // mean.shape[1])
    own = np.log(mean[np.arange(len(targets)), targets])
    np.testing.assert_allclose(record.outcomes()[2], own, rtol=1e-3)
    assert record.top1_error == pytest.approx(100 * np.mean(mean.argmax(1) != targets))


def test_a_combination_is_the_mean_of_both_protocols(fused, fusion):
    (record,) = store.evaluations(fused, fusion, BOTH).values()
    both = [
        kept(fused, run, protocol, q).astype(float)
        for run in ("A-S256", "C-S256")
        for protocol in ("multi-crop", "dense")
        for q in (224, 256)
    ]
    assert_close(record, sum(both) / 8)
    assert record.protocol == "multi-crop & dense"
    assert sum(record.positions.values()) == 2 * (25 + 1) * 2 * record.data.count


# --- records of fusions -------------------------------------------------------------------


def test_a_fusion_names_its_parents(fused, fusion):
    weights = {
        run: store.trainings(fused, at_budget(run, "smoke"))[0].weights_digest
        for run in ("A-S256", "C-S256")
    }
    (record,) = store.evaluations(fused, fusion, OWN_Q).values()
    assert isinstance(record, FusionRecord)
    assert record.parents == {
        "A-S256/seed0/dense-224+256+288": weights["A-S256"],
        "C-S256/seed0/dense-224+256+288": weights["C-S256"],
    }
    assert (record.run, record.test_scales, record.experiment["config"]) == (TWO_NETS, (), "A+C")
    path = fused / "smoke" / "synthetic" / TWO_NETS / "seed0" / "eval-dense-own.json"
    assert store.read(path) == record
    assert store.verify(store.record_files(fused)) == []


def test_what_is_fused_is_skipped_and_fresh_makes_the_same(fused, fusion, smoke, capsys):
    where = replace(smoke, results_dir=fused)
    before = snapshot(fused)
    runner.run([TWO_NETS], "smoke", None, [0], where)
    assert capsys.readouterr().err.count("already recorded") == 3
    assert snapshot(fused) == before
    records = store.evaluations(fused, fusion, BOTH)
    runner.run([TWO_NETS], "smoke", None, [0], replace(where, fresh=True))
    again = store.evaluations(fused, fusion, BOTH)
    assert again[0].result_digest == records[0].result_digest
    assert snapshot(folder(fused, "A-S256")).items() <= before.items()


def test_a_fusion_of_other_weights_is_stale(fused, fusion, smoke):
    path = folder(fused, "C-S256") / "train.json"
    other = store.read(path).model_copy(update={"weights_digest": "0" * 64})
    store.write(other, path)
    assert store.evaluations(fused, fusion, ONE_Q) == {}
    (fusion_path,) = fused.rglob(f"{TWO_NETS}/seed0/eval-dense-own.json")
    assert "rests on other weights" in store.verify([fusion_path])[0]
    assert f"vggrepro run {TWO_NETS} " in " ".join(
        status.missing_commands(fused, "smoke", "synthetic")
    )


def test_an_edited_parent_is_seen(fused):
    (path,) = fused.rglob(f"{TWO_NETS}/seed0/eval-dense-own.json")
    content = json.loads(path.read_text())
    content["parents"]["D-S256/seed0/dense-256"] = "1" * 64
    path.write_text(json.dumps(content))
    assert any("edited" in problem for problem in store.verify([path]))


def test_records_of_one_net_have_no_parents():
    record = eval_record()
    assert "parents" not in record.model_dump()
    with pytest.raises(ValueError, match="parents"):
        FusionRecord(**record.model_dump(exclude={"kind"}))


def test_claims_find_fusions(tmp_path, fusion, monkeypatch):
    for recipe in ("pilot-9", "frozen"):
        monkeypatch.setitem(BUDGETS["smoke"].data["synthetic"], "recipe", recipe)
        experiment = at_budget(TWO_NETS, "smoke")
        q = {"protocol": ONE_Q.protocol, "test_scales": ONE_Q.test_scales}
        fields = eval_record(experiment, 0, **q).model_dump(exclude={"kind"})
        record = FusionRecord(**fields, parents={"A-S256/seed0/dense-256": "12ab" * 16})
        path = eval_path(tmp_path, experiment, 0, ONE_Q)
        store.write(record, path)
        study = Study(tmp_path, "smoke")
        found = study.records(TWO_NETS, "synthetic", ONE_Q)
        assert list(found) == ([] if recipe == "pilot-9" else [0])
        assert bool(study.pilots) == (recipe == "pilot-9")
    # A net that was trained to other weights since takes the fusion away.
    written(train_record(at_budget("A-S256", "smoke"), weights_digest="0" * 64), tmp_path)
    assert Study(tmp_path, "smoke").records(TWO_NETS, "synthetic", ONE_Q) == {}


# --- what runs before what ----------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """What would be run, in order; `told.fails` is what diverges."""

    class Told(list):
        fails = ()

    tasks = Told()

    def run_one(this):
        tasks.append((this.experiment.name, this.seed))
        return "recorded as diverged" if this.experiment.name in tasks.fails else None

    monkeypatch.setattr(runner, "run_one", run_one)
    return tasks


def test_members_run_first(told, smoke):
    runner.run(["D-jitter+E-jitter"], "smoke", None, [0], smoke)
    d, e = (["%s-S256", "%s-S384", "%s-jitter"] for _ in "DE")
    order = ["A-S256", *(n % "D" for n in d), *(n % "E" for n in e), "D-jitter+E-jitter"]
    assert told == [(name, 0) for name in order]


def test_another_seed_is_run_with_all_that_it_starts_from(told, smoke):
    runner.run(["D-jitter+D-jitter"], "smoke", None, [0, 1], smoke)
    chain = ["A-S256", "D-S256", "D-S384", "D-jitter"]
    assert told == [
        *((name, 0) for name in chain),
        *((name, 1) for name in chain),
        ("D-jitter+D-jitter", 0),
        *((name, 2) for name in chain),
        ("D-jitter+D-jitter", 1),
    ]


def test_all_is_in_an_order_that_works():
    done = set()
    for name, seed in with_needs(runner.asked([*RUNS, *FUSIONS], [0, 1])):
        assert set(needs(name, seed)) <= done
        done.add((name, seed))
    assert {(name, seed) for name in (*RUNS, *FUSIONS) for seed in (0, 1)} <= done
    assert in_order(["D-jitter+D-jitter"])[-2:] == ["D-jitter", "D-jitter+D-jitter"]


def test_what_diverges_stops_its_children_alone(told, smoke):
    told.fails = ("D-S384",)
    with pytest.raises(UserError) as caught:
        runner.run(["D-jitter+E-jitter", "C-jitter"], "smoke", None, [0], smoke)
    ran = [name for name, _ in told]
    assert ran == ["A-S256", "D-S256", "D-S384", "E-S256", "E-S384", "E-jitter",
                   "C-S256", "C-S384", "C-jitter"]  # fmt: skip
    message = str(caught.value)
    assert "D-jitter starts from D-S384, which is recorded as diverged" in message
    assert "D-jitter+E-jitter fuses D-jitter, which is left out" in message


def test_another_seed_goes_on(told, smoke, monkeypatch):
    def first_seed_diverges(this):
        told.append((this.experiment.name, this.seed))
        return "recorded as diverged" if told[-1] == ("A-S256", 0) else None

    monkeypatch.setattr(runner, "run_one", first_seed_diverges)
    with pytest.raises(UserError, match="C-S256 starts from A-S256"):
        runner.run(["C-S256"], "smoke", None, [0, 1], smoke)
    assert told == [("A-S256", 0), ("A-S256", 1), ("C-S256", 1)]


def test_a_parent_that_another_is_at_is_waited_for(monkeypatch, smoke):
    """One command for each run may start before its parent has ended: an array of jobs."""
    told = []

    def run_one(this):
        told.append(this.experiment.name)
        if told.count("A-S256") < 3 and this.experiment.name == "A-S256":
            raise runner.BusyError("another process is working on it")

    monkeypatch.setattr(runner, "run_one", run_one)
    monkeypatch.setattr(runner, "WAIT", 0)
    runner.run(["C-S256"], "smoke", None, [0], smoke)
    assert told == [*["A-S256"] * 3, "C-S256"]
    with pytest.raises(runner.BusyError):  # what was asked for itself is not
        told.clear()
        runner.run(["A-S256"], "smoke", None, [0], smoke)


def test_only_what_was_asked_for_is_fresh(monkeypatch, smoke):
    fresh = []

    def run_one(this):
        if this.where.fresh:
            fresh.append((this.experiment.name, this.seed))

    monkeypatch.setattr(runner, "run_one", run_one)
    asked = ["D-jitter", "D-jitter+D-jitter"]
    runner.run(asked, "smoke", None, [0], replace(smoke, fresh=True))
    assert fresh == [(name, 0) for name in asked]


# --- posteriors that are kept -------------------------------------------------------------


def test_a_record_from_kept_posteriors_is_the_same(copied, smoke, monkeypatch):
    before = digests(copied, "C-S256")
    for path in folder(copied, "C-S256").glob("eval-*.json"):
        path.unlink()

    def no_pass(*_):
        raise AssertionError("a protocol was run again")

    with monkeypatch.context() as patch:
        patch.setattr(run, "evaluate", no_pass)
        runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert digests(copied, "C-S256") == before


@pytest.mark.parametrize("damage", ["other weights", "other images", "cut off", "gone", "no array"])
def test_stale_or_damaged_posteriors_are_computed_again(copied, smoke, damage):
    before = digests(copied, "C-S256")
    good = kept(copied, "C-S256", "dense", 256)
    path = folder(copied, "C-S256") / "posteriors" / "dense-256.npz"
    targets = np.zeros(len(good), int)
    wrong = evaluators.Tested(np.zeros_like(good), {"1x1": len(good)}, 1.0, targets)
    weights = store.trainings(copied, at_budget("C-S256", "smoke"))[0].weights_digest
    images = store.read(folder(copied, "C-S256") / "eval-dense-256.json").data.fingerprint
    key = [weights, images, "float32", 1]
    assert run.load_posteriors(path, key) is not None  # the key that the cases below spoil
    if damage == "other weights":
        run.save_posteriors(path, ["0" * 64, images, "float32", 1], wrong)
    elif damage == "other images":
        run.save_posteriors(path, [weights, "0" * 64, "float32", 1], wrong)
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_text("no array")
    for name in ("eval-dense-256.json", "eval-dense-224+256+288.json"):
        (folder(copied, "C-S256") / name).unlink()
    runner.run(["C-S256"], "smoke", None, [0], replace(smoke, results_dir=copied))
    assert digests(copied, "C-S256") == before
    np.testing.assert_array_equal(kept(copied, "C-S256", "dense", 256), good)


def test_posteriors_come_back_bit_by_bit(tmp_path):
    path = tmp_path / "multi-crop-384.npz"
    values = np.random.default_rng(0).random((7, 3), np.float32)
    tested = evaluators.Tested(values, {"1x1": 5, "1x2": 2}, 0.1 + 0.2, np.arange(7) % 3)
    assert run.load_posteriors(path, ["a", 1]) is None
    run.save_posteriors(path, ["a", 1], tested)
    found = run.load_posteriors(path, ["a", 1])
    np.testing.assert_array_equal(found.posteriors, values)
    assert found.posteriors.dtype == np.float32
    assert found[1:3] == tested[1:3]
    np.testing.assert_array_equal(found.targets, tested.targets)
    assert run.load_posteriors(path, ["a", 2]) is None


def test_fresh_runs_every_protocol_again(copied, smoke):
    kept_before = snapshot(folder(copied, "A-S256") / "posteriors")
    runner.run(["A-S256"], "smoke", None, [0], replace(smoke, results_dir=copied, fresh=True))
    kept_after = snapshot(folder(copied, "A-S256") / "posteriors")
    assert kept_after.keys() == kept_before.keys()
    assert all(kept_after[path][0] > kept_before[path][0] for path in kept_before)


def test_digests_of_what_was_recorded_before_are_as_they_were():
    """A field that only fusions have must not be hashed into the records of single nets."""
    fields = set(eval_record().model_dump())
    assert fields == {
        "schema_version", "status", "reason", "experiment", "seed", "precision", "weights_digest",
        "provenance", "result_digest", "file_digest", "kind", "protocol", "test_scales",
        "test_pixels", "data", "positions", "top1_error", "top5_error", "log_loss", "correct",
        "correct_top5", "log_probability",
    }  # fmt: skip
