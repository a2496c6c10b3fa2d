"""Differences and verdicts in words: what decided, the controls, the board, both rounds."""

import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.records_by_hand import (
    CENTRE_256,
    CENTRE_384,
    NETS,
    ONE_Q,
    SHORT,
    THREE_Q,
    train_path,
    train_record,
    write,
    write_nets,
)
from tests.test_second_round import unit
from vggrepro.pages import figures, verdicts
from vggrepro.pages.page import in_lines
from vggrepro.pages.report import Column
from vggrepro.pages.verdicts import (
    REVERSED,
    Verdicts,
    differences_table,
    inside,
    minus,
    shown_interval,
)
from vggrepro.study import second_round, store
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import Decision
from vggrepro.study.rules import TESTS, Interval

FAIR = {"A-from-A": 15.0, "D-he-long": 14.0}  # as good as D (16.0) or better
CLAIM = "The error falls from 11 layers (A) to 16 (D)."
CHAPTERS = sorted({claim.chapter for claim in CLAIMS.values()} - {"01_architecture"})


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A recorded study of a known truth, in which D beats A, but not A that starts from A."""
    monkeypatch.setattr(verdicts, "RECORDED", tmp_path)
    write_nets(tmp_path, NETS | FAIR)
    write_nets(tmp_path, SHORT, rng_seed=1)
    return tmp_path


def lines(folder, key):
    return Verdicts(folder).box(key).data.splitlines()


def row_of(folder, text):
    board = Verdicts(folder).board().reset_index(names="verdict")
    (row,) = board[board["claim"].str.contains(text, regex=False)].itertuples()
    return row


# --- one verdict ----------------------------------------------------------------------------


def test_a_verdict_that_its_control_reverses_has_a_word_of_its_own(study):
    found = Verdicts(study)
    decision = found.decisions["depth-a-to-d"]
    assert decision.word == "holds and matters", "the rule's own word"
    assert found.word(decision) == REVERSED
    assert f"**{REVERSED}**" in lines(study, "depth-a-to-d")[0]
    row = row_of(study, "(A) to 16")
    assert row.verdict == f'<span class="verdict reversed-by-its-control">{REVERSED}</span>'
    against = "but not so in its control: A with the extra training that D had (-"
    assert against in row.here.split("</small>")[1], "on a phone too, where small is hidden"
    assert against in found.in_short("depth-a-to-d").data


def test_a_control_that_is_not_beyond_zero_is_named_and_the_word_stays(tmp_path):
    write_nets(tmp_path, NETS | {"A-from-A": 15.6}, sd=0.5)
    write_nets(tmp_path, SHORT, rng_seed=1)
    found = Verdicts(tmp_path)
    decision = found.decisions["depth-a-to-d"]
    (control,) = found.controls_against(decision)
    assert control[1].mean <= 0 < control[1].interval.high
    assert found.word(decision) == decision.word
    assert "but not so in its control" in found.but(decision)


def test_only_the_papers_own_sentences_are_contradicted(study):
    write_nets(study, {"D-glorot": 25.0})
    found = Verdicts(study)
    glorot, c_beats_b = found.decisions["glorot"], found.decisions["c-beats-b"]
    assert CLAIMS["glorot"].ours and not CLAIMS["c-beats-b"].ours
    assert (glorot.word, found.word(glorot)) == ("contradicted", "not so here")
    contradicted = replace(c_beats_b, word="contradicted")
    assert found.word(contradicted) == "contradicted"


def test_a_rival_as_large_as_the_difference_is_named(study):
    """Longer training alone gains 2.5 where the jittered net gains 2, then only 1."""
    nets = {"D-S384": 24.0, "D-jitter": 22.0, "D-S384-longer": 21.5}
    noise = np.random.default_rng(3).normal(0, 0.1, (3, 3))
    for (run, error), rest in zip(nets.items(), noise, strict=True):
        by_seed = {seed: error + one for seed, one in enumerate(rest)}
        write(study, run, CENTRE_384, by_seed, "imagenette")
    assert "**holds and matters**" in lines(study, "jitter-as-in-the-paper")[0]
    short = Verdicts(study).in_short("jitter-as-in-the-paper").data
    assert "but as much comes from longer training alone (+2." in short

    shutil.rmtree(study / "reduced" / "imagenette" / "D-S384-longer")
    by_seed = {seed: 23.0 + one for seed, one in enumerate(noise[2])}
    write(study, "D-S384-longer", CENTRE_384, by_seed, "imagenette")
    assert "as much" not in Verdicts(study).in_short("jitter-as-in-the-paper").data


def test_a_net_that_stalled_is_named_with_the_differences_by_seed(study):
    """The mean of -1, -1 and -74 is no size of anything."""
    for seed, error in enumerate((17.0, 17.0, 90.0)):
        experiment = at_budget("D-glorot", "reduced", "cifar10")
        path = train_path(study, experiment, seed)
        store.write(train_record(experiment, seed, minival_error=error), path)
    write(study, "D-glorot", CENTRE_256, {0: 17.0, 1: 17.0, 2: 90.0})
    head, *more = [line for line in lines(study, "glorot") if line]
    assert head.endswith("with D-glorot at chance in seed 2)")
    found = Verdicts(study)
    here = found.here(found.decisions["glorot"])
    assert re.fullmatch(r"-\d\.\d, -\d\.\d and -7\d\.\d by seed", here)
    assert not any("log-loss" in line for line in more)
    assert "with D-glorot at chance in seed 2" in found.in_short("glorot").data
    assert not any("at chance" in line for line in lines(study, "depth-a-to-d"))


def test_a_control_of_too_few_seeds_says_nothing_against(tmp_path):
    write_nets(tmp_path, NETS)
    write_nets(tmp_path, SHORT, rng_seed=1)
    write(tmp_path, "A-from-A", CENTRE_256, {0: 15.0})
    found = Verdicts(tmp_path)
    decision = found.decisions["depth-a-to-d"]
    assert found.word(decision) == decision.word == "holds and matters"
    assert found.controls_against(decision) == []


def test_the_interval_that_decides_is_named_if_it_is_not_the_usual_one(study):
    decision = Verdicts(study).decisions["depth-a-to-d"]
    text = "\n".join(lines(study, "depth-a-to-d"))
    wide = decision.interval.at(1 - decision.step.level)
    level = f"{100 * (1 - decision.step.level):.1f}".removesuffix(".0")
    by = f"by the {level} % interval [{wide.low:+.1f}, {wide.high:+.1f}]"
    assert by in text
    assert by in Verdicts(study).in_short("depth-a-to-d").data
    assert by in row_of(study, "(A) to 16").here.split("<small>")[0], "a phone hides small"
    assert "CIFAR-10, centre crop, Q = 256, 3 seeds" in text and "adjusted p " in text
    plain = "\n".join(lines(study, "depth-b-to-d"))
    assert "% interval" not in plain and "adjusted" not in plain
    # A claim of "no worse" is decided at one end: 5 % there are a 90 % interval.
    write_nets(study, {"D-glorot": 16.0})
    assert "by the 90 % interval" in lines(study, "glorot")[0]


def test_an_end_that_just_misses_a_limit_has_the_decimals_that_show_it():
    ends = [verdicts.end(value, 1.0) for value in (-0.9986, -1.0014, 0.94, -0.7, 1.0)]
    assert ends == ["-0.999", "-1.001", "+0.9", "-0.7", "+1.0000"]


def test_log_loss_stands_in_the_box_and_no_sentence_of_the_method_does(study):
    text = "\n".join(lines(study, "depth-a-to-d"))
    loss = Verdicts(study).decisions["depth-a-to-d"].log_loss
    assert f"*log-loss, decides nothing:* {loss.estimate:+.3f} nats [" in text
    assert not any(sentence in text for sentence in TESTS.values())
    assert "[between trainings](method.html#" in text


def test_in_short_has_every_claim_in_its_order_with_seeds_that_lack(study):
    write(study, "E-S256", CENTRE_256, {0: 16.5})
    said = Verdicts(study).in_short("depth-saturates", "glorot", "lrn-costs-memory").data
    assert said.startswith("**In short:** *From 16 layers (D) to 19 (E) the error no longer")
    assert "too few seeds (+" in said and "1 of 3 seeds). *A deep net trains" in said
    assert "as well as from net A (D)*: not run. " in said
    assert said.endswith("for training*: holds (+35.8 %).")


def test_one_net_tested_in_two_ways_has_the_error_over_photos_too(tmp_path):
    """By hand: of 2,000 photos 100 are wrong at one Q and right at three, in every seed."""
    for seed in range(3):
        write(tmp_path, "D-jitter", ONE_Q, {seed: 25.0}, "imagenette")
        write(tmp_path, "D-jitter", THREE_Q, {seed: 20.0}, "imagenette")
    found, share = Verdicts(tmp_path), 0.05
    expected = 100 * np.sqrt(share * (1 - share) / 2000)
    said = found.errors_of(found.decisions["several-q-jittered"])
    assert said == f"standard error 0.00 over seeds, {expected:.2f} over photos"
    assert found.errors_of(found.decisions["depth-a-to-d"]) == ""


# --- the board ------------------------------------------------------------------------------


def test_primary_claims_stand_first_and_arithmetic_in_one_line(study):
    found = Verdicts(study)
    board = found.board()
    primary = board["claim"].str.endswith("(primary)").to_list()
    assert len(board) == sum(claim.sides is not None for claim in CLAIMS.values())
    assert primary == sorted(primary, reverse=True) and sum(primary) == 6
    for claim in CLAIMS.values():
        assert (claim.statement.removesuffix(".") in found.arithmetic()) == (claim.sides is None)


def test_whether_the_papers_value_is_inside_stands_beside_every_difference(study):
    assert row_of(study, "(A) to 16").paper.startswith("+2.6<br>")
    column = Column("here", study, "reduced", "cifar10")
    table = differences_table("depth-a-to-d", columns=[column])
    assert table["paper"].iloc[0] in ("+2.6<br>inside", "+2.6<br>outside")
    interval = Interval(1.0, 0.1, 20, 3)
    assert [inside(x, interval) for x in (1.1, 2.0, None)] == ["inside", "outside", ""]


def test_a_mark_has_a_colour_for_every_word():
    """The style sheet's, which are those of the figures."""
    css = (store.ROOT / "book" / "assets" / "custom.css").read_text()
    for word, colour in figures.WORD_COLOURS.items():
        name = word.replace(" ", "-")
        assert verdicts.marked(word) == f'<span class="verdict {name}">{word}</span>'
        assert f".{name}" in css
        if word in ("holds", "holds and matters", "negligible"):
            assert f".verdict.{name}::before {{ background: {colour.lower()}; }}" in css


