"""Table 1 as data: the network configurations, free of torch.

A configuration is five blocks of convolutions. Every block ends with a 2x2 max-pool of stride 2,
and all configurations share three fully-connected layers, fc6, fc7 and fc8 (Section 2.1); so
neither needs to be written down for each.
"""

import re
from math import isfinite
from numbers import Integral, Real
from typing import NamedTuple

from vggrepro import UserError

DOWNSAMPLING = 32
"""Input pixels per unit of the last feature map: five pools of stride 2."""


class Conv(NamedTuple):
    """One convolution of stride 1 that keeps the map's size, and what follows it."""

    kernel: int
    channels: int
    relu: bool = True
    lrn: bool = False


class Blocks(tuple[tuple[Conv, ...], ...]):
    """A net: five blocks of convolutions, as `row` reads them."""


def row(table: str) -> Blocks:
    """A net as `CONFIGS` has it, of five blocks with | between.

    Cells are `64`, `1-256`, `64-LRN`, `64-linear`: a kernel if it is not 3x3, channels, a mark.
    Raises `UserError` for anything else.
    """
    written = table.split("|") if isinstance(table, str) else ()
    read = Blocks(tuple(map(_parse_cell, block.split())) for block in written)
    if len(read) != 5 or not all(read):
        raise UserError(
            f"{table!r} is no row: write five blocks of at least one layer, with | between"
        )
    return read


def _parse_cell(cell: str) -> Conv:
    # A kernel is odd, to keep the map's size, and there is at least one channel.
    found = re.fullmatch(r"(?:(\d*[13579])-)?(\d*[1-9]\d*)(?:-(LRN|linear))?", cell)
    if not found:
        raise UserError(
            f"{cell!r} is no layer: write 64, 1-256 (odd kernel and channels), 64-LRN or 64-linear"
        )
    kernel, channels, mark = found.groups()
    return Conv(int(kernel or 3), int(channels), relu=mark != "linear", lrn=mark == "LRN")


# fmt: off
CONFIGS: dict[str, Blocks] = {
    name: row(table)
    for name, table in {
        # The columns of Table 1. The one LRN follows the ReLU of the first convolution.
        "A":     "64     | 128     | 256 256         | 512 512         | 512 512",
        "A-LRN": "64-LRN | 128     | 256 256         | 512 512         | 512 512",
        "B":     "64 64  | 128 128 | 256 256         | 512 512         | 512 512",
        "C":     "64 64  | 128 128 | 256 256 1-256   | 512 512 1-512   | 512 512 1-512",
        "D":     "64 64  | 128 128 | 256 256 256     | 512 512 512     | 512 512 512",
        "E":     "64 64  | 128 128 | 256 256 256 256 | 512 512 512 512 | 512 512 512 512",
        # Section 4.1: "a shallow net with five 5x5 conv. layers", B with each pair replaced.
        "B-5x5": "5-64   | 5-128   | 5-256           | 5-512           | 5-512",
        # Section 2.3: one 7x7 layer in place of three 3x3. The paper trains no such net.
        "D-7x7": "64 64  | 128 128 | 7-256           | 7-512           | 7-512",
        # Control for C, not in the paper: its 1x1 layers without the ReLU, so the capacity
        # without the non-linearity.
        "C-linear": "64 64 | 128 128 | 256 256 1-256-linear | 512 512 1-512-linear "
                    "| 512 512 1-512-linear",
        # Control for D, not in the paper: C with as many weights as D (to 0.1 %). Only layers that
        # net A does not give are widened, so that it starts from the same ones as C and D.
        "C-wide": "64 64 | 128 128 | 256 256 1-364 | 512 922 1-512 | 512 922 1-512",
    }.items()
}
# fmt: on

# "The first four convolutional layers and the last three fully-connected layers with the layers
# of net A" (Section 3.1). A's first four are 3-64, 64-128, 128-256, 256-256. Taken by position
# only the first would fit B to E; these are the places where all four fit.
FROM_NET_A: dict[str, str] = {
    "conv1_1": "features.0",
    "conv2_1": "features.3",
    "conv3_1": "features.6",
    "conv3_2": "features.8",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
"""Which layers deeper nets take from net A, and where they are in its state dict."""


def blocks(config: str, width: float = 1.0) -> Blocks:
    """Return the five blocks of a configuration, channels multiplied by `width`.

    Channels are rounded and at least 1. Raises UserError for a configuration that is not in
    `CONFIGS`, one that is no net there, or a width that is not a positive number.
    """
    if not isinstance(config, str) or config not in CONFIGS:
        known = ", ".join(CONFIGS)
        raise UserError(
            f"unknown config {config!r}: choose one of {known}; VGG-11, 13, 16, 19 are A, B, D, E"
        )
    if not isinstance(CONFIGS[config], Blocks):
        raise UserError(
            f"CONFIGS[{config!r}] is no net: put what `vggrepro.configs.row` makes of a text there"
        )
    if not (isinstance(width, Real) and isfinite(width) and width > 0):
        raise UserError(f"width must be a positive number, not {width!r}")
    return Blocks(
        tuple(conv._replace(channels=max(1, round(conv.channels * width))) for conv in block)
        for block in CONFIGS[config]
    )


def layer_names(config: str) -> tuple[str, ...]:
    """Return the names of the layers with weights: conv1_1, ..., fc6, fc7, fc8."""
    convs = (
        f"conv{i}_{j}"
        for i, block in enumerate(blocks(config), start=1)
        for j, _ in enumerate(block, start=1)
    )
    return (*convs, "fc6", "fc7", "fc8")


def map_side(crop: int) -> int:
    """Return the side of the last feature map for a square input of `crop` pixels.

    Five pools round down, so `crop` need not be a multiple of 32. Raises UserError below 32 px,
    where nothing is left.
    """
    if not isinstance(crop, Integral) or crop < DOWNSAMPLING:
        raise UserError(
            f"crop must be at least {DOWNSAMPLING} px, and whole, not {crop!r}: "
            "five pools leave nothing of a smaller image"
        )
    return crop // DOWNSAMPLING


def check_units(**units: int) -> None:
    """Raise UserError unless every named number of units is a whole number from 1 up."""
    for name, value in units.items():
        if not isinstance(value, Integral) or value < 1:
            raise UserError(f"{name} must be a whole number from 1 up, not {value!r}")
