"""The only training loop: mini-batch gradient descent with momentum, as in Section 3.1.

Order, crops and colours are functions of (seed, epoch, image), dropout is one of (seed, epoch,
rank) and of how batches are cut, and a checkpoint is written after each epoch. So a training that
is killed and started again ends in the same weights as an undisturbed one. With several processes
each makes its share of every batch, and the update is that of the whole batch.
"""

import hashlib
import itertools
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from vggrepro import UserError, checkpoints, distributed
from vggrepro.augmentations import Draws, Rescaled, ahead, centre_crops, colour_shifts
from vggrepro.data import ImageSet, Photos
from vggrepro.device import Machine, choose, instructions, processor
from vggrepro.evaluators import check_net, counted, evaluate, lrn_denominator
from vggrepro.files import as_plain, expanded
from vggrepro.models import VGG, check_seed
from vggrepro.recipe import Epoch, Recipe, learning_rate_at, single_scale
from vggrepro.windows import check_room, scaled

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
# The rate drops once more than so many epochs in a row bring no better minival error, and may
# drop so often (3.1).
PATIENCE, DROPS = 5, 3

Told = Callable[[str, int], None]
"""Is told "train" or "eval" and how many images were done, or "resumed" and how many before."""


@dataclass
class Training:
    """How far a training has come. `seconds` counts all sessions, `images` what they saw."""

    curve: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0
    status: Literal["ok", "diverged", "interrupted"] = "ok"
    reason: str | None = None


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    model: VGG,
    photos: Photos,
    recipe: Recipe,
    seed: int = 0,
    *,
    device: Machine | str = "auto",
    checkpoint: str | Path | None = None,
    progress: bool | Told = True,
) -> Training:
    """Train `model` in place on `photos.train` for the epochs of the recipe (Section 3.1).

    `device` is by default the best there is. With `checkpoint` it goes on from that file if it is
    there, and writes it after each epoch; to go on after Ctrl-C, build and initialise the net as
    before, and call this again. A loss that is no longer finite ends the training with status
    "diverged", Ctrl-C with "interrupted"; of several processes, which Ctrl-C does not stop at the
    same step, it ends all and leaves the checkpoint. `progress` is a bar, none, or a function as
    `Told`. The net comes back in the mode of training, with the photos' mean as its pixel mean.
    Dropout draws from torch's global generator, which is then as before: what `progress` or
    another thread draws meanwhile changes the result.

    Raises `UserError` for a net with another number of classes, with weights that are not float32
    or nothing to train, for an S below its crop, a seed that is none, a checkpoint of another
    training, or when the disk is full. A damaged checkpoint is set aside with a warning, and the
    training begins anew.
    """
    device = choose(device)
    check_net(model, photos.train)
    check_seed(seed)
    check_room(scaled(recipe.train_scale[0], model.crop), model.crop, "S")
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError("nothing of this net is to be trained: every weight is frozen")
    seed = int(seed)
    model.set_pixel_mean(photos.pixels.mean)
    model.to(device.device, memory_format=torch.channels_last)
    optimizer = sgd(model, recipe)
    scheduler = schedule(optimizer, recipe)
    training = Training()
    if checkpoint is not None:
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        state = expanded(checkpoint), address_of(model, photos, recipe, seed, device), parts
        training = _resumed(*state)
    net = device.compiled(distributed.parallel(model))
    cut = rescaled(photos, recipe, model)
    with (
        torch.random.fork_rng([device.device] if device.device.type == "cuda" else []),
        counted(progress, recipe.epochs * images_per_epoch(photos), " images") as told,
    ):
        if training.curve:
            told("resumed", len(training.curve) * images_per_epoch(photos))
        for epoch in range(len(training.curve), recipe.epochs):
            started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
            try:
                running = train_one_epoch(net, optimizer, cut, recipe, seed, epoch, device, told)
                measured = measure(model, photos, recipe, device, told)
                training.images += len(photos.train)
                training.seconds += time.perf_counter() - started
                # The last step of an epoch shows in minival's loss only.
                if not math.isfinite(running[0] + measured["minival_loss"]):
                    training.status = "diverged"
                    training.reason = f"the loss was no longer finite in epoch {epoch + 1}"
                    break
                of_epoch = {"running_loss": running[0], "running_error": running[1], **measured}
                training.curve.append(Epoch(epoch=epoch, learning_rate=rate, **of_epoch))
                watched = [measured["minival_error"]] if recipe.schedule == "plateau" else []
                scheduler.step(*watched)
                if checkpoint is not None:
                    distributed.first(partial(checkpoints.save, *state, asdict(training)))
            except KeyboardInterrupt:
                if distributed.world() > 1:
                    raise
                training.status, training.reason = "interrupted", f"stopped in epoch {epoch + 1}"
                break
    return training


