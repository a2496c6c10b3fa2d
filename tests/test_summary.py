"""The page about the whole study: its sentences follow the records, and no deviation is missing."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records_by_hand import (
    CENTRE_256,
    EXPERIMENT,
    NETS,
    PROVENANCE,
    SHORT,
    eval_record,
    train_record,
    write,
    write_nets,
)
from vggrepro.pages import tables_deviations, tables_summary
from vggrepro.pages.differences import studies_of
from vggrepro.pages.spent import CALIBRATION, MEASUREMENTS, PILOTS, STUDY, recorded, spent
from vggrepro.pages.tables_deviations import PACKAGE, declared_table, other_budgets, remarks
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import decide_all
from vggrepro.study.experiments import RUNS
from vggrepro.study.records import BenchRecord, FusionRecord, Measured

DATA = ("cifar10", "imagenette")


# --- claims and results ----------------------------------------------------------------------


def test_the_claims_are_counted():
    text = tables_summary.claims_sentence()
    assert text.startswith(f"{len(CLAIMS)} claims")
    primary = sum(claim.primary for claim in CLAIMS.values())
    assert f"{primary} are primary" in text and "each with 3 seeds" in text


def test_without_records_nothing_is_claimed(tmp_path):
    decided, studies = decide_all(tmp_path), studies_of(tmp_path)
    counts = tables_summary.counts_table(decided)
    assert counts.loc["not run", "primary"] == sum(c.primary for c in CLAIMS.values())
    assert set(counts.drop("not run")["primary"]) == {"–"}
    assert set(tables_summary.primary_table(decided, studies)["here"]) == {"–"}
    assert "yet" in tables_summary.disagreement_sentence(studies)
    empirical = sum(claim.sides is not None for claim in CLAIMS.values())
    assert tables_summary.undecided_sentence(decided) == (
        f"Of {len(CLAIMS)} claims {empirical} are not run. No claim that has all its seeds is open."
    )
    assert "Too little" in tables_summary.hardly_sentence(studies[1])
    assert list(tables_summary.cost_table([]).columns) == ["not run"]


def test_each_claim_is_counted_once_and_named_by_its_word(tmp_path):
    write_nets(tmp_path, NETS)
    write_nets(tmp_path, SHORT, rng_seed=1)
    decided = decide_all(tmp_path)
    counts = tables_summary.counts_table(decided).replace("–", 0)
    assert counts.to_numpy().sum() == len(CLAIMS)
    words = Counter(decision.word for decision in decided.values())
    assert all(counts.loc[word].sum() == words[word] for word in counts.index)
    table = tables_summary.primary_table(decided, studies_of(tmp_path))
    (line,) = table[table["primary claim"].str.contains(re.escape("(A) to 16 (D)"))].itertuples()
    assert line.Index == "holds and matters" and "(CIFAR-10)" in line[1]
    assert line.here.endswith("n = 3") and line.paper == "+2.6"
    secondary = tables_summary.secondary_sentence(decided, studies_of(tmp_path))
    assert CLAIMS["depth-b-to-d"].statement in secondary
    assert CLAIMS["depth-a-to-d"].statement not in secondary


def by_seed(error):
    return {0: error, 1: error + 0.5, 2: error - 0.5}


@pytest.mark.parametrize("other", [26.0, 14.0])
def test_photos_that_disagree_are_named(tmp_path, other):
    for data, deep in (("cifar10", 16.0), ("imagenette", other)):
        write(tmp_path, "A-S256", CENTRE_256, by_seed(20.0), data)
        write(tmp_path, "D-S256", CENTRE_256, by_seed(deep), data)
        write(tmp_path, "B-S256", CENTRE_256, {0: 18.0, 1: 18.8, 2: 18.0}, data)
    text = tables_summary.disagreement_sentence(studies_of(tmp_path))
    named = CLAIMS["depth-a-to-d"].statement in text
    assert named == (other > 20.0)
    assert "CIFAR-10: +4.0" in text if named else "none of them lies beyond zero" in text


def test_a_chapter_says_what_differs_between_the_photos():
    said = tables_summary.agreement("03_depth").data
    assert "Do the two sets of photos agree?" in said
    assert "CIFAR-10 has 45,000 photos of 10 classes to train on, in crops of 32 px" in said
    assert "Imagenette has 8,522 photos of 10 classes to train on, in crops of 64 px" in said


def test_what_is_undecided_comes_with_its_reason(tmp_path):
    write_nets(tmp_path, {"D-S256": 16.0}, seeds=range(2))
    write_nets(tmp_path, {"A-S256": 16.1, "B-S256": 16.0}, sd=0.6)
    decided = decide_all(tmp_path)
    lacking = [key for key, one in decided.items() if one.word == "too few seeds"]
    text = tables_summary.undecided_sentence(decided)
    assert set(lacking) == {"depth-a-to-d", "depth-b-to-d"}
    assert f"{len(lacking)} lack seeds and" in text
    assert CLAIMS["depth-a-to-d"].statement not in text
    # The one claim with three seeds of both sides is named, with its reason.
    assert decided["depth-a-to-b"].word == "inconclusive"
    assert CLAIMS["depth-a-to-b"].statement in text and "80% power" in text


def test_a_large_spread_can_hardly_decide_and_a_small_one_can(tmp_path):
    texts = []
    for sd in (2.0, 0.05):
        folder = tmp_path / str(sd)
        write_nets(folder, NETS, sd=sd)
        texts.append(tables_summary.hardly_sentence(studies_of(folder)[1]))
    assert "A → D (" in texts[0] and "A → D (" not in texts[1]


# --- cost ------------------------------------------------------------------------------------


def lasting(record, seconds, **changes):
    provenance = PROVENANCE.model_copy(update={"wall_seconds": seconds, "threads": 2})
    return record.model_copy(update={"provenance": provenance, **changes})


def with_recipe(record, recipe):
    return record.model_copy(update={"experiment": record.experiment | {"recipe": recipe}})


def evaluated(seconds, protocol, *scales, **changes):
    return lasting(eval_record(), seconds, protocol=protocol, test_scales=scales, **changes)


def test_core_hours_by_purpose():
    measured = Measured(name="step", unit="ms", of={}, values=(1.5,))
    bench = BenchRecord(name="lrn", settings={}, measured=(measured,), provenance=PROVENANCE)
    train = lasting(train_record(), 3600)
    found = spent(
        [
            bench,
            with_recipe(train, "frozen"),
            with_recipe(train, "pilot-1"),
            with_recipe(train, "calibrate-rate"),
            with_recipe(lasting(train, 1800, status="diverged"), "calibrate-rate"),
        ]
    )
    assert [key[1] for key in found] == [CALIBRATION, PILOTS, STUDY, MEASUREMENTS]
    calibration = found["synthetic", CALIBRATION]
    assert (calibration.trainings, calibration.failed, calibration.training) == (2, 1, 3.0)
    assert found["synthetic", STUDY].hours == 2.0
    assert found["", MEASUREMENTS].other == pytest.approx(12.5 / 3600)


@given(st.permutations(range(5)))
def test_a_shared_pass_counts_once_in_any_order(order):
    fused = FusionRecord(
        **evaluated(999, "dense", 256).model_dump(exclude={"kind"}),
        parents={"a/seed0/dense-256": ""},
    )
    records = [
        evaluated(100, "dense", 256),
        evaluated(300, "dense", 256, 288),  # 200 of them new
        evaluated(1000, "multi-crop", 256, 288),
        evaluated(1300, "multi-crop & dense", 256, 288),  # nothing new
        fused,
    ]
    (found,) = spent([records[i] for i in order]).values()
    assert found.evaluations == 5
    assert found.evaluating == pytest.approx(2 * 1300 / 3600)


def test_another_net_shares_no_pass():
    records = [evaluated(100, "dense", 256), evaluated(100, "dense", 256, seed=1)]
    (found,) = spent(records).values()
    assert found.evaluating == pytest.approx(2 * 200 / 3600)


def test_the_table_of_costs_adds_up(tmp_path):
    for seed in range(3):
        write(tmp_path, "A-S256", CENTRE_256, {seed: 20.0})
    records = [*recorded(tmp_path), lasting(train_record(EXPERIMENT), 36)]
    table = tables_summary.cost_table(records)
    assert list(table.index)[-1] == "in all"
    assert table.loc["in all", "evaluations"].endswith("(3)")
    assert table.loc["in all", "trainings"] == "0.02 (1)"
    machines = "a processor (cpu) and p (cpu)"
    assert tables_summary.machine_sentence(records) == f"The records were made on {machines}."


# --- deviations ------------------------------------------------------------------------------


def test_every_remark_of_the_package_is_listed():
    found = Counter(remark.module for remark in remarks())
    in_text = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(
            encoding="utf-8"
        ).count("DEVIATION:")
        for path in PACKAGE.rglob("*.py")
        if path != Path(tables_deviations.__file__)
    }
    assert found == {module: count for module, count in in_text.items() if count}
    table = tables_deviations.remarks_table(remarks())
    assert len(table) == sum(found.values()) > 0


SOURCE = '''
"""A module.

