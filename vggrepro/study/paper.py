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

from vggrepro import UserError

TABLES_CSV = Path(__file__).with_name("paper_tables.csv")

_HEAD = ("FC-4096", "FC-4096", "FC-1000", "soft-max")

#: Table 1, each column from the input down, a layer an entry. ReLU is not shown, as in the paper.
TABLE_1: dict[str, tuple[str, ...]] = {
    net: tuple(f"{blocks} {' '.join(_HEAD)}".split())
    for net, blocks in {
        "A": "conv3-64 maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool "
        "conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool",
        "A-LRN": "conv3-64 LRN maxpool conv3-128 maxpool conv3-256 conv3-256 maxpool "
        "conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool",
        "B": "conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool conv3-256 conv3-256 maxpool "
        "conv3-512 conv3-512 maxpool conv3-512 conv3-512 maxpool",
        "C": "conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool "
        "conv3-256 conv3-256 conv1-256 maxpool conv3-512 conv3-512 conv1-512 maxpool "
        "conv3-512 conv3-512 conv1-512 maxpool",
        "D": "conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool "
        "conv3-256 conv3-256 conv3-256 maxpool conv3-512 conv3-512 conv3-512 maxpool "
        "conv3-512 conv3-512 conv3-512 maxpool",
        "E": "conv3-64 conv3-64 maxpool conv3-128 conv3-128 maxpool "
        "conv3-256 conv3-256 conv3-256 conv3-256 maxpool "
        "conv3-512 conv3-512 conv3-512 conv3-512 maxpool "
        "conv3-512 conv3-512 conv3-512 conv3-512 maxpool",
    }.items()
}


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


