"""All that is wrong with a folder of photos, said at once and before any training."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from vggrepro import UserError
from vggrepro.data import cache, images, published, sources

T = TypeVar("T")


class Photo(NamedTuple):
    """A photo that could be decoded, and its class folder."""

    path: Path
    class_name: str
    digest: bytes


class Findings(NamedTuple):
    """`problems` keep a set from being trained on; `notes` only need to be known."""

    photos: int
    problems: list[str]
    notes: list[str]


def check(data_dir: Path, name: str = "folder") -> Findings:
    """Open every photo of a data set and compare train with val.

    CIFAR-10 in the authors' batches is checked by its own checksums. Raises `UserError` if there
    is no such folder or set.
    """
    names = [known for known in images.NAMES if known != "synthetic"]
    if name not in names:
        raise UserError(f"there are no photos of {name!r} to check; it is one of {names}")
    if not data_dir.is_dir():
        raise UserError(f"there is no folder {data_dir}")
    found = Findings(0, [], [])
    train, val = folders = sources.both(sources.root_of(name, data_dir))
    if not (train.is_dir() or val.is_dir()):  # batches, or nothing at all
        photos = images.Photos(name, data_dir)
        return found._replace(photos=sum(map(len, (photos.train, photos.minival, photos.val))))
    known = f"{name}-160px" if name == "imagenette" else name
    _tried(found, lambda: sources.check_class_folders(known, *folders))
    trained, tested = (list(_part(found, known, folder)) for folder in folders)
    by_class = itertools.groupby(trained, lambda photo: photo.class_name)
    for class_name, members in () if name == "imagenet" else by_class:
        digests = np.frombuffer(b"".join(photo.digest for photo in members), np.uint8)
        digests, one = digests.reshape(-1, 32), [class_name]
        _tried(found, partial(images.hold_out, np.zeros(len(digests), int), digests, one))
    _compare(found, trained, tested)
    return found._replace(photos=len(trained) + len(tested))


def _compare(found: Findings, trained: list[Photo], tested: list[Photo]) -> None:
    """Note which photos are both in train and in val."""
    known = {photo.digest: photo.path for photo in trained}
    shared = [photo for photo in tested if photo.digest in known]
    if shared and len(shared) == len(tested):
        found.problems.append(f"all {len(tested)} photos of val are among the training photos")
        return
    found.notes.extend(f"{p.path} is the same photo as {known[p.digest]}" for p in shared)


def _tried(found: Findings, function: Callable[[], T]) -> T | None:
    """What the function returns, or None after its `UserError` was noted."""
    try:
        return function()
    except UserError as error:
        if str(error) not in found.problems:
            found.problems.append(str(error))
        return None


def _part(found: Findings, name: str, folder: Path) -> Iterator[Photo]:
    """The photos of train or val that can be decoded, by class; all else is noted."""
    part = "train" if folder.name == "train" else "val"
    files = list(_files(found, folder))
    counted = np.unique([file.name.split("/")[0] for file in files], return_inverse=True)[1]
    _tried(found, lambda: published.check_counts(name, part, folder, counted))

    def digest(file: sources.File) -> bytes | None:
        decoded = _tried(found, lambda: sources.decode(folder / file.name))
        return None if decoded is None else cache.image_digest(decoded)

    digests = cache.in_threads(digest, files, f"opening {part}")
    for file, known in zip(files, digests, strict=True):
        if known:
            yield Photo(folder / file.name, file.name.split("/")[0], known)


def _files(found: Findings, folder: Path) -> Iterator[sources.File]:
    """The images below a folder of class folders, by class; what else there is, is noted."""
    classes = _tried(found, lambda: sources.class_names(folder)) or ()
    passed_over = sources.beside(folder) if classes else []
    for class_name in classes:
        below = _tried(found, partial(sources.files_below, folder, class_name)) or []
        found.problems.extend(file.problem for file in below if file.problem)
        passed_over += [file.name for file in below if not (file.counts or file.problem)]
        counting = [file for file in below if file.counts and not file.problem]
        if not counting:
            found.problems.append(f"{folder / class_name} holds no images: fill it or remove it")
        yield from counting
    if passed_over:
        found.notes.append(sources.told_of(folder, passed_over))
