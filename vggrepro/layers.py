"""Two layers that PyTorch has and that are written anew: LRN for its formula, pooling for speed.

Each says why, and is tested against PyTorch's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

        Always in float32 or better: bfloat16 keeps 8 bits, too few for a base that moves by a
        few per cent.
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
        before, after = self.size // 2, (self.size - 1) // 2
        return self.alpha * ones.triu(-before).tril(after)[:, :, None, None]

    def forward(self, images: Tensor) -> Tensor:
        """Normalise activations (N, C, H, W); the result has their dtype."""
        base = self.denominator(images.detach())
        return _Normalise.apply(images, base, self._band(images), self.beta)

    def extra_repr(self) -> str:
        """Show alpha when the net is printed: it is scaled to the inputs."""
        return f"alpha={self.alpha:g}"


class _Normalise(torch.autograd.Function):
    """x / base ** beta with its gradient written out, where base = k + band * x^2.

    Autograd would keep, and pass through memory, every intermediate map at the resolution of the
    image; this keeps x and the root of the base.
    """

    @staticmethod
    def forward(ctx, images: Tensor, base: Tensor, band: Tensor, beta: float) -> Tensor:
        root = base.rsqrt()
        ctx.save_for_backward(images, root, band)
        ctx.beta = beta
        # Converted first: an operation on two dtypes at once is several times slower.
        return _power(root, 2 * beta).mul_(images.to(root.dtype)).to(images.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        # y_i depends on x_i directly, and on every x_j in its window through the base:
        # dx_j = g_j / base_j^beta - 2 beta x_j sum_i band_ij g_i x_i / base_i^(beta + 1)
        images, root, band = ctx.saved_tensors
        wide = images.to(root.dtype)
        direct = _power(root, 2 * ctx.beta).mul_(grad.to(root.dtype))
        through = F.conv2d((direct * wide).mul_(root).mul_(root), band.transpose(0, 1))
        total = direct.addcmul_(through, wide, value=-2 * ctx.beta)
        return total.to(images.dtype), None, None, None


def _power(root: Tensor, exponent: float) -> Tensor:
    """root ** exponent, a new tensor; for Krizhevsky's 3/2 without the several times slower pow."""
    return root.sqrt().mul_(root) if exponent == 1.5 else root.pow(exponent)


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
