"""Tables of the chapter about fusion: who takes part, where two nets err, Table 7 of the paper."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vggrepro.pages.report import Column, recorded
from vggrepro.study import paper, store
from vggrepro.study.experiments import FUSIONS, RUNS, Evaluation, evaluation_in
from vggrepro.study.records import EvalRecord

TABLE_7 = {
    "top-1, val": ("top1_error", "val"),
    "top-5, val": ("top5_error", "val"),
    "top-5, test": ("top5_error", "test"),
}
_MERGED = "val&test (one merged cell)"


def members(fusion: str) -> list[tuple[str, Evaluation]]:
    """Every run of a fusion once, with the dense evaluation under which it takes part."""
    found = FUSIONS[fusion]
    dense = next(e for e in found.evaluations if e.protocol == "dense")
    return [(run, evaluation_in(dense, run)) for run in dict.fromkeys(found.runs)]


def short(fusion: str) -> str:
    """How a fusion is called where there is little room: `D + E`, `7 nets`."""
    runs = FUSIONS[fusion].runs
    return " + ".join(RUNS[run].config for run in runs) if len(runs) < 3 else f"{len(runs)} nets"


def overlap_table(fusions: Sequence[str], columns: Sequence[Column]) -> pd.DataFrame:
    """Of two fused nets: their errors, the images that both get wrong, the error of the fusion.

    In percent of the images, by dense evaluation, means over the seeds that have all three.
    """
    rows = []
    for column in columns:
        for fusion in fusions:
            shares = _shares(fusion, column)
            cells = dict.fromkeys(("first net", "second net", "both wrong", "fused"), "not run")
            if len(shares):
                cells = dict(zip(cells, (f"{share:.1f}" for share in shares.mean(0)), strict=True))
            nets = {"nets": short(fusion), "column": column.title}
            rows.append(nets | cells | {"n": str(len(shares))})
    return pd.DataFrame(rows).set_index("nets").rename_axis(index=None, columns="nets")


def _shares(fusion: str, column: Column) -> np.ndarray:
    """(seeds, 4): percent wrong of first net, second net, both at once, and of the fusion."""
    declared = FUSIONS[fusion]
    dense = next(e for e in declared.evaluations if e.protocol == "dense")
    fused = store.evaluations(column.results_dir, column.experiment(fusion), dense)
    found = []
    for seed, together in fused.items():
        nets = [
            store.evaluations(
                column.results_dir, column.experiment(run), evaluation_in(dense, run)
            ).get(own_seed)
            for run, own_seed in declared.members(seed)
        ]
        if len(nets) == 2 and all(net and net.data == together.data for net in nets):
            first, second = (_wrong(net) for net in nets)
            wrong = (first, second, first & second, _wrong(together))
            found.append([100 * float(np.mean(images)) for images in wrong])
    return np.array(found).reshape(-1, 4)


def _wrong(record: EvalRecord) -> np.ndarray:
    """Which images are not right in top-1, (N,) bool."""
    return ~record.outcomes()[0]


def field_table(
    ours: Sequence[tuple[str, str, Evaluation]], columns: Sequence[Column]
) -> pd.DataFrame:
    """Table 7 as the paper prints it, then (label, run, evaluation) of ours, marked as another."""
    printed: dict[int, dict[str, str]] = {}
    for number in paper.table(7):
        row = printed.setdefault(number.row, {"": "paper", "method": number.net})
        for title, (metric, split) in TABLE_7.items():
            if (number.metric, number.split) == (metric, split):
                row[title] = f"{number.value:.1f}"
            elif number.split == _MERGED and number.metric == metric:
                row[title] = f"{number.value:.1f}*"
    rows = list(printed.values())
    for column in columns:
        for name, run, evaluation in ours:
            error = recorded(column.results_dir, column.experiment(run), evaluation)
            method = f"<em>not comparable:</em> {name}, {column.title}"
            rows.append({"": "ours", "method": method, "top-1, val": error})
    frame = pd.DataFrame(rows, columns=["", "method", *TABLE_7]).fillna("–")
    return frame.set_index("").rename_axis(index=None, columns="")
