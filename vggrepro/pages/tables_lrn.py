"""What the chapter on LRN says about its denominator and its cost."""

import numpy as np

from vggrepro.pages.report import Column
from vggrepro.study import store
from vggrepro.study.records import BenchRecord
from vggrepro.windows import PAPER_CROP


def denominator_sentence(column: Column, run: str) -> str:
    """How much LRN's denominator varied after the last epoch, per column."""
    trained = store.trainings(column.results_dir, column.experiment(run)).values()
    last = [record.curve[-1].lrn_denominator for record in trained if record.status == "ok"]
    if not last:
        return f"{column.title}: not run."
    low, *_, high = np.mean(last, axis=0)
    alive = "alive" if high / low > 1.5 else "close to a constant factor"
    return (
        f"{column.title}: after the last epoch the denominator reaches from {low:.2f} (1 %) to "
        f"{high:.2f} (99 %), a ratio of {high / low:.1f}: LRN was {alive}."
    )


def cost_sentence(record: BenchRecord | None) -> str:
    """What LRN added to a training step at the paper's geometry, in words."""
    if record is None:
        return "Not measured yet: `vggrepro bench lrn --results-dir results`."
    parts = []
    for net in ("A-LRN", "A-LRN (torch)"):
        time, kept = (
            record.values(name, net=net, crop=PAPER_CROP)
            / record.values(name, net="A", crop=PAPER_CROP)
            for name in ("training step", "kept")
        )
        parts.append(
            f"{net}: {100 * (np.median(time) - 1):+.0f} % time, {100 * (kept[0] - 1):+.0f} % kept"
        )
    p = record.provenance
    return (
        f"At {PAPER_CROP} px and full width, {'; '.join(parts)} (medians of "
        f"{record.settings['rounds']} turns on {p.processor}, {p.threads} threads, "
        f"{record.settings['precision']}). In time it costs most where the net is "
        "narrowest: LRN works at the full resolution of the image, where a convolution over few "
        "channels is cheap. The verdicts below count differently: of the time the mean over turns, "
        "which slow turns pull up; of the memory one more layer's output, by arithmetic, where "
        "PyTorch keeps more."
    )
