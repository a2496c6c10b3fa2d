"""Which parts of an image a training crop (3.1) and each test protocol (3.2) look at.

It lists them as boxes, and cuts out the pixels in them.

A protocol turns the size of an image (height, width), Q and the side of the crop, all in pixels,
into windows. Every window is seen twice, as it is and mirrored, except under those of
`OF_TORCHVISION`; that is left to `evaluators`, as is what becomes of the scores. Nothing here needs
torch.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from vggrepro import UserError

# One position of the score map is so many pixels of the image.
from vggrepro.configs import DOWNSAMPLING as STRIDE

PAPER_CROP = 224

# The paper names no interpolation; PIL's bilinear filter widens when it shrinks (antialias).
INTERPOLATION = Image.Resampling.BILINEAR


def scaled(paper_pixels: int, crop: int) -> int:
    """The paper's S or Q (for a crop of 224 px) in pixels for another crop.

    >>> scaled(256, 64)
    73
    """
    return round(paper_pixels * crop / PAPER_CROP)


class Window(NamedTuple):
    """A rectangle of the rescaled image: rescaled to `scale`, cut at (left, top), in pixels."""

    scale: int
    left: int
    top: int
    width: int
    height: int


class Mirrored(Window):
    """A window of which the mirror image is seen."""


def rescaled_size(height: int, width: int, scale: int) -> tuple[int, int]:
    """(height, width) after isotropic rescaling to a shortest side of `scale`.

    The long side is rounded down, as torchvision's `Resize` does.
    """
    if height <= width:
        return scale, int(scale * width / height)
    return int(scale * height / width), scale


def box(size: tuple[int, int], window: Window) -> tuple[float, float, float, float]:
    """The window in pixels of the image before rescaling: left, top, right, bottom.

    `size` is (height, width) of that image.
    """
    height, width = size
    ratio = min(height, width) / window.scale
    return (
        window.left * ratio,
        window.top * ratio,
        min((window.left + window.width) * ratio, width),
        min((window.top + window.height) * ratio, height),
    )


def cut(image: np.ndarray, window: Window) -> np.ndarray:
    """That window of the rescaled image: (H, W, 3) uint8 in, (height, width, 3) uint8 out."""
    size, place = (window.width, window.height), box(image.shape[:2], window)
    return np.asarray(Image.fromarray(image).resize(size, INTERPOLATION, place))


def cut_as_torchvision(image: np.ndarray, windows: list[Window]) -> list[np.ndarray]:
    """Windows of an image that is rescaled as a whole, to the pixel as `transforms.Resize` does.

    Its long side is a whole number of pixels, so the image is not scaled quite isotropically, and
    windows differ from those of `cut` by some grey levels, at edges by tens. Windows of one scale
    share a resize.
    """

    @cache
    def whole(scale: int) -> np.ndarray:
        height, width = rescaled_size(*image.shape[:2], scale)
        return np.asarray(Image.fromarray(image).resize((width, height), INTERPOLATION))

    return [whole(w.scale)[w.top : w.top + w.height, w.left : w.left + w.width] for w in windows]


def check_room(scale: int, crop: int, letter: str = "Q") -> None:
    """Raise UserError for a scale below the crop, both in pixels."""
    if scale < crop:
        raise UserError(
            f"{letter} = {scale} px is smaller than the {crop} px crop: choose a larger {letter}"
        )


# --- training -----------------------------------------------------------------------------


def random_window(
    size: tuple[int, int], train_scale: tuple[int, int], crop: int, uniform: np.ndarray
) -> Window:
    """The training crop: S uniform among the whole numbers of `train_scale`, place uniform.

    `size` is (height, width) of the image, scales and crop are in pixels, `uniform` holds four
    numbers in [0, 1), of which three are used.
    """
    low, high = train_scale
    scale = low + int(uniform[0] * (high - low + 1))
    height, width = rescaled_size(*size, scale)
    left = int(uniform[1] * (width - crop + 1))
    top = int(uniform[2] * (height - crop + 1))
    return Window(scale, left, top, crop, crop)


# --- one window ---------------------------------------------------------------------------


def centre_window(size: tuple[int, int], scale: int, crop: int) -> Window:
    """The central crop x crop square of the image rescaled to `scale`."""
    height, width = rescaled_size(*size, scale)
    return Window(scale, (width - crop) // 2, (height - crop) // 2, crop, crop)


def dense_window(size: tuple[int, int], scale: int, crop: int) -> Window:
    """The image rescaled to `scale`, trimmed evenly to the crop and whole strides of 32 px."""
    height, width = rescaled_size(*size, scale)
    # DEVIATION: floor pooling would drop up to 31 px at the right and at the bottom only, which
    # moves the grid off the centre; trimming both sides alike keeps it there.
    kept_height, kept_width = (crop + (side - crop) // STRIDE * STRIDE for side in (height, width))
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return Window(scale, left, top, kept_width, kept_height)


def score_map(size: tuple[int, int], scale: int, crop: int) -> tuple[int, int]:
    """(rows, columns) of the map of class scores that dense evaluation averages over."""
    window = dense_window(size, scale, crop)
    rows, columns = (side // STRIDE - crop // STRIDE + 1 for side in (window.height, window.width))
    return rows, columns


def positions(window: Window, crop: int, stride: int = STRIDE) -> list[Window]:
    """The crop that each position of a window's score map stands for, row by row.

    A position sees more than its crop: where a crop is padded with zeros, the dense net goes on
    into the image (Section 3.2). A window of the crop's size is one position.
    """
    # Five poolings floor the crop, too: one position is that many whole strides wide.
    side = crop // STRIDE * STRIDE
    return [
        Window(window.scale, window.left + x, window.top + y, crop, crop)
        for y in range(0, window.height - side + 1, stride)
        for x in range(0, window.width - side + 1, stride)
    ]


# --- many windows -------------------------------------------------------------------------


def grid_windows(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """VGG's regular 5x5 grid of crops: 50 for a scale with their mirror images."""
    height, width = rescaled_size(*size, scale)
    # The paper does not say what the grid spans: here the whole rescaled image, its corners
    # included, long sides too.
    lefts, tops = ([round(i * (side - crop) / 4) for i in range(5)] for side in (width, height))
    return [Window(scale, left, top, crop, crop) for top in tops for left in lefts]


