"""Other people's retrainings: their published errors, which of them count, and what they say.

The file is `results/others/retrainings.csv`; its rule is in words in the README beside it. No
source says how much its nets would differ if they were trained again. So a family is one number
for each difference, and the spread between families is all the spread there is.
"""

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from vggrepro import UserError
from vggrepro.study.rules import paired

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "others" / "retrainings.csv"
DIFFERENCES = (("A", "B"), ("B", "D"), ("D", "E"), ("A", "D"))
PAPER_EPOCHS = 74
LEAST_EPOCHS = PAPER_EPOCHS // 2

# --- which trainings count ------------------------------------------------------------------

Independence = Literal[
    "log", "statement", "architecture", "label", "unclear", "passed on", "continued"
]
Doubt = Literal["", "earlier", "faulty page", "one of a kind", "cut short", "changed"]


class Analysis(IntEnum):
    """Which trainings are taken: each analysis holds the one before it; what is `NEVER`, none."""

    STRICT = 1
    MAIN = 2
    WIDE = 3
    NEVER = 4


#: The first analysis that takes a training for what shows that it is independent.
FIRST_BY_INDEPENDENCE: dict[Independence, Analysis] = {
    **dict.fromkeys(("log", "statement", "architecture"), Analysis.STRICT),
    **{"label": Analysis.MAIN, "unclear": Analysis.WIDE},
    **dict.fromkeys(("passed on", "continued"), Analysis.NEVER),
}
#: The same for what speaks against it.
FIRST_BY_DOUBT: dict[Doubt, Analysis] = {
    **{"": Analysis.STRICT, "earlier": Analysis.WIDE, "faulty page": Analysis.WIDE},
    **dict.fromkeys(("one of a kind", "cut short", "changed"), Analysis.NEVER),
}


# --- the file -------------------------------------------------------------------------------

Text = Annotated[str, Field(min_length=1)]
_Empty = BeforeValidator(lambda text: None if text == "" else text)
Percent = Annotated[Annotated[float, Field(gt=0, lt=100)] | None, _Empty]
Epochs = Annotated[Annotated[int, Field(gt=0)] | None, _Empty]

_PINNED = re.compile(r"https://github\.com/[^/]+/[^/]+/(blob/[0-9a-f]{40}/.+|commit/[0-9a-f]{40})")
_THREAD = re.compile(r"https://github\.com/[^/]+/[^/]+/(issues|pull)/\d+(/files)?")
_PAGE = re.compile(r"https://(?!github\.com/)[^\s/]+/\S+")


