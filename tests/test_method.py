"""The page on the method and the page on a rerun: generated, complete, and right by other ways."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.records_by_hand import train_path, train_record
from tests.test_compare import net
from vggrepro import UserError
from vggrepro.pages import comparison, figures, method, report
from vggrepro.pages.verdicts import DIRECTED, Verdicts
from vggrepro.study import programme, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.rules import RULES, TESTS, Interval


@pytest.fixture(autouse=True)
def style():
    """The book's style, for this file's figures only."""
    with figures.plt.rc_context():
        figures.use_style()
        yield


EXPECTED = Interval(0.0, 0.19, 43, 5)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    figures.plt.close("all")


# --- simulated studies ------------------------------------------------------------------------


def test_a_truth_far_away_has_one_word():
    assert method.words(method.intervals(5.0, EXPECTED, 400), "lower", 0.5) == {
        "holds and matters": 400
    }
    assert method.words(method.intervals(-5.0, EXPECTED, 400), "lower", 0.5) == {
        "contradicted": 400
    }
    assert method.words(method.intervals(5.0, EXPECTED, 400), "same", 0.5) == {"contradicted": 400}
    assert method.words(method.intervals(5.0, EXPECTED, 400), "not worse", 0.5) == {"holds": 400}


def test_the_share_that_is_found_is_the_power_of_the_t_test():
    true, n = 0.4, 4000
    critical = stats.t.ppf(0.975, EXPECTED.df)
    noncentral = stats.nct(EXPECTED.df, true / EXPECTED.standard_error)
    # With nothing that matters in reach, the interval above zero is "holds" alone.
    studies = method.intervals(true, EXPECTED, n)
    found = method.words(studies, "lower", 50.0)
    assert found["negligible"] == n
    found = method.words(studies, "lower", 1e-9)
    positive = found["holds"] + found["holds and matters"]
    assert positive / n == pytest.approx(noncentral.sf(critical), abs=0.03)


def test_wrong_words_are_as_rare_as_allowed():
    for cell in method.wrong_table((EXPECTED, 0.5))["simulated"]:
        share = float(cell.removesuffix(" %")) / 100
        assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / method.STUDIES)
        assert share > 0.03, "the edge is where it is likeliest"


def test_holm_guards_the_words_about_zero_and_not_those_about_what_matters():
    """With nothing to find at most 5 %; at the edge of what matters more, as six are read there."""
    error = 4 * np.sqrt(0.05 * 0.95 / 1000)
    assert 0.01 < method.wrong_among(6, 0.0, EXPECTED, 0.5, DIRECTED) <= 0.05 + error
    at_edge = method.wrong_among(6, 1.6, EXPECTED, 1.6, ("holds and matters", "negligible"))
    assert at_edge > 0.05 + error
    assert method.wrong_among(6, 9.0, EXPECTED, 0.5, ("negligible", "contradicted")) == 0


# --- the tables of the page -------------------------------------------------------------------


def test_every_claim_stands_in_the_table_as_it_was_fixed():
    table = method.claims_table(Verdicts())
    assert len(table) == len(CLAIMS)
    assert sum("(primary" in name for name in table.index) == 6
    for claim in CLAIMS.values():
        (row,) = [row for name, row in table.iterrows() if claim.statement in name]
        assert row["decided by"].startswith(f"{claim.rule}<br>{claim.test}")
        if claim.sides:
            assert row["n"] == claim.seeds
            assert ("two lengths" in row["decided by"]) == (claim.other_length is not None)
            assert row["matters"].split()[0] == f"{claim.matters:g}"
        assert name_is_marked(table, claim) == claim.ours
        for kind, pairs in (("control", claim.controls), ("rival", claim.rivals)):
            for name, _ in pairs:
                assert f"{kind}: {name} (" in row["controls and rivals"]


def name_is_marked(table, claim):
    (name,) = [name for name in table.index if claim.statement in name]
    return name.endswith("sharpened)")


def test_a_claim_has_one_power_the_same_on_board_and_method():
    found = Verdicts()
    table = method.claims_table(found)
    for decision in found.decisions.values():
        said = re.search(r"only from ([\d.]+) on$", decision.reason)
        if decision.word == "inconclusive" and said:
            (row,) = [r for name, r in table.iterrows() if decision.claim.statement in name]
            assert float(row["found"].split()[0]) == pytest.approx(float(said[1]), rel=0.06)


def test_when_what_was_fixed_names_commits():
    said = (store.ROOT / "book" / "method.py").read_text(encoding="utf-8")
    named = re.findall(r"`([0-9a-f]{7})`", said)
    assert named[:5] == ["d2cb20b", "b17e3a1", "89bf953", "bd3ca18", "c74b9dc"]


def test_pilots_are_printed_with_the_gain_that_lrn_had():
    """Counted once more from the recorded errors: 1.23 and 2.12 points, in six of six pairs."""
    pilots = method.pilots(store.frame())
    gains = []
    for data, mean in (("cifar10", 1.23), ("imagenette", 2.12)):
        here = pilots[pilots.data == data].set_index(["run", "seed"]).top1_error
        gain = here["A-S256"] - here["A-LRN-S256"]
        assert gain.mean() == pytest.approx(mean, abs=0.005)
        gains += list(gain)
    assert len(gains) == 6 and min(gains) > 0
    table = method.pilots_table(store.frame())
    assert table.loc["A-LRN-S256", "CIFAR-10"] == "20.4, 20.0, 20.4"


def test_how_far_twins_end_from_their_records(tmp_path):
    """Two twins of A, 0.5 and 1.5 from its records; three seeds 1, 1 and 2 apart; one child."""

    def trained(run, seed, error, digest, **changes):
        experiment = at_budget(run, programme.BUDGET, "cifar10")
        changes |= {"minival_error": error, "weights_digest": digest}
        path = train_path(tmp_path, experiment, seed)
        if path.exists():
            path = store.twin_path(path, digest)
        store.write(train_record(experiment, seed, **changes), path)

    assert "the kind of processor that its parent" in method.twins_sentence(tmp_path)
    for seed, error in enumerate((20.0, 21.0, 19.0)):
        trained("A-S256", seed, error, f"{seed}a" * 32)
    trained("A-S256", 1, 21.5, "1b" * 32)
    trained("A-S256", 2, 20.5, "2b" * 32)
    trained("B-S256", 0, 17.0, "0c" * 32, parent_weights="0a" * 32)
    trained("B-S256", 1, 17.0, "1c" * 32, parent_weights="1b" * 32)
    said = method.twins_sentence(tmp_path)
    assert "of 1 training of this study" in said
    assert "2 twins end 0.5, 1.5 points" in said and "1.0 on average" in said
    assert f"lie {(1 + 1 + 2) / 3:.1f} apart" in said


def test_every_rule_and_test_is_explained_and_counted():
    for texts, of in ((RULES, lambda claim: claim.rule), (TESTS, lambda claim: claim.test)):
        table = method.explained(texts, "rule", of)
        counts = [int(name.split("(")[1].rstrip(")")) for name in table.index]
        assert sum(counts) == len(CLAIMS)
        assert [name.split(" (")[0] for name in table.index] == list(texts)
        assert not table["what it is"].str.contains("`").any()


def test_data_sets():
    data = method.data_table()
    assert data.loc["val"].to_dict() == {"CIFAR-10": "10,000", "Imagenette": "3,925"}
    decided = [int(cell.split(",")[0]) for cell in data.loc["claims decided"]]
    # Not on photos: three by arithmetic, one by measuring time.
    assert sum(decided) == len(CLAIMS) - 4


def test_chances_of_a_wrong_verdict_are_those_of_coins():
    said = method.chance_sentence()
    assert f"chance of {100 * (1 - 0.95**6):.0f}%" in said
    secondary = sum(1 for c in CLAIMS.values() if c.sides and not c.primary)
    assert f"about {100 * (1 - 0.95**secondary):.0f}% if they are independent" in said


def test_without_records_there_is_nothing_typical(tmp_path):
    assert method.typical(Verdicts(tmp_path)) is None


def test_the_programme_counts_seeds_that_have_ended(tmp_path):
    for seed in range(2):
        experiment = at_budget("A-S256", programme.BUDGET, "cifar10")
        path = train_path(tmp_path, experiment, seed)
        store.write(train_record(experiment, seed), path)
    table = method.programme_table(store.frame(tmp_path))
    assert table.loc["A-S256", "CIFAR-10"] == "2 of 3"
    assert table.loc["D-S256", "Imagenette"] == "0 of 3"


# --- figures ----------------------------------------------------------------------------------


def test_the_same_intervals_stand_under_each_rule():
    fig = method.called()
    words = [[text.get_text() for text in ax.texts] for ax in fig.axes]
    assert [len(said) for said in words] == [len(method.SHAPES)] * 3
    lower, not_worse, same = (said[::-1] for said in words)
    assert lower[0] == "holds and matters" and lower[-1] == "contradicted"
    assert not_worse[0] == "holds" and same[0] == "contradicted"
    assert fig.axes[-1].get_xlabel()


def test_simulated_shares_fill_the_panel():
    ax = method.simulated((EXPECTED, 0.5)).axes[-1]
    assert ax.get_ylabel() == "studies, %" and "points" in ax.get_xlabel()
    top = ax.collections[-1].get_paths()[0].vertices[:, 1]
    assert top.max() == pytest.approx(100)


# --- a rerun beside the recorded study --------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A recorded study on CIFAR-10 and Imagenette, and where a rerun is looked for."""
    monkeypatch.setattr(store, "RECORDED", tmp_path / "recorded")
    for data in ("cifar10", "imagenette"):
        for seed in range(2):
            net(tmp_path / "recorded", "A-S256", 20.0 + 0.1 * seed, seed, data=data)
            net(tmp_path / "recorded", "B-S256", 19.1 - 0.1 * seed, seed, data=data)
    return tmp_path / "rerun"


