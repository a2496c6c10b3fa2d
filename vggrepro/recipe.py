"""How a net is trained (Section 3.1), and what is noted of every epoch. No torch.

Scales are always the paper's, S for a crop of 224 px; `windows.scaled` turns them into pixels of
the net's own crop.
"""

from dataclasses import dataclass
from math import isfinite
from numbers import Real

from vggrepro import UserError
from vggrepro.configs import check_units

SCHEDULES = ("plateau", "steps")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a net is trained, with the paper's values as defaults (Section 3.1).

    `train_scale` is the interval from which S is drawn for each image, in the paper's numbers;
    `learning_rate` is divided by ten when minival stops improving ("plateau") or at 60 % and 85 %
    of the epochs ("steps"); `colour_shift` is the standard deviation of the PCA RGB shift.
    Width, crop and dropout are the net's. Raises `UserError` for a value out of range.
    """

    train_scale: tuple[int, int] = (256, 256)
    epochs: int = 74
    batch_size: int = 256
    learning_rate: float = 1e-2
    schedule: str = "plateau"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    colour_shift: float = 0.1

    def __post_init__(self) -> None:
        check_units(epochs=self.epochs, batch_size=self.batch_size)
        scales = self.train_scale if isinstance(self.train_scale, tuple | list) else ()
        an_interval = len(scales) == 2 and all(map(_finite, scales)) and 0 < scales[0] <= scales[1]
        for name, right, wanted in (
            ("train_scale", an_interval, "the smallest and the largest S, as in the paper"),
            ("learning_rate", _finite(self.learning_rate) and self.learning_rate > 0, "positive"),
            ("schedule", self.schedule in SCHEDULES, " or ".join(SCHEDULES)),
            ("momentum", _finite(self.momentum) and 0 <= self.momentum < 1, "from 0 to below 1"),
            ("weight_decay", _finite(self.weight_decay) and self.weight_decay >= 0, "at least 0"),
            ("colour_shift", _finite(self.colour_shift) and self.colour_shift >= 0, "at least 0"),
        ):
            if not right:
                raise UserError(f"{name} must be {wanted}, not {getattr(self, name)!r}")


def _finite(number: object) -> bool:
    return isinstance(number, Real) and isfinite(number)


def learning_rate_at(recipe: Recipe, epoch: int) -> float:
    """The rate of the "steps" schedule at `epoch`: divided by ten at 60 % and 85 %.

    With fewer than four epochs it stays: the first drop would come before the net has learnt
    anything.
    """
    # DEVIATION: Section 3.1 watches validation accuracy; a fixed schedule costs the same for
    # every net, so that no side of a comparison trains longer than the other.
    shares = (0.60, 0.85) if recipe.epochs >= 4 else ()
    drops = sum(epoch >= round(share * recipe.epochs) for share in shares)
    return recipe.learning_rate * 0.1**drops


def single_scale(recipe: Recipe) -> int:
    """Q of Section 4.1: S for a fixed scale, the middle of the interval for jitter."""
    return sum(recipe.train_scale) // 2


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of a training's curve: errors in percent, losses in nats.

    "running" is while training, with dropout; the rest is measured after the epoch by centre crop
    and flip, on as many training images as minival has and on minival.
    """

    epoch: int
    learning_rate: float
    running_loss: float
    running_error: float
    train_error: float
    minival_error: float
    minival_loss: float
    lrn_denominator: tuple[float, ...] | None = None  # quantiles, see trainer.QUANTILES
