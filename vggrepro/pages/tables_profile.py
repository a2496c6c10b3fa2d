"""Why training is not faster than it is: shares of a step, and what they leave to be won."""

import numpy as np
import pandas as pd

from vggrepro.bench.targets import FULL, QUARTER
from vggrepro.study.records import BenchRecord

CONVOLUTIONS = ("convolution, forward", "convolution, backward")
WIDTHS = {"a quarter of the width": QUARTER["width"], "full width": FULL["width"]}


def shares(record: BenchRecord, width: float) -> dict[str, float]:
    """Percent of a training step of D by kind of operation, the largest first."""
    found = [m for m in record.measured if m.name == "profile" and m.of["width"] == width]
    ordered = sorted(found, key=lambda m: -m.values[0])
    return {str(m.of["kind"]): m.values[0] for m in ordered}


def profile_table(record: BenchRecord | None) -> pd.DataFrame:
    """Shares of a training step, a column for each width, in percent."""
    if record is None or not shares(record, QUARTER["width"]):
        return pd.DataFrame({"not measured": []})
    columns = {title: shares(record, width) for title, width in WIDTHS.items()}
    order = list(columns[next(iter(WIDTHS))])
    frame = pd.DataFrame(columns).reindex(order)
    return frame.map(lambda share: "–" if pd.isna(share) else f"{share:.1f} %")


def limit_sentence(record: BenchRecord | None) -> str:
    """What this machine leaves to be gained over torchvision's way, in training and in testing."""
    if record is None or not shares(record, QUARTER["width"]):
        return "Not measured yet: `vggrepro bench --data imagenette --data-dir DATA`."
    gain = _ratio(record, "arithmetic", "convolution", "float32 convolution")
    parts = [
        f"A convolution of this machine is {gain:.1f} times as fast in "
        f"{record.settings['precision']} and channels-last as in float32 and the default layout."
    ]
    for title, width in WIDTHS.items():
        ratio = _ratio(record, "training", "vggrepro", "torchvision", width=width)
        share = sum(shares(record, width)[kind] for kind in CONVOLUTIONS)
        parts.append(
            f"At {title} convolutions take {share:.0f} % of a step: if everything else, photos "
            f"included, took no time at all, training would be {100 * ratio / share:.1f} times as "
            f"fast as torchvision's way instead of {ratio:.1f} times."
        )
    crops, dense = (
        _ratio(record, "testing", "vggrepro", "one at a time", protocol=protocol)
        for protocol in ("multi-crop", "dense")
    )
    parts.append(
        "Testing is convolutions on both sides. One photo's crops are a batch there too, so about "
        f"the gain of {record.settings['precision']} is all there is: {crops:.1f} times, where a "
        f"convolution gains {gain:.1f}. Dense evaluation also gains from testing photos of one "
        f"shape together: {dense:.1f} times."
    )
    return " ".join(parts)


def _ratio(record: BenchRecord, name: str, side: str, other: str, **of: float) -> float:
    """One side's rate over the other's: the median over turns."""
    rates = (record.values(name, side=s, **of) for s in (side, other))
    return float(np.median(np.divide(*rates)))
