"""What pixels become before a net sees them: the ways of the paper and of published weights."""

from collections.abc import Iterable
from math import inf, isfinite
from numbers import Real
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
    numbers = text.removesuffix("/bgr").split("/")
    try:
        mean, *rest = ([float(number) for number in part.split(",")] for part in numbers)
        (deviation,) = rest or [[1.0]]
        one_for_all = len(deviation) == 1
        return checked((mean, deviation[0] if one_for_all else deviation, text.endswith("/bgr")))
    except ValueError as error:
        raise UserError(
            f"unknown inputs {text!r}: choose one of {', '.join(INPUTS)}, or {_WRITTEN_OUT}"
        ) from error


def checked(inputs: Inputs | tuple) -> Inputs:
    """The inputs as plain numbers. Raises `UserError` for those of pixels from 0 to 1.

    Raises `TypeError` or `ValueError` for what can be no inputs.
    """
    mean, deviation, bgr = Inputs(*inputs)
    mean = three(mean)
    deviation = float(deviation) if isinstance(deviation, Real) else three(deviation)
    deviations = deviation if isinstance(deviation, tuple) else (deviation,)
    if not all(0 < d < inf for d in deviations):
        raise ValueError("deviations are positive")
    if 0 < max(map(abs, mean)) <= 1 and max(mean) > 0 and max(deviations) <= 1:
        raise UserError(
            f"inputs of mean {mean} are of pixels from 0 to 1; here these are from 0 to 255, so "
            "write each number times 255"
        )
    return Inputs(mean, deviation, bool(bgr))


def three(numbers: Iterable[float]) -> tuple[float, float, float]:
    """Red, green and blue as plain numbers. Raises `TypeError` or `ValueError` otherwise."""
    red, green, blue = map(float, numbers)
    if not all(map(isfinite, (red, green, blue))):
        raise ValueError("a number is not finite")
    return red, green, blue
