"""What pixels become before a net sees them: the ways of the paper and of published weights."""

from math import isfinite
from typing import NamedTuple

from vggrepro import UserError


class Inputs(NamedTuple):
    """Pixels from 0 to 255, minus `mean`, divided by `deviation` (both RGB); `bgr` turns the order.

    One deviation stands for all three channels.
    """

    mean: tuple[float, float, float]
    deviation: float | tuple[float, float, float] = 1.0
    bgr: bool = False


# The mean of ILSVRC's training photos, as the authors published it with their weights.
_MEAN = (123.68, 116.779, 103.939)

INPUTS: dict[str, Inputs] = {
    "paper": Inputs(_MEAN),  # Section 2.1
    "caffe": Inputs(_MEAN, bgr=True),  # the authors' own weights
    # torchvision's weights, whose pixels are from 0 to 1.
    "torchvision": Inputs(
        (255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)
    ),
}

_WRITTEN_OUT = "write R,G,B or R,G,B/deviation or R,G,B/R,G,B, from 0 to 255, and /bgr at the end"


def inputs_named(text: str) -> Inputs:
    """The inputs of that name, or written out: `123.7,116.3,103.5/58.4,57.1,57.4/bgr`.

    Raises `UserError` for anything else.

    >>> inputs_named("120,110,100/60")
    Inputs(mean=(120.0, 110.0, 100.0), deviation=60.0, bgr=False)
    """
    if text in INPUTS:
        return INPUTS[text]
    bgr = text.endswith("/bgr")
    try:
        mean, *rest = (
            tuple(map(float, part.split(","))) for part in text.removesuffix("/bgr").split("/")
        )
        (deviation,) = rest or [(1.0,)]
    except ValueError:
        mean = deviation = ()
    right = len(mean) == 3 and len(deviation) in (1, 3)
    if not (right and all(map(isfinite, mean)) and all(0 < d < float("inf") for d in deviation)):
        raise UserError(
            f"unknown inputs {text!r}: choose one of {', '.join(INPUTS)}, or {_WRITTEN_OUT}"
        )
    if max(map(abs, mean)) <= 1 and max(mean) > 0 and max(deviation) <= 1:
        raise UserError(
            f"inputs {text!r} are of pixels from 0 to 1; here these are from 0 to 255, so write "
            "each number times 255"
        )
    return Inputs(mean, deviation if len(deviation) == 3 else deviation[0], bgr)
