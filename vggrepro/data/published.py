"""What a published data set is known by: its classes, how many photos, and their fingerprints.

A set that goes by a published name is taken only if it is whole: a class that is lacking shifts
all labels, and half a set trains without complaint.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vggrepro import UserError
from vggrepro.files import beside

_CIFAR10, _IMAGENETTE = (beside(__file__)[name] for name in ("cifar10", "imagenette"))
CIFAR10_CLASSES: tuple[str, ...] = tuple(_CIFAR10["classes"])
IMAGENETTE_CLASSES: dict[str, str] = _IMAGENETTE["classes"]
ILSVRC_NUMBERS: dict[str, int] = {
    wnid: int(number)
    for wnid, number in (
        line.split()
        for line in Path(__file__).with_name("ilsvrc.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}
"""ILSVRC's WordNet ids, in the order of a net's outputs: their numbers in the development kit."""


@dataclass(frozen=True)
class Published:
    """`classes` are the names of the folders.

    `counts` are the photos of each class, or of all if one number; `fingerprints`, by split, are
    those of the photos that our records are about.
    """

    classes: tuple[str, ...]
    counts: dict[str, Sequence[int]]
    fingerprints: dict[str, str] = field(default_factory=dict)


def _imagenette(**more: dict[str, str]) -> Published:
    return Published(tuple(IMAGENETTE_CLASSES), _IMAGENETTE["counts"], **more)


SETS = {
    "cifar10": Published(CIFAR10_CLASSES, _CIFAR10["counts"], _CIFAR10["fingerprints"]),
    "imagenette-160px": _imagenette(fingerprints=_IMAGENETTE["fingerprints"]),
    "imagenette-320px": _imagenette(),
    "imagenette-full": _imagenette(),
    "imagenet": Published(tuple(ILSVRC_NUMBERS), {"train": (1_281_167,), "val": (50_000,)}),
}


def check_classes(name: str, folder: Path, classes: Sequence[str]) -> None:
    """Raise `UserError` if a published set has other class folders than it was published with."""
    known = SETS.get(name)
    if known is None or known.classes == tuple(classes):
        return
    lacking, unknown = _apart(known.classes, classes), _apart(classes, known.classes)
    many = len(known.classes) == len(ILSVRC_NUMBERS)
    expected = "the 1,000 WordNet ids of ILSVRC 2012" if many else ", ".join(known.classes)
    raise UserError(
        f"{folder} should hold the class folders of {name} ({expected}), but it does not "
        f"(lacking: {lacking}; unknown: {unknown}). Unpack it again, or use it as --data folder."
    )


def check_counts(name: str, part: str, folder: Path | str, targets: np.ndarray) -> None:
    """Raise `UserError` if a part of a published set has another number of photos of a class."""
    known = SETS.get(name)
    if known is None:
        return
    expected, found, by_class = list(known.counts[part]), [len(targets)], ""
    if len(expected) > 1:
        found = np.bincount(targets, minlength=len(expected)).tolist()
        by_class = f" (by class {found}, not {expected})"
    if found != expected:
        raise UserError(
            f"{folder} is not the {part} part of {name}: it has {len(targets):,} photos in all, "
            f"not {sum(expected):,}{by_class}. Unpack it again, or use it as --data folder."
        )


def check_pixels(name: str, split: str, fingerprint: str) -> None:
    """Warn if the photos have other pixels than those that our records are about."""
    known = SETS.get(name)
    if known and known.fingerprints.get(split, fingerprint) != fingerprint:
        warnings.warn(
            f"the {split} photos of {name} have other pixels than those of the recorded study: "
            "some were changed, or another version of the decoder reads them",
            stacklevel=2,
        )


def _apart(one: Iterable[str], other: Iterable[str]) -> str:
    return ", ".join(sorted(set(one) - set(other))[:10]) or "none"