def rerun(folder, budget="reduced"):
    return comparison.comparison_of(report.rerun_column(budget, "", 0, False, "", str(folder)))


def test_without_a_rerun_there_is_nothing_to_compare(recorded):
    recorded.mkdir()  # as before the first run
    published = comparison.comparison_of(report.rerun_column("reduced", "", 0, False, "", ""))
    assert published is None and rerun(recorded) is None
    page = (store.ROOT / "book" / "comparison.ipynb").read_text(encoding="utf-8")
    assert "There is no rerun here yet" in page and "image/" not in page


def changes(found):
    return comparison.verdict_changes(*found.folders)


def test_a_rerun_on_drawn_images_is_listed_with_the_reason(recorded):
    net(recorded, "A-S256", 50.0, budget="quick", data="synthetic")
    found = rerun(recorded, "quick")
    assert comparison.alike(found) == "None are alike."
    assert list(comparison.like_table(found).columns) == ["none"]
    reasons = comparison.reasons_table(found)
    assert list(reasons.index) == ["CIFAR-10, reduced", "Imagenette, reduced"]
    assert reasons["differ in"].str.contains(r"data \(").all()
    (row,) = comparison.unlike_table(found).to_dict("records")
    assert row["rerun: drawn images, quick"] == "50.0<br>n = 1"
    assert row["recorded: CIFAR-10, reduced"].startswith("20.0 ± 0.1")
    said = comparison.verdict_sentence(found, changes(found))
    assert said.startswith("A rerun at quick decides nothing")


