"""Image sets: their canonical order, splits, fingerprints and RGB statistics.

Sections 3.1 and 4. `load` finds `synthetic`, `cifar10`, `imagenette`, `imagenet` or any `folder`
of class folders. Order, fingerprint and minival depend on pixels and labels
alone, not on names or order of files, so that one data set from two sources gives the same run.
(Two versions of a JPEG decoder may differ in a pixel, and the fingerprint then differs.)
"""

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vggrepro import UserError
from vggrepro.data import cache, published, sources
from vggrepro.data.sources import decode, read_size
from vggrepro.files import cores, open_regular

NAMES = ("synthetic", "cifar10", "imagenette", "imagenet", "folder")
PARTS = ("train", "val")  # on disk; minival is held out of train
SPLITS = ("train", "minival", "val")
FETCHED = ("cifar10", "imagenette")  # by torchvision, if asked
SYNTHETIC_COUNTS = (2000, 500)
PLAIN = "plain"  # the easier drawings
IMAGENET_MINIVAL_PER_CLASS = 10


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set, in canonical order: by target, then by digest of the pixels.

    `images[i]` is (H, W, 3) uint8 upright RGB and read-only; `targets` (N,) int64; `sizes`
    (N, 2), height and width in pixels, so that images of one shape can be batched without
    opening them; `fingerprint` is a SHA-256 (hex) over the pixels and labels of exactly these
    images. Order and fingerprint of ImageNet differ, see `load`.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    targets: np.ndarray
    fingerprint: str
    images: Sequence[np.ndarray]
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.images[i], int(self.targets[i])

    def evenly(self, count: int) -> np.ndarray:
        """Indices of at most `count` images, evenly spread over the set and so its classes."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)

    def subset(self, chosen: np.ndarray) -> "ImageSet":
        """The images at the indices `chosen`, in that order, none of them opened; unnamed."""
        return replace(
            self,
            targets=self.targets[chosen],
            fingerprint="",
            images=self.images.subset(chosen),
            sizes=self.sizes[chosen],
        )

    @property
    def loading_threads(self) -> int:
        """How many threads make batches: one where photos are cached, all cores to decode them."""
        if not isinstance(self.images, StreamedImages):
            return 1
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of torchrun, on this machine
        return max(1, cores() // processes)


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    cache_dir: str | os.PathLike | None = None,
    download: bool = False,
    size: str = "160px",
    counts: tuple[int, int] = SYNTHETIC_COUNTS,
) -> "Photos":
    """Find a data set; its photos are decoded into a cache when they are first asked for.

    DEVIATION: the paper lowers the learning rate by the validation set that it also reports on
    (Sect. 3.1 and 4). Holding minival out of the training set keeps `val` untouched.

    ImageNet is not cached: its photos are decoded each time they are asked for. Its order is
    (class, file name), its minival 10 images per class (10,000) chosen by a hash of their names,
    and its fingerprint covers names and file sizes: hashing the pixels of 1.3 million photos
    takes hours, so a photo that was changed without changing its file's size goes unseen.

    Args:
        name: one of `NAMES`. `cifar10` is read from torchvision's batches or from class
            folders (`train`, `test`), in `data_dir` or in `cifar10` or `cifar-10` below it;
            `imagenette` and `imagenet` as torchvision lays them out; `folder` from
            `train/<class>/` and `val/<class>/` (or `test/<class>/`), or from `<class>/` alone:
            a fifth of every class, chosen by the pixels and so the same anywhere, is then val.
        data_dir: where the data lies; `synthetic` takes none.
        cache_dir: where decoded images are kept; by default the user's cache directory.
        download: let torchvision download CIFAR-10 or Imagenette into `data_dir`, or unpack
            the ImageNet archives that lie there.
        size: of Imagenette's photos: "160px", "320px" (short side) or "full"; "plain" for the
            easier ones of the drawn images.
        counts: how many synthetic images to draw, for training (minival included) and for val.

    Raises:
        UserError: unknown name; data missing or incomplete; and, when they are asked for, an
            unreadable image or no room for the cache.
    """
    photos = Photos(name, data_dir, cache_dir, download, size, counts)
    photos.check()
    return photos


@dataclass
class Photos:
    """A data set as `load` finds it: `train`, `minival` and `val`, each read once."""

    name: str
    data_dir: str | os.PathLike | None = None
    cache_dir: str | os.PathLike | None = None
    download: bool = False
    size: str = "160px"
    counts: tuple[int, int] = SYNTHETIC_COUNTS

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"Unknown data set {self.name!r}; it is one of {', '.join(NAMES)}.")
        if self.name == "synthetic" and (self.data_dir or self.download):
            raise UserError(
                "a data folder and --download do nothing for synthetic, which is drawn: leave them "
                "out, or name the photos with --data"
            )
        self.cache_dir = Path(self.cache_dir or cache.default_cache_dir())

    def check(self) -> None:
        """Raise `UserError` unless the photos are there, or may be fetched when they are needed.

        No photo is opened: it takes a moment, so that a wrong folder is told before all else.
        """
        if self.download and self.name != "synthetic":
            _data_root(self.name, self.data_dir, self.download)
        else:
            _ = self._found

    @cached_property
    def train(self) -> ImageSet:
        """The training images without those of minival."""
        return self._training[0]

    @cached_property
    def minival(self) -> ImageSet:
        """A tenth of the training images, of each class and the same for every run.

        For choosing recipes and for the learning-rate rule.
        """
        return self._training[1]

    @cached_property
    def val(self) -> ImageSet:
        """The images that errors are reported on. They steer nothing."""
        return self._val.split("val", np.arange(len(self._val.images)))

    @cached_property
    def pixels(self) -> "PixelStatistics":
        """RGB mean and principal components over the pixels of `train` (Sect. 2.1 and 3.1)."""
        return pixel_statistics(self.train, self.cache_dir)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; targets are places among them."""
        return self.train.classes

    @cached_property
    def _val(self) -> "_Part":
        return self._part("val")

    @cached_property
    def _training(self) -> tuple[ImageSet, ImageSet]:
        part = self._part("train")
        images = part.images
        if self.name == "folder":  # of what others published they have seen to that
            _check_apart(part, self._val)
        held_out = hold_out(images.targets, part.digests, images.classes, part.minival_of)
        train, minival = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        return part.split("train", train), part.split("minival", minival)

    def _part(self, part: str) -> "_Part":
        found = self._found[part]
        if isinstance(found, Path):
            listing = sources.list_images(found)
            published.check_counts(self.name, part, found, listing.targets)
            listing.tell()
            return _imagenet(listing, self.cache_dir)
        cached = _cached(found, self.cache_dir)
        return cached if found.part == part else _share(cached, part)

    @cached_property
    def _found(self) -> dict[str, cache.Source | Path]:
        """What is decoded for train and val; of ImageNet, with a million files, only where."""
        if self.name == "synthetic":
            plain = self.size == PLAIN
            return {part: sources.synthetic_images(part, self.counts, plain) for part in PARTS}
        root = _data_root(self.name, self.data_dir, self.download)
        find = {
            "cifar10": lambda part: sources.cifar10(root, part, self.download),
            "imagenette": lambda part: sources.imagenette(root, part, self.size, self.download),
            "imagenet": lambda part: sources.imagenet_folder(root, part, self.download),
            "folder": lambda part: sources.any_folder(root, part),
        }[self.name]
        return {part: find(part) for part in PARTS}