def test_claims_as_values_have_what_the_board_shows(study):
    table = Verdicts(study).claims().set_index("claim")
    assert list(table.index) == list(CLAIMS)
    row, decision = table.loc["depth-a-to-d"], Verdicts(study).decisions["depth-a-to-d"]
    assert row.verdict == REVERSED and row.difference == decision.difference
    assert (row.low, row.high) == (decision.interval.low, decision.interval.high)


# --- both rounds ----------------------------------------------------------------------------


def test_every_question_of_the_second_round_finds_its_claim():
    asked = [claim.again for claim in second_round.CLAIMS.values()]
    only_there = list(second_round.CLAIMS).index("2-depth-log-loss")
    assert (
        asked.pop(only_there) == "" and len(set(asked)) == len(asked) and set(asked) <= set(CLAIMS)
    )


def test_the_second_round_is_shown_only_when_it_is_complete(study, monkeypatch):
    assert "second round" not in Verdicts(study).board().columns
    assert Verdicts(study).rounds_apart() == ""
    interval = Interval(-1.0, 0.1, 8, 5)
    decided = {
        key: Decision(claim, "contradicted", "r", 5, -1.0, interval)
        for key, claim in second_round.CLAIMS.items()
    }
    monkeypatch.setattr(verdicts, "decide_second_round", lambda folder: decided)
    assert "second round" not in Verdicts(study).board().columns, "still not complete"
    monkeypatch.setattr(verdicts.second_round, "complete", lambda folder: True)
    found = Verdicts(study)
    shown = found.board()["second round"]
    assert shown.iloc[1].endswith(
        "contradicted</span> (primary)<br>-1.0<br>[-1.2, -0.8], n&nbsp;=&nbsp;5"
    )
    assert CLAIM in found.rounds_apart() and "call otherwise" in found.rounds_apart()
    assert "Sixteen layers (D) err less" in found.second_box("03_depth").data
    assert len(found.claims()) == len(CLAIMS) + len(second_round.CLAIMS)


