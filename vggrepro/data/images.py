"""Image sets: their canonical order, splits, fingerprints and RGB statistics.

Sections 3.1 and 4. `load` finds `synthetic`, `cifar10`, `imagenette`, `imagenet` or any `folder`
of class folders. Order, fingerprint and minival depend on pixels and labels
alone, not on names or order of files, so that one data set from two sources gives the same run.
(Two versions of a JPEG decoder may differ in a pixel, and the fingerprint then differs.)
"""

import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from vggrepro import UserError
from vggrepro.data import cache, published, sources
from vggrepro.data.sources import decode, read_size
from vggrepro.files import cores, expanded

NAMES = ("synthetic", "cifar10", "imagenette", "imagenet", "folder")
SPLITS = ("train", "minival", "val")
FETCHED = ("cifar10", "imagenette")  # by torchvision, if asked
SYNTHETIC_COUNTS = (2000, 500)
PLAIN = "plain"  # the easier drawings
IMAGENET_MINIVAL_PER_CLASS = 10


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set, in canonical order: by target, then by digest of the pixels.

    `images[i]` is (H, W, 3) uint8 upright RGB and read-only; `targets` (N,) int64; `fingerprint`
    is a SHA-256 (hex) over the pixels and labels of exactly these images, empty for what is no
    split. Order and fingerprint of ImageNet differ, see `load`.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    targets: np.ndarray
    images: "cache.CachedImages | StreamedImages"
    fingerprint: str = ""

    @property
    def sizes(self) -> np.ndarray:
        """(N, 2) height and width in pixels, known without opening an image."""
        return self.images.sizes

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.images[i], int(self.targets[i])

    def evenly(self, count: int) -> np.ndarray:
        """Indices of at most `count` images, evenly spread over the set and so its classes."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)

    def subset(self, chosen: np.ndarray) -> "ImageSet":
        """The images at the indices `chosen`, in that order, none of them opened; unnamed."""
        images = self.images.subset(chosen)
        return replace(self, targets=self.targets[chosen], images=images, fingerprint="")

    def split_off(self, name: str, chosen: np.ndarray) -> "ImageSet":
        """The split `name`: the images at `chosen`. Warns if a published one has other pixels."""
        found = self.subset(chosen)
        fingerprint = found.images.fingerprint(found.targets)
        published.check_pixels(self.name, name, fingerprint)
        return replace(found, split=name, fingerprint=fingerprint)

    @property
    def key(self) -> str:
        """What rests on exactly these images is kept under it: of a split, its fingerprint."""
        return self.fingerprint or self.images.fingerprint(self.targets)

    @property
    def loading_threads(self) -> int:
        """How many threads make batches: all cores to decode photos, and where a GPU computes.

        One where photos are cached and the processor has the net to compute, too.
        """
        torch = sys.modules.get("torch")  # who computes has imported it
        on_gpu = torch is not None and torch.cuda.is_available()
        if not (on_gpu or isinstance(self.images, StreamedImages)):
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
            given = "a data folder" if self.data_dir else "--download"
            raise UserError(
                f"{given} does nothing for synthetic, which is drawn: leave it out, or name the "
                "photos with --data"
            )
        self.data_dir = self.data_dir or None  # an empty name is none, not the folder one is in
        self.cache_dir = expanded(self.cache_dir or cache.default_cache_dir())

    def __getstate__(self) -> dict[str, object]:
        # What is found and decoded is not sent to another process: it finds it in the cache.
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def check(self) -> None:
        """Raise `UserError` unless the photos are there, or may be fetched when they are needed.

        No photo is opened: it takes a moment, so that a wrong folder is told before all else.
        """
        if self.download:
            data_root(self.name, self.data_dir, self.download)
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
        return self._val.split_off("val", np.arange(len(self._val)))

    @cached_property
    def pixels(self) -> "PixelStatistics":
        """RGB mean and principal components over the pixels of `train` (Sect. 2.1 and 3.1)."""
        return pixel_statistics(self.train, self.cache_dir)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; targets are places among them."""
        return self.train.classes

    @cached_property
    def _val(self) -> ImageSet:
        return self._part("val")

    @cached_property
    def _training(self) -> tuple[ImageSet, ImageSet]:
        whole = self._part("train")
        if self.name == "folder":  # of what others published they have seen to that
            _check_apart(whole, self._val)
        streamed = isinstance(whole.images, StreamedImages)
        count = (lambda n: IMAGENET_MINIVAL_PER_CLASS) if streamed else a_tenth
        held_out = hold_out(whole.targets, whole.images.digests, whole.classes, count)
        train, minival = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        return whole.split_off("train", train), whole.split_off("minival", minival)

    def _part(self, part: str) -> ImageSet:
        """All images of a part, train with those of minival."""
        found = self._found[part]
        if isinstance(found, Path):
            return _streamed(sources.list_part(self.name, part, found), self.cache_dir)
        targets, images = cache.open_or_build(found, self.cache_dir)
        if found.name == "cifar10" and (images.sizes != 32).any():
            raise UserError(f"{found.origin} is not CIFAR-10: it has images that are not 32x32.")
        whole = ImageSet(found.name, found.part, found.classes, targets, images)
        if found.part == part:
            return whole
        # Photos that come without a split: val is a fifth of every class.
        held_out = hold_out(targets, images.digests, whole.classes, a_fifth)
        return whole.subset(np.flatnonzero(held_out == (part == "val")))

    @cached_property
    def _found(self) -> dict[str, cache.Source | Path]:
        """What is decoded for train and val; of ImageNet, with a million files, only where."""
        if self.name == "synthetic":
            plain = self.size == PLAIN
            parts = sources.PARTS
            return {part: sources.synthetic_images(part, self.counts, plain) for part in parts}
        root = data_root(self.name, self.data_dir, self.download)
        if self.name == "cifar10":
            return sources.cifar10(root, self.download)
        if self.name == "imagenette":
            return sources.imagenette(root, self.size, self.download)
        if self.name == "imagenet":
            return sources.imagenet_folders(root, self.download)
        return sources.any_folder(root)