class _Part(NamedTuple):
    """All images of a part of a data set, and what chooses and names splits of it."""

    images: ImageSet
    digests: np.ndarray
    fingerprint: Callable[[np.ndarray], str]
    minival_of: Callable[[int], int]

    def split(self, name: str, chosen: np.ndarray) -> ImageSet:
        fingerprint = self.fingerprint(chosen)
        published.check_pixels(self.images.name, name, fingerprint)
        return replace(self.images.subset(chosen), split=name, fingerprint=fingerprint)


def _cached(source: cache.Source, cache_dir: Path) -> _Part:
    targets, digests, images = cache.open_or_build(source, cache_dir)
    published.check_counts(source.name, source.part, source.origin, targets)
    if source.name == "cifar10" and (images.sizes != 32).any():
        raise UserError(f"{source.origin} is not CIFAR-10: it has images that are not 32x32.")

    def fingerprint(chosen: np.ndarray) -> str:
        content = targets[chosen].astype("<i8").tobytes() + digests[chosen].tobytes()
        return hashlib.sha256(content).hexdigest()

    whole = ImageSet(source.name, source.part, source.classes, targets, "", images, images.sizes)
    return _Part(whole, digests, fingerprint, _a_tenth)


def shared(one: _Part, other: _Part) -> np.ndarray:
    """Which images of `one` are in `other` too, whatever their class: (N,) bool."""
    known = {digest.tobytes() for digest in other.digests}
    return np.array([digest.tobytes() in known for digest in one.digests], bool)


