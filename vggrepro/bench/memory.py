"""The memory that a training step takes on a device, in bytes, from the layers of the net.

It counts what this implementation keeps under autocast, as the tests compare with autograd.
What a library's workspace or allocator takes on top is the part of a card that is left free.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vggrepro import UserError
from vggrepro.cost import Layer

FLOAT32, INDEX, MASK = 4, 8, 1
USABLE = 0.9
"""ASSUMPTION: the share of a card left to tensors; the rest is for the driver and workspaces."""
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes of one training step."""

    weights: int
    """Weights, their gradients and their momentum in float32; copies in the computing precision."""
    kept: int
    """Per image: what the forward pass keeps for the backward pass."""
    peak: int
    """Per image: the most there is at one time, gradients included."""

    def largest_batch(self, memory_gib: float) -> int:
        """Images that fit a card of that memory, 0 if not even the weights do."""
        free = USABLE * memory_gib * GIB - self.weights
        return max(0, int(free // self.peak))


def memory(net: tuple[Layer, ...], precision: str) -> Memory:
    """What training `net` takes in "bf16" or "float32"."""
    size = 2 if precision == "bf16" else FLOAT32
    weights = 3 * FLOAT32 * sum(layer.parameters for layer in net)
    if precision == "bf16":
        weights += size * sum(layer.parameters for layer in net)
    kept = _image(net, size)
    peak = 0
    before = 3 * net[0].output_shape[1] ** 2
    for layer, own in _kept_by_layer(net, size):
        kept += own
        # Going back through a layer there are the gradients of its output and of its input.
        peak = max(peak, kept + size * (layer.activations + before))
        before = layer.activations
    return Memory(weights, kept, peak)


def _image(net: tuple[Layer, ...], size: int) -> int:
    """The input of the first convolution, in the precision in which it computes."""
    return size * 3 * net[0].output_shape[1] ** 2


def _kept_by_layer(net: tuple[Layer, ...], size: int) -> Iterator[tuple[Layer, int]]:
    """Bytes that each layer adds for one image."""
    for layer in net:
        if layer.kind == "conv":
            # ReLU works in place: its output is the next layer's input.
            yield layer, size * layer.activations
        elif layer.kind == "pool":
            yield layer, (size + INDEX) * layer.activations
        elif layer.kind == "lrn":
            # The root of the denominator is kept in float32 beside the output.
            yield layer, (size + FLOAT32) * layer.activations
        elif layer.kind != "fc":
            raise UserError(f"what a layer of kind {layer.kind!r} keeps is not known: add it here")
        elif layer is not net[-1]:
            # Before dropout, its mask, and after it.
            yield layer, (2 * size + MASK) * layer.activations
        else:
            # Log-probabilities; soft-max is taken in float32.
            yield layer, FLOAT32 * layer.activations
