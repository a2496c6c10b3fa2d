"""The paper as data: its Tables 1 to 12 and the sentences that the claims rest on.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv:1409.1556v6. Everything here is the paper's word and nothing is ours: errors in percent,
mAP and recall in percent, parameters in millions. A "-" in the paper has no row.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vggrepro import UserError, check_known
from vggrepro.files import beside

TABLES_CSV = Path(__file__).with_name("paper_tables.csv")


@dataclass(frozen=True)
class Row:
    """One number of one table.

    ``row`` counts the rows of the printed table from 1; a row with top-1 and top-5 errors is two
    of these. ``train_scale`` is the paper's S and ``test_scales`` its Q, written as in the paper
    (``"256"``, ``"[256;512]"``, ``"224,256,288"``; nets of a fusion are separated by ``" | "``).
    What a table does not state is the empty string.
    """

    table: int
    row: int
    net: str
    train_scale: str
    test_scales: str
    protocol: str
    metric: str
    split: str
    value: float


@dataclass(frozen=True)
class Quote:
    """A sentence of the paper, word for word, and the section that it is from."""

    section: str
    text: str


_WORDS = beside(__file__)
#: Table 1, each column from the input down, a layer an entry. ReLU is not shown, as in the paper.
TABLE_1 = {net: tuple(layers.split()) for net, layers in _WORDS["table_1"].items()}
QUOTES = {key: Quote(**said) for key, said in _WORDS["quotes"].items()}


@cache
def _rows() -> tuple[Row, ...]:
    with TABLES_CSV.open(newline="", encoding="utf-8") as file:
        return tuple(
            Row(
                int(line.pop("table")),
                int(line.pop("row")),
                value=float(line.pop("value")),
                **line,
            )
            for line in csv.DictReader(file)
        )


def table(number: int) -> list[Row]:
    """Return the numbers of Table ``number`` (2 to 12) in printed order.

    Raises UserError for a table that holds no numbers or does not exist.
    """
    found = [row for row in _rows() if row.table == number]
    if not found:
        known = sorted({row.table for row in _rows()})
        raise UserError(
            f"The paper has no Table {number!r} of numbers; "
            f"there are Tables {known[0]} to {known[-1]} (Table 1 is paper.TABLE_1)."
        )
    return found


def value(
    number: int,
    *,
    metric: str = "top1_error",
    split: str = "val",
    **where: int | str | Sequence[int],
) -> float:
    """Return the one number of Table ``number`` that fits, in the table's unit.

    ``where`` are other fields of a ``Row``. Scales may be given as numbers (``256``,
    ``(224, 256, 288)``) or as the paper writes them. Raises UserError unless exactly one fits.
    """
    wanted = {"metric": metric, "split": split}
    wanted |= {name: _as_written(asked) for name, asked in where.items()}
    rows = table(number)
    found = [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
    if len(found) == 1:
        return found[0].value
    there = {
        name: dict.fromkeys(getattr(row, name) for row in found or rows)
        for name in ("net", "train_scale", "test_scales", "protocol", "metric", "split")
    }
    choose = "; ".join(f"{k}: {', '.join(map(repr, v))}" for k, v in there.items() if len(v) > 1)
    asked = ", ".join(f"{name}={text!r}" for name, text in wanted.items())
    raise UserError(f"Table {number} has {len(found)} numbers for {asked}. Choose {choose}.")


def parameters_millions(net: str) -> int:
    """Return Table 2's number of parameters of ``net``, in millions."""
    return int(value(2, net=net, metric="params_millions", split=""))


def quote(key: str) -> Quote:
    """Return the quoted sentence called ``key``; UserError names the known keys."""
    check_known("quote", key, QUOTES)
    return QUOTES[key]


def _as_written(asked: int | str | Sequence[int]) -> str:
    return str(asked) if isinstance(asked, int | str) else ",".join(map(str, asked))
