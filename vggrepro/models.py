"""The nets of Table 1 in PyTorch: building, initialising, and making fully convolutional.

Attribute names, and the indices of the layers with weights, are torchvision's, so that state
dicts of its vgg11, vgg13, vgg16 and vgg19 load into configs A, B, D and E as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from math import inf
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vggrepro import UserError, check_known
from vggrepro.configs import (
    DOWNSAMPLING,
    FROM_NET_A,
    blocks,
    check_units,
    layer_names,
    map_side,
)
from vggrepro.inputs import Inputs, checked, inputs_named, three

# --- two layers written anew: LRN for its formula, pooling for speed ----------------------

LRN_ALPHA = 1e-4
"""Krizhevsky's alpha, for inputs of 0 to 255 (Section 3.3 of the AlexNet paper)."""


class LRN(nn.Module):
    """Local response normalisation across channels, as Krizhevsky et al. (2012) write it.

    `y_i = x_i / (k + alpha * sum_j x_j^2) ** beta`, the sum over the `size` channels around i.
    `torch.nn.LocalResponseNorm` divides alpha by `size` and this formula does not, so the two
    agree when torch is given `alpha * size`. Torch's layer does not show its denominator, which
    the study records, and works in the precision of its input.
    """

    k, size, beta = 2.0, 5, 0.75

    def __init__(self, alpha: float = LRN_ALPHA) -> None:
        super().__init__()
        self.alpha = alpha

    def denominator(self, images: Tensor) -> Tensor:
        """Return `k + alpha * sum_j x_j^2`, before the power beta: (N, C, H, W), float32.

        Never in bfloat16, whose 8 bits are too few for a base that moves by a few per cent.
        """
        band = self._band(images)
        # The meta device has no autocast to switch off.
        with torch.autocast("cpu" if images.is_meta else images.device.type, enabled=False):
            k = band.new_full((len(band),), self.k)
            return F.conv2d(images.to(band.dtype).square(), band, k)

    def _band(self, images: Tensor) -> Tensor:
        """Alpha times the sum over neighbouring channels, as a 1x1 convolution (C, C, 1, 1)."""
        dtype = torch.promote_types(images.dtype, torch.float32)
        ones = torch.ones((images.shape[1],) * 2, dtype=dtype, device=images.device)
        reach = self.size // 2
        return self.alpha * ones.triu(-reach).tril(reach)[:, :, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """Normalise activations (N, C, H, W); the result has their dtype."""
        base = self.denominator(images.detach())
        return _Normalise.apply(images, base, self._band(images))

    def extra_repr(self) -> str:
        """Show alpha when the net is printed: it is scaled to the inputs."""
        return f"alpha={self.alpha:g}"


class _Normalise(torch.autograd.Function):
    """x / base ** beta with its gradient written out, where base = k + band * x^2, beta = 3/4.

    With root = base ** -1/2 that is x root ** 3/2, for which a square root does instead of the
    several times slower pow. Autograd would keep, and pass through memory, every intermediate map
    at the resolution of the image; this keeps x and the root of the base.
    """

    @staticmethod
    def forward(ctx, images: Tensor, base: Tensor, band: Tensor) -> Tensor:
        root = base.rsqrt()
        ctx.save_for_backward(images, root, band)
        # Converted first: an operation on two dtypes at once is several times slower.
        return root.sqrt().mul_(root).mul_(images.to(root.dtype)).to(images.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # y_i depends on x_i directly, and on every x_j in its window through the base:
        # dx_j = g_j / base_j^beta - 2 beta x_j sum_i band_ij g_i x_i / base_i^(beta + 1)
        images, root, band = ctx.saved_tensors
        wide = images.to(root.dtype)
        direct = root.sqrt().mul_(root).mul_(grad.to(root.dtype))
        through = F.conv2d((direct * wide).mul_(root).mul_(root), band.transpose(0, 1))
        total = direct.addcmul_(through, wide, value=-2 * LRN.beta)
        return total.to(images.dtype), None, None


class MaxPool(nn.MaxPool2d):
    """2x2 max-pooling with stride 2; without gradients twice as fast, with the same result.

    For the backward pass PyTorch writes down where each maximum was, in 8 bytes, also where no
    backward pass follows. In testing a quarter of the time went into that.
    """

    def __init__(self) -> None:
        super().__init__(kernel_size=2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H // 2, W // 2)."""
        even = images.shape[-2] % 2 == images.shape[-1] % 2 == 0
        in_rows = images.is_contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled() or images.is_meta or not (even and in_rows):
            return super().forward(images)
        n, channels, height, width = images.shape
        # Channels-last keeps a row of the image together: first the larger of two rows, then of
        # two columns, each over long runs of memory.
        rows = images.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width * channels)
        rows = torch.maximum(rows[:, :, 0], rows[:, :, 1])
        columns = rows.view(n, height // 2, width // 2, 2, channels)
        return torch.maximum(columns[:, :, :, 0], columns[:, :, :, 1]).permute(0, 3, 1, 2)


# --- the nets -----------------------------------------------------------------------------


def make_layers(config: str, width: float = 1.0, lrn_alpha: float = LRN_ALPHA) -> nn.Sequential:
    """Return the convolutional part of a net (Table 1): (N, 3, H, W) to (N, C, H//32, W//32).

    `lrn_alpha` is alpha in Krizhevsky's formula, used by A-LRN only. Raises UserError for an
    unknown config or a width that is not positive.
    """
    modules: list[nn.Module] = []
    channels = 3
    for block in blocks(config, width):
        for conv in block:
            modules.append(
                nn.Conv2d(channels, conv.channels, conv.kernel, padding=conv.kernel // 2)
            )
            if conv.relu:
                modules.append(nn.ReLU(inplace=True))
            if conv.lrn:
                modules.append(LRN(lrn_alpha))
            channels = conv.channels
        # Max-pool and ReLU commute exactly. Pooling first leaves a quarter of the values for
        # ReLU, and the convolutions keep torchvision's indices.
        last_is_relu = isinstance(modules[-1], nn.ReLU)
        modules.insert(len(modules) - last_is_relu, MaxPool())
    return nn.Sequential(*modules)


class VGG(nn.Module):
    """A net of Table 1: `features` (convolutions), then `classifier` (fc6, fc7, fc8).

    Weights are PyTorch's defaults until `initialise` or `load_state_dict` is called. The mean RGB
    that is subtracted from pixels is a buffer outside the state dict, which is torchvision's.
    """

    def __init__(
        self,
        config: str = "A",
        num_classes: int = 1000,
        *,
        width: float = 1.0,
        crop: int = 224,
        hidden: int = 4096,
        dropout: float = 0.5,
        input_divisor: float = 1.0,
        pixel_mean: Sequence[float] | None = None,
        inputs: Inputs | str | None = None,
    ) -> None:
        """Build the net; under `torch.device("meta")` in milliseconds and without memory.

        `width` multiplies the channels of the convolutions, `crop` is the side of the square
        input in pixels (at least 32), `hidden` is the number of units in fc6 and in fc7,
        `dropout` the probability after each of them (Section 3.1). Pixels from 0 to 255 become
        inputs by subtracting `pixel_mean` (Section 2.1) and dividing by `input_divisor`; `train`
        sets the mean to that of the photos. Weights of others come with other `inputs`: "paper",
        "caffe", "torchvision", or `inputs.Inputs`. Raises UserError for an unknown config or a
        size out of range.
        """
        super().__init__()
        check_units(num_classes=num_classes, hidden=hidden)
        if not (isinstance(input_divisor, Real) and 0 < input_divisor < inf):
            raise UserError(f"input_divisor must be a positive number, not {input_divisor!r}")
        if not (isinstance(dropout, Real) and 0 <= dropout < 1):
            raise UserError(f"dropout must be in [0, 1), not {dropout!r}")
        self.config, self.crop, self.input_divisor = config, crop, input_divisor
        self.map_side = map_side(crop)
        # DEVIATION: the paper's inputs are 0-255. Divided by s they need alpha * s^2, or LRN
        # would see squares s^2 times smaller and do next to nothing.
        self.features = make_layers(config, width, LRN_ALPHA * input_divisor**2)
        channels = blocks(config, width)[-1][-1].channels
        self.classifier = nn.Sequential(
            nn.Linear(channels * self.map_side**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        self.bgr = False
        self.register_buffer("pixel_mean", None, persistent=False)
        self.register_buffer("pixel_deviation", None, persistent=False)  # if not one for all
        if pixel_mean is not None:
            self.set_pixel_mean(pixel_mean)
        if inputs is not None:
            self.set_inputs(inputs)

    def set_pixel_mean(self, mean: Sequence[float]) -> None:
        """Subtract this mean RGB, three numbers from 0 to 255, from the pixels of images.

        Raises UserError for anything else.
        """
        try:
            mean = three(mean)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"a pixel mean is three numbers from 0 to 255: red, green and blue, not {mean!r}"
            ) from error
        device = self.classifier[0].weight.device
        self.pixel_mean = torch.tensor(mean, dtype=torch.float32, device=device)

    def set_inputs(self, inputs: Inputs | str) -> None:
        """Make inputs of pixels as the net's weights need them; alpha of LRN stays as it is.

        Raises UserError for unknown inputs, and for those of pixels from 0 to 1.
        """
        try:
            found = inputs_named(inputs) if isinstance(inputs, str) else checked(inputs)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"inputs are a name, or Inputs(mean RGB, deviation, bgr) for pixels from 0 to 255, "
                f"not {inputs!r}: {error}"
            ) from error
        mean, deviation, self.bgr = found
        self.set_pixel_mean(mean)
        if isinstance(deviation, float | int):
            self.input_divisor, self.pixel_deviation = float(deviation), None
        else:
            self.pixel_deviation = self.pixel_mean.new_tensor(deviation)

    @property
    def inputs(self) -> Inputs | None:
        """How the net makes inputs of pixels; None while its pixel mean is unknown."""
        if self.pixel_mean is None:
            return None
        wide = self.pixel_deviation
        deviation = float(self.input_divisor) if wide is None else tuple(wide.tolist())
        return Inputs(tuple(self.pixel_mean.tolist()), deviation, self.bgr)

    def normalised(self, images: Tensor, shifts: Tensor | None = None) -> Tensor:
        """Turn images (N, 3, H, W), pixels from 0 to 255, into the net's inputs, float32 (2.1).

        (pixel - mean RGB) / divisor; `shifts` (N, 3), in pixel units, are added to the pixels.
        Raises UserError while the mean RGB of the photos that the net was trained on is unknown.
        """
        if self.pixel_mean is None:
            raise UserError(
                "this net does not know its pixel mean: give it to VGG(..., pixel_mean=(r, g, b)), "
                "or call set_pixel_mean(photos.pixels.mean) with the photos that it was trained on"
            )
        offset = -self.pixel_mean[None] if shifts is None else shifts - self.pixel_mean
        wide = self.pixel_deviation
        divisor = self.input_divisor if wide is None else wide[:, None, None]
        copied = images.to(torch.float32, copy=True)
        inputs = copied.add_(offset[:, :, None, None]).div_(divisor)
        return inputs.flip(1) if self.bgr else inputs

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, num_classes) for inputs (N, 3, crop, crop), as `normalised` makes them.

        Raises UserError for inputs whose last feature map does not fit fc6.
        """
        if {side // DOWNSAMPLING for side in images.shape[-2:]} != {self.map_side}:
            raise UserError(
                f"this net takes {self.crop} px crops, not {tuple(images.shape[-2:])}: "
                "crop the images, or evaluate to_dense(model) on whole images"
            )
        return self.classifier(torch.flatten(self.features(images), 1))


class DenseVGG(nn.Module):
    """A fully convolutional net, as made by `to_dense` (Section 3.2)."""

    def __init__(self, features: nn.Sequential, classifier: nn.Sequential, map_side: int) -> None:
        super().__init__()
        self.features, self.classifier, self.map_side = features, classifier, map_side

    def forward(self, images: Tensor) -> Tensor:
        """Return a map of logits (N, num_classes, h, w) for inputs (N, 3, H, W).

        `VGG.normalised` of the net that it was made from makes inputs of images.

        h = H // 32 - crop // 32 + 1, and w likewise. Raises UserError for images smaller than
        the crop.
        """
        if min(images.shape[-2:]) // DOWNSAMPLING < self.map_side:
            raise UserError(
                f"images of {tuple(images.shape[-2:])} px are smaller than this net's crop: "
                f"it needs at least {DOWNSAMPLING * self.map_side} px on both sides"
            )
        return self.classifier(self.features(images))


def to_dense(model: VGG, *, every_offset: bool = False) -> DenseVGG:
    """Return the net with fc6, fc7 and fc8 as convolutions (Section 3.2).

    fc6 becomes a convolution over `crop // 32` units, fc7 and fc8 become 1x1. On an image of the
    crop's size the score map is 1x1 and holds the net's logits. The weights are shared with
    `model`, not copied, until one of the two is moved or converted; so call it when evaluating.

    With `every_offset` the last pooling is done at all its pixel offsets, as in OverFeat: it
    moves by one and fc6 takes every other unit. The maps of the four offsets come interleaved,
    (2h - 1, 2w - 1) positions where there were (h, w). Raises UserError for any net but a `VGG`.
    """
    check_vgg(model)
    features, dilation = model.features, 1
    if every_offset:
        last = max(i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d))
        pool = nn.MaxPool2d(kernel_size=2, stride=1)
        features, dilation = nn.Sequential(*features[:last], pool, *features[last + 1 :]), 2
    modules: list[nn.Module] = []
    kernel = model.map_side
    for module in model.classifier:
        if isinstance(module, nn.Linear):
            modules.append(_as_conv(module, kernel, dilation))
            kernel = 1
        else:
            modules.append(copy(module))  # its own mode: dropout is off in one of the two alone
    dense = DenseVGG(features, nn.Sequential(*modules), model.map_side)
    return dense.train(model.training)


def check_vgg(model: nn.Module) -> None:
    """Raise UserError unless it is a `VGG`, whose crop, inputs and layers are known."""
    if not isinstance(model, VGG):
        raise UserError(
            f"this takes a vggrepro.VGG, not {type(model).__name__}: a net of your own is a row of "
            "vggrepro.configs.CONFIGS, and weights in torchvision's layout come by load_weights"
        )


def _as_conv(linear: nn.Linear, kernel: int, dilation: int) -> nn.Conv2d:
    channels, units = linear.in_features // kernel**2, linear.out_features
    # On the meta device no memory is taken for weights that are replaced in the next line.
    conv = nn.Conv2d(channels, units, kernel, dilation=dilation, device="meta")
    conv.weight = nn.Parameter(linear.weight.detach().view(units, channels, kernel, kernel))
    conv.bias = nn.Parameter(linear.bias.detach())
    return conv


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The net in eval mode; afterwards each part of it is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def named_layers(model: VGG) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the layers with weights by the field's names: conv1_1, ..., fc6, fc7, fc8."""
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return dict(zip(layer_names(model.config), found, strict=True))


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights and biases (Table 2); works on the meta device."""
    return sum(p.numel() for p in model.parameters())


INITIALISATIONS = {
    # Section 3.1 to the letter: "a normal distribution with the zero mean and 10⁻² variance".
    "normal-variance": lambda w, g: nn.init.normal_(w, std=0.1, generator=g),
    # The other reading: 10^-2 as the standard deviation, as in AlexNet.
    "normal-std": lambda w, g: nn.init.normal_(w, std=0.01, generator=g),
    # Glorot & Bengio (2010), eq. 16, uniform. The fans of a convolution are its kernel's area
    # times its input and output channels. (Caffe's "xavier" uses the fan-in alone.)
    "glorot": lambda w, g: nn.init.xavier_uniform_(w, generator=g),
    # He et al. (2015), eq. 10: variance 2 / fan-in, for every layer, fc8 included.
    "he": lambda w, g: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=g),
}


@torch.no_grad()
def initialise(
    model: VGG, method: str, *, seed: int, parent: Mapping[str, Tensor] | None = None
) -> None:
    """Draw the weights of every layer by `method` and set the biases to 0 (Section 3.1).

    `method` is a key of `INITIALISATIONS`. The weights depend on the seed alone: not on the
    global generator, the device or the memory format. With `parent`, a state dict of net A, the
    layers named in `copy_from_a` are then copied from it; the others are as without a parent.
    Raises UserError for an unknown method, a seed that is none, or a parent that does not fit.
    """
    check_seed(seed)
    check_known("initialisation", method, INITIALISATIONS)
    generator = torch.Generator().manual_seed(int(seed))
    for layer in named_layers(model).values():
        # Drawn in a plain CPU tensor: filling a channels-last or CUDA weight in place would put
        # the same numbers elsewhere, or draw others.
        weight = torch.empty(layer.weight.shape, dtype=torch.float32, device="cpu")
        layer.weight.copy_(INITIALISATIONS[method](weight, generator))
        layer.bias.zero_()
    if parent is not None:
        copy_from_a(model, parent)


def check_seed(seed: int) -> None:
    """Raise UserError unless a seed is a whole number from 0 to 2^63 - 1."""
    if not (isinstance(seed, Integral) and 0 <= seed < 2**63):
        raise UserError(f"a seed is a whole number from 0 to 2^63 - 1, not {seed!r}")


@torch.no_grad()
def copy_from_a(model: VGG, parent: Mapping[str, Tensor]) -> None:
    """Copy the first four convolutions and fc6 to fc8 from a state dict of net A (Section 3.1).

    A's four convolutions go to conv1_1, conv2_1, conv3_1 and conv3_2, the places whose shapes
    fit; the paper does not say which. Nothing is changed if one of them does not fit: then
    UserError says which, as for B-5x5, whose kernels are larger.
    """
    parts = ("weight", "bias")
    pairs = [(f"{name}.{p}", f"{key}.{p}") for name, key in FROM_NET_A.items() for p in parts]
    if missing := [key for _, key in pairs if key not in parent]:
        raise UserError(f"the parent is not a state dict of net A: it has no {missing[0]}")
    layers = named_layers(model).items()
    own = {f"{name}.{p}": getattr(layer, p) for name, layer in layers for p in parts}
    for name, key in pairs:
        there, here = tuple(parent[key].shape), tuple(own[name].shape) if name in own else None
        if there != here:
            raise UserError(
                f"config {model.config} cannot start from this net A: {name} has shape {there} "
                f"there, {here} here. Both nets need the same width, crop, hidden and "
                "num_classes, and 3x3 kernels"
            )
    for name, key in pairs:
        own[name].copy_(parent[key])