def test_a_complete_second_round_stands_beside_the_first(study):
    """Records as invented as the first round's: D beats A in both, crops only in the second."""
    for data in second_round.RUNS:
        for seed in range(3, 7):
            unit(study, data, seed)
    assert Verdicts(study).second == {}, "four of five units"
    for data in second_round.RUNS:
        unit(study, data, 7)
    found = Verdicts(study)
    shown = found.board().reset_index(names="verdict").set_index("claim")["second round"]
    (depth,) = [cell for claim, cell in shown.items() if "(A) to 16" in claim]
    said = r">holds and matters</span> \(primary\)<br>\+4\.9<br>\[.*\], n = 5<br>by the 98\.8 %"
    assert re.search(said, depth.replace("&nbsp;", " "))
    box = found.second_box("08_multi_crop").data
    assert "** (primary; " in box and "over photos" in box
    assert CLAIM not in found.rounds_apart().split("\n\n")[0]


# --- differences in all columns -------------------------------------------------------------


@pytest.fixture
def columns(tmp_path, monkeypatch):
    """The recorded study, somewhere else."""
    monkeypatch.setattr(verdicts, "RECORDED", tmp_path)
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
    beside = differences_table("depth-a-to-b", columns=columns).loc["A − E"]
    assert "decides nothing" in beside["claim or control"]
    # Table 3: 29.6 and 27.3. Not bold, since nothing is decided by it.
    assert (beside["paper"], beside["cifar10"]) == ("+2.3", "+1.5<br>n = 1")


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_two_rows_of_a_chapter_have_one_name(chapter, columns):
    keys = [key for key, c in CLAIMS.items() if c.chapter == chapter and c.about_errors]
    names = differences_table(*keys, columns=columns).index
    assert len(names) == len(set(names))


