"""Test protocols (Section 3.2): a trained net and images in, one posterior per image out.

Every protocol is a list of windows per image, see `windows`. The net runs over them fully
convolutionally: class scores are averaged over the score map, passed through soft-max, and
averaged with the flipped window's, then over windows and scales. A centre crop is a 1x1 score
map. OverFeat's protocol alone has a finer map, and its maximum in place of the average.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from numbers import Integral, Real
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from vggrepro import UserError, check_known, distributed
from vggrepro.augmentations import ahead, cut_batch
from vggrepro.data import ImageSet
from vggrepro.device import Machine, choose
from vggrepro.models import LRN, VGG, check_vgg, evaluating, to_dense
from vggrepro.windows import OF_TORCHVISION, PROTOCOLS, RESIZES, Window, check_room, scaled

# Pixels in one batch: on a CPU 128 windows of 64 px, whose maps mostly fit its cache (twice as
# many are slower), on a GPU, where it is not measured, 167 windows of 224 px.
BATCH_PIXELS = {"cpu": 2**19, "cuda": 2**23}


class Tested(NamedTuple):
    """What a protocol gives: (N, classes) float32 posteriors, and the score maps it saw.

    `seconds` is the time it took; errors are in percent and need the `targets` (N,).
    """

    posteriors: np.ndarray
    positions: dict[str, int]  # "1x2" (height x width) -> how many windows
    seconds: float = 0.0
    targets: np.ndarray | None = None

    @property
    def top1_error(self) -> float:
        """Percent of images whose class is not the first; a tie counts as wrong."""
        return 100 * (1 - float(outcomes(self.posteriors, self.targets)[0].mean()))

    @property
    def top5_error(self) -> float:
        """Percent of images whose class is not among the first five."""
        return 100 * (1 - float(outcomes(self.posteriors, self.targets)[1].mean()))

    @property
    def log_loss(self) -> float:
        """Mean negative log-probability of the images' classes, in nats."""
        return -float(outcomes(self.posteriors, self.targets)[2].mean())


def evaluate(
    model: VGG,
    images: ImageSet,
    protocol: str = "dense",
    scales: int | Sequence[int] = 256,
    *,
    pixels: bool = False,
    resize: str = "isotropic",
    device: Machine | str = "auto",
    progress: bool | Callable[[int], None] = True,
) -> Tested:
    """Test a net on images under one of `windows.PROTOCOLS`, averaged over scales (3.2, 4.2).

    `windows.OF_TORCHVISION` has two more protocols, for published weights; with these goes the
    `resize` "torchvision". `scales` are the paper's Q, for a crop of 224 px and scaled to the
    net's own, or with `pixels` the shortest sides in pixels. The net is moved to `device`, by
    default the best there is. `progress` is a bar, none, or a function that is told the number of
    windows after each batch. Each image counts once, whatever the batches: of several processes
    every one takes its own images, and all get the same result.

    Raises `UserError` for an unknown protocol or resize, a scale that is none or too small, no
    images, and a net that is no `VGG` in float32, has another number of classes, or does not know
    its pixel mean.
    """
    check_known("resize", resize, RESIZES)
    device = choose(device)
    check_net(model, images)
    several = isinstance(scales, Sequence | np.ndarray) and not isinstance(scales, str)
    scales = list(scales) if several else [scales]
    kind = Integral if pixels else Real
    if not scales or not all(isinstance(q, kind) and 0 < q < inf for q in scales):
        raise UserError(
            f"scales are positive whole numbers, one such as 256 or several such as "
            f"(224, 256, 288), not {scales}"
        )
    if not pixels:
        scales = [scaled(q, model.crop) for q in scales]
    model.to(device.device, memory_format=torch.channels_last)
    work = [windows(protocol, images, scale, model.crop) for scale in scales]
    with counted(progress, sum(map(len, work)), " windows") as done:
        tested = [run_windows(model, images, protocol, some, device, done, resize) for some in work]
    return combine(tested)


@contextmanager
def counted(progress: bool | Callable, total: int, unit: str) -> Iterator[Callable]:
    """What to tell how many were done: `progress` itself if it can be called, or a bar, or nothing.

    The bar takes the last argument, so that what counts in kinds can say the kind first.
    """
    if callable(progress):
        yield progress
        return
    with tqdm(total=total, unit=unit, leave=False, disable=not progress) as bar:
        yield lambda *told: bar.update(told[-1])


