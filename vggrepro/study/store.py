"""Records on disk: where they lie, how they are written, and whether they can be believed.

One JSON file each, written atomically and never replaced unless asked. `verify` recomputes the
digests and counts the errors again from the outcome of every image.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vggrepro import UserError
from vggrepro.files import expanded, open_regular, write_atomically
from vggrepro.study import starts
from vggrepro.study.budgets import BEGINNING, at_budget
from vggrepro.study.experiments import SECOND_ROUND, Evaluation, Experiment
from vggrepro.study.records import (
    KINDS,
    NOT_REPEATABLE,
    SCHEMA_VERSION,
    BenchRecord,
    EvalRecord,
    FirstStepsRecord,
    FusionRecord,
    OwnRecord,
    R,
    Record,
    StudyRecord,
    TrainRecord,
    digest,
    sealed,
)

if TYPE_CHECKING:
    import pandas as pd

    from vggrepro.device import Machine

_CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = _CHECKOUT if (_CHECKOUT / "book").is_dir() else Path.cwd()
"""The checkout, for chapters: they are executed in other folders than the one they read.

Installed without one, the folder that a command is run in, so that no record ends up among the
installed packages.
"""
RECORDED, RERUN, OWN = ROOT / "results", ROOT / "rerun", ROOT / "own"
NO_CLONE = "the recorded study comes with a clone of the repository, not with the package"
# In a run's folder while `--fresh` is at it: its records are not the last word.
BEGUN_ANEW = ".fresh"
PILOTS = "pilots"  # the folder in a study's records for what was made before its recipe was frozen
MOST_PROCESSES = 4  # for one rerun: each holds a net and its batches in memory


@dataclass(frozen=True)
class Where:
    """Where a run reads and writes, and on what it computes.

    Only `device`, `precision`, `threads`, `micro_batch`, `compile` and the number of processes can
    change the bits of a result; records name them all.
    """

    results_dir: Path = RERUN
    data_dir: Path | None = None
    cache_dir: Path | None = None
    download: bool = False
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    fresh: bool = False
    micro_batch: int | None = None
    compile: bool = False
    checkpoints: bool = True  # without, a training that is stopped begins anew

    def machine(self) -> "Machine":
        """Device and precision, chosen and checked. Raises `UserError` as `device.choose`."""
        from vggrepro.device import choose  # torch, which a help text does without

        return choose(self.device, self.precision, self.threads, self.micro_batch, self.compile)


MOST_BYTES = 64 * 2**20
"""More than any record has: the outcomes of 50,000 images are 180 kB."""


def folder_of(results_dir: Path, experiment: Experiment, seed: int) -> Path:
    """`<results>/<budget>/<data>/<run>/seed<k>`.

    The data set is part of the path because `reduced` trains the same run on two of them.
    """
    return results_dir / experiment.budget / experiment.data / experiment.name / f"seed{seed}"


def bench_path(results_dir: Path, name: str) -> Path:
    """Where the measurements of that name belong."""
    return results_dir / "bench" / f"{name}.json"


def twin_path(trained: Path, weights_digest: str) -> Path:
    """Beside the record of a training: the same one on another machine, which ended elsewhere.

    Rounding differs between processors, and a training makes it grow. The record of a run stays;
    its twins are what runs made on another machine have started from.
    """
    return trained.with_name(f"train-{weights_digest[:8]}.json")


def write(record: R, path: Path) -> R:
    """Seal the record and write it atomically; returns it as written.

    Callers decide whether one that is there may be replaced. Raises `UserError` on a full disk.
    """
    record = sealed(record)
    write_atomically(path, _text(record).encode())
    return record


def _text(record: Record) -> str:
    return json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"


def read(path: Path) -> Record:
    """The record in `path`, if it can be believed: everything that reads records comes here.

    It is a regular file in its own place, to the byte as it was written; its fields can be true,
    its digests fit, and its errors are those of its images. Raises `UserError` if not.
    """
    try:
        # No link, which may lead anywhere.
        with open_regular(path, links=False) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"longer than {MOST_BYTES / 2**20:.0f} MiB")
        record = _believed(content)
        _check_place(path, record)
    except FileNotFoundError as error:
        raise UserError(f"no record at {path}") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: {reason}. Restore it, or delete it and run it again") from error
    return record


@cache
def _believed(text: bytes) -> Record:
    """The record of that text, read once. Raises `ValueError`."""
    try:
        content = json.loads(text, parse_constant=_refused)
        model, version = KINDS[content["kind"]], content["schema_version"]
        plain = all(string.isprintable() for string in _strings(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a readable record ({error!r})") from error
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema version {version}; this vggrepro reads {SCHEMA_VERSION}")
    if not plain:
        raise ValueError("it has characters that cannot be printed")
    edited = [
        name
        for name, without in (("result_digest", NOT_REPEATABLE), ("file_digest", {"file_digest"}))
        if name in content and content[name] != digest(content, without)
    ]
    said = "edited after it was written: " if edited else ""
    try:
        record = model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(said + ": ".join(filter(None, (where, first["msg"])))) from error
    if edited:
        raise ValueError(f"{said}{edited[0]} does not fit the content")
    # A digest is over values: two texts can be the same number, or one key can stand twice.
    if text != _text(record).encode():
        raise ValueError("edited after it was written: the text is not as it was written")
    return record


def _refused(number: str) -> None:
    raise ValueError(f"{number} is no number")


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else ()
        for part in (*content, *values):
            yield from _strings(part)


def _check_place(path: Path, record: Record) -> None:
    """Raise `ValueError` if a record is not where its content says."""
    place = record.place
    allowed = [place]
    if isinstance(record, TrainRecord):
        allowed.append((*place[:-1], twin_path(path, record.weights_digest).name))
    if path.absolute().parts[-len(place) :] not in allowed:
        raise ValueError(f"it is the record of {'/'.join(place)}, not of this place")


def check_folder(results_dir: Path) -> None:
    """Raise `UserError` if there is no such folder of records."""
    if not results_dir.is_dir():
        named = "name one that `vggrepro run` wrote its records to"
        why = NO_CLONE if results_dir == RECORDED else named
        raise UserError(f"no folder {results_dir}: {why}")


def record_files(results_dir: Path) -> list[Path]:
    """All record files below `results_dir`, in a fixed order; what editors hide is none."""
    paths = sorted(results_dir.rglob("*.json"))
    return [p for p in paths if not any(n[0] == "." for n in p.relative_to(results_dir).parts)]


def problems(path: Path) -> Iterator[str]:
    """What is wrong with the record at `path`: nothing if it and what it rests on are there."""
    try:
        record = read(path)
    except UserError as error:
        yield str(error)
        return
    for trained, weights in _rests_on(path, record):
        if not os.path.lexists(trained):
            yield f"{path}: rests on {trained}, which is gone: restore it, or run both again"
        elif _ends_in(trained) not in (None, weights):
            yield f"{path}: rests on other weights than {trained} ends in; run it again"


def _rests_on(path: Path, record: Record) -> list[tuple[Path, str]]:
    """The records of the trainings that a record names, with the digest of the weights of each."""
    if isinstance(record, FusionRecord):
        nets = path.parents[2]
        folders = {nets.joinpath(*name.split("/")[:2]): w for name, w in record.parents.items()}
        return [(folder / "train.json", weights) for folder, weights in folders.items()]
    if isinstance(record, EvalRecord):
        return [(path.with_name("train.json"), record.weights_digest)]
    if isinstance(record, BenchRecord | OwnRecord) or not record.parent_weights:
        return []
    file = "train.json" if isinstance(record, TrainRecord) else path.name
    parent = path.parents[2] / str(record.declared["init_from"]) / path.parent.name / file
    twin = twin_path(parent, record.parent_weights)
    return [(twin if twin.exists() else parent, record.parent_weights)]


def _ends_in(trained: Path) -> str | None:
    """The digest of a training's weights, None if it is missing or damaged: that is its problem."""
    try:
        return read(trained).weights_digest
    except UserError:
        return None


