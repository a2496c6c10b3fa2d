"""What a configuration costs, by arithmetic on Table 1: parameters, multiply-adds, fields.

Nothing is typed in from the paper and nothing needs torch. The tests compare every figure with
the nets of `models.py`.
"""

from dataclasses import dataclass
from math import prod

from vggrepro import UserError
from vggrepro.configs import blocks, check_units, map_side


@dataclass(frozen=True)
class Layer:
    """One layer with weights, one pool or one LRN, as a step of a single image through the net.

    A fully-connected layer is described as the convolution that it is in dense evaluation
    (Section 3.2): fc6 has the kernel of the last feature map, fc7 and fc8 are 1x1.
    """

    name: str
    """conv3_1 (block 3, first convolution), lrn1, pool3, fc6."""
    kind: str
    """conv, lrn, pool or fc."""
    kernel: int
    """Side of the window in units of the layer's input; 1 for LRN, which spans channels."""
    in_channels: int
    out_channels: int
    output_shape: tuple[int, int, int]
    """Channels, height, width."""
    receptive_field: int
    """Side in input pixels of what one output unit sees; padding counts as seen."""
    jump: int
    """Input pixels between neighbouring output units."""

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted."""
        if self.kind not in ("conv", "fc"):
            return 0
        return self.kernel**2 * self.in_channels * self.out_channels

    @property
    def parameters(self) -> int:
        """Weights and biases, of these one for each output channel."""
        return self.weights + self.out_channels if self.weights else 0

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image; biases, pools, ReLU and LRN are not counted."""
        _, height, width = self.output_shape
        return self.weights * height * width

    @property
    def activations(self) -> int:
        """Output values for one image."""
        return prod(self.output_shape)


def layers(
    config: str,
    *,
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    hidden: int = 4096,
) -> tuple[Layer, ...]:
    """Return the layers of a net in order (Section 2.1, Table 1).

    `crop` is the side of the square input in pixels, `width` multiplies the channels of the
    convolutions, `hidden` is the number of units in fc6 and in fc7. Raises UserError for an
    unknown config, a crop below 32 px, or a size that is not positive.
    """
    check_units(num_classes=num_classes, hidden=hidden)
    final_side = map_side(crop)
    channels, side, field, jump = 3, crop, 1, 1
    found: list[Layer] = []

    def add(name: str, kind: str, kernel: int, out_channels: int) -> None:
        nonlocal channels
        shape = (out_channels, side, side)
        found.append(Layer(name, kind, kernel, channels, out_channels, shape, field, jump))
        channels = out_channels

    for i, block in enumerate(blocks(config, width), start=1):
        for j, conv in enumerate(block, start=1):
            field += (conv.kernel - 1) * jump
            add(f"conv{i}_{j}", "conv", conv.kernel, conv.channels)
            if conv.lrn:
                add(f"lrn{i}", "lrn", 1, channels)
        field += jump
        side, jump = side // 2, jump * 2
        add(f"pool{i}", "pool", 2, channels)

    field += (final_side - 1) * jump
    side = 1
    add("fc6", "fc", final_side, hidden)
    add("fc7", "fc", 1, hidden)
    add("fc8", "fc", 1, num_classes)
    return tuple(found)


def convolutions(config: str, **size: float) -> list[Layer]:
    """The convolutions of a net in order; arguments as for `layers`."""
    return [layer for layer in layers(config, **size) if layer.kind == "conv"]


def parameters(config: str, **size: float) -> int:
    """Return the number of weights and biases of a net (Table 2); arguments as for `layers`."""
    return sum(layer.parameters for layer in layers(config, **size))


def multiply_adds(config: str, **size: float) -> int:
    """Return the multiply-adds of one forward pass on one image; arguments as for `layers`."""
    return sum(layer.multiply_adds for layer in layers(config, **size))


def padding_share(kernel: int, side: int) -> float:
    """Return the share of a convolution's taps that fall on zero padding, from 0 to below 1.

    At each place of a square map of `side` units the kernel has kernel² taps. Near the
    border some lie outside, where Section 2.1 pads to keep the map's size. Raises UserError
    for an even kernel or a size that is not positive.
    """
    check_units(kernel=kernel, side=side)
    if kernel % 2 == 0:
        raise UserError(f"kernel must be odd to keep the map's size, not {kernel}")
    reach = kernel // 2
    # Rows and columns are alike, so one direction says it all.
    on_map = sum(min(side, i + reach + 1) - max(0, i - reach) for i in range(side))
    return 1 - (on_map / (kernel * side)) ** 2
