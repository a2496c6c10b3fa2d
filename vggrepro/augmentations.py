"""What happens to an image before a net sees it, in training (3.1) and in testing (3.2).

Every crop is one resize of the wanted box: PIL's filter reads the pixels around the box too, so
that the result is the crop of the rescaled image, without rescaling what is thrown away.
"""

from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch

from vggrepro.data import ImageSet, PixelStatistics
from vggrepro.windows import Window, centre_window, cut, random_window, rescaled_size

# --- training (Section 3.1) ---------------------------------------------------------------


class Draws(NamedTuple):
    """The random numbers of one epoch: row i belongs to image i, whoever asks and when.

    So workers, ranks, order and interruptions change nothing.
    """

    uniform: np.ndarray  # (N, 4): scale, left, top, flip
    normal: np.ndarray  # (N, 3): weights of the three principal colours

    @classmethod
    def of(cls, seed: int, epoch: int, count: int) -> "Draws":
        """The draws for `count` images in that epoch of that seed."""
        generator = np.random.default_rng([seed, epoch, 0])
        uniform = generator.random((count, 4), dtype=np.float32)
        return cls(uniform, generator.standard_normal((count, 3), dtype=np.float32))


class Rescaled:
    """Training images at the S and for the crop of a net, both in pixels, and their RGB statistics.

    Rescaled to a fixed S once and kept, if all of them fit into `LIMIT_BYTES`, or cut anew, as
    for a range of S. Both ways give the same crops but for the rounding of a grey level.
    """

    LIMIT_BYTES = 2**30

    def __init__(
        self, images: ImageSet, pixels: PixelStatistics, train_scale: tuple[int, int], side: int
    ) -> None:
        self.images, self.pixels, self.train_scale, self.side = images, pixels, train_scale, side
        low, high = train_scale
        ratios = low / images.sizes.min(1)
        size = 3 * float((images.sizes.prod(1) * ratios**2).sum())
        fits = low == high and size <= self.LIMIT_BYTES
        self._kept: list[np.ndarray | None] | None = [None] * len(images) if fits else None

    def crop(self, index: int, window: Window) -> np.ndarray:
        """That window of image `index`: (height, width, 3) uint8."""
        if self._kept is None:
            return cut(self.images.images[index], window)
        whole = self._kept[index]
        if whole is None:
            image = self.images.images[index]
            height, width = rescaled_size(*image.shape[:2], window.scale)
            whole = cut(image, Window(window.scale, 0, 0, width, height))
            self._kept[index] = whole
        bottom, right = window.top + window.height, window.left + window.width
        return whole[window.top : bottom, window.left : right]


def training_batch(images: Rescaled, indices: np.ndarray, draws: Draws) -> torch.Tensor:
    """Random crops with random flips, one per image: (B, 3, side, side) uint8, channels last.

    Raises `UserError` for an S below the crop, or a photo that cannot be read.
    """
    side = images.side
    batch = np.empty((len(indices), side, side, 3), np.uint8)
    for row, index in zip(batch, indices, strict=True):
        uniform = draws.uniform[index]
        height, width = images.images.sizes[index]
        window = random_window((int(height), int(width)), images.train_scale, side, uniform)
        patch = images.crop(index, window)
        row[:] = patch[:, ::-1] if uniform[3] < 0.5 else patch
    return torch.from_numpy(batch).permute(0, 3, 1, 2)


def colour_shifts(
    draws: Draws, indices: np.ndarray, pixels: PixelStatistics, std: float
) -> torch.Tensor:
    """The PCA RGB shift of each image, (B, 3) float32 in pixel units: sum of a_i l_i p_i.

    a_i is normal with that standard deviation, l_i and p_i are the eigenvalues and eigenvectors
    of the covariance of the training pixels.
    """
    # The paper leaves the scale of the pixels open, and eigenvalues grow with its square: at
    # 0 to 255 the formula would blank the image. It is taken on pixels from 0 to 1, as the
    # field does, and the shift then brought back to 0 to 255.
    spread = pixels.eigenvalues / 255 * std
    shifts = (draws.normal[indices] * spread) @ pixels.eigenvectors.T
    return torch.from_numpy(shifts.astype(np.float32))


# --- testing (Section 3.2) ----------------------------------------------------------------


def cut_batch(images: ImageSet, indices: np.ndarray, windows: list[Window]) -> torch.Tensor:
    """Windows of one size, each of its image: (B, 3, height, width) uint8, channels last.

    Consecutive windows of one image read it once: where sets are not cached, that is decoding.
    """
    patches = []
    for index, of_image in groupby(zip(indices, windows, strict=True), key=itemgetter(0)):
        image = images.images[index]
        patches += [cut(image, window) for _, window in of_image]
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)


def centre_crops(images: ImageSet, chosen: np.ndarray, scale: int, side: int) -> torch.Tensor:
    """Centre crops of the chosen images at one Q, both in pixels: (B, 3, side, side) uint8."""
    windows = [centre_window(tuple(images.sizes[i]), scale, side) for i in chosen]
    return cut_batch(images, chosen, windows)