# --- one epoch ----------------------------------------------------------------------------


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    photos: Rescaled,
    recipe: Recipe,
    seed: int,
    epoch: int,
    device: Machine,
    told: Told = lambda stage, images: None,
) -> tuple[float, float]:
    """One pass over the training images, one crop each: mean loss and error (%) while training.

    `model` is a net, or `distributed.parallel` of one: the result is over all ranks.
    """
    losses = errors = torch.zeros((), dtype=torch.float64, device=device.device)
    seed_dropout(seed, epoch)
    model.train()
    for batch in batches(photos, recipe, seed, epoch):
        loss, wrong = step(model, optimizer, batch, device)
        losses, errors = losses + loss, errors + wrong
        told("train", batch.size)
    losses, errors = distributed.add(torch.stack([losses, errors]).cpu().numpy()).tolist()
    return losses / len(photos.images), 100 * errors / len(photos.images)


class Batch(NamedTuple):
    """A mini-batch, of which this process has a share: crops, colour shifts and targets."""

    images: Tensor  # (B, 3, crop, crop) uint8
    shifts: Tensor  # (B, 3) float32, in pixel units
    targets: Tensor  # (B,) int64
    size: int  # of the whole batch, over all processes


def batches(photos: Rescaled, recipe: Recipe, seed: int, epoch: int) -> Iterator[Batch]:
    """The mini-batches of an epoch: every image once, in an order that depends on seed and epoch.

    The last batch may be smaller. With several processes this is the rank's share of each batch,
    which may be empty.
    """
    targets = photos.images.targets
    draws = Draws.of(seed, epoch, len(targets))
    order = np.random.default_rng([seed, epoch, 1]).permutation(len(targets))
    share = slice(distributed.rank(), None, distributed.world())

    def make(whole: np.ndarray) -> Batch:
        own = whole[share]
        crops = photos.batch(own, draws)
        shifts = colour_shifts(draws, own, photos.pixels, recipe.colour_shift)
        return Batch(crops, shifts, torch.from_numpy(targets[own]), len(whole))

    wholes = (order[i : i + recipe.batch_size] for i in range(0, len(order), recipe.batch_size))
    return ahead(make, wholes, workers=photos.images.loading_threads)


def step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, device: Machine
) -> Tensor:
    """One update of the weights, for the paper's multinomial logistic regression objective.

    Returns (2,) float64 on the device: the summed loss (nats) and the number of errors over this
    rank's share of the batch, from before the update.
    """
    optimizer.zero_grad(set_to_none=True)
    done = torch.zeros(2, dtype=torch.float64, device=device.device)
    parts = device.parts(len(batch.targets))
    for part in parts:
        shifts, y = device.send(batch.shifts[part]), device.send(batch.targets[part])
        x = distributed.bare(model).normalised(device.send(batch.images[part]), shifts)
        # The forward pass decides whether the backward pass that follows averages over ranks.
        with nullcontext() if part is parts[-1] else distributed.alone(model):
            with device.autocast():
                logits = model(x)
            logits = logits.float()
            # A rank that has no image of a small last batch takes part with an empty sum.
            loss = F.cross_entropy(logits, y) if len(y) else logits.sum()
            # Gradients are averaged over ranks, so each counts by its share of the whole batch.
            # For one process and one part that is a factor of exactly 1.
            (loss * (len(y) * distributed.world() / batch.size)).backward()
        wrong = (logits.detach().argmax(1) != y).sum()
        done += torch.stack([loss.detach() * len(y), wrong]).double()
    optimizer.step()
    return done


def seed_dropout(seed: int, epoch: int) -> None:
    """Seed the global generator, from which dropout draws: it needs no place in a checkpoint."""
    # Rank 0 adds nothing to the key (a 0 at its end is as good as none).
    key = np.random.SeedSequence((seed, epoch, distributed.rank()))
    torch.manual_seed(int(key.generate_state(1)[0]))


