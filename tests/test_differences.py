"""The table of differences: every claim and control, on every data set, from known records."""

import pytest

from tests.records_by_hand import CENTRE_256, write
from vggrepro import UserError
from vggrepro.pages import differences
from vggrepro.pages.differences import differences_table
from vggrepro.pages.report import Column
from vggrepro.study.claims import CLAIMS

CLAIM = "The error falls from 11 layers (A) to 16 (D)."


@pytest.fixture
def columns(tmp_path, monkeypatch):
    """The recorded study, somewhere else."""
    monkeypatch.setattr(differences, "RECORDED", tmp_path)
    return [Column(data, tmp_path, "reduced", data) for data in ("cifar10", "imagenette")]


def errors(start, *seeds):
    """An error for each seed, with a spread that has no net effect in it."""
    return {seed: start + (0.5 if seed % 2 else -0.5) for seed in seeds}


def by_claim(columns, key="depth-a-to-d"):
    return differences_table(key, columns=columns).set_index("claim or control")


def test_without_records_every_cell_says_so(columns):
    table = differences_table("depth-a-to-d", "depth-saturates", columns=columns)
    assert set(table[["cifar10", "imagenette"]].to_numpy().ravel()) == {"not run"}
    assert list(table.index) == [
        "A − D",
        "A-short − D-short",
        "A-from-A − D",
        "A-from-A − D-he-long",
        "A-he-long − D-he-long",
        "E − D",
    ]
    assert list(table["paper"]) == ["+2.6", "–", "–", "–", "–", "+0.3"]


def test_what_the_papers_sentence_names_and_no_claim_has_stands_beside(columns):
    folder = columns[0].results_dir
    write(folder, "A-S256", CENTRE_256, errors(20.0, 0))
    write(folder, "E-S256", CENTRE_256, errors(18.5, 0))
    table = differences_table("depth-a-to-b", columns=columns)
    beside = table.loc["A − E"]
    assert "decides nothing" in beside["claim or control"]
    # Table 3: 29.6 and 27.3. Not bold, since nothing is decided by it.
    assert (beside["paper"], beside["cifar10"]) == ("+2.3", "+1.5<br>n = 1")
    said = differences.beside_sentence("depth-a-to-b")
    assert "+1.5, n = 1 (paper +2.3)" in said and "deciding nothing" in said
    assert "not run (paper +1.4)" in differences.beside_sentence("jitter-as-in-the-paper")


CHAPTERS = sorted({claim.chapter for claim in CLAIMS.values()} - {"01_architecture"})


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_two_rows_of_a_chapter_have_one_name(chapter, columns):
    about = [c for c in CLAIMS.values() if c.chapter == chapter and c.test != "arithmetic"]
    keys = [claim.key for claim in about if claim.test != "measurement"]
    assert differences_table(*keys, columns=columns).index.is_unique


def test_the_same_nets_are_told_apart_by_how_they_are_tested(columns):
    keys = ("jitter-equal-epochs", "jitter-best-q", "jitter-as-in-the-paper")
    names = list(differences_table(*keys, columns=columns).index)
    pair = "D-S384-longer − D-jitter<br>"
    assert [name for name in names if name.startswith(pair)] == [
        f"{pair}(centre crop, Q = 384)",
        f"{pair}(dense, Q = 384)",
        f"{pair}(dense, each at its best Q)",
    ]
    assert "D − D-jitter<br>(dense, each at its own Q)" in names
    more = differences_table("several-q-help-jittered-more", columns=columns).index[0]
    assert more.endswith("<br>less that of D-S384-longer at Q = 352, 384, 416")


def test_one_seed_has_no_interval_and_several_have_one(columns):
    folder = columns[0].results_dir
    for run, error in (("A-S256", 20.0), ("D-S256", 17.0), ("A-from-A", 19.0)):
        write(folder, run, CENTRE_256, errors(error, 0, 1, 2))
    write(folder, "A-S256", CENTRE_256, errors(30.0, 0), "imagenette")
    write(folder, "D-S256", CENTRE_256, errors(32.0, 0), "imagenette")
    table = by_claim(columns)
    # The decisive data set is bold; a control is second minus first too: 19 - 17.
    assert table.loc[CLAIM, "cifar10"] == "<b>+3.0 [+3.0, +3.0]<br>n = 3</b>"
    assert table.loc[CLAIM, "imagenette"] == "-2.0<br>n = 1"
    control = "control: A with the extra training that D had"
    assert table.loc[control, "cifar10"] == "<b>+2.0 [+2.0, +2.0]<br>n = 3</b>"
    assert table.loc[control, "imagenette"] == "not run"


def test_seeds_beyond_those_fixed_are_not_used(columns):
    write(columns[0].results_dir, "B-S256", CENTRE_256, dict.fromkeys(range(9), 20.0))
    noisy = dict.fromkeys(range(3), 19.0) | dict.fromkeys(range(3, 9), 90.0)
    write(columns[0].results_dir, "D-S256", CENTRE_256, noisy)
    shown = by_claim(columns, "depth-b-to-d").loc[:, "cifar10"].item()
    assert shown.startswith("<b>+1.0 [") and shown.endswith("n = 3</b>")


def test_pilots_are_named_and_have_no_interval(columns, pilots):
    for run, error in (("A-S256", 20.0), ("D-S256", 17.0)):
        write(columns[0].results_dir, run, CENTRE_256, errors(error, 0, 1))
    assert by_claim(columns).loc[CLAIM, "cifar10"] == "<b>+3.0<br>n = 2 (pilot)</b>"


def test_a_rerun_is_not_marked_as_deciding(columns, monkeypatch):
    for run, error in (("A-S256", 20.0), ("D-S256", 17.0)):
        write(columns[0].results_dir, run, CENTRE_256, errors(error, 0))
    monkeypatch.setattr(differences, "RECORDED", "elsewhere")
    assert by_claim(columns).loc[CLAIM, "cifar10"] == "+3.0<br>n = 1"


def test_two_evaluations_of_a_net_are_told_apart(columns):
    (name,) = differences_table("several-q-fixed", columns=columns).index
    assert name == "D:<br>Q = 256<br>− Q = 224, 256, 288"
    *_, control = differences_table("several-q-jittered", columns=columns).index
    assert control == "D-jitter:<br>dense-shifted, Q = 384<br>− dense, Q = 256, 384, 512"


@pytest.mark.parametrize("key", ["seven-by-seven", "lrn-costs-time", "depth"])
def test_a_claim_without_errors_is_refused(key):
    with pytest.raises(UserError, match=key):
        differences_table(key)
