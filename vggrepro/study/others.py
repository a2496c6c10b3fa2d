"""Other people's retrainings: which of the published errors count, and for what.

The rule is in words in `results/others/README.md`. No source says how much its nets would differ
if they were trained again, so a family is one number for each difference.
"""

from enum import StrEnum
from typing import Literal

Independence = Literal[
    "log", "statement", "architecture", "label", "unclear", "passed on", "continued"
]
Doubt = Literal["", "earlier", "faulty page", "one of a kind", "cut short", "changed"]


class Analysis(StrEnum):
    """Which trainings are taken: each analysis holds the one before it."""

    STRICT = "strict"
    MAIN = "main"
    WIDE = "wide"


#: The first analysis that takes a training for what shows that it is independent; None is never.
FIRST_BY_INDEPENDENCE: dict[Independence, Analysis | None] = {
    "log": Analysis.STRICT,
    "statement": Analysis.STRICT,
    "architecture": Analysis.STRICT,
    "label": Analysis.MAIN,
    "unclear": Analysis.WIDE,
    "passed on": None,
    "continued": None,
}

#: The same for what speaks against it.
FIRST_BY_DOUBT: dict[Doubt, Analysis | None] = {
    "": Analysis.STRICT,
    "earlier": Analysis.WIDE,
    "faulty page": Analysis.WIDE,
    "one of a kind": None,
    "cut short": None,
    "changed": None,
}

_ORDER = list(Analysis)


def counts(independence: Independence, doubt: Doubt, analysis: Analysis) -> bool:
    """Whether an analysis takes a training with this evidence and this doubt."""
    first = FIRST_BY_INDEPENDENCE[independence], FIRST_BY_DOUBT[doubt]
    return all(
        since is not None and _ORDER.index(since) <= _ORDER.index(analysis) for since in first
    )