def measure(
    model: VGG, photos: Photos, recipe: Recipe, device: Machine, told: Told
) -> dict[str, Any]:
    """The part of an epoch's entry that is measured in eval mode, by centre crop and flip."""
    q = single_scale(recipe)
    on_train, on_minival = (
        evaluate(model, images, "centre-crop", q, device=device, progress=partial(told, "eval"))
        for images in (fit(photos), photos.minival)
    )
    some = np.arange(min(64, len(photos.minival)))
    crops = centre_crops(photos.minival, some, scaled(q, model.crop), model.crop)
    return {
        "train_error": on_train.top1_error,
        "minival_error": on_minival.top1_error,
        "minival_loss": on_minival.log_loss,
        "lrn_denominator": lrn_denominator(model, model.normalised(device.send(crops)), QUANTILES),
    }


# --- what a training is made of -----------------------------------------------------------


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Section 3.1's optimizer: momentum, and weight decay on everything."""
    # DEVIATION: Caffe and AlexNet keep the rate inside the velocity, PyTorch multiplies by it
    # afterwards. They differ after a drop only, which here slows what was gathered before it, too.
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> LambdaLR | ReduceLROnPlateau:
    """What divides the learning rate by ten (3.1): minival's error, or the epoch."""
    if recipe.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer,
            mode="min",
            factor=0.1,
            patience=PATIENCE,
            threshold=0.0,
            min_lr=recipe.learning_rate * 0.1**DROPS,
            eps=0.0,  # no rate is too small to drop
        )
    base = recipe.learning_rate
    return LambdaLR(optimizer, lambda epoch: learning_rate_at(recipe, epoch) / base)


def rescaled(photos: Photos, recipe: Recipe, model: VGG) -> Rescaled:
    """The training images at the recipe's S and the net's crop; kept over the epochs.

    For a net on a GPU they are kept in its memory, if they can be.
    """
    low, high = (scaled(s, model.crop) for s in recipe.train_scale)
    found = Rescaled(photos.train, photos.pixels, (low, high), model.crop)
    device = next(model.parameters()).device
    return found.on(device) if device.type == "cuda" else found


def fit(photos: Photos) -> ImageSet:
    """As many training images as minival has, evenly spread: for the error in eval mode."""
    return photos.train.subset(photos.train.evenly(len(photos.minival)))


def images_per_epoch(photos: Photos) -> int:
    """How many images an epoch trains on and is measured on."""
    return len(photos.train) + len(fit(photos)) + len(photos.minival)


# --- checkpoints --------------------------------------------------------------------------


def address_of(model: VGG, photos: Photos, recipe: Recipe, seed: int, device: Machine) -> str:
    """SHA-256 over everything that can change the result of a training, its start included."""
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    parts = [
        asdict(recipe),
        repr(model),
        [model.crop, model.input_divisor, checkpoints.weights_digest(model.state_dict())],
        *([model.inputs] if model.bgr or model.pixel_deviation is not None else []),
        *([frozen] if frozen else []),
        seed,
        [photos.train.key, photos.minival.key],
        [*device.key(), distributed.world(), processor(device.device), instructions()],
        torch.__version__,
    ]
    return hashlib.sha256(json.dumps(parts, default=as_plain).encode()).hexdigest()


def _resumed(checkpoint: Path, address: str, parts: dict[str, Any]) -> Training:
    """The training that the checkpoint holds, its states loaded into `parts`; else a new one."""
    done = distributed.first_then_others(lambda: _read(checkpoint, address, parts))
    return Training([Epoch(**epoch) for epoch in done.pop("curve", [])], **done)


def _read(checkpoint: Path, address: str, parts: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint holds, nothing if there is none; a damaged one is set aside."""
    if not checkpoint.exists():
        return {}
    try:
        return checkpoints.resume(checkpoint, address, parts)
    except checkpoints.DamagedError:
        asides = (checkpoint.with_suffix(f".damaged{n or ''}") for n in itertools.count())
        aside = next(path for path in asides if not os.path.lexists(path))
        checkpoint.replace(aside)
        text = f"{checkpoint} is damaged: kept as {aside.name}, and the training begins anew"
        warnings.warn(text, stacklevel=2)
        return {}
