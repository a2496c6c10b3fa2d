"""The signal in a net: how large activations, gradients and weights are at every layer.

One forward and one backward pass say before the first step whether a start can train: where the
root mean square falls or grows from layer to layer, so does what a step can change.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vggrepro import UserError
from vggrepro.models import evaluating


class LayerSignal(NamedTuple):
    """Root mean squares at one layer."""

    activation: float
    """Behind the layer's ReLU and before pooling; the logits for the last layer."""
    gradient: float
    """Of an image's own loss, with respect to the layer's output before ReLU."""
    weight: float
    weight_gradient: float
    """Of the mean loss: times the learning rate, what the first step moves a weight by."""


def measure(
    model: nn.Module, layers: Mapping[str, nn.Module], images: Tensor, targets: Tensor
) -> dict[str, LayerSignal]:
    """The signal at each of `layers`, in the order in which they work, the last without ReLU.

    `layers` are convolutions and fully-connected layers, each but the last followed by ReLU, as
    in `models.named_layers`. `images` (N, 3, H, W) are what the net is fed, `targets` (N,). Works
    in eval mode, without dropout, and leaves the net as it was, but for gradients, which it
    clears. Any net without normalisation will do, torchvision's VGGs too. Raises `UserError` for
    a frozen layer, which has no gradient.
    """
    activation, gradient = {}, {}
    if frozen := [name for name, layer in layers.items() if not layer.weight.requires_grad]:
        raise UserError(f"{', '.join(frozen)} cannot be measured frozen: set requires_grad")

    *_, last = layers

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_layer: nn.Module, _inputs: tuple, output: Tensor) -> None:
            activation[name] = rms(output if name == last else output.detach().clamp(min=0))
            # ReLU works in place; this hook still has the gradient of what was there before it.
            output.register_hook(lambda grad: gradient.__setitem__(name, rms(grad)))

        return layers[name].register_forward_hook(note)

    with ExitStack() as ends, evaluating(model), torch.inference_mode(False), torch.enable_grad():
        ends.callback(model.zero_grad)
        for name in layers:
            ends.callback(watch(name).remove)
        model.zero_grad()
        # The sum, so that the gradient at an image does not depend on how many there are.
        F.cross_entropy(model(images).float(), targets, reduction="sum").backward()
        return {
            name: LayerSignal(
                activation[name],
                gradient[name],
                rms(layer.weight),
                rms(layer.weight.grad) / len(images),
            )
            for name, layer in layers.items()
        }


def rms(values: Tensor) -> float:
    """Root mean square; in float64, since squares leave float32's range in the nets of interest."""
    norm = torch.linalg.vector_norm(values.detach(), dtype=torch.float64)
    return float(norm) / values.numel() ** 0.5
