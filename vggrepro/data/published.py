"""What a published data set is known by: its classes, how many photos, and their fingerprints.

A set that goes by a published name is taken only if it is whole: a class that is lacking shifts
all labels, and half a set trains without complaint.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vggrepro import UserError

CIFAR10_CLASSES = tuple(
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
)
IMAGENETTE_CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
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


_IMAGENETTE = Published(
    tuple(IMAGENETTE_CLASSES),
    {
        "train": (963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
        "val": (387, 395, 357, 386, 409, 394, 389, 419, 399, 390),
    },
)
SETS = {
    "cifar10": Published(
        CIFAR10_CLASSES,
        {"train": (5000,) * 10, "val": (1000,) * 10},
        {
            "train": "00bdab0469f8b4f871dd9a0541acade056ce916d52b0072d6f891ffd53fc50d8",
            "minival": "394a483f97401b9f8c05d863a872f1635508921b236ba9bcc2f7c3ac8f38bb74",
            "val": "e5c0785e2bed8726b251f5fa22330b905a9668168f68ac84bc091ee420e5302f",
        },
    ),
    "imagenette-160px": replace(
        _IMAGENETTE,
        fingerprints={
            "train": "92760b3b90c36156254f4010a78a261fbe1d9d474ad5a157b611ed5346fbdf05",
            "minival": "8b73c563bd1995fc24248cfba7bb8d6dd79a395656cafafaabec82524868ee94",
            "val": "0b65e9a9b98be777859243098f0793f7cebdff345b63389f83295b6fee3aeff2",
        },
    ),
    "imagenette-320px": _IMAGENETTE,
    "imagenette-full": _IMAGENETTE,
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
