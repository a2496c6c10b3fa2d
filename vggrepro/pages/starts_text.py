"""First steps as `vggrepro first-steps` prints them; their outcomes are those of the book."""

from collections.abc import Iterable
from pathlib import Path

from vggrepro.pages.starts import first_step, last_loss, load, outcome, signal_at
from vggrepro.study.records import FirstStepsRecord


def lines(results_dir: Path, data: str, names: Iterable[str]) -> list[str]:
    """A line for each of these nets and starts that is recorded. Raises as `load`."""
    found = [_line("", ("seed", "logits", "step/weight", "first", "last"), "outcome")]
    for name, records in load(results_dir, data, names).items():
        found += [_line(name, _cells(record), outcome(record)) for record in records]
    return found


def _cells(record: FirstStepsRecord) -> tuple[object, ...]:
    logits = signal_at(record, record.experiment["crop"]).activation[-1]
    first = f"{record.losses[0]:.3g}" if record.losses else "–"
    last = last_loss(record) if record.status == "ok" else None
    shown = "–" if last is None else f"{last:.2f}" if last < 1000 else f"{last:.3g}"
    return record.seed, f"{logits:.2g}", f"{first_step(record):.2g}", first, shown


def _line(name: str, cells: tuple[object, ...], outcome: str) -> str:
    """Columns that never run together, however long a number is."""
    sizes = zip(cells, (4, 9, 12, 9, 7), strict=True)
    return f"{name:20}" + "".join(f" {cell:>{size}}" for cell, size in sizes) + f"  {outcome}"
