"""Test protocols (Section 3.2): a trained net and images in, one posterior per image out.

Every protocol is a list of windows per image, see `windows`. The net runs over them fully
convolutionally: class scores are averaged over the score map, passed through soft-max, and
averaged with the flipped window's, then over windows and scales. A centre crop is a 1x1 score
map. OverFeat's protocol alone has a finer map, and its maximum in place of the average.
"""

from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from vggrepro import UserError, distributed
from vggrepro.augmentations import cut_batch, normalise
from vggrepro.data import ImageSet
from vggrepro.device import Machine
from vggrepro.loader import ahead
from vggrepro.models import LRN, VGG, to_dense
from vggrepro.windows import PROTOCOLS, Window, scaled

# Pixels in one batch: on a CPU 128 windows of 64 px, whose maps mostly fit its cache (twice as
# many are slower), on a GPU, where none of us has measured it, 167 windows of 224 px.
BATCH_PIXELS = {"cpu": 2**19, "cuda": 2**23}


class Tested(NamedTuple):
    """What a protocol gives: (N, classes) float32 posteriors, and the score maps it saw.

    `seconds` is the time it took.
    """

    posteriors: np.ndarray
    positions: dict[str, int]  # "1x2" (height x width) -> how many windows
    seconds: float = 0.0


class Inputs(NamedTuple):
    """How pixels become inputs of this net: subtract `mean` (3,), divide (Section 2.1)."""

    mean: torch.Tensor
    input_divisor: float


def windows(protocol: str, images: ImageSet, scale: int, crop: int) -> list[tuple[int, Window]]:
    """All windows of all images at one scale (in pixels), as (image, window).

    Raises `UserError` for an unknown protocol or a scale that is too small.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}")
    return [
        (index, window)
        for index, (height, width) in enumerate(images.sizes.tolist())
        for window in PROTOCOLS[protocol]((height, width), scale, crop)
    ]


Batch = list[tuple[int, Window]]


def _batches(work: Batch, pixels: int) -> list[Batch]:
    """The windows in batches of one shape each, about so many pixels in all; none is padded."""
    by_shape: dict[tuple[int, int], Batch] = {}
    for item in work:
        by_shape.setdefault(item[1][-2:], []).append(item)
    batches = []
    for (width, height), items in by_shape.items():
        size = max(1, pixels // (width * height))
        batches += [items[i : i + size] for i in range(0, len(items), size)]
    return batches


@torch.inference_mode()
def evaluate(
    model: VGG,
    images: ImageSet,
    protocol: str,
    test_scale: int,
    inputs: Inputs,
    machine: Machine,
    progress: Callable[[int], None] = lambda windows: None,
) -> Tested:
    """Run `model`, in eval mode, over `images` under a protocol at one Q (the paper's number).

    `progress` is told the number of windows after each batch. Each image counts exactly once,
    whatever the batches: of several processes every one takes its own images, and all get the
    same result. Raises `UserError` as `windows` does.
    """
    work = windows(protocol, images, scaled(test_scale, model.crop), model.crop)
    rank, world = distributed.rank(), distributed.world()
    own = [item for item in work if item[0] % world == rank]
    batches = _batches(own, BATCH_PIXELS[machine.device.type])
    started = perf_counter()
    was_training = model.training
    overfeat = protocol == "overfeat"
    dense = to_dense(model.eval(), every_offset=overfeat)
    over_space = _maximum if overfeat else _mean
    # Summed on the CPU in float64: neither batches nor the device decide the order that matters.
    total = np.zeros((len(images), len(images.classes)))
    positions: Counter[str] = Counter()

    def load(batch: Batch) -> tuple[Batch, torch.Tensor]:
        return batch, cut_batch(images, [i for i, _ in batch], [w for _, w in batch])

    for batch, crops in ahead(load, batches, workers=images.loading_threads):
        x = normalise(machine.send(crops), inputs.mean, inputs.input_divisor)
        with machine.autocast():
            maps = [dense(view) for view in (x, x.flip(-1))]
        both = [over_space(scores.float()).softmax(-1).double() for scores in maps]
        found = ((both[0] + both[1]) / 2).cpu().numpy()
        np.add.at(total, [i for i, _ in batch], found)
        positions["{}x{}".format(*maps[0].shape[-2:])] += len(batch)
        progress(len(batch))
    model.train(was_training)
    total = distributed.add(total)
    positions = sum(distributed.gather(positions), Counter())
    if len(own) < len(work):
        progress(len(work) - len(own))  # what the others did
    passes = len(work) // len(images)
    mean = (total / passes).astype(np.float32)
    return Tested(mean, dict(sorted(positions.items())), perf_counter() - started)


def _mean(scores: torch.Tensor) -> torch.Tensor:
    """(B, classes) from score maps (B, classes, h, w)."""
    return scores.mean((-2, -1))


def _maximum(scores: torch.Tensor) -> torch.Tensor:
    # Sermanet et al. (2014) do not say whether it is taken before or after soft-max. Before, what
    # is averaged afterwards are distributions, as in the paper's own protocols.
    return scores.amax((-2, -1))


def combine(tested: list[Tested]) -> Tested:
    """The mean of posteriors over scales (4.2), protocols (4.3) or nets (4.4)."""
    positions: Counter[str] = Counter()
    for one in tested:
        positions.update(one.positions)
    mean = np.mean([one.posteriors for one in tested], axis=0, dtype=np.float64)
    seconds = sum(one.seconds for one in tested)
    return Tested(mean.astype(np.float32), dict(sorted(positions.items())), seconds)


def outcomes(posteriors: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Per image: top-1 correct, top-5 correct (both (N,) bool), log-probability of the target.

    A tie counts as wrong: for top-k the target must strictly beat all but k - 1 other classes.
    """
    own = posteriors[np.arange(len(targets)), targets]
    # The target itself is one of those that reach its own value. Not-a-number is below nothing,
    # so that a net that has diverged has the last rank, not the first.
    rank = (~(posteriors < own[:, None])).sum(1)
    log_probability = np.log(np.maximum(own, np.finfo(np.float32).tiny))
    return rank <= 1, rank <= 5, log_probability


def error_and_loss(posteriors: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Top-1 error in percent and mean negative log-probability in nats."""
    correct, _, log_probability = outcomes(posteriors, targets)
    return 100 * (1 - float(correct.mean())), -float(log_probability.mean())


def lrn_layer(model: nn.Module) -> LRN | None:
    """The net's LRN layer, if it has one."""
    return next((m for m in model.modules() if isinstance(m, LRN)), None)


@torch.inference_mode()
def lrn_denominator(
    model: VGG, x: torch.Tensor, quantiles: tuple[float, ...]
) -> tuple[float, ...] | None:
    """Quantiles of LRN's denominator over a batch of inputs (B, 3, H, W); None without LRN.

    A layer whose denominator hardly varies is a constant factor, and its ablation says nothing.
    """
    layer = lrn_layer(model)
    if layer is None:
        return None
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda m, args: seen.append(m.denominator(args[0])))
    try:
        was_training = model.training
        model.eval()(x)
        model.train(was_training)
    finally:
        hook.remove()
    values = seen[0].float().flatten().cpu().numpy()
    return tuple(round(float(q), 5) for q in np.quantile(values, quantiles))
