"""What a record is: the fields, the outcome for every image, and the digests over them.

`result_digest` covers what must repeat on the same machine (everything but times and
provenance), `file_digest` all of it, so that an edited digit is seen. Errors are not only
stated: the outcome for every image is kept, and they are counted again whenever it is read.
A record that cannot be true is refused here: shares beyond 100 %, sizes below one.
"""

import base64
import hashlib
import json
import math
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from vggrepro import UserError
from vggrepro.inputs import Inputs
from vggrepro.recipe import Epoch, Recipe
from vggrepro.study.experiments import NOT_FROZEN, Evaluation, Experiment, completed

SCHEMA_VERSION = 1
LEARNS = 0.95  # a loss below this share of chance is not at chance any more
# Outside `result_digest`: what may differ between two runs that have the same result.
NOT_REPEATABLE = {"provenance", "result_digest", "file_digest"}


Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]


def _readable(declared: type) -> AfterValidator:
    """For fields that stay as they are in the file, if they can be read as such a dataclass."""
    adapter = TypeAdapter(declared)

    def check(content: dict[str, Any]) -> dict[str, Any]:
        try:
            adapter.validate_python(content)
        except UserError as error:
            raise ValueError(str(error)) from error
        if "/" in (content.get("init_from") or ""):
            raise ValueError("init_from is no name of a run")
        return content

    return AfterValidator(check)


def _possible(epoch: Epoch) -> Epoch:
    """An entry of a curve, unless it states shares beyond 100 % or a negative rate."""
    shares = (epoch.running_error, epoch.train_error, epoch.minival_error)
    if min(epoch.epoch, epoch.learning_rate) < 0 or not all(0 <= s <= 100 for s in shares):
        raise ValueError("errors are from 0 to 100 %, a rate is not negative")
    return epoch


def _with_torch(versions: dict[str, str]) -> dict[str, str]:
    if "torch" not in versions:
        raise ValueError("no version of torch")
    return versions


class _Strict(BaseModel):
    """Unknown fields are an error, so that a misspelt or foreign record is seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Array(_Strict):
    """A small array as text: little-endian bytes in base64."""

    dtype: str
    shape: tuple[int, ...]
    base64: str

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """The array as a field of a record."""
        little = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"))
        text = base64.b64encode(little.tobytes()).decode()
        return cls(dtype=little.dtype.str, shape=values.shape, base64=text)

    def numpy(self) -> np.ndarray:
        """The array back, with its shape. Raises `ValueError` where that is not its size."""
        raw = base64.b64decode(self.base64)
        return np.frombuffer(raw, np.dtype(self.dtype)).reshape(self.shape)


class DataUsed(_Strict):
    """Which images: `fingerprint` is over decoded pixels and labels, so it knows no source.

    Of photos that are decoded anew each time it is over names and sizes (ImageNet), or also over
    the bytes of the files (a folder of the reader's own that is only tested).
    """

    name: str
    split: str
    count: Count
    fingerprint: str


class Provenance(_Strict):
    """Where and how a record was made. No user and no host names."""

    command: str
    commit: str
    dirty: bool
    versions: Annotated[dict[str, str], AfterValidator(_with_torch)]
    device: str
    processor: str
    threads: Count
    finished: str
    wall_seconds: NotNegative
    images_per_second: NotNegative
    peak_memory_mib: NotNegative

    def elsewhere(self, other: "Provenance") -> bool:
        """Whether rounding may differ: another processor, threads or versions."""
        where = ("device", "processor", "threads", "versions")
        return any(getattr(self, name) != getattr(other, name) for name in where)


class _Sealed(_Strict):
    """What every record has. `place` is its folders and file, from the folder of records."""

    schema_version: int = SCHEMA_VERSION
    provenance: Provenance
    file_digest: str = ""


class _Repeatable(_Sealed):
    """A record of a net, whose result has to repeat."""

    precision: str
    weights_digest: str
    result_digest: str = ""


class _Record(_Repeatable):
    status: Literal["ok", "diverged", "interrupted"] = "ok"
    reason: str | None = None
    experiment: Annotated[dict[str, Any], _readable(Experiment)]
    seed: Annotated[int, Field(ge=0)]

    @property
    def declared(self) -> dict[str, Any]:
        """The whole declaration: a field that was added later had its default before."""
        return completed(self.experiment)

    @property
    def run(self) -> str:
        """The run's name, `D-S256`."""
        return self.experiment["name"]

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.kind}.json"

    @property
    def place(self) -> tuple[str, ...]:
        """Folders and file."""
        e = self.declared
        return e["budget"], e["data"], e["name"], f"seed{self.seed}", self.file

    @property
    def pilot(self) -> bool:
        """Made before the recipe was frozen: shown, but decides nothing."""
        return self.declared["recipe"].startswith(NOT_FROZEN)


