"""The only training loop: mini-batch gradient descent with momentum, as in Section 3.1.

Order, crops and colours are functions of (seed, epoch, image), dropout is one of (seed, epoch,
rank) and of how batches are cut, and a checkpoint is written after each epoch. So a training that
is killed and started again ends in the same weights as an undisturbed one. With several processes
each makes its share of every batch, and the update is that of the whole batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from vggrepro import checkpoints, distributed
from vggrepro.augmentations import (
    Draws,
    Rescaled,
    colour_shifts,
    cut_batch,
    normalise,
    training_batch,
)
from vggrepro.data import ImageSet, PixelStatistics
from vggrepro.device import Machine
from vggrepro.evaluators import Inputs, error_and_loss, evaluate, lrn_denominator
from vggrepro.loader import ahead
from vggrepro.models import VGG
from vggrepro.study.experiments import Experiment, learning_rate_at, single_scale
from vggrepro.study.records import Epoch
from vggrepro.windows import centre_window, scaled

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
# The rate drops once more than so many epochs in a row bring no better minival error, and may
# drop so often (3.1).
PATIENCE, DROPS = 5, 3


@dataclass
class Training:
    """How far a training has come. `seconds` counts all sessions, `images` what they saw."""

    curve: list[Epoch] = field(default_factory=list)
    seconds: float = 0.0
    images: int = 0
    status: Literal["ok", "diverged", "interrupted"] = "ok"
    reason: str | None = None

    @property
    def images_per_second(self) -> float:
        """Training images per second, evaluation of the curve included."""
        return self.images / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Sets:
    """What a training reads: images to train on, the held-out minival, their pixel statistics."""

    train: ImageSet
    minival: ImageSet
    pixels: PixelStatistics

    def rescaled(self, experiment: Experiment) -> Rescaled:
        """The training images at the S of an experiment; kept over the epochs of a training."""
        return Rescaled(
            self.train, tuple(scaled(s, experiment.crop) for s in experiment.train_scale)
        )

    def inputs(self, experiment: Experiment, machine: Machine) -> Inputs:
        """Mean and divisor, with the mean on the device."""
        mean = torch.tensor(self.pixels.mean, dtype=torch.float32, device=machine.device)
        return Inputs(mean, experiment.input_divisor)

    def fit(self) -> ImageSet:
        """As many training images as minival has, evenly spread: for the error in eval mode."""
        return self.train.subset(self.train.evenly(len(self.minival)))


def centre_crops(images: ImageSet, chosen: np.ndarray, experiment: Experiment) -> torch.Tensor:
    """Centre crops (B, 3, crop, crop) uint8 of the chosen images, at the run's own Q."""
    q = scaled(single_scale(experiment), experiment.crop)
    windows = [centre_window(tuple(images.sizes[i]), q, experiment.crop) for i in chosen]
    return cut_batch(images, chosen, windows)


def build(experiment: Experiment, num_classes: int) -> VGG:
    """The net that an experiment declares, not yet initialised."""
    return VGG(
        experiment.config,
        num_classes,
        width=experiment.width,
        crop=experiment.crop,
        hidden=experiment.hidden,
        dropout=experiment.dropout,
        input_divisor=experiment.input_divisor,
    )


def sgd(model: nn.Module, experiment: Experiment, machine: Machine) -> torch.optim.SGD:
    """Section 3.1's optimizer: momentum, and weight decay on everything."""
    return torch.optim.SGD(
        model.parameters(),
        lr=experiment.learning_rate,
        momentum=experiment.momentum,
        weight_decay=experiment.weight_decay,
        fused=machine.device.type in ("cpu", "cuda"),
    )