DEVIATION: of the module
itself.
"""
# Not a DEVIATION: in the middle.
TABLE = {
    # Before.
    # DEVIATION: in a table
    # over two lines.
    # DEVIATION: right after.

    # Another comment.
    "text": "# DEVIATION: in a string",
}


class Net:
    def forward(self):
        """Does.

        DEVIATION: in a docstring.

        More.
        """
        x = 1  # DEVIATION: at the end of a line is none
'''


def test_remarks_end_where_their_text_ends(tmp_path):
    (tmp_path / "some.py").write_text(SOURCE, encoding="utf-8")
    assert [(remark.name, remark.text) for remark in remarks(tmp_path)] == [
        ("", "of the module itself."),
        ("TABLE", "in a table over two lines."),
        ("TABLE", "right after."),
        ("Net.forward", "in a docstring."),
    ]


def test_a_remark_leads_to_the_page_that_shows_its_code():
    found = remarks()
    table = tables_deviations.remarks_table(found).to_html(escape=False)
    pages = tables_deviations.chapters_showing()
    linked = [r for r in found if (r.module, r.name) in pages]
    assert linked
    for remark in linked:
        page = pages[remark.module, remark.name]
        script = PACKAGE.parent / "book" / f"{page}.py"
        assert f'report.source("{remark.module}", "{remark.name}")' in script.read_text()
        assert f'<a href="{page}.html"><code>{remark.module}.{remark.name}</code></a>' in table


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
    epochs = BUDGETS["reduced"].epochs["cifar10"]["jitter"]
    assert table.loc["epochs<br>(after S = 384)", "CIFAR-10"] == str(epochs)


def test_the_full_budget_deviates_in_nothing():
    lines = other_budgets().splitlines()
    assert "- `full` on ILSVRC-2012: in none of these." in lines
    assert not any("`reduced`" in line for line in lines)
    assert "input divisor" in next(line for line in lines if "`smoke`" in line)
