"""Nets of the reader's own, trained on their own photos: what `vggrepro train` does.

Weights, record and curves lie side by side, where the reader asked for them. What was stopped goes
on from its checkpoint. They are tested in `own`.
"""

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from vggrepro import UserError, check_known
from vggrepro.checkpoints import weights_digest
from vggrepro.data import Photos, sources
from vggrepro.device import Machine
from vggrepro.files import WRITING, expanded, make_writable, write_atomically
from vggrepro.models import INITIALISATIONS, VGG, count_parameters, initialise
from vggrepro.process import printable
from vggrepro.recipe import Recipe
from vggrepro.study import store
from vggrepro.study.own import in_a_name
from vggrepro.study.provenance import describe, options, provenance
from vggrepro.study.records import OwnTrainRecord
from vggrepro.study.run import used
from vggrepro.study.runner import BusyError, lock
from vggrepro.trainer import Training, train
from vggrepro.weights import save_weights

INPUT_DIVISOR = 60.0  # about the deviation of photos' pixels
# A training beyond these has not enough memory, time or float32 anywhere.
MOST = {
    "epochs": 10**5,
    "batch_size": 10**5,
    "learning_rate": 1e6,
    "weight_decay": 1e6,
    "width": 4,
    "crop": 1024,
    "hidden": 2**14,
}
WRITTEN = (".safetensors", ".json", ".png")  # of a net: weights, record, curves
OF_A_TRAINING = ("checkpoint.pt", "checkpoint.damaged", ".lock")


def usual_rate(start: str, width: float) -> float:
    """The learning rate at which nets of that width train: the paper's, or a tenth of it.

    From He's start D and E overshot at the paper's rate at full width and learned at a tenth of it
    (chapter 10); a quarter as wide they are trained at the paper's (the study).
    """
    return 0.001 if start == "he" and width > 0.5 else 0.01


@dataclass(frozen=True, kw_only=True)
class ToTrain:
    """A net to be trained on a folder of photos: the options of `vggrepro train`."""

    config: str
    start: str
    size: dict[str, Any]  # width, crop, hidden, dropout
    recipe: Recipe
    photos: Photos
    out: Path
    seed: int
    machine: Machine
    fresh: bool = False

    @property
    def of_the_net(self) -> dict[str, Any]:
        """The options that are no part of the recipe, as they are called in records."""
        return {"start": self.start, "seed": self.seed, **self.size}

    def built(self, num_classes: int) -> VGG:
        """The net, not yet initialised; raises `UserError` for a size that none can have."""
        return VGG(self.config, num_classes, **self.size, input_divisor=INPUT_DIVISOR)

    def said(self) -> dict[str, Any]:
        """The recipe as options say it: S as 256 or 256-512."""
        scales = "-".join(map(str, dict.fromkeys(self.recipe.train_scale)))
        return asdict(self.recipe) | {"train_scale": scales}

    def check(self) -> None:
        """Raise `UserError` for an unknown start or net, a number beyond `MOST`, or a wrong `out`.

        The photos come later: they may take longer.
        """
        check_known("--start", self.start, INITIALISATIONS)
        numbers = vars(self.recipe) | self.of_the_net
        for name, most in MOST.items():
            if numbers[name] > most:
                raise UserError(f"{name} must be at most {most:g}, not {numbers[name]}")
        with torch.device("meta"):
            self.built(2)
        if self.out.suffix != ".safetensors" or not all(map(in_a_name, self.out.stem)):
            raise UserError(f"--out: name a file such as d.safetensors, not {self.out}")
        ours = (*OF_A_TRAINING, f"{WRITING}*")
        others = [p for p in self.begun.glob("*") if not any(fnmatch(p.name, one) for one in ours)]
        if others:
            raise UserError(
                f"{others[0]} is in the way of a training's state: choose another --out"
            )
        there = [path for path in map(self.out.with_suffix, WRITTEN) if path.exists()]
        # What was stopped with --fresh, or between the weights and the curves, goes on.
        if there and not self.fresh and not self.checkpoint.exists():
            raise UserError(f"{there[0]} is there already: --fresh replaces it, or another --out")
        make_writable(self.out.absolute().parent)

    @property
    def begun(self) -> Path:
        """The folder of what is needed to go on, until all is written."""
        return self.out.with_suffix(".training")

    @property
    def checkpoint(self) -> Path:
        """The state after the last epoch."""
        return self.begun / "checkpoint.pt"

    def forget(self) -> None:
        """Remove what was needed to go on, and nothing else."""
        with suppress(OSError):
            for name in OF_A_TRAINING:
                (self.begun / name).unlink(missing_ok=True)
            self.begun.rmdir()