def _check_apart(train: _Part, val: _Part) -> None:
    """Raise `UserError` if val has no photo of its own; warn if it shares some with train."""
    both = shared(val, train)
    if both.all():
        raise UserError(
            f"all {len(both)} photos of val are among the training photos: an error on them says "
            "nothing. Put other photos into val."
        )
    if both.any():
        warnings.warn(
            f"{both.sum()} of the {len(both)} photos of val are among the training photos: errors "
            "on them are too low",
            stacklevel=2,
        )


def _share(whole: _Part, part: str) -> _Part:
    """What is train or val of photos that come without a split: val is a fifth of every class."""
    images = whole.images
    held_out = hold_out(images.targets, whole.digests, images.classes, lambda n: -(-n // 5))
    chosen = np.flatnonzero(held_out == (part == "val"))
    return _Part(
        images.subset(chosen),
        whole.digests[chosen],
        lambda some: whole.fingerprint(chosen[some]),
        whole.minival_of,
    )


def _a_tenth(count: int) -> int:
    return max(1, (count + 5) // 10)


def hold_out(
    targets: np.ndarray,
    digests: np.ndarray,
    classes: Sequence[str],
    count: Callable[[int], int] = _a_tenth,
) -> np.ndarray:
    """Which training images are minival: (N,) bool, stratified and fixed by content alone.

    Of each class, the `count(n)` of its n images with the smallest digests (by default a tenth,
    rounded, at least one). Duplicates, which have equal digests, stay together. Raises UserError
    if a class would have no training image left.
    """
    held_out = np.zeros(len(targets), bool)
    order = cache.canonical_order(targets, digests)
    bounds = np.searchsorted(targets[order], np.arange(len(classes) + 1))
    for start, stop, class_name in zip(bounds[:-1], bounds[1:], classes, strict=True):
        end = start + count(int(stop - start))
        while end < stop and (digests[order[end]] == digests[order[end - 1]]).all():
            end += 1
        if end >= stop:
            raise UserError(
                f"Class {class_name!r} has {stop - start} training images: too few different "
                "ones to hold some out as minival. Add images."
            )
        held_out[order[start:end]] = True
    return held_out


def _data_root(name: str, data_dir: str | os.PathLike | None, download: bool) -> Path:
    what_to_do = "name the folder that holds the photos with --data-dir (data_dir)"
    if name in FETCHED:
        what_to_do += "; `vggrepro run` with --download lets torchvision fetch them into it"
    if data_dir is None:
        raise UserError(f"{name} needs a data folder: {what_to_do}.")
    try:
        root = Path(data_dir).expanduser().resolve()
    except RuntimeError as error:  # ~nosuchuser, or a cycle of links
        raise UserError(f"The data folder {data_dir} cannot be: {error}") from error
    if not root.is_dir() and not download:
        state = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"The data folder {root} {state}: {what_to_do}.")
    return root


# -- ImageNet, streamed -----------------------------------------------------------------------


class StreamedImages(Sequence):
    """`images[i]` decodes the file anew: (H, W, 3) uint8, read-only."""

    def __init__(self, root: Path, names: np.ndarray) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        return decode(self.root / self.names[i])

    def subset(self, indices: np.ndarray) -> "StreamedImages":
        """The images at `indices`, in that order."""
        return StreamedImages(self.root, self.names[indices])


def streamed(
    listing: sources.Listing, cache_dir: str | os.PathLike | None = None, split: str = "val"
) -> ImageSet:
    """The photos of a list, decoded anew each time; the fingerprint is over names and file sizes.

    Only their sizes in pixels are kept in the cache. Raises `UserError` for a header that is not
    an image's.
    """
    part = _imagenet(listing, Path(cache_dir or cache.default_cache_dir()))
    return part.split(split, np.arange(len(part.images)))


def _imagenet(listing: sources.Listing, cache_dir: Path) -> _Part:
    names = np.array(listing.names, object)
    hashes = b"".join(hashlib.sha256(os.fsencode(name)).digest() for name in names)

    def fingerprint(chosen: np.ndarray) -> str:
        marks = (os.fsencode(f"{names[i]}\0{listing.sizes[i]}\n") for i in chosen)
        return hashlib.sha256(b"".join(marks)).hexdigest()

    images, sizes = StreamedImages(listing.root, names), _image_sizes(listing, cache_dir)
    whole = ImageSet("imagenet", "", listing.classes, listing.targets, "", images, sizes)
    digests = np.frombuffer(hashes, np.uint8).reshape(-1, 32)
    return _Part(whole, digests, fingerprint, lambda n: IMAGENET_MINIVAL_PER_CLASS)


def _image_sizes(listing: sources.Listing, cache_dir: Path) -> np.ndarray:
    """Height and width of every image, (N, 2), read from the headers once and then kept."""
    path = cache_dir / f"imagenet-{listing.version()[:16]}-sizes.npz"
    try:
        return cache.read_arrays(path)["sizes"]
    except Exception:  # missing, or damaged
        paths = [listing.root / name for name in listing.names]
        sizes = np.array(list(cache.in_threads(read_size, paths, "measuring imagenet")))
        content = io.BytesIO()
        np.savez(content, sizes=sizes)
        cache.keep(path, content.getvalue())
        return sizes


# -- RGB statistics ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Mean and principal components of RGB values, on the 0-255 scale (Sect. 2.1 and 3.1).

    `mean` (3,); `covariance` (3, 3); its `eigenvalues` (3,), largest first; `eigenvectors`
    (3, 3), one per column, each with its largest component positive. All float64.
    """

    mean: np.ndarray
    covariance: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray


def pixel_statistics(
    image_set: ImageSet, cache_dir: str | os.PathLike | None = None
) -> PixelStatistics:
    """RGB mean and covariance over all pixels of a set, each pixel counted once.

    The mean is what the nets subtract (Sect. 2.1); the components drive the colour shift
    (Sect. 3.1, after Krizhevsky et al. 2012). The sums are exact integers, so the result does
    not depend on order or threads; they are kept in the cache under the set's fingerprint.

    Raises:
        UserError: an image cannot be read, or the cache directory cannot be written.
    """
    path = Path(cache_dir or cache.default_cache_dir())
    path = path / f"statistics-{image_set.fingerprint[:32]}.json"
    sums = _kept_sums(path)
    if sums is None:
        sums = _pixel_sums(image_set)
        named = dict(zip(("n", "total", "products"), sums, strict=True))
        cache.keep(path, json.dumps(named | {"digest": _sums_digest(sums)}).encode())
    n, total, products = sums
    mean = np.array([t / n for t in total])
    # In integers until the last division: E[x²] - E[x]² in floats loses digits.
    covariance = np.array(
        [[(n * products[i][j] - total[i] * total[j]) / n**2 for j in range(3)] for i in range(3)]
    )
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    largest = np.abs(eigenvectors).argmax(axis=0)
    eigenvectors = eigenvectors * np.sign(eigenvectors[largest, range(3)])
    return PixelStatistics(mean, covariance, eigenvalues.clip(min=0), eigenvectors)


Sums = tuple[int, list[int], list[list[int]]]


def _kept_sums(path: Path) -> Sums | None:
    """The sums in a file of the cache, None if it is missing, damaged or has no digest."""
    try:
        with open_regular(path) as file:
            kept = json.load(file)
        sums = kept["n"], kept["total"], kept["products"]
        return sums if kept["digest"] == _sums_digest(sums) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _sums_digest(sums: Sums) -> str:
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def _pixel_sums(image_set: ImageSet) -> Sums:
    """Number of pixels, sum of each channel, and sums of products of each pair of channels."""

    def sums(i: int) -> np.ndarray:
        image = image_set.images[i].reshape(-1, 3)
        values = np.ones((len(image), 4))  # the column of ones makes counts and sums products too
        values[:, :3] = image
        return values.T @ values  # exact: integers below 2**53

    total = np.zeros((4, 4), np.int64)
    description = f"RGB statistics of {image_set.name} {image_set.split}"
    for result in cache.in_threads(sums, range(len(image_set)), description):
        total += result.astype(np.int64)
    return int(total[3, 3]), total[3, :3].tolist(), total[:3, :3].tolist()