def shifted_windows(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """Dense evaluation on two grids a direction, half a stride (16 px) apart: four windows.

    The control for what depends on where the grid falls: about as many passes as several Q, at
    one Q. Both grids are placed about the centre. The pixels that dense evaluation trims are room
    to shift in. With fewer than 16 of them the grids are as far apart as the room allows; with
    fewer than 8 the second is half a stride further in and one position shorter, unless it has
    just one.
    """
    height, width = rescaled_size(*size, scale)
    return [
        Window(scale, left, top, kept_width, kept_height)
        for top, kept_height in _two_grids(height, crop)
        for left, kept_width in _two_grids(width, crop)
    ]


def _two_grids(side: int, crop: int) -> list[tuple[int, int]]:
    """(start, length) of both grids along a side."""
    spare = (side - crop) % STRIDE
    kept, half = side - spare, STRIDE // 2
    if spare < half / 2 and kept - STRIDE >= crop:
        return [(spare // 2, kept), (spare // 2 + half, kept - STRIDE)]
    shift = min(spare, half)
    start = (spare - shift) // 2
    return [(start, kept), (start + shift, kept)]


def single_crop(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """torchvision's `CenterCrop` of the rescaled image: what the pages of its weights report."""
    height, width = rescaled_size(*size, scale)
    # It rounds halves to even, where `centre_window` rounds down.
    return [Window(scale, round((width - crop) / 2), round((height - crop) / 2), crop, crop)]


def ten_crop(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """torchvision's `TenCrop`: corners and centre of the whole rescaled image and of its mirror."""
    (centre,) = single_crop(size, scale, crop)
    height, width = rescaled_size(*size, scale)
    right, bottom = width - crop, height - crop
    # An odd rest puts the mirror's centre one pixel beside the centre's mirror.
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    plain = [*corners, (centre.left, centre.top)]
    mirrored = [*corners, (right - centre.left, centre.top)]
    return [Window(scale, left, top, crop, crop) for left, top in plain] + [
        Mirrored(scale, left, top, crop, crop) for left, top in mirrored
    ]


def alexnet_windows(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """AlexNet's crops: corners and centre of the central square; 10 with mirror images.

    Krizhevsky et al. (2012) cut the central 256 x 256 square out first, so the ends of a long
    side are not seen.
    """
    return _corners_and_centre(scale, *_squares(size, scale)[1], crop)


def googlenet_windows(size: tuple[int, int], scale: int, crop: int) -> list[Window]:
    """GoogLeNet's crops at one of its four scales: 36 with mirror images, 144 at four scales.

    Of the left, central and right square (top, central and bottom in a portrait): corners and
    centre, and the square itself resized to the crop. For a square image the three are the same.
    """
    found = []
    # DEVIATION: Szegedy et al. (2014) shrink the square cut at `scale`; here the image is rescaled
    # once, to that smaller size. So the resized square is the same at each of the four scales.
    for square, resized in zip(_squares(size, scale), _squares(size, crop), strict=True):
        found += _corners_and_centre(scale, *square, crop)
        found.append(Window(crop, *resized, crop, crop))
    return found


def _squares(size: tuple[int, int], scale: int) -> list[tuple[int, int]]:
    """(left, top) of the squares of side `scale` at both ends of the long side and between."""
    height, width = rescaled_size(*size, scale)
    right, bottom = width - scale, height - scale  # one of them is 0
    return [(0, 0), (right // 2, bottom // 2), (right, bottom)]


def _corners_and_centre(scale: int, left: int, top: int, crop: int) -> list[Window]:
    """Five crops of the square of side `scale` at (left, top)."""
    far, middle = scale - crop, (scale - crop) // 2
    places = ((0, 0), (far, 0), (0, far), (far, far), (middle, middle))
    return [Window(scale, left + x, top + y, crop, crop) for x, y in places]


# --- protocols ----------------------------------------------------------------------------


#: (height, width) of the image, Q in pixels, crop in pixels -> as many windows for any image.
#: Who calls one has seen to it by `check_room` that there is room for a crop.
PROTOCOLS: dict[str, Callable[[tuple[int, int], int, int], list[Window]]] = {
    "centre-crop": lambda size, scale, crop: [centre_window(size, scale, crop)],
    "dense": lambda size, scale, crop: [dense_window(size, scale, crop)],
    "dense-shifted": shifted_windows,
    "multi-crop": grid_windows,
    "alexnet-10": alexnet_windows,
    "googlenet-144": googlenet_windows,
    # Dense evaluation's window; what differs is the net's last pooling and the maximum. In whole
    # strides: at every offset a crop's own rest would make one more row of scores.
    "overfeat": lambda size, scale, crop: [dense_window(size, scale, crop // STRIDE * STRIDE)],
}

#: What the pages of published weights report. Each window is seen once, as it is.
OF_TORCHVISION: dict[str, Callable[[tuple[int, int], int, int], list[Window]]] = {
    "single-crop": single_crop,
    "ten-crop": ten_crop,
}
RESIZES = ("isotropic", "torchvision")