def train_lines(asked: ToTrain) -> Iterator[str]:
    """Train a net, write weights, record and curves, and tell of it.

    What was stopped goes on. Raises `UserError` for bad input or a training that diverges,
    `KeyboardInterrupt` when it is stopped.
    """
    asked.check()
    photos = asked.photos
    photos.check()
    yield from _said_of(photos)
    model = asked.built(len(photos.classes))
    initialise(model, asked.start, seed=asked.seed)
    yield _said_of_recipe(asked, model)
    with ExitStack() as held:
        if not lock(asked.begun, held):
            raise BusyError(f"another process is training {asked.out}; wait for it to end")
        if asked.fresh:
            asked.checkpoint.unlink(missing_ok=True)
        training = train(
            model,
            photos,
            asked.recipe,
            asked.seed,
            device=asked.machine,
            checkpoint=asked.checkpoint,
        )
        if training.status == "interrupted":
            same = "the same command" + " without --fresh" * (asked.fresh and bool(training.curve))
            raise KeyboardInterrupt(f"{training.reason}; {same} goes on from there")
        if training.status == "ok":
            save_weights(
                model,
                asked.out,
                classes=list(photos.classes),
                photos=photos.val.fingerprint,
            )
        record = _train_record(asked, model, training)
        recorded, drawn = (asked.out.with_suffix(suffix) for suffix in WRITTEN[1:])
        replaced = training.status == "ok" or not asked.out.exists()
        if replaced:  # an older net keeps the record and the curves that are its own
            store.write(record, recorded)
            write_atomically(drawn, _curves(record))
    asked.forget()
    if training.status == "diverged":
        raise UserError(
            f"{training.reason}: try a smaller --learning-rate (a tenth) with --fresh"
            + ("" if asked.start == "he" else ", or --start he")
            + ("" if replaced else f". {asked.out} stays as it was")
        )
    error, chance = record.curve[-1].minival_error, 100 * (1 - 1 / len(photos.classes))
    yield f"minival error after the last epoch: {error:.2f} %"
    if error >= chance:
        yield (
            "no better than chance: take more --epochs or a tenth of the --learning-rate, with "
            "--fresh; `vggrepro first-steps` measures why"
        )
    yield f"written: {asked.out}, {recorded.name}, {drawn.name}"
    yield f"test it: vggrepro evaluate --weights {asked.out} --data-dir {photos.data_dir}"


def _said_of(photos: Photos) -> Iterator[str]:
    """What was found, photos and classes, and what becomes of them."""
    counts = {part: len(getattr(photos, part)) for part in ("train", "minival", "val")}
    classes = photos.classes
    names = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
    yield (
        f"{photos.data_dir}: {sum(counts.values())} photos of {len(classes)} classes ({names}): "
        f"{counts['train']} to train on, {counts['minival']} to lower the learning rate by "
        f"(minival), {counts['val']} to test on (val)"
    )
    if not sources.is_split(expanded(photos.data_dir)):
        yield "there is no train/ and val/: val is a fifth of every class, chosen by the pixels"


def _said_of_recipe(asked: ToTrain, model: VGG) -> str:
    recipe = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asked.said().items())
    net = "width {width:g}, crop {crop} px, {hidden} hidden units, dropout {dropout:g}"
    return (
        f"net {asked.config}, {net.format(**asked.size)}: {count_parameters(model):,} weights; "
        f"start {asked.start}, seed {asked.seed}; {recipe}; {describe(asked.machine)}"
    )


def _train_record(asked: ToTrain, model: VGG, training: Training) -> OwnTrainRecord:
    photos = asked.photos
    said = " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in (asked.of_the_net | asked.said()).items()
        if name not in ("momentum", "colour_shift")  # always the paper's
    )
    command = f"vggrepro train {asked.config} PHOTOS --out {asked.out.name} {said}"
    command += f" {options(asked.machine)}"
    return OwnTrainRecord(
        name=asked.out.stem,
        config=asked.config,
        inputs=model.inputs,
        **asked.of_the_net,
        recipe=json.loads(json.dumps(asdict(asked.recipe))),
        classes=tuple(map(printable, photos.classes)),
        data=(used(photos.train), used(photos.minival), used(photos.val)),
        parameters=count_parameters(model),
        status=training.status,
        reason=training.reason,
        curve=tuple(training.curve),
        precision=asked.machine.precision,
        weights_digest=weights_digest(model.state_dict()),
        provenance=provenance(asked.machine, command, training.seconds, training.images),
    )


def _curves(record: OwnTrainRecord) -> bytes:
    """Errors and losses over the epochs, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    errors, losses = figure.subplots(1, 2)
    epochs = range(1, len(record.curve) + 1)
    for axes, names in (
        (errors, {"train_error": "train", "minival_error": "minival"}),
        (losses, {"running_loss": "train, with dropout", "minival_loss": "minival"}),
    ):
        for name, label in names.items():
            axes.plot(epochs, [getattr(epoch, name) for epoch in record.curve], label=label)
        axes.set_xlabel("epoch")
        axes.legend()
    errors.set_ylabel("top-1 error, %")
    losses.set_ylabel("loss, nats")
    figure.suptitle(f"{record.config}, start {record.start}, seed {record.seed}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