class TrainRecord(_Record):
    """One training: its declaration, its curve, the digest of the weights it ended in."""

    kind: Literal["train"] = "train"
    data: Annotated[tuple[DataUsed, ...], Field(min_length=1)]
    parent_weights: str | None = None
    parameters: Count
    pixel_mean: tuple[float, ...]
    curve: tuple[Annotated[Epoch, AfterValidator(_possible)], ...]
    arrays: dict[str, Array] = {}

    @model_validator(mode="after")
    def _has_a_curve(self) -> Self:
        if self.status == "ok" and not self.curve:
            raise ValueError("a training that came to its end has a curve")
        return self


class _Tested(_Strict):
    """What a net made of every image, in the set's canonical order, and the errors that follow."""

    protocol: str
    test_scales: tuple[int, ...]
    test_pixels: tuple[int, ...]
    data: DataUsed
    top1_error: Percent
    top5_error: Percent
    log_loss: NotNegative
    correct: Array  # packed bits, one per image
    correct_top5: Array
    log_probability: Array  # float16, of the true class

    def outcomes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per image: top-1 correct (N,) bool, top-5 correct (N,) bool, log-probability (N,).

        Raises `ValueError` where they are not of as many images as there are.
        """
        n, stored = self.data.count, self.log_probability.numpy()
        packed = [self.correct.numpy(), self.correct_top5.numpy()]
        if stored.shape != (n,) or any(bits.shape != (-(-n // 8),) for bits in packed):
            raise ValueError(f"not of {n} images")
        correct, correct_top5 = (np.unpackbits(bits, count=n).astype(bool) for bits in packed)
        return correct, correct_top5, stored.astype(np.float64)

    @property
    def evaluation(self) -> Evaluation:
        """The protocol and its Q."""
        return Evaluation(self.protocol, self.test_scales)

    @model_validator(mode="after")
    def _counted_again(self) -> Self:
        try:
            recounted = summarise(*self.outcomes())
        except (ValueError, TypeError) as error:
            raise ValueError(f"the per-image outcomes cannot be read ({error})") from error
        for name in ("top1_error", "top5_error", "log_loss"):
            stated, counted = getattr(self, name), recounted[name]
            if not abs(stated - counted) <= 1e-9:
                raise ValueError(f"{name} {stated} is not that of its images ({counted})")
        return self


class EvalRecord(_Tested, _Record):
    """One trained net under one protocol, image by image in the set's canonical order."""

    kind: Literal["eval"] = "eval"
    positions: dict[str, int] = {}  # size of the score map -> number of images and scales

    @property
    def file(self) -> str:
        """The name of the file."""
        return self.evaluation.file


_Parent = Annotated[str, Field(pattern=r"^[\w+-]+/seed\d+/[\w+&.-]+$")]


class FusionRecord(EvalRecord):
    """Several trained nets whose posteriors were averaged (Section 4.4).

    `experiment` is the first net's declaration under the fusion's name, `weights_digest` is over
    those of all nets. Without `test_scales` each net had its own, as `parents` says.
    """

    kind: Literal["fusion"] = "fusion"
    # "D-jitter/seed0/dense-256+384+512" -> digest of the weights
    parents: Annotated[dict[_Parent, str], Field(min_length=1)]


class OwnRecord(_Repeatable):
    """Of a net of the reader's own, which belongs to no run and rests on no other record."""

    name: Annotated[str, Field(pattern=r"^[\w+.-]+$")]
    config: str
    crop: Annotated[int, Field(ge=32)]


class OwnTrainRecord(OwnRecord):
    """One training of `vggrepro train`; it lies beside the weights, under their name."""

    kind: Literal["own-train"] = "own-train"
    width: Annotated[float, Field(gt=0)]
    hidden: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    inputs: Inputs
    start: str
    seed: Annotated[int, Field(ge=0)]
    recipe: Annotated[dict[str, Any], _readable(Recipe)]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    data: Annotated[tuple[DataUsed, ...], Field(min_length=3)]
    parameters: Count
    status: Literal["ok", "diverged"] = "ok"
    reason: str | None = None
    curve: tuple[Annotated[Epoch, AfterValidator(_possible)], ...]

    @property
    def place(self) -> tuple[str, ...]:
        """Folder and file."""
        return (f"{self.name}.json",)


class OwnEvalRecord(OwnRecord, _Tested):
    """A net of the reader's own, or several that were averaged, under one protocol.

    `name` is that of the file of weights, `parents` are the averaged nets by name and digest.
    """

    kind: Literal["own-eval"] = "own-eval"
    classes: Count
    inputs: Inputs | None  # None where several nets were averaged
    resize: str
    parents: dict[str, str] = {}

    @property
    def folder(self) -> str:
        """Of all evaluations of these weights on these images in this way."""
        way = [self.weights_digest, self.data.fingerprint, self.crop, self.inputs, self.resize]
        key = hashlib.sha256(json.dumps([*way, self.precision]).encode()).hexdigest()
        return f"{self.name}-{key[:12]}"

    @property
    def place(self) -> tuple[str, ...]:
        """Folder and file."""
        return self.folder, self.evaluation.file