def test_a_like_rerun_is_compared(recorded):
    net(recorded, "A-S256", 20.0, 0)  # the same
    net(recorded, "B-S256", 25.0, 1)  # 19.0 there
    found = rerun(recorded)
    table = comparison.like_table(found)
    assert table["how far"].to_list() == ["beyond the spread<br>over seeds", "the same"]
    assert table["rerun"].to_list() == ["25.0<br>n = 1", "20.0<br>n = 1"]
    assert table["difference"].iloc[0].startswith("+6.0 [")
    assert "Of 2 pairs of records, 1 have the same result digest" in comparison.digests(found)
    said = comparison.verdict_sentence(found, changes(found))
    # Recorded are the three seeds that B against A needs; the rerun has one of each.
    assert said.startswith("Verdicts at budget reduced: 1 of")
    (ax,) = comparison.moved(found).axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["B-S256, cifar10", "A-S256, cifar10"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[pytest.approx(6.0)], [pytest.approx(0.0)]]


def test_a_damaged_rerun_is_an_error(recorded):
    net(recorded, "A-S256", 20.0, 0)
    next(recorded.rglob("eval-*.json")).write_text("{")
    with pytest.raises(UserError, match="not a readable record"):
        rerun(recorded)


@given(st.floats(0.1, 5), st.integers(3, 60), st.integers(3, 10))
def test_a_tighter_study_finds_less(standard_error, df, n):
    one, tighter = Interval(0, standard_error, df, n), Interval(0, standard_error / 2, df, n)
    assert tighter.detectable == pytest.approx(one.detectable / 2)
    assert one.at(0.99).detectable > one.detectable > one.half_width
