"""What the records say about starts: outcomes, tables, sentences. The figures: figures_starts."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from vggrepro import UserError
from vggrepro.pages import report
from vggrepro.pages.report import Column, Options
from vggrepro.study import starts, store
from vggrepro.study.claims import CLAIMS
from vggrepro.study.experiments import RANDOM_STARTS, RUNS
from vggrepro.study.records import FirstStepsRecord, Signal
from vggrepro.study.starts import DECLARED, FIRST_STEPS, NETS, STARTS
from vggrepro.study.store import RECORDED
from vggrepro.windows import PAPER_CROP

RECORDED_DATA = "imagenette"
COMMAND = "vggrepro first-steps --data imagenette --data-dir DATA --results-dir results"
LEARNS = 0.95  # a loss below this share of chance is not at chance any more

Records = dict[str, list[FirstStepsRecord]]


def load(
    results_dir: Path, data: str = "synthetic", names: Iterable[str] = tuple(DECLARED)
) -> Records:
    """The records of each net and start, such as "D-he", by seed; nothing for what is not run.

    Raises `UserError` if they were not all made with the same sizes: no figure could hold them.
    """
    found: Records = {}
    for name in names:
        paths = (results_dir / FIRST_STEPS / data / name).glob("seed*/first-steps.json")
        records = sorted((store.read(path) for path in paths), key=lambda r: r.seed)
        if records:
            found[name] = records
    if len({tuple(_sizes(record)) for record in _all(found)}) > 1:
        raise UserError(
            f"{results_dir / FIRST_STEPS / data}: the first steps there were made with different "
            "sizes; give each its own --results-dir, or make them again with --fresh"
        )
    return found


def shown(options: Options) -> Records:
    """The records of a rerun if it has any, else those of the recorded study."""
    rerun = options.shows_rerun and load(options.results_dir, options.data)
    return rerun or load(RECORDED, RECORDED_DATA)


def _all(records: Records) -> list[FirstStepsRecord]:
    return [record for of_name in records.values() for record in of_name]


def _sizes(record: FirstStepsRecord) -> Iterable:
    return starts.sizes(record.experiment, record.steps, record.precision).values()


def signal_at(record: FirstStepsRecord, crop: int) -> Signal:
    """The signal before the first step at that crop, or at the nearest there is."""
    return min(record.before, key=lambda signal: abs(signal.crop - crop))


# --- outcomes -------------------------------------------------------------------------------


def chance(record: FirstStepsRecord) -> float:
    """The loss of a net that finds every class as likely: the logarithm of their number, nats."""
    return math.log(record.classes)


def last_loss(record: FirstStepsRecord) -> float:
    """Mean loss over the last tenth of the steps, nats."""
    return float(np.mean(record.losses[-max(1, record.steps // 10) :]))


def outcome(record: FirstStepsRecord) -> str:
    """`learns`, `at chance`, `dead` or `diverged`: what became of a net in its first steps.

    Dead is a net in which no unit of fc7 lets anything through any more: it has no gradient.
    """
    if record.status != "ok":
        return "diverged"
    if record.after is not None and record.after.activation[-2] == 0:
        return "dead"
    return "learns" if last_loss(record) < LEARNS * chance(record) else "at chance"


def first_step(record: FirstStepsRecord) -> float:
    """By what share of its size the first step moves a weight, in the median layer."""
    signal = signal_at(record, record.experiment["crop"])
    rate = record.experiment["learning_rate"]
    return float(np.median(rate * np.array(signal.weight_gradient) / np.array(signal.weight)))


# --- tables ---------------------------------------------------------------------------------


def number(value: float) -> str:
    """Two digits, and powers of ten as people write them: `0.21`, `7.2 × 10⁻⁵`."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{float(f'{value:.2g}'):g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def gains_table() -> pd.DataFrame:
    """Expected gain of single layers, by their channels, and of whole nets, by arithmetic alone."""
    rows, fans = {}, starts.fans("E")
    for init in dict.fromkeys(start.init for start in STARTS.values()):
        row = {
            "3 → 64": starts.gain(init, *fans["conv1_1"]),
            "64 → 64": starts.gain(init, *fans["conv1_2"]),
            "128 → 128": starts.gain(init, *fans["conv2_2"]),
            "512 → 512": starts.gain(init, *fans["conv5_1"]),
            "all of A": whole_gain("A", init),
            "all of E": whole_gain("E", init),
        }
        label = "PyTorch's own" if init == "pytorch" else _label(init)
        rows[_in_a_table(label)] = {
            name.replace(" ", "\u00a0"): number(value) for name, value in row.items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def whole_gain(net: str, init: str, **sizes: object) -> float:
    """By how much a net multiplies the root mean square from its input to its logits."""
    return starts.expected_activations(net, init, 1.0, **sizes)[-1]


def _in_a_table(label: str) -> str:
    """The label of a start, narrow enough for a phone."""
    return label.removeprefix("normal of ").replace(" on ", "<br>on ")


def _label(init: str) -> str:
    return next(s.label for s in STARTS.values() if s.init == init)


def first_steps_table(records: Records) -> pd.DataFrame:
    """Size of the first step and what became of the net: a row per start, a column per net.

    The mean of the size over seeds, and every outcome there was.
    """
    table = {}
    for name, start in STARTS.items():
        cells = {}
        for net in NETS:
            found = records.get(f"{net}-{name}", [])
            known = f"{net}-{name}" in DECLARED
            words = dict.fromkeys(map(outcome, found))
            size = f"{number(np.mean([first_step(r) for r in found]))}<br>" if found else ""
            cells[net] = size + ", ".join(words) if found else "not run" if known else "–"
        table[_in_a_table(start.label)] = cells
    return pd.DataFrame.from_dict(table, orient="index")


TRAINED = tuple(
    (STARTS[name].label, "S256" if name == "from-A" else name)
    for name in (*RANDOM_STARTS, "from-A")
)
"""Starts of the trained comparison, with the end of their runs' names."""


def trained_runs() -> tuple[str, ...]:
    """Every run of the trained comparison, net A of which D and E take layers included."""
    return tuple(f"{net}-{end}" for _, end in TRAINED for net in NETS)


def trained_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Top-1 errors by centre crop and flip, %: a row per column and start, a column per net.

    A column in which nothing is recorded has no rows.
    """
    table = {}
    for column in columns:
        rows = {
            label: {net: _trained_cell(column, net, end) for net in NETS} for label, end in TRAINED
        }
        if {cell for cells in rows.values() for cell in cells.values()} - {"not run", "–"}:
            name = column.title.split(": ", 1)[1]
            table |= {f"{name}:<br>{label}": cells for label, cells in rows.items()}
    return pd.DataFrame.from_dict(table, orient="index", columns=NETS)


def _trained_cell(column: Column, net: str, end: str) -> str:
    run = f"{net}-{end}"
    if end == "S256" and RUNS[run].init_from is None:
        return "–"
    found = report.recorded(column.results_dir, column.experiment(run), report.centre_crop(run))
    return found.replace(", n = ", "<br>n = ")


def trained_sentence(column: Column) -> str:
    """How much of the trained comparison there is, and how the rest would be run."""
    runs = [run for run in trained_runs() if run != "A-S256"]
    found = [store.trainings(column.results_dir, column.experiment(run)) for run in runs]
    missing = [run for run, seeds in zip(runs, found, strict=True) if not seeds]
    diverged = [
        f"{run} (seed {seed}, {record.reason})"
        for run, seeds in zip(runs, found, strict=True)
        for seed, record in seeds.items()
        if record.status == "diverged"
    ]
    said = f"**{column.title}**: {len(runs) - len(missing)} of {len(runs)} runs are recorded"
    said += f"; diverged: {', '.join(diverged)}." if diverged else "; none diverged."
    if len(missing) == len(runs):
        said = f"**{column.title}**: not run."
    if missing and column.data in (CLAIMS["glorot"].data, "synthetic"):
        said += (
            f" What is missing: `vggrepro run {' '.join(missing)} --budget {column.budget} "
            f"--data {column.data} --data-dir DATA`."
        )
    return said


def provenance_table(records: Records) -> pd.DataFrame:
    """Where the first steps come from, a line each."""
    rows = [
        {
            "start": f"{r.run}, seed {r.seed}",
            "commit": r.provenance.commit[:8] + (" (modified)" if r.provenance.dirty else ""),
            "torch": r.provenance.versions["torch"],
            "on": r.provenance.processor,
            "precision": r.precision,
            "minutes": f"{r.provenance.wall_seconds / 60:.1f}",
            "result digest": r.result_digest[:12],
        }
        for r in _all(records)
    ]
    if not rows:
        return pd.DataFrame({"first steps: not run": []})
    return pd.DataFrame(rows).set_index("start").rename_axis(index=None, columns="start")


# --- sentences ------------------------------------------------------------------------------


def how_measured(records: Records) -> str:
    """Sizes, images, precision and machine of the records, in words."""
    if not records:
        return f"Not run yet: `{COMMAND}`."
    found = _all(records)
    first, seeds = found[0], sorted({record.seed for record in found})
    crop, batch, width, count, precision = _sizes(first)
    minutes = sum(record.provenance.wall_seconds for record in found) / 60
    data = report.DATA_NAMES[first.experiment["data"]]
    share = "at full width" if width == 1 else f"at {width:g} of the width"
    return (
        f"Measured {share} on {data}: the signal on {first.before[0].images} of them, in float32; "
        f"then {count} steps of {batch} crops of {crop} px in {precision}, with the paper's rate, "
        f"momentum, weight decay and dropout. {len(records)} of {len(DECLARED)} starts, "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, {minutes:.0f} minutes on "
        f"{first.provenance.processor}, {first.provenance.threads} "
        f"thread{'s' * (first.provenance.threads > 1)}."
    )


def ratio_sentence(records: Records, net: str = "E") -> str:
    """From the first layer to the last: what each rule does to the signal of a net, in words."""
    parts = []
    for start in ("normal-variance", "normal-std", "glorot", "he"):
        for record in records.get(f"{net}-{start}", [])[:1]:
            signal = signal_at(record, PAPER_CROP)
            parts.append(
                f"{STARTS[start].label}: activations × "
                f"{number(signal.activation[-2] / signal.input)}, gradients × "
                f"{number(signal.gradient[0] / signal.gradient[-1])}"
            )
    if not parts:
        return f"Not run yet: `{COMMAND}`."
    return (
        f"What net {net} makes of the signal, measured: of the input's size by fc7, and of the "
        f"logits' gradient on the way back to conv1_1. {'; '.join(parts)}."
    )


def torch_default_sentence() -> str:
    """What PyTorch's own start comes to, by arithmetic."""
    gain = starts.gain("pytorch", *starts.fans("E")["conv5_1"])
    return (
        "**PyTorch's own start**, which a `Conv2d` or `Linear` has until somebody changes it, is "
        f"none of these: every layer's gain is {gain:.2f}, whatever its size, and net E's "
        f"{len(starts.fans('E'))} layers together have {number(whole_gain('E', 'pytorch'))} "
        "(biases left aside, which are not zero there)."
    )


def pair_sentence(records: Records, same: str, *names: str) -> str:
    """What became of nets that differ in one thing, as evidence for a piece of advice."""
    said = []
    for name in names:
        losses: dict[str, list[str]] = {}
        for record in records.get(name, []):
            known = [f"{last_loss(record):.2f}"] if record.status == "ok" else []
            losses.setdefault(_became(record), []).extend(known)
        words = ", ".join(
            word + (f" (last loss {', '.join(known)})" if known else "")
            for word, known in losses.items()
        )
        said.append(f"{STARTS[name.split('-', 1)[1]].label} → {words or 'not run'}")
    missing = [name for name in names if name not in records]
    command = COMMAND.replace("first-steps", f"first-steps {' '.join(missing)}")
    return f"*{same}:* {'; '.join(said)}." + (f" Missing: `{command}`." if missing else "")


def learns_sentence(records: Records) -> str:
    """What it takes to be called a net that learns, and what chance is."""
    text = (
        "A net *learns* if its loss, a mean over the last tenth of the steps, is below "
        f"{LEARNS:.0%} of chance, the logarithm of the number of classes"
    )
    levels = sorted({f"{chance(record):.2f}" for record in _all(records)})
    return text + (f": {', '.join(levels)} here." if levels else ".")


def scaling_sentence(records: Records, name: str = "D-he-scaled") -> str:
    """What to do next if scaled pixels alone did not make that net learn; nothing if they did."""
    failed = [record for record in records.get(name, []) if outcome(record) != "learns"]
    if not failed:
        return ""
    return (
        f"Scaling alone was not enough at a rate of {failed[0].experiment['learning_rate']:g}: "
        "see step 6."
    )


def _became(record: FirstStepsRecord) -> str:
    """The outcome, and the loss that a net at chance had before, if it was far above chance."""
    word, peak = outcome(record), max(record.losses, default=0.0)
    if word not in ("at chance", "dead") or peak < 2 * chance(record):
        return word
    return f"{word}, after a loss of {number(peak)} in step {record.losses.index(peak) + 1}"
