"""No measured number is typed by hand: decimals and percentages of the prose come from code."""

import re
from pathlib import Path

import jupytext
import pytest

BOOK = Path(__file__).parents[1] / "book"
# What may hold a number: code, the paper's own sentences, formulas, section numbers, versions.
ALLOWED = (
    re.compile(r"```.*?```", re.DOTALL),
    re.compile(r"`[^`\n]*`"),
    re.compile(r"^>.*$", re.MULTILINE),
    re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL),
    re.compile(r"“[^”]*”"),
    re.compile(r"Sections? \d(\.\d)?( and \d(\.\d)?)?"),
    re.compile(r"Python \d\.\d+"),
    # The confidence of every interval: chosen, not measured.
    re.compile(r"95 % interval|at 5 % each"),
)
TYPED = re.compile(r"\d+(?:\.\d+)?\s?(?:%|percent|points\b)|\d+\.\d+")


def typed_numbers(text):
    for allowed in ALLOWED:
        text = allowed.sub(" ", text)
    return [match.group() for match in TYPED.finditer(text)]


def prose():
    for path in sorted(BOOK.glob("*.md")):
        yield pytest.param(path.read_text(encoding="utf-8"), id=path.name)
    for path in sorted(BOOK.glob("*.py")):
        cells = [c.source for c in jupytext.read(path).cells if c.cell_type == "markdown"]
        yield pytest.param("\n\n".join(cells), id=path.name)


@pytest.mark.parametrize("text", list(prose()))
def test_no_number_is_typed_by_hand(text):
    assert typed_numbers(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("net D errs on 21.3 % of them", ["21.3 %"]),
        ("a gain of 0.4", ["0.4"]),
        ("17% more", ["17%"]),
        ("two points, 3 points", ["3 points"]),
        ("in Section 4.1 the paper says “81% more”", []),
        ("> 29.6 %\n\nset `--lr 0.1` where $\\beta = 0.75$", []),
    ],
)
def test_the_search_finds_what_was_typed(text, found):
    assert typed_numbers(text) == found