class Signal(_Strict):
    """Root mean squares at every layer, for some images: see `signal.LayerSignal`."""

    model_config = ConfigDict(allow_inf_nan=True)  # a measurement may be; a file has none

    crop: Count
    images: Count
    input: float
    layers: tuple[str, ...]
    activation: tuple[float, ...]
    gradient: tuple[float, ...]
    weight: tuple[float, ...]
    weight_gradient: tuple[float, ...]


class FirstStepsRecord(_Record):
    """A net at its start and in its first steps. The losses end where they stop being finite."""

    kind: Literal["first-steps"] = "first-steps"
    data: Annotated[tuple[DataUsed, ...], Field(min_length=1)]
    classes: Count
    parent_weights: str | None = None
    pixel_mean: tuple[float, ...]
    before: Annotated[tuple[Signal, ...], Field(min_length=1)]
    after: Signal | None  # None where there is nothing finite to be measured
    steps: Count
    losses: tuple[float, ...]

    @property
    def chance(self) -> float:
        """The loss of a net that finds every class as likely: ln of their number, in nats."""
        return math.log(self.classes)

    @property
    def last_loss(self) -> float:
        """Mean loss over the last tenth of the steps, in nats."""
        return float(np.mean(self.losses[-max(1, self.steps // 10) :]))

    @property
    def outcome(self) -> Literal["learns", "at chance", "dead", "diverged"]:
        """What became of the net.

        Dead is one in which no unit of fc7 lets anything through any more: it has no gradient.
        """
        if self.status != "ok":
            return "diverged"
        if self.after is not None and self.after.activation[-2] == 0:
            return "dead"
        return "learns" if self.last_loss < LEARNS * self.chance else "at chance"

    @property
    def first_step(self) -> float:
        """By what share of its size the first step moves a weight, in the median layer."""
        signal = self.signal_at(self.experiment["crop"])
        moved = np.divide(signal.weight_gradient, signal.weight)
        return float(self.experiment["learning_rate"] * np.median(moved))

    def signal_at(self, crop: int) -> Signal:
        """The signal before the first step at that crop (px), or at the nearest there is."""
        return min(self.before, key=lambda signal: abs(signal.crop - crop))


class Measured(_Strict):
    """One quantity, every time it was measured: rounds of what is compared take turns."""

    name: str
    unit: str
    of: dict[str, str | int | float]  # what was measured: net, crop, width …
    values: Annotated[tuple[float, ...], Field(min_length=1)]


class BenchRecord(_Sealed):
    """Time and memory, measured. Nothing in it has to repeat, so it has no `result_digest`."""

    kind: Literal["bench"] = "bench"
    name: str
    settings: dict[str, Any]
    measured: Annotated[tuple[Measured, ...], Field(min_length=1)]

    @property
    def place(self) -> tuple[str, ...]:
        """Folder and file."""
        return "bench", f"{self.name}.json"

    def values(self, name: str, **of: str | int | float) -> np.ndarray:
        """Every measurement of that name whose `of` agrees, in the order they were taken.

        Raises `KeyError` if there is none.
        """
        for measured in self.measured:
            if measured.name == name and measured.of.items() >= of.items():
                return np.array(measured.values)
        raise KeyError(name, of)


StudyRecord = TrainRecord | EvalRecord | FusionRecord | FirstStepsRecord
Record = StudyRecord | BenchRecord | OwnTrainRecord | OwnEvalRecord
KINDS = {model.model_fields["kind"].default: model for model in get_args(Record)}
R = TypeVar("R", bound=_Sealed)


def summarise(correct: np.ndarray, correct_top5: np.ndarray, log_probability: np.ndarray) -> dict:
    """The fields of an `EvalRecord` that follow from the per-image outcomes, each (N,).

    Errors are in percent, the loss is in nats and of the stored (float16) values, so that it
    can be recomputed exactly from the record.
    """
    stored = log_probability.astype(np.float16)
    return {
        "top1_error": 100 * (1 - float(np.mean(correct))),
        "top5_error": 100 * (1 - float(np.mean(correct_top5))),
        "log_loss": -float(np.mean(stored.astype(np.float64))),
        "correct": Array.of(np.packbits(correct)),
        "correct_top5": Array.of(np.packbits(correct_top5)),
        "log_probability": Array.of(stored),
    }


# --- digests ------------------------------------------------------------------------------


def digest(content: dict[str, Any], without: set[str]) -> str:
    """SHA-256 over a record's fields as JSON has them, but `without`."""
    kept = {name: value for name, value in content.items() if name not in without}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def sealed(record: R) -> R:
    """The record with its digests filled in."""
    content = record.model_dump(mode="json")
    digests = {}
    if "result_digest" in content:
        digests["result_digest"] = digest(content, NOT_REPEATABLE)
    digests["file_digest"] = digest(content | digests, {"file_digest"})
    return record.model_copy(update=digests)