# --- reading many -------------------------------------------------------------------------


class NotRecordedError(Exception):
    """No usable record: `str` says which run is not there, and why."""


def current(path: Path, experiment: Experiment) -> Record:
    """The record at `path` if it is whole and was made under `experiment` as declared now.

    Raises `NotRecordedError` if there is none, if a field of the declaration has changed since, or
    if one of the nets of a fusion has been trained to other weights since.
    """
    if not os.path.lexists(path):
        raise NotRecordedError("not run")
    record = read(path)
    changed = _changed(record, experiment)
    if changed:
        raise NotRecordedError(f"recorded under another declaration ({', '.join(changed)} changed)")
    nets = _rests_on(path, record) if isinstance(record, FusionRecord) else []
    if any(_ends_in(trained) not in (None, weights) for trained, weights in nets):
        raise NotRecordedError("fused from other weights than are recorded now")
    return record


def _changed(record: Record, experiment: Experiment) -> list[str]:
    """The fields of a declaration that are not as a record has them."""
    declared, recorded = json.loads(json.dumps(asdict(experiment))), record.declared
    return [name for name in declared if recorded.get(name) != declared[name]]


def _all_current(paths: Iterable[Path], experiment: Experiment) -> Iterator[Record]:
    for path in paths:
        with suppress(NotRecordedError):
            yield current(path, experiment)


