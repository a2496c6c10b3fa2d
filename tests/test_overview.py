"""The figure of the whole study: every claim has its line, and no text lies on another."""

from dataclasses import replace
from typing import get_args

import matplotlib
import pytest

from tests.records_by_hand import CENTRE_256, write
from vggrepro.pages import figures, figures_overview
from vggrepro.pages.differences import Found
from vggrepro.pages.figures_overview import LIMIT, Line, about_errors, lines, note, overview
from vggrepro.pages.verdicts import label
from vggrepro.study.claims import CLAIMS
from vggrepro.study.rules import Said, Word, paired

matplotlib.use("Agg")
A_TO_D = CLAIMS["depth-a-to-d"]


@pytest.fixture(autouse=True)
def style():
    with figures.plt.style.context(figures.STYLE):
        yield
    figures.plt.close("all")


def found(*values, pilot=False):
    interval = None if pilot or len(values) < 2 else paired(values)
    return Found(dict(enumerate(values)), interval, pilot)


def texts(figure):
    figure.draw_without_rendering()
    return [text for text in figure.axes[0].texts if text.get_text()]


def marks(figure, marker):
    return [
        (x, y)
        for line in figure.axes[0].lines
        if line.get_marker() == marker and line.get_markersize() > 2.5
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


# --- which claims, and how they are called --------------------------------------------------


def test_every_claim_about_errors_has_a_line_and_no_other(tmp_path):
    about = about_errors()
    assert {c.key for c in CLAIMS.values()} - {c.key for c in about} == {
        "seven-by-seven",
        "parameters",
        "lrn-costs-memory",
        "lrn-costs-time",
    }
    assert [claim.chapter for claim in about] == sorted(claim.chapter for claim in about)
    assert [line.claim for line in lines(tmp_path)] == about


def test_labels_tell_claims_apart():
    labels = {key: label(CLAIMS[key]) for key in (claim.key for claim in about_errors())}
    assert len(set(labels.values())) == len(labels)
    assert labels["depth-a-to-d"] == "A → D"
    assert labels["lrn-does-not-help"] == "A-LRN → A: no worse"
    assert labels["depth-saturates"] == "E → D: no change"
    assert labels["scale-gap"] == "D: Q = 512 → Q = 256"
    assert labels["both-beat-multi-crop"] == "D-jitter: multi-crop → multi-crop & dense"
    assert labels["several-q-jittered"] == "D-jitter: Q = 384 → 3 Q"


# --- what is recorded ------------------------------------------------------------------------


def test_lines_follow_the_records(tmp_path):
    for run, error in (("A-S256", 20.0), ("D-S256", 17.0)):
        write(tmp_path, run, CENTRE_256, {0: error, 1: error + 1, 2: error - 1})
        write(tmp_path, run, CENTRE_256, {0: 50 - error}, "imagenette")
    by_key = {line.claim.key: line for line in lines(tmp_path)}
    line = by_key["depth-a-to-d"]
    assert line.here.mean == pytest.approx(3.0) and line.here.interval.n == 3
    assert line.beside.mean == pytest.approx(-3.0) and line.beside.interval is None
    assert note(line) == "inconclusive, n = 3"
    assert note(by_key["depth-a-to-b"]) == "not run"


def test_pilots_are_named_and_have_no_interval(tmp_path, pilots):
    for run in ("A-S256", "D-S256"):
        write(tmp_path, run, CENTRE_256, {0: 20.0, 1: 21.0})
    line = next(line for line in lines(tmp_path) if line.claim == A_TO_D)
    assert line.here.pilot and line.here.interval is None
    assert note(line) == "pilot, n = 2"


# --- the figure ------------------------------------------------------------------------------


def test_without_records_each_line_says_so_and_shows_the_paper(tmp_path):
    empty = lines(tmp_path)
    figure = overview(empty)
    assert sum(text.get_text() == "not run" for text in texts(figure)) == len(empty)
    said = [c.paper.difference for c in about_errors() if c.paper.difference is not None]
    assert sorted(x for x, _ in marks(figure, "D")) == sorted(said)


def test_marks_lie_at_the_differences_and_pilots_are_hollow():
    here = Line(A_TO_D, "contradicted", found(-1.0, -2.0, -1.5), found(0.5, pilot=True))
    figure = overview([here])
    assert [x for x, _ in marks(figure, "v")] == [-1.5]
    assert [x for x, _ in marks(figure, "o")] == [0.5]
    (hollow,) = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [0.5]][-1:]
    assert hollow.get_markerfacecolor() == "white"
    assert {text.get_text() for text in texts(figure)} >= {"A → D *", "contradicted, n = 3"}
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert "here: contradicted" in labels and "here: holds" not in labels


@pytest.mark.parametrize(("value", "text"), [(62.5, "+62.5 →"), (-62.5, "← −62.5")])
def test_what_lies_beyond_the_axis_has_its_number(value, text):
    far = replace(A_TO_D, paper=Said(value, ""))
    for line in (Line(A_TO_D, "holds", found(value, value + 1, value - 1), None),
                 Line(far, "not run", None, None)):  # fmt: skip
        figure = overview([line])
        (said,) = [t for t in texts(figure) if t.get_text() == text]
        box, axes = said.get_window_extent(), figure.axes[0].get_window_extent()
        assert axes.x0 - 1 <= box.x0 and box.x1 <= axes.x1 + 1
        assert all(abs(x) <= LIMIT for x, _ in [*marks(figure, "D"), *marks(figure, "o")])


@pytest.mark.parametrize("word", [word for word in get_args(Word) if word != "not run"])
def test_texts_do_not_overlap_at_any_word(word):
    figure = overview([Line(c, word, found(0.1, 0.2, 0.3), None) for c in about_errors()])
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts(figure)]
    width = figure.get_window_extent().width
    for place, (text, box) in enumerate(boxes):
        assert box.x0 >= 0 and box.x1 <= width, text
        assert not [other for other, b in boxes[place + 1 :] if box.overlaps(b)], text


def test_every_word_has_a_colour_and_a_shape_of_its_own():
    words = set(get_args(Word)) - {"not run"}
    assert words == set(figures_overview.MARKERS) == set(figures_overview.COLOURS)
    assert len(set(figures_overview.MARKERS.values())) == len(words)
