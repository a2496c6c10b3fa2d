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


class Findings(NamedTuple):
    """`problems` keep a set from being trained on; `notes` only need to be known."""

    photos: int
    problems: list[str]
    notes: list[str]
    classes: tuple[str, ...] = ()


def check(
    data_dir: str | Path, name: str = "folder", cache_dir: str | Path | None = None
) -> Findings:
    """Open every photo of a data set; compare train with val, and classes with each other.

    CIFAR-10 in the authors' batches is checked by its own checksums, and its photos are decoded
    into the cache. Raises `UserError` if there is no such folder or set.
    """
    loaded = images.Photos(name, data_dir, cache_dir)
    data_dir = images.data_root(name, data_dir)
    found = Findings(0, [], [])
    folders = sources.both(sources.root_of(name, data_dir))
    known = f"{name}-160px" if name == "imagenette" else name
    counts = [] if name == "imagenet" else [images.a_tenth]
    if name == "folder" and not sources.is_split(data_dir):
        folders, counts = (data_dir,), [images.a_fifth, images.a_tenth]
        _tried(found, lambda: sources.check_two(data_dir, sources.class_names(data_dir)))
    elif any(folder.is_dir() for folder in folders):
        _tried(found, lambda: sources.check_class_folders(known, *folders))
    else:  # batches, or nothing at all
        count = sum(map(len, (loaded.train, loaded.minival, loaded.val)))
        return found._replace(photos=count, classes=loaded.classes)
    by_folder = [dict(_digests(found, known, folder)) for folder in folders]
    _hold_out(found, folders[0], by_folder[0], counts)
    for folder, photos in zip(folders, by_folder, strict=True):
        _in_two_classes(found, folder, photos)
    if len(folders) > 1:
        _compare(found, *by_folder)
    classes = _tried(found, lambda: sources.class_names(folders[0])) or ()
    return found._replace(photos=sum(map(len, by_folder)), classes=classes)


def _hold_out(
    found: Findings, root: Path, photos: dict[Path, bytes], counts: list[Callable[[int], int]]
) -> None:
    """Note the classes of which too few photos are different to hold so many out, in turn."""
    by_class = itertools.groupby(photos.items(), lambda photo: photo[0].relative_to(root).parts[0])
    for class_name, members in by_class:
        digests = np.frombuffer(b"".join(digest for _, digest in members), np.uint8)
        digests, one = digests.reshape(-1, 32), [class_name]
        for count in counts:
            targets = np.zeros(len(digests), int)
            held_out = _tried(found, partial(images.hold_out, targets, digests, one, count))
            if held_out is None:
                break
            digests = digests[~held_out]


def _compare(found: Findings, trained: dict[Path, bytes], tested: dict[Path, bytes]) -> None:
    """Note which photos are both in train and in val."""
    known = {digest: path for path, digest in trained.items()}
    shared = {path: known[digest] for path, digest in tested.items() if digest in known}
    if shared and len(shared) == len(tested):
        found.problems.append(f"all {len(tested)} photos of val are among the training photos")
        return
    found.notes.extend(f"{path} is the same photo as {other}" for path, other in shared.items())


def _in_two_classes(found: Findings, root: Path, photos: dict[Path, bytes]) -> None:
    """Note which photos are in more than one class."""
    first: dict[bytes, Path] = {}
    for path, digest in photos.items():
        other = first.setdefault(digest, path)
        if other.relative_to(root).parts[0] != path.relative_to(root).parts[0]:
            found.notes.append(f"{path} is the same photo as {other}, of another class")


def _tried(found: Findings, function: Callable[[], T]) -> T | None:
    """What the function returns, or None after its `UserError` was noted."""
    try:
        return function()
    except UserError as error:
        if str(error) not in found.problems:
            found.problems.append(str(error))
        return None


def _digests(found: Findings, name: str, folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The photos of train or val that can be decoded, by class; all else is noted."""
    part = "train" if folder.name == "train" else "val"
    listing = _tried(found, lambda: sources.look_through(folder))
    if listing is None:
        return
    found.problems.extend(listing.problems)
    if listing.passed_over:
        found.notes.append(sources.told_of(folder, listing.passed_over))
    _tried(found, lambda: published.check_counts(name, part, folder, listing.targets))
    paths = [folder / file.name for file in listing.files]

    def digest(path: Path) -> bytes | None:
        decoded = _tried(found, lambda: sources.decode(path))
        return None if decoded is None else cache.image_digest(decoded)

    digests = cache.in_threads(digest, paths, f"opening {part}")
    yield from (photo for photo in zip(paths, digests, strict=True) if photo[1])