def _by_seed(results_dir: Path, experiment: Experiment, file: str) -> dict[int, Record]:
    folders = folder_of(results_dir, experiment, 0).parent.glob("seed*")
    found = _all_current((folder / file for folder in folders), experiment)
    return {record.seed: record for record in sorted(found, key=lambda record: record.seed)}


def trainings(results_dir: Path, experiment: Experiment) -> dict[int, TrainRecord]:
    """The trainings of a run by seed, failed ones too, under the declaration as it is now."""
    return _by_seed(results_dir, experiment, "train.json")


def twins(results_dir: Path, experiment: Experiment, seed: int) -> list[TrainRecord]:
    """The same training once more on other machines (`twin_path`)."""
    paths = sorted(folder_of(results_dir, experiment, seed).glob("train-*.json"))
    return list(_all_current(paths, experiment))


def evaluations(
    results_dir: Path, experiment: Experiment, evaluation: Evaluation
) -> dict[int, EvalRecord]:
    """The evaluations of a run by seed, under the declaration as it is now."""
    return _by_seed(results_dir, experiment, evaluation.file)


def verify(paths: Iterable[Path]) -> list[str]:
    """All problems of all records, in order."""
    return [problem for path in paths for problem in problems(path)]


# --- all in one table ---------------------------------------------------------------------