class Row(BaseModel):
    """One published error: a line of the file, columns as its README has them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: Text
    series: Text
    net: Literal["A", "B", "C", "D", "E", "other"]
    variant: str
    norm: Literal["none", "batch", "group", "unknown"]
    independence: Independence
    doubt: Doubt
    weights: Text
    epochs: Epochs
    top1_error: Percent
    top5_error: Percent
    views: Literal["one crop", "ten crops", "dense", "other", "other labels", "not stated"]
    protocol: Text
    recipe: str
    source: Text
    address: Text
    checked: Annotated[date | None, _Empty]
    corrected: str
    note: str

    @model_validator(mode="after")
    def _errors_fit(self) -> "Row":
        if self.top1_error is None and self.top5_error is None:
            raise ValueError("top1_error and top5_error are both empty")
        if None not in (self.top1_error, self.top5_error) and self.top5_error >= self.top1_error:
            raise ValueError("top5_error is not below top1_error")
        return self

    @model_validator(mode="after")
    def _address_opens(self) -> "Row":
        if not any(kind.fullmatch(self.address) for kind in (_PINNED, _THREAD, _PAGE)):
            raise ValueError(
                "address must be a page, or on GitHub a file at a full commit "
                "(https://github.com/OWNER/NAME/blob/COMMIT/PATH), a commit, an issue or a pull "
                "request"
            )
        return self

    @model_validator(mode="after")
    def _doubt_fits(self) -> "Row":
        if not self.independent or self.doubt:
            return self
        if self.variant or self.net == "other":
            raise ValueError("another net than the paper's column needs the doubt `changed`")
        if self.epochs is not None and self.epochs < LEAST_EPOCHS:
            raise ValueError(f"fewer than {LEAST_EPOCHS} epochs need the doubt `cut short`")
        return self

    @property
    def independent(self) -> bool:
        """Whether the row is a training from random weights, and not one counted elsewhere."""
        return FIRST_BY_INDEPENDENCE[self.independence] < Analysis.NEVER

    def counts(self, analysis: Analysis) -> bool:
        """Whether that analysis takes this row."""
        first = max(FIRST_BY_INDEPENDENCE[self.independence], FIRST_BY_DOUBT[self.doubt])
        return first <= analysis and first < Analysis.NEVER


def load(path: Path = PUBLISHED) -> tuple[Row, ...]:
    """Read and check the file.

    Raises UserError of one line, which names the file, the line and what is wrong with it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            lines = [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if list(reader.fieldnames or ()) != list(Row.model_fields):
        raise UserError(f"{path}: the columns must be {', '.join(Row.model_fields)}")
    rows = {number: _row(path, number, line) for number, line in lines}
    _check_together(path, rows)
    return tuple(rows.values())


def _row(path: Path, number: int, line: Mapping[str | None, str | None]) -> Row:
    if None in line or None in line.values():
        raise UserError(f"{path}, line {number}: there must be {len(Row.model_fields)} cells")
    try:
        return Row.model_validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{column}: " for column in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        given = f", not {first['input']!r}" if where else ""
        raise UserError(f"{path}, line {number}: {where}{message}{given}") from error


def _check_together(path: Path, rows: Mapping[int, Row]) -> None:
    """What no line shows by itself: weights counted once, one protocol for what is compared."""
    owner: dict[str, str] = {}
    trained: dict[str, int] = {}
    protocols: dict[tuple[str, str, str], str] = {}
    for number, row in rows.items():
        if (family := owner.setdefault(row.weights, row.family)) != row.family:
            raise UserError(
                f"{path}, line {number}: the weights {row.weights} belong to {family}, so they "
                f"cannot be {row.family}'s too"
            )
        if not row.independent:
            continue
        if (before := trained.setdefault(row.weights, number)) != number:
            raise UserError(
                f"{path}, line {number}: the weights {row.weights} count in line {before} already; "
                "another test of them is `passed on`"
            )
        if not row.counts(Analysis.WIDE):
            continue
        series = row.family, row.series, row.norm
        if (protocol := protocols.setdefault(series, row.protocol)) != row.protocol:
            raise UserError(
                f"{path}, line {number}: nets of one series are compared, so they need one "
                f"protocol; {row.family} {row.series} has {protocol!r} in a line before"
            )


# --- differences ----------------------------------------------------------------------------


def differences(
    rows: Sequence[Row],
    first: str,
    second: str,
    analysis: Analysis = Analysis.MAIN,
    norm: str = "none",
    metric: Literal["top1_error", "top5_error"] = "top1_error",
) -> dict[str, float]:
    """Error of the first net minus that of the second, in points, for each family that has both.

    Positive: the second net errs less. Series of one family are averaged; an earlier generation,
    which only the wide analysis takes, is a family of its own.
    """
    errors: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        error = getattr(row, metric)
        if row.counts(analysis) and row.norm == norm and error is not None:
            errors.setdefault((_unit(row), row.series), {})[row.net] = error
    by_family: dict[str, list[float]] = {}
    for (family, _), found in errors.items():
        if first in found and second in found:
            by_family.setdefault(family, []).append(found[first] - found[second])
    return {family: float(np.mean(values)) for family, values in by_family.items()}


def taking_part(rows: Sequence[Row]) -> list[Row]:
    """The plain nets of the main analysis that enter one of `DIFFERENCES`."""
    taken = [row for row in rows if row.counts(Analysis.MAIN) and row.norm == "none"]
    there = {(row.family, row.series, row.net) for row in taken}
    return [
        row
        for row in taken
        if any(
            row.net in pair and all((row.family, row.series, net) in there for net in pair)
            for pair in DIFFERENCES
        )
    ]


def _unit(row: Row) -> str:
    return f"{row.family}, {row.series}" if row.doubt == "earlier" else row.family


@dataclass(frozen=True)
class Summary:
    """The mean over families and its intervals at 95 %, in points; None with fewer than two.

    `predicted` is where the difference of one more family of this kind would lie.
    """

    families: int
    mean: float
    interval: tuple[float, float] | None
    predicted: tuple[float, float] | None


def summarise(values: Collection[float]) -> Summary:
    """Mean over families with a t interval and a prediction interval, each family weighing alike.

    Raises UserError without a family.
    """
    if not len(values):
        raise UserError("No family has both nets, so there is no mean")
    mean, k, found = float(np.mean(list(values))), len(values), paired(values)
    if found is None:
        return Summary(k, mean, None, None)
    reach = found.half_width * (k + 1) ** 0.5
    return Summary(k, mean, (found.low, found.high), (mean - reach, mean + reach))


def leave_one_out(values: Mapping[str, float]) -> dict[str, Summary]:
    """The summary without each family in turn, by the family left out. Needs two or more."""
    if len(values) < 2:
        raise UserError("Leaving one out needs two families or more")
    return {
        left: summarise([value for family, value in values.items() if family != left])
        for left in values
    }
