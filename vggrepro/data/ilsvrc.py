"""ILSVRC's thousand classes, and its validation photos however they lie on disk.

A net that was trained on ILSVRC has an output for each class, in the order of their WordNet ids.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vggrepro import UserError
from vggrepro.data.images import ImageSet, data_root, streamed
from vggrepro.data.published import ILSVRC_NUMBERS
from vggrepro.data.sources import File, Listing, class_names, is_image, list_images
from vggrepro.files import expanded, open_regular

#: WordNet ids in the order of a net's outputs.
CLASSES: tuple[str, ...] = tuple(ILSVRC_NUMBERS)
_PLACES = {wnid: place for place, wnid in enumerate(CLASSES)}
#: Number in the development kit, 1 to 1000 -> place among the outputs.
_BY_NUMBER = {number: _PLACES[wnid] for wnid, number in ILSVRC_NUMBERS.items()}
_CAFFES = {place: place for place in range(len(CLASSES))}

GROUND_TRUTH = (
    "ILSVRC2012_validation_ground_truth.txt",
    "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
    "LOC_val_solution.csv",
    "val.txt",
    "imagenet_2012_validation_synset_labels.txt",
)
"""Where labels of a flat folder are looked for: the authors', Kaggle's, Caffe's, TensorFlow's."""

_TRAINING_PHOTO = re.compile(r"n\d{8}_\d+\.JPEG")


def val(
    data_dir: str | Path,
    *,
    ground_truth: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> ImageSet:
    """ILSVRC's validation photos, or some of them, among a thousand classes; decoded when needed.

    `data_dir` (or `val` in it) has class folders named by WordNet id, as torchvision lays them,
    or all photos in one folder. Then `ground_truth` says their classes: a line for each photo, in
    the order of their names, or with its name. A class is a WordNet id or a number: the
    development kit's, from 1, in a line by itself, and Caffe's, from 0, after a name.

    Raises `UserError` for folders that are no WordNet ids, or labels that do not fit.
    """
    root = data_root("imagenet", data_dir)
    folder = root / "val" if (root / "val").is_dir() else root
    if any(is_image(path.name) for path in folder.iterdir()):
        labels = expanded(ground_truth) if ground_truth else _found(root, folder)
        return streamed(_flat(folder, labels), cache_dir)
    check_classes(class_names(folder), folder)  # before any photo is opened
    return among_a_thousand(streamed(list_images(folder), cache_dir))


def _found(root: Path, folder: Path) -> Path:
    for place in (folder, root, root.parent):
        for name in GROUND_TRUTH:
            if (place / name).is_file():
                return place / name
    raise UserError(
        f"{folder} has no class folders, and nothing says the classes of its photos: give the "
        f"file with --ground-truth, such as {GROUND_TRUTH[0]} of the development kit"
    )


def _flat(folder: Path, labels: Path) -> Listing:
    names = sorted(path.name for path in folder.iterdir() if is_image(path.name))
    photos = sorted(zip(_places(labels, names), names, strict=True))
    stats = [(name, (folder / name).stat()) for _, name in photos]
    files = [File(name, found.st_size, found.st_mtime_ns) for name, found in stats]
    return Listing(folder, CLASSES, files, np.array([place for place, _ in photos], np.int64))


def _places(labels: Path, names: list[str]) -> list[int]:
    """The class of each photo in a file of labels."""
    try:
        with open_regular(labels) as file:
            text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{labels} cannot be read as a list of labels: {error}") from error
    lines = [re.split(r"[,\s]+", line.strip()) for line in text.splitlines()]
    lines = [line for line in lines if line != [""] and line[0] != "ImageId"]
    try:
        if lines and len(lines[0]) == 1:
            places = [_place(line[0], _BY_NUMBER) for line in lines]
            if len(places) == len(names):
                return places
            raise UserError(f"{labels} has {len(places)} labels for {len(names)} photos")
        named = {Path(name).stem: _place(label, _CAFFES) for name, label, *_ in lines}
        return [named[Path(name).stem] for name in names]
    except (KeyError, ValueError) as error:
        raise UserError(f"{labels} does not say the class of each photo: {error}") from error


def _place(label: str, numbers: dict[int, int]) -> int:
    return _PLACES[label] if label in _PLACES else numbers[int(label)]


def check_classes(names: Sequence[str], where: Path) -> None:
    """Raise `UserError` for a name of a class that is no WordNet id of ILSVRC's."""
    strange = [name for name in names if name not in _PLACES]
    if strange:
        raise UserError(
            f"this net tells ILSVRC's 1000 classes apart, and {where} has {strange[0]!r}, which "
            f"is none of them: name class folders by WordNet id, {CLASSES[0]} for a tench"
        )


def among_a_thousand(images: ImageSet) -> ImageSet:
    """The set with ILSVRC's thousand classes in place of the some that it has (`check_classes`)."""
    places = np.array([_PLACES[name] for name in images.classes], np.int64)
    return replace(images, classes=CLASSES, targets=places[images.targets])


def is_of_training(name: str) -> bool:
    """Whether a file has the name of one of ILSVRC's training photos: `n01440764_10026.JPEG`."""
    return bool(_TRAINING_PHOTO.fullmatch(Path(name).name))
