"""Image sets and small nets in memory, for the tests of training and testing."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from vggrepro.data import ImageSet, PixelStatistics
from vggrepro.device import Machine
from vggrepro.models import VGG, initialise

CPU = Machine(torch.device("cpu"), "float32")
MEAN = torch.tensor([120.0, 110.0, 100.0])


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Pictures(list):
    """Images in a list, with what image sets ask of theirs."""

    @property
    def sizes(self):
        return np.array([image.shape[:2] for image in self])

    def subset(self, indices):
        return Pictures(self[i] for i in indices)

    def fingerprint(self, targets):
        pixels = (image.tobytes() for image in self)
        return hashlib.sha256(b"".join([*pixels, targets.tobytes()])).hexdigest()


def image_set(count, *, images=None, sizes=((40, 48), (52, 40)), classes=4, split="val", seed=0):
    """Noise of those sizes (height, width) in turn, or `images`; targets 0, 1, 2, ... in turn."""
    if images is None:
        images = [noise(*sizes[i % len(sizes)], seed=seed + i) for i in range(count)]
    return ImageSet(
        name="hand-made",
        split=split,
        classes=tuple(f"class {c}" for c in range(classes)),
        targets=np.arange(count) % classes,
        images=images if hasattr(images, "subset") else Pictures(images),
    )


def coloured_set(count, *, split="train", seed=0):
    """Images of 40x48 and 48x40 px whose class is their colour, under much noise."""
    colours = np.array([[200, 90, 90], [90, 200, 90], [90, 90, 200], [170, 170, 60]])
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        shape = (40, 48, 3) if i % 3 else (48, 40, 3)
        image = colours[i % 4] + rng.normal(0, 60, shape)
        images.append(image.clip(0, 255).astype(np.uint8))
    return image_set(count, images=images, split=split)


def statistics_of(pixels):
    """PixelStatistics of (N, 3) RGB values from 0 to 255, by numpy's own covariance."""
    covariance = np.cov(pixels.T, bias=True)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return PixelStatistics(pixels.mean(0), eigenvalues[::-1].copy(), vectors[:, ::-1].copy())


@dataclass(frozen=True)
class Sets:
    """Photos in memory: what a training reads of them."""

    train: ImageSet
    minival: ImageSet
    pixels: PixelStatistics

    @property
    def classes(self):
        return self.train.classes


def small_net(config="A", crop=64, seed=0, classes=4):
    """A net of a sixteenth of the width, from He's start, in eval mode."""
    model = VGG(config, classes, width=1 / 16, crop=crop, hidden=16, input_divisor=60.0)
    model.set_pixel_mean(MEAN.tolist())
    initialise(model, "he", seed=seed)
    return model.eval()


def as_input(picture):
    """A picture as the input of such a net, (1, 3, H, W)."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    return ((pixels - MEAN[:, None, None]) / 60)[None]