def train(
    model: VGG,
    experiment: Experiment,
    seed: int,
    sets: Sets,
    machine: Machine,
    checkpoint: Path,
    address: str,
    progress: Callable[[str, int], None] = lambda stage, images: None,
) -> Training:
    """Train `model` in place for the epochs that `experiment` declares.

    Goes on from `checkpoint` if there is one, and writes it after each epoch; `address` says of
    which training it is, with everything that can change the result. A loss that is no
    longer finite ends the training with status "diverged", Ctrl-C with "interrupted"; of several
    processes, which Ctrl-C does not stop at the same step, it ends all and leaves the checkpoint.
    `progress` is told "train" or "eval" and how many images were done, or "resumed" and how many
    the checkpoint was trained on. Raises `UserError` for a
    checkpoint that is truncated or of another run, or when the disk is full.
    """
    model.to(machine.device, memory_format=torch.channels_last)
    optimizer = sgd(model, experiment, machine)
    scheduler = _scheduler(optimizer, experiment)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    training = Training()
    if distributed.first(checkpoint.exists):
        done = distributed.first_then_others(lambda: checkpoints.resume(checkpoint, address, parts))
        curve = [Epoch(**epoch) for epoch in done["curve"]]
        training = Training(curve, done["seconds"], done["images"])
        progress("resumed", training.images)
    net = machine.compiled(distributed.parallel(model))
    fit, rescaled = sets.fit(), sets.rescaled(experiment)
    for epoch in range(len(training.curve), experiment.epochs):
        started = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        try:
            loss, error = train_one_epoch(
                net, optimizer, experiment, seed, epoch, sets, rescaled, machine, progress
            )
            measured = _measure(model, experiment, fit, sets, machine, progress)
            training.images += len(sets.train)
            training.seconds += time.perf_counter() - started
            # The last step of an epoch shows in minival's loss only.
            if not math.isfinite(loss + measured["minival_loss"]):
                training.status = "diverged"
                training.reason = f"the loss was no longer finite in epoch {epoch + 1}"
                break
        except KeyboardInterrupt:
            if distributed.world() > 1:
                raise
            training.status = "interrupted"
            training.reason = (
                f"stopped in epoch {epoch + 1}; the same command without --fresh goes on from there"
            )
            break
        running = {"running_loss": loss, "running_error": error}
        training.curve.append(Epoch(epoch=epoch, learning_rate=rate, **running, **measured))
        scheduler.step(*([measured["minival_error"]] if experiment.schedule == "plateau" else []))
        done = {
            "curve": [entry.model_dump() for entry in training.curve],
            "seconds": training.seconds,
            "images": training.images,
        }
        distributed.first(partial(checkpoints.save, checkpoint, address, parts, done))
    return training


def train_one_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    experiment: Experiment,
    seed: int,
    epoch: int,
    sets: Sets,
    rescaled: Rescaled,
    machine: Machine,
    progress: Callable[[str, int], None],
) -> tuple[float, float]:
    """One pass over the training images, one crop each: mean loss and error (%) while training.

    `model` is a net, or `distributed.parallel` of one: the result is over all ranks.
    """
    total = torch.zeros(2, dtype=torch.float64, device=machine.device)
    for loss_and_wrong, whole in steps(
        model, optimizer, experiment, seed, epoch, sets, rescaled, machine
    ):
        total += loss_and_wrong
        progress("train", whole)
    loss_sum, wrong_sum = distributed.add(total.cpu().numpy()).tolist()
    return loss_sum / len(sets.train), 100 * wrong_sum / len(sets.train)


def steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    experiment: Experiment,
    seed: int,
    epoch: int,
    sets: Sets,
    rescaled: Rescaled,
    machine: Machine,
) -> Iterator[tuple[torch.Tensor, int]]:
    """The steps of one pass: after each, its summed loss and number of errors, and its batch size.

    Loss and errors, (2,) float64 on the device, are from before the update and over this rank's
    share of the batch; the size is that of the whole batch.
    """
    criterion = nn.CrossEntropyLoss()  # the paper's multinomial logistic regression objective
    inputs = sets.inputs(experiment, machine)
    # Dropout draws from the global generator: seeded here, it needs no place in the checkpoint.
    # Rank 0 adds nothing to the key (a 0 at its end is as good as none).
    torch.manual_seed(_seed(seed, epoch, distributed.rank()))
    model.train()
    left = len(sets.train)
    for images, shifts, targets in batches(experiment, seed, epoch, sets, rescaled):
        whole = min(experiment.batch_size, left)
        left -= whole
        optimizer.zero_grad(set_to_none=True)
        done = torch.zeros(2, dtype=torch.float64, device=machine.device)
        parts = machine.parts(len(targets))
        for part in parts:
            x = normalise(
                machine.send(images[part]),
                inputs.mean,
                inputs.input_divisor,
                machine.send(shifts[part]),
            )
            y = machine.send(targets[part])
            with machine.autocast():
                logits = model(x)
            logits = logits.float()
            # A rank that has no image of a small last batch takes part with an empty sum.
            loss = criterion(logits, y) if len(y) else logits.sum()
            # Gradients are averaged over ranks, so each counts by its share of the whole batch.
            # For one process and one part that is a factor of exactly 1.
            with nullcontext() if part is parts[-1] else distributed.alone(model):
                (loss * (len(y) * distributed.world() / whole)).backward()
            wrong = (logits.detach().argmax(1) != y).sum()
            done += torch.stack([loss.detach() * len(y), wrong]).double()
        optimizer.step()
        yield done, whole


def batches(
    experiment: Experiment, seed: int, epoch: int, sets: Sets, rescaled: Rescaled
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The mini-batches of an epoch: crops (B, 3, c, c) uint8, colour shifts (B, 3), targets (B,).

    Every image once, in an order that depends on seed and epoch alone. The last batch may be
    smaller. With several processes this is the rank's share of each batch, which may be empty.
    """
    count = len(sets.train)
    draws = Draws.of(seed, epoch, count)
    order = np.random.default_rng([seed, epoch, 1]).permutation(count)

    def make(indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (
            training_batch(rescaled, indices, experiment.crop, draws),
            colour_shifts(draws, indices, sets.pixels, experiment.colour_shift),
            torch.from_numpy(sets.train.targets[indices]),
        )

    size, share = experiment.batch_size, slice(distributed.rank(), None, distributed.world())
    indices = [order[i : i + size][share] for i in range(0, count, size)]
    return ahead(make, indices, workers=sets.train.loading_threads)


def _measure(
    model: VGG,
    experiment: Experiment,
    fit: ImageSet,
    sets: Sets,
    machine: Machine,
    progress: Callable[[str, int], None],
) -> dict[str, Any]:
    """The part of an epoch's entry that is measured in eval mode, by centre crop and flip."""
    inputs = sets.inputs(experiment, machine)
    found = {}
    for images in (fit, sets.minival):
        tested = evaluate(
            model,
            images,
            "centre-crop",
            single_scale(experiment),
            inputs,
            machine,
            lambda n: progress("eval", n),
        )
        found[images.split] = error_and_loss(tested.posteriors, images.targets)
    x = centre_crops(sets.minival, np.arange(min(64, len(sets.minival))), experiment)
    x = normalise(machine.send(x), inputs.mean, inputs.input_divisor)
    return {
        "train_error": found["train"][0],
        "minival_error": found["minival"][0],
        "minival_loss": found["minival"][1],
        "lrn_denominator": lrn_denominator(model, x, QUANTILES),
    }


def _scheduler(
    optimizer: torch.optim.Optimizer, experiment: Experiment
) -> LambdaLR | ReduceLROnPlateau:
    if experiment.schedule == "plateau":
        return ReduceLROnPlateau(
            optimizer,
            mode="min",
            factor=0.1,
            patience=PATIENCE,
            threshold=0.0,
            min_lr=experiment.learning_rate * 0.1**DROPS,
        )
    base = experiment.learning_rate
    return LambdaLR(optimizer, lambda epoch: learning_rate_at(experiment, epoch) / base)


def _seed(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1)[0])