@cache
def _rows() -> tuple[Row, ...]:
    with TABLES_CSV.open(newline="", encoding="utf-8") as file:
        return tuple(
            Row(
                **{
                    **line,
                    "table": int(line["table"]),
                    "row": int(line["row"]),
                    "value": float(line["value"]),
                }
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
    net: str | None = None,
    train_scale: int | str | None = None,
    test_scales: int | str | Sequence[int] | None = None,
    protocol: str | None = None,
    metric: str = "top1_error",
    split: str = "val",
) -> float:
    """Return the one number of Table ``number`` that fits, in the table's unit.

    None fits everything. Scales may be given as numbers (``256``, ``(224, 256, 288)``) or as
    the paper writes them. Raises UserError unless exactly one number fits.
    """
    wanted = {
        "net": net,
        "train_scale": _as_written(train_scale),
        "test_scales": _as_written(test_scales),
        "protocol": protocol,
        "metric": metric,
        "split": split,
    }
    wanted = {name: text for name, text in wanted.items() if text is not None}
    rows = table(number)
    found = [row for row in rows if all(getattr(row, k) == v for k, v in wanted.items())]
    if len(found) == 1:
        return found[0].value
    asked = ", ".join(f"{name}={text!r}" for name, text in wanted.items())
    if not found:
        raise UserError(
            f"Table {number} has no number for {asked}. "
            f"Nets there: {_known(rows, 'net')}; metrics: {_known(rows, 'metric')}; "
            f"splits: {_known(rows, 'split')}."
        )
    differ = [
        f"{name} ({_known(found, name)})"
        for name in ("net", "train_scale", "test_scales", "protocol")
        if len({getattr(row, name) for row in found}) > 1
    ]
    raise UserError(
        f"Table {number} has {len(found)} numbers for {asked}: say {', '.join(differ)}."
    )


def parameters_millions(net: str) -> int:
    """Return Table 2's number of parameters of ``net``, in millions."""
    return int(value(2, net=net, metric="params_millions", split=""))


def quote(key: str) -> Quote:
    """Return the quoted sentence called ``key``; UserError names the known keys."""
    try:
        return QUOTES[key]
    except KeyError:
        raise UserError(f"No quote {key!r}; there are: {', '.join(QUOTES)}.") from None


def _as_written(scales: int | str | Sequence[int] | None) -> str | None:
    if scales is None or isinstance(scales, str):
        return scales
    if isinstance(scales, int):
        return str(scales)
    return ",".join(str(scale) for scale in scales)


def _known(rows: Sequence[Row], name: str) -> str:
    return ", ".join(dict.fromkeys(repr(getattr(row, name)) for row in rows))


QUOTES: dict[str, Quote] = {
    "lrn-costs": Quote(
        "2.1",
        "such normalisation does not improve the performance on the ILSVRC dataset, but leads to "
        "increased memory consumption and computation time",
    ),
    "weights": Quote(
        "2.2",
        "In spite of a large depth, the number of weights in our nets is not greater than the "
        "number of weights in a more shallow net with larger conv. layer widths and receptive "
        "fields (144M weights in (Sermanet et al., 2014)).",
    ),
    "seven-by-seven": Quote(
        "2.3",
        "a single 7 × 7 conv. layer would require 7²C² = 49C² parameters, i.e. 81% more",
    ),
    "one-by-one": Quote(
        "2.3",
        "The incorporation of 1 × 1 conv. layers (configuration C, Table 1) is a way to increase "
        "the nonlinearity of the decision function without affecting the receptive fields of the "
        "conv. layers.",
    ),
    "bad-initialisation": Quote(
        "3.1",
        "bad initialisation can stall learning due to the instability of gradient in deep nets",
    ),
    "init-from-a": Quote(
        "3.1",
        "when training deeper architectures, we initialised the first four convolutional layers "
        "and the last three fully-connected layers with the layers of net A (the intermediate "
        "layers were initialised randomly)",
    ),
    "init-normal": Quote(
        "3.1",
        "we sampled the weights from a normal distribution with the zero mean and 10⁻² variance",
    ),
    "init-glorot": Quote(
        "3.1",
        "after the paper submission we found that it is possible to initialise the weights "
        "without pre-training by using the random initialisation procedure of "
        "Glorot & Bengio (2010)",
    ),
    "boundary": Quote(
        "3.2",
        "multi-crop evaluation is complementary to dense evaluation due to different convolution "
        "boundary conditions",
    ),
    "crops-not-justified": Quote(
        "3.2",
        "we believe that in practice the increased computation time of multiple crops does not "
        "justify the potential gains in accuracy",
    ),
    "synchronous": Quote(
        "3.3",
        "Gradient computation is synchronous across the GPUs, so the result is exactly the same "
        "as when training on a single GPU.",
    ),
    "speedup": Quote("3.3", "a speedup of 3.75 times on an off-the-shelf 4-GPU system"),
    "training-time": Quote(
        "3.3", "training a single net took 2–3 weeks depending on the architecture"
    ),
    "lrn": Quote(
        "4.1",
        "using local response normalisation (A-LRN network) does not improve on the model A "
        "without any normalisation layers",
    ),
    "depth": Quote(
        "4.1",
        "the classification error decreases with the increased ConvNet depth: from 11 layers in A "
        "to 19 layers in E",
    ),
    "context": Quote(
        "4.1",
        "while the additional non-linearity does help (C is better than B), it is also important "
        "to capture spatial context by using conv. filters with non-trivial receptive fields (D "
        "is better than C)",
    ),
    "saturates": Quote(
        "4.1",
        "The error rate of our architecture saturates when the depth reaches 19 layers, but even "
        "deeper models might be beneficial for larger datasets.",
    ),
    "small-filters": Quote(
        "4.1",
        "The top-1 error of the shallow net was measured to be 7% higher than that of B (on a "
        "center crop), which confirms that a deep net with small filters outperforms a shallow "
        "net with larger filters.",
    ),
    "jitter-training": Quote(
        "4.1",
        "scale jittering at training time (S ∈ [256; 512]) leads to significantly better results "
        "than training on images with fixed smallest side (S = 256 or S = 384), even though a "
        "single scale is used at test time",
    ),
    "scale-gap": Quote(
        "4.2",
        "a large discrepancy between training and testing scales leads to a drop in performance",
    ),
    "jitter-testing": Quote(
        "4.2",
        "scale jittering at test time leads to better performance (as compared to evaluating the "
        "same model at a single scale, shown in Table 3)",
    ),
    "multi-crop": Quote(
        "4.3",
        "using multiple crops performs slightly better than dense evaluation, and the two "
        "approaches are indeed complementary, as their combination outperforms each of them",
    ),
    "fusion": Quote(
        "4.4",
        "we combine the outputs of several models by averaging their soft-max class posteriors",
    ),
}