def _check_apart(train: ImageSet, val: ImageSet) -> None:
    """Raise `UserError` if val has no photo of its own; warn if it shares some with train."""
    known = {digest.tobytes() for digest in train.images.digests}
    both = sum(digest.tobytes() in known for digest in val.images.digests)
    if both == len(val):
        raise UserError(
            f"all {both} photos of val are among the training photos: an error on them says "
            "nothing. Put other photos into val."
        )
    if both:
        warnings.warn(
            f"{both} of the {len(val)} photos of val are among the training photos: errors "
            "on them are too low",
            stacklevel=2,
        )


def a_tenth(count: int) -> int:
    """Of so many images of a class, how many are minival: rounded, at least one."""
    return max(1, (count + 5) // 10)


def a_fifth(count: int) -> int:
    """Of so many images of a class without a split, how many are val: rounded up."""
    return -(-count // 5)


def hold_out(
    targets: np.ndarray,
    digests: np.ndarray,
    classes: Sequence[str],
    count: Callable[[int], int] = a_tenth,
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


def data_root(name: str, data_dir: str | os.PathLike | None, download: bool = False) -> Path:
    """The data folder. Raises `UserError` if it is not there, nor made by a download."""
    fetched = f"; {sources.FETCH}" if name in FETCHED else ""
    what_to_do = "name the folder that holds the photos"
    if data_dir is None:
        option = "with --data-dir (data_dir)"
        raise UserError(f"{name} needs a data folder: {what_to_do} {option}{fetched}.")
    root = Path(os.path.realpath(expanded(data_dir)))  # unlike `resolve`, also of a cycle of links
    if not root.is_dir() and not download:
        state = "is not a folder" if root.exists() else "does not exist"
        raise UserError(f"The data folder {root} {state}: {what_to_do}{fetched}.")
    return root


# -- ImageNet, streamed -----------------------------------------------------------------------


class StreamedImages(Sequence):
    """`images[i]` decodes the file anew: (H, W, 3) uint8, read-only.

    `names` (N,) are relative to `root`, `n_bytes` (N,) those of the files, `sizes` (N, 2) pixels.
    """

    def __init__(
        self, root: Path, names: np.ndarray, n_bytes: np.ndarray, sizes: np.ndarray
    ) -> None:
        self.root, self.names, self.n_bytes, self.sizes = root, names, n_bytes, sizes

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> np.ndarray:
        return decode(self.root / self.names[i])

    def subset(self, indices: np.ndarray) -> "StreamedImages":
        """The images at `indices`, in that order."""
        parts = (part[indices] for part in (self.names, self.n_bytes, self.sizes))
        return StreamedImages(self.root, *parts)

    @property
    def digests(self) -> np.ndarray:
        """(N, 32) uint8: SHA-256 of the names, in place of the pixels."""
        hashes = b"".join(hashlib.sha256(os.fsencode(name)).digest() for name in self.names)
        return np.frombuffer(hashes, np.uint8).reshape(-1, 32)

    def fingerprint(self, targets: np.ndarray) -> str:
        """SHA-256 (hex) over names and sizes of exactly these files, and over their classes.

        Names begin with the class, but for those in one folder, whose classes a list says.
        """
        files = zip(self.names, self.n_bytes, strict=True)
        marks = b"".join(os.fsencode(f"{name}\0{n_bytes}\n") for name, n_bytes in files)
        if not any(os.sep in name for name in self.names):
            marks += targets.tobytes()
        return hashlib.sha256(marks).hexdigest()


def streamed(listing: sources.Listing, cache_dir: str | os.PathLike | None = None) -> ImageSet:
    """The photos of a list, decoded anew each time; the fingerprint is over names and file sizes.

    Only their sizes in pixels are kept in the cache. Raises `UserError` for a header that is not
    an image's.
    """
    whole = _streamed(listing, Path(cache_dir or cache.default_cache_dir()))
    return whole.split_off("val", np.arange(len(whole)))


def _streamed(listing: sources.Listing, cache_dir: Path) -> ImageSet:
    paths = [listing.root / file.name for file in listing.files]

    def measure() -> np.ndarray:
        return np.array(list(cache.in_threads(read_size, paths, "measuring imagenet")))

    images = StreamedImages(
        listing.root,
        np.array([file.name for file in listing.files], object),
        np.array([file.size for file in listing.files]),
        cache.kept(cache_dir / f"imagenet-{listing.version()[:16]}-sizes.npz", measure),
    )
    return ImageSet("imagenet", "", listing.classes, listing.targets, images)


# -- RGB statistics ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Mean and principal components of RGB values, on the 0-255 scale (Sect. 2.1 and 3.1).

    `mean` (3,); `eigenvalues` (3,) of their covariance, largest first; `eigenvectors` (3, 3),
    one per column, each with its largest component positive. All float64.
    """

    mean: np.ndarray
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
    path = path / f"statistics-{image_set.key[:32]}.npz"
    sums = cache.kept(path, lambda: _pixel_sums(image_set)).tolist()
    n, total, products = sums[3][3], sums[3][:3], sums[:3]
    mean = np.array([t / n for t in total])
    # In integers until the last division: E[x²] - E[x]² in floats loses digits.
    covariance = np.array(
        [[(n * products[i][j] - total[i] * total[j]) / n**2 for j in range(3)] for i in range(3)]
    )
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues, eigenvectors = eigenvalues[::-1], eigenvectors[:, ::-1]
    largest = np.abs(eigenvectors).argmax(axis=0)
    eigenvectors = eigenvectors * np.sign(eigenvectors[largest, range(3)])
    return PixelStatistics(mean, eigenvalues.clip(min=0), eigenvectors)


def _pixel_sums(image_set: ImageSet) -> np.ndarray:
    """(4, 4) int64, sums of products of R, G, B and 1: so also of channels, and the number."""

    def sums(i: int) -> np.ndarray:
        image = image_set.images[i].reshape(-1, 3)
        values = np.ones((len(image), 4))  # the column of ones makes counts and sums products too
        values[:, :3] = image
        return values.T @ values  # exact: integers below 2**53

    total = np.zeros((4, 4), np.int64)
    description = f"RGB statistics of {image_set.name} {image_set.split}"
    for result in cache.in_threads(sums, range(len(image_set)), description):
        total += result.astype(np.int64)
    return total