def test_a_name_is_broken_where_it_may_be():
    less = "D-jitter: Q = 384 − 3 Q, less that of D-S384-longer"
    assert in_lines(less) == "D-jitter:<br>Q = 384 −<br>3 Q,<br>less that of<br>D-S384-longer"
    ways = "D − D-jitter (dense, Q = 256 against dense, Q = 384)"
    assert in_lines(ways) == "D −<br>D-jitter<br>(dense, Q = 256<br>against dense, Q = 384)"


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((-1.34, -0.04), "-0.7 [-1.3, -0.04], n = 3"),
        ((-1.44, 0.04), "-0.7 [-1.4, +0.04], n = 3"),
        ((-1.4, 0.0), "-0.7 [-1.4, +0.0], n = 3"),
    ],
)
def test_an_end_of_an_interval_shows_its_side_of_zero(ends, shown):
    low, high = ends
    assert shown_interval(SimpleNamespace(estimate=-0.7, low=low, high=high, n=3)) == shown


def test_the_same_nets_are_told_apart_by_how_they_are_tested(columns):
    names = set(differences_table("jitter-equal-epochs", "jitter-best-q", columns=columns).index)
    assert "D-S384-longer − D-jitter (centre crop, Q = 384)" in names
    assert "D-S384-longer − D-jitter (dense, each at its best Q)" in names
    claim = CLAIMS["several-q-help-jittered-more"]
    assert minus(claim.sides, claim.less) == ("D-jitter: Q = 384 − 3 Q, less that of D-S384-longer")
    ((_, shifted),) = CLAIMS["several-q-jittered"].controls
    assert minus(shifted) == "D-jitter: dense-shifted, Q = 384 − dense, 3 Q"


def test_one_seed_has_no_interval_and_several_have_one(columns):
    folder = columns[0].results_dir
    for run, start in (("A-S256", 20.0), ("D-S256", 18.0)):
        write(folder, run, CENTRE_256, errors(start, 0), "imagenette")
        write(folder, run, CENTRE_256, {s: start + s * (start - 17) for s in range(3)})
    row = by_claim(columns).loc[CLAIM]
    assert re.fullmatch(r"<b>\+4\.0 \[[+-]\d+\.\d, \+\d+\.\d\]<br>n = 3</b>", row["cifar10"])
    assert row["imagenette"] == "+2.0<br>n = 1"


def test_seeds_beyond_those_fixed_are_not_used(columns):
    folder = columns[0].results_dir
    write(folder, "A-S256", CENTRE_256, errors(20.0, *range(5)))
    write(folder, "D-S256", CENTRE_256, errors(18.0, *range(5)))
    assert by_claim(columns).loc[CLAIM, "cifar10"].endswith("n = 3</b>")


def test_pilots_are_no_difference(columns, pilots):
    for run in ("A-S256", "D-S256"):
        write(columns[0].results_dir, run, CENTRE_256, errors(20.0, 0, 1))
    assert by_claim(columns).loc[CLAIM, "cifar10"] == "not run"


def test_a_rerun_is_not_marked_as_deciding(columns, monkeypatch):
    folder = columns[0].results_dir
    write(folder, "A-S256", CENTRE_256, errors(20.0, 0))
    write(folder, "D-S256", CENTRE_256, errors(18.0, 0))
    monkeypatch.setattr(verdicts, "RECORDED", folder / "elsewhere")
    assert by_claim(columns).loc[CLAIM, "cifar10"] == "+2.0<br>n = 1"