def check_net(model: VGG, images: ImageSet) -> None:
    """Raise `UserError` unless it is a `VGG` in float32 that has the classes of these images."""
    check_vgg(model)
    if not isinstance(images, ImageSet):
        raise UserError(f"give a set of images, such as photos.val, not {type(images).__name__}")
    if not len(images):
        raise UserError("there is no image in this set")
    if other := {str(w.dtype) for w in model.parameters()} - {"torch.float32"}:
        raise UserError(
            f"this net is in {', '.join(other)}: make it float32 with net.float() and set its "
            "pixel mean again; what it computes in is chosen by the precision of the device"
        )
    check_classes(model, images)


def check_classes(model: VGG, images: ImageSet) -> None:
    """Raise `UserError` unless the net has as many outputs as the images have classes."""
    outputs = model.classifier[-1].out_features
    if outputs != len(images.classes):
        raise UserError(
            f"this net has {outputs} outputs, and there are {len(images.classes)} classes of "
            "images: build it with num_classes=len(photos.classes)"
        )


def windows(protocol: str, images: ImageSet, scale: int, crop: int) -> list[tuple[int, Window]]:
    """All windows of all images at one scale (in pixels), as (image, window).

    Raises `UserError` for an unknown protocol or a scale that is too small.
    """
    known = PROTOCOLS | OF_TORCHVISION
    check_known("protocol", protocol, known)
    check_room(scale, crop)
    return [
        (index, window)
        for index, (height, width) in enumerate(images.sizes.tolist())
        for window in known[protocol]((height, width), scale, crop)
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
def run_windows(
    model: VGG,
    images: ImageSet,
    protocol: str,
    work: Batch,
    device: Machine,
    done: Callable[[int], None],
    resize: str = "isotropic",
) -> Tested:
    """The posteriors of the images: the mean over their windows in `work`, all at one scale."""
    own = [item for item in work if item[0] % distributed.world() == distributed.rank()]
    started, overfeat = perf_counter(), protocol == "overfeat"
    # Sermanet et al. (2014) do not say whether the maximum is taken before or after soft-max.
    # Before, what is averaged afterwards are distributions, as in the paper's own protocols.
    over_space = torch.amax if overfeat else torch.mean
    # Summed on the CPU in float64: neither batches nor the device decide the order that matters.
    total = np.zeros((len(images), len(images.classes)))
    positions: Counter[str] = Counter()

    def load(batch: Batch) -> tuple[Batch, torch.Tensor]:
        return batch, cut_batch(images, [i for i, _ in batch], [w for _, w in batch], resize)

    batches = _batches(own, BATCH_PIXELS[device.device.type])
    with evaluating(model):
        dense = to_dense(model, every_offset=overfeat)
        for batch, crops in ahead(load, batches, workers=images.loading_threads):
            x = model.normalised(device.send(crops))
            with device.autocast():
                views = (x,) if protocol in OF_TORCHVISION else (x, x.flip(-1))
                maps = [dense(view) for view in views]  # (B, classes, h, w)
            seen = [over_space(scores.float(), (-2, -1)).softmax(-1).double() for scores in maps]
            np.add.at(total, [i for i, _ in batch], (sum(seen) / len(seen)).cpu().numpy())
            positions["{}x{}".format(*maps[0].shape[-2:])] += len(batch)
            done(len(batch))
    total = distributed.add(total)
    positions = sum(distributed.gather(positions), Counter())
    if len(own) < len(work):
        done(len(work) - len(own))  # what the others did
    mean = (total / (len(work) // len(images))).astype(np.float32)
    return Tested(mean, dict(sorted(positions.items())), perf_counter() - started, images.targets)


def combine(tested: list[Tested]) -> Tested:
    """The mean of posteriors, (N, classes) each, over scales (4.2), protocols (4.3), nets (4.4)."""
    positions = sum((Counter(one.positions) for one in tested), Counter())
    mean = np.mean([one.posteriors for one in tested], axis=0, dtype=np.float64)
    seconds, targets = sum(one.seconds for one in tested), tested[0].targets
    return Tested(mean.astype(np.float32), dict(sorted(positions.items())), seconds, targets)


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


@torch.inference_mode()
def lrn_denominator(
    model: VGG, x: torch.Tensor, quantiles: tuple[float, ...]
) -> tuple[float, ...] | None:
    """Quantiles of LRN's denominator over a batch of inputs (B, 3, H, W); None without LRN.

    A layer whose denominator hardly varies is a constant factor, and its ablation says nothing.
    """
    for place, layer in enumerate(model.features):
        if isinstance(layer, LRN):
            values = layer.denominator(model.features[:place](x)).flatten().cpu().numpy()
            return tuple(round(float(q), 5) for q in np.quantile(values, quantiles))
    return None
