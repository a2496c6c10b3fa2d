"""What happens to an image before a net sees it, in training (3.1) and in testing (3.2).

A crop is one resize of the wanted box: PIL's filter reads the pixels around the box too, so that
the result is the crop of the rescaled image, without rescaling what is thrown away. Only where an
image is rescaled once for many crops is it rescaled as a whole.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from vggrepro.data import ImageSet, PixelStatistics
from vggrepro.windows import (
    Mirrored,
    Window,
    centre_window,
    check_room,
    cut,
    cut_as_torchvision,
    random_window,
    rescaled_size,
)

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

    With one S each image is rescaled once and kept, if all of them fit into `LIMIT_BYTES`;
    otherwise each crop is resized from the original. Both ways give the same crops but for
    roundings: two grey levels at most were seen. Raises `UserError` for an S below the crop.
    """

    LIMIT_BYTES = 2**30

    def __init__(
        self, images: ImageSet, pixels: PixelStatistics, train_scale: tuple[int, int], side: int
    ) -> None:
        self.images, self.pixels, self.train_scale, self.side = images, pixels, train_scale, side
        low, high = train_scale
        check_room(low, side, "S")
        ratios = low / images.sizes.min(1)
        size = 3 * float((images.sizes.prod(1) * ratios**2).sum())
        fits = low == high and size <= self.LIMIT_BYTES
        self._kept: list[np.ndarray | None] | None = [None] * len(images) if fits else None

    def crop(self, index: int, window: Window) -> np.ndarray:
        """That window of image `index`: (height, width, 3) uint8."""
        if self._kept is None:
            return cut(self.images.images[index], window)
        bottom, right = window.top + window.height, window.left + window.width
        return self._whole(index)[window.top : bottom, window.left : right]

    def _whole(self, index: int) -> np.ndarray:
        whole = self._kept[index]
        if whole is None:
            image, scale = self.images.images[index], self.train_scale[0]
            height, width = rescaled_size(*image.shape[:2], scale)
            whole = self._kept[index] = cut(image, Window(scale, 0, 0, width, height))
        return whole

    def batch(self, indices: np.ndarray, draws: Draws) -> torch.Tensor:
        """Random crops with random flips, one per image: (B, 3, side, side) uint8, channels last.

        Raises `UserError` for a photo that cannot be read.
        """
        batch = np.empty((len(indices), self.side, self.side, 3), np.uint8)
        for row, index in zip(batch, indices, strict=True):
            uniform = draws.uniform[index]
            size = self.images.sizes[index].tolist()
            patch = self.crop(index, random_window(size, self.train_scale, self.side, uniform))
            row[:] = patch[:, ::-1] if uniform[3] < 0.5 else patch
        return torch.from_numpy(batch).permute(0, 3, 1, 2)

    def on(self, device: torch.device) -> "Rescaled":
        """The same in the device's memory, or as it is if the images are not kept rescaled."""
        return self if self._kept is None else Resident(self, device)


class Resident(Rescaled):
    """`Rescaled` images in a device's memory: crops and flips are taken there, by index.

    Windows and draws are the same, and so is every byte of a batch.
    """

    def __init__(self, rescaled: Rescaled, device: torch.device) -> None:
        super().__init__(rescaled.images, rescaled.pixels, rescaled.train_scale, rescaled.side)
        whole = [rescaled._whole(i) for i in range(len(self.images))]
        self.sizes = np.array([image.shape[:2] for image in whole])
        self.starts = np.cumsum([0, *self.sizes.prod(1)])[:-1]
        pixels = np.concatenate([image.reshape(-1, 3) for image in whole])
        self._on_device = torch.from_numpy(pixels).to(device)  # (all pixels, 3)

    def batch(self, indices: np.ndarray, draws: Draws) -> torch.Tensor:
        """What `Rescaled.batch` gives, on the device."""
        side, device = self.side, self._on_device.device
        height, width = self.sizes[indices].T
        uniform = draws.uniform[indices]
        left, top = (  # in float32, as one by one
            (uniform[:, i] * (room - side + 1).astype(np.float32)).astype(np.int64)
            for i, room in ((1, width), (2, height))
        )
        first = self.starts[indices] + top * width + left
        first, width, flip = (
            torch.from_numpy(one).to(device)[:, None] for one in (first, width, uniform[:, 3] < 0.5)
        )
        along = torch.arange(side, device=device)
        columns = torch.where(flip, side - 1 - along, along)
        rows = first + along * width
        return self._on_device[rows[:, :, None] + columns[:, None]].permute(0, 3, 1, 2)


def colour_shifts(
    draws: Draws, indices: np.ndarray, pixels: PixelStatistics, std: float
) -> torch.Tensor:
    """The PCA RGB shift of each image, (B, 3) float32 in pixel units: sum of a_i (l_i / 255) p_i.

    a_i is normal with that standard deviation, l_i and p_i are the eigenvalues and eigenvectors
    of the covariance of the training pixels, from 0 to 255.
    """
    # The paper leaves the scale of the pixels open, and eigenvalues grow with its square: at
    # 0 to 255 the formula would blank the image. It is taken on pixels from 0 to 1, as the
    # field does, and the shift then brought back to 0 to 255.
    spread = pixels.eigenvalues / 255 * std
    shifts = (draws.normal[indices] * spread) @ pixels.eigenvectors.T
    return torch.from_numpy(shifts.astype(np.float32))


# --- testing (Section 3.2) ----------------------------------------------------------------


def cut_batch(
    images: ImageSet, indices: np.ndarray, windows: list[Window], resize: str = "isotropic"
) -> torch.Tensor:
    """Windows of one size, each of its image: (B, 3, height, width) uint8, channels last.

    Consecutive windows of one image read it once: where sets are not cached, that is decoding.
    """
    patches = []
    for index, of_image in groupby(zip(indices, windows, strict=True), key=itemgetter(0)):
        image, own = images.images[index], [window for _, window in of_image]
        if resize == "torchvision":
            found = cut_as_torchvision(image, own)
        else:
            found = [cut(image, window) for window in own]
        patches += [
            patch[:, ::-1] if isinstance(window, Mirrored) else patch
            for patch, window in zip(found, own, strict=True)
        ]
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)


def centre_crops(images: ImageSet, chosen: np.ndarray, scale: int, side: int) -> torch.Tensor:
    """Centre crops of the chosen images at one Q, both in pixels: (B, 3, side, side) uint8."""
    windows = [centre_window(tuple(images.sizes[i]), scale, side) for i in chosen]
    return cut_batch(images, chosen, windows)


# --- batches made ahead, by threads while the device computes -------------------------------

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(
    make: Callable[[Item], Made], items: Iterable[Item], *, workers: int = 1, depth: int = 3
) -> Iterator[Made]:
    """`make(item)` for each item, in order, up to `workers + depth` of them made in advance.

    By threads: decoding and rescaling release the interpreter's lock, and nothing has to be sent.
    An error in `make` is raised where its batch would have come. Nothing is left running when
    the consumer stops early.
    """
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(make, item) for item in islice(items, workers + depth))
        try:
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(make, item) for item in islice(items, 1))
                yield batch
        finally:
            for future in waiting:
                future.cancel()
