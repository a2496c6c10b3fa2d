"""A chapter's verdicts in words: what decided, the controls, the answer in short."""

import re
import shutil
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from tests.records_by_hand import (
    CENTRE_256,
    CENTRE_384,
    NETS,
    SHORT,
    train_record,
    write,
    write_nets,
)
from vggrepro.pages import differences, figures, figures_method, verdicts
from vggrepro.pages.differences import studies_of
from vggrepro.study import store
from vggrepro.study.budgets import at_budget
from vggrepro.study.claims import CLAIMS
from vggrepro.study.decisions import decide_all
from vggrepro.study.rules import TESTS, Word

FAIR = {"A-from-A": 15.0, "D-he-long": 14.0}  # as good as D (16.0) or better


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A recorded study of a known truth, in which D beats A, but not A that starts from A."""
    for module in (verdicts, differences):
        monkeypatch.setattr(module, "RECORDED", tmp_path)
    write_nets(tmp_path, NETS | FAIR)
    write_nets(tmp_path, SHORT, rng_seed=1)
    return tmp_path


def lines(key):
    return verdicts.verdict_box(key).data.splitlines()


def test_a_control_of_the_other_sign_is_named_and_the_word_stays(study):
    head, *rest = lines("depth-a-to-d")
    assert "**holds and matters**" in head
    controls = [line for line in rest if line.startswith("- *control")]
    assert [line.endswith("**the other sign**") for line in controls] == [False, True, False, False]
    assert "A with the extra training that D had:* -0." in controls[1]
    assert all("n = 3" in line for line in controls[:3])
    assert controls[3].endswith("not run")
    board = verdicts.scoreboard()
    (row,) = board[board["claim"].str.contains("(A) to 16", regex=False)].itertuples()
    assert row.Index == "holds and matters"
    against = "but not so in its control: A with the extra training that D had</small>"
    assert row.here.endswith(against)
    short = verdicts.in_short("depth-a-to-d").data
    assert "but not so in its control: A with" in short


def test_a_rival_as_large_as_the_difference_is_named(study):
    """Longer training alone gains 2.5 where the jittered net gains 2, then only 1."""
    nets = {"D-S384": 24.0, "D-jitter": 22.0, "D-S384-longer": 21.5}
    noise = np.random.default_rng(3).normal(0, 0.1, (3, 3))
    for (run, error), rest in zip(nets.items(), noise, strict=True):
        by_seed = {seed: error + one for seed, one in enumerate(rest)}
        write(study, run, CENTRE_384, by_seed, "imagenette")
    head, *rest = lines("jitter-as-in-the-paper")
    assert "**holds and matters**" in head
    (rival,) = [line for line in rest if "another explanation" in line]
    assert "longer training alone:* +2." in rival and rival.endswith("**as large**")
    short = verdicts.in_short("jitter-as-in-the-paper").data
    assert "but as much comes from longer training alone" in short

    shutil.rmtree(study / "reduced" / "imagenette" / "D-S384-longer")
    by_seed = {seed: 23.0 + one for seed, one in enumerate(noise[2])}
    write(study, "D-S384-longer", CENTRE_384, by_seed, "imagenette")
    (rival,) = [line for line in lines("jitter-as-in-the-paper") if "another explanation" in line]
    assert rival.endswith("n = 3")
    assert "as much" not in verdicts.in_short("jitter-as-in-the-paper").data


def test_a_net_that_stalled_is_named_with_the_differences_by_seed(study):
    """The mean of -1, -1 and -74 is no size of anything."""
    for seed, error in enumerate((17.0, 17.0, 90.0)):
        experiment = at_budget("D-glorot", "reduced", "cifar10")
        path = store.train_path(study, experiment, seed)
        store.write(train_record(experiment, seed, minival_error=error), path)
    write(study, "D-glorot", CENTRE_256, {0: 17.0, 1: 17.0, 2: 90.0})
    head, difference, *more = [line for line in lines("glorot") if line]
    assert head.endswith("with D-glorot at chance in seed 2)")
    assert re.fullmatch(r"- \*difference.*:\* -\d\.\d, -\d\.\d and -7\d\.\d by seed", difference)
    assert not any("log-loss" in line for line in more)
    assert "with D-glorot at chance in seed 2" in verdicts.in_short("glorot").data
    assert not any("at chance" in line for line in lines("depth-a-to-d"))


def test_a_control_of_too_few_seeds_is_shown_and_says_nothing_against(study, tmp_path, monkeypatch):
    few = tmp_path / "few"
    write_nets(few, NETS)
    write_nets(few, SHORT, rng_seed=1)
    write(few, "A-from-A", CENTRE_256, {0: 15.0})
    decision = decide_all(few)["depth-a-to-d"]
    assert decision.word == "holds and matters"
    assert verdicts.controls_against(decision, studies_of(few)) == []
    monkeypatch.setattr(verdicts, "RECORDED", few)
    (control,) = [line for line in lines("depth-a-to-d") if "extra training" in line]
    assert "n = 1" in control and control.endswith("**the other sign**")


def test_a_box_shows_the_interval_that_decides_if_it_is_not_the_usual_one(study):
    decision = decide_all(study)["depth-a-to-d"]
    (by,) = [line for line in lines("depth-a-to-d") if "decided by" in line]
    wide = decision.interval.at(1 - decision.step.level)
    level = f"{100 * (1 - decision.step.level):.1f}".removesuffix(".0")
    assert by.startswith("- *decided by:* CIFAR-10, centre crop and flip, Q = 256, 3 seeds")
    assert f"the {level} % interval [{wide.low:+.1f}, {wide.high:+.1f}], adjusted p " in by
    (plain,) = [line for line in lines("depth-b-to-d") if "decided by" in line]
    assert "% interval" not in plain and "adjusted" not in plain
    # A claim of "no worse" is decided at one end: 5 % there are a 90 % interval.
    write_nets(study, {"D-glorot": 16.0})
    (one_sided,) = [line for line in lines("glorot") if "decided by" in line]
    assert "the 90 % interval" in one_sided


def test_log_loss_stands_in_the_box_and_no_sentence_of_the_method_does(study):
    text = "\n".join(lines("depth-a-to-d"))
    loss = decide_all(study)["depth-a-to-d"].log_loss
    assert f"*log-loss, decides nothing:* {loss.estimate:+.3f} [" in text and "nats" in text
    assert not any(sentence in text for sentence in TESTS.values())
    assert "[between trainings](method.html#" in text


def test_in_short_has_every_claim_in_its_order_with_seeds_that_lack(study):
    write(study, "E-S256", CENTRE_256, {0: 16.5})
    said = verdicts.in_short("depth-saturates", "glorot", "lrn-costs-memory").data
    assert said.startswith("**In short:** *From 16 layers (D) to 19 (E) the error no longer")
    assert "too few seeds (+" in said and "1 of 3 seeds). *A deep net trains" in said
    assert "as well as from net A (D)*: not run. " in said
    assert said.endswith("for training*: holds (+35.8 %).")


@pytest.mark.parametrize(
    ("key", "difference", "as_claimed"),
    [
        ("depth-a-to-d", 0.1, True), ("depth-a-to-d", -0.1, False),
        ("glorot", -0.9, True), ("glorot", -1.1, False),
        ("depth-saturates", 0.4, False), ("depth-saturates", -0.2, True),
    ],
)  # fmt: skip
def test_what_a_control_says_follows_the_rule_of_its_claim(key, difference, as_claimed):
    assert verdicts._as_claimed(CLAIMS[key], difference) == as_claimed


def test_a_mark_has_a_colour_for_every_word():
    """The style sheet's, which are those of the figures."""
    css = (store.ROOT / "book" / "assets" / "custom.css").read_text()
    with figures.plt.rc_context():
        figures.use_style()
        cycle = figures.plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for word in get_args(Word):
        (mark,) = verdicts.marked(pd.DataFrame({"a": [1]}, index=[word])).index
        name = word.replace(" ", "-")
        assert mark == f'<span class="verdict {name}">{word}</span>'
        assert f".{name}" in css
        if (colour := figures_method.COLOURS.get(word, "")).startswith("C"):
            drawn = to_hex(f"#{cycle[int(colour[1])].removeprefix('#')}")
            assert f".verdict.{name}::before {{ background: {drawn}; }}" in css