def frame(results_dir: str | Path = RECORDED) -> "pd.DataFrame":
    """All records below `results_dir` as one table: a row for each, in the order of their paths.

    `kind` is `train`, `eval`, `fusion` or `first-steps`; measurements in `bench/` are left out,
    and of the second round all is before it is complete. What a row does not have is missing.

    - `round`: `first` or `second` (`second, left`: of a unit that does not count); `pilot` for what
      was made before the recipe was frozen, `quick` for what a reader's `make` is compared with,
      which is no part of the study
    - `budget`, `data`, `run` ("D-S256"), `config` ("D"), `seed`, `recipe`, `epochs`,
      `init_from` (the run that it starts from)
    - `train_scale`: the paper's S as text, "256" or "256-512"
    - `protocol`, `test_scales`: the paper's Q as text, "384" or "256+384+512", "own" for each net's
      own in a fusion; of evaluations and fusions only
    - `top1_error`, `top5_error` in percent, `log_loss` in nats, of evaluations and fusions only
    - `images`: how many were tested, or trained on
    - `train_error`, `minival_error`: percent after the last epoch, of trainings only
    - `status`: `ok`, `diverged` or `interrupted`
    - `as_declared`: whether the declaration is today's; others count as not run
    - `seconds`: how long it took, the training or the test; `images_per_second`, `peak_memory_mib`
    - `processor`, `instructions`, `threads`, `precision`, `torch`, `commit`, `dirty`, `finished`
    - `weights_digest`: equal in a training and its evaluations, so that they can be merged on it;
      `parent_weights`: that of the training that it starts from
    - `result_digest`, and `path` from `results_dir`, for `read`

    Raises `UserError` if there is no such folder, and for a record that cannot be read.
    """
    import pandas as pd  # here, so that `vggrepro --help` answers at once

    from vggrepro.study import second_round

    results_dir = expanded(results_dir)
    check_folder(results_dir)
    rows = [
        _row(record, path.relative_to(results_dir))
        for path in second_round.shown(results_dir, record_files(results_dir))
        if isinstance(record := read(path), StudyRecord)
    ]
    left = second_round.left_out(results_dir) if any(r["round"] == "second" for r in rows) else ()
    for row in rows:
        if row["round"] == "second" and row["budget"] == second_round.BUDGET:
            row["round"] += ", left" * ((row["data"], row["seed"]) in left)
    return pd.DataFrame(rows, columns=_COLUMNS)


def by_run(table: "pd.DataFrame") -> "pd.DataFrame":
    """Top-1 errors of a `frame` in percent: mean, sample standard deviation and n over seeds."""
    where = ["round", "budget", "data", "run", "protocol", "test_scales"]
    errors = table[table.top1_error.notna()].groupby(where, sort=False).top1_error
    return errors.agg(["mean", "std", "count"]).round(2)


_COLUMNS = (
    *("kind", "round", "budget", "data", "run", "config", "seed", "recipe", "epochs", "init_from"),
    *("train_scale", "protocol", "test_scales", "top1_error", "top5_error", "log_loss", "images"),
    *("train_error", "minival_error", "status", "as_declared"),
    *("seconds", "images_per_second", "peak_memory_mib", "processor", "instructions", "threads"),
    *("precision", "torch", "commit", "dirty", "finished"),
    *("weights_digest", "parent_weights", "result_digest", "path"),
)


def _row(record: Record, path: Path) -> dict[str, Any]:
    e, p = record.declared, record.provenance
    last = record.curve[-1] if isinstance(record, TrainRecord) and record.curve else None
    # What is declared comes last: a record's own `data` says which images were used.
    row = {
        name: getattr(part, name)
        for part in (p, last, record, SimpleNamespace(**e))
        for name in _COLUMNS
        if hasattr(part, name)
    }
    low, high = e["train_scale"]
    tested = isinstance(record, EvalRecord)
    return row | {
        "round": _round(record),
        "train_scale": str(low) if low == high else f"{low}-{high}",
        "test_scales": ("+".join(map(str, record.test_scales)) or "own") if tested else None,
        "images": record.data.count if tested else record.data[0].count,
        "as_declared": _as_declared(record, path),
        "seconds": p.wall_seconds,
        "torch": p.versions["torch"],
        "instructions": p.versions.get("instructions", ""),
        "path": path.as_posix(),
    }


def _round(record: Record) -> str:
    if record.experiment["budget"] == "quick":
        return "quick"
    return "pilot" if record.pilot else "second" if record.run in SECOND_ROUND else "first"


def _as_declared(record: Record, path: Path) -> bool:
    if isinstance(record, FirstStepsRecord):
        return record.run in starts.DECLARED  # in sizes of the reader's own
    e = record.declared
    budget = BEGINNING if path.parts[0] == PILOTS else e["budget"]
    try:
        return not _changed(record, at_budget(record.run, budget, e["data"]))
    except UserError:
        return False  # a run or a budget of another version
