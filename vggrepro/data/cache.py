"""Decoded images on disk: one flat file of uint8 pixels per set, memory-mapped.

A photo is decoded once, not once per epoch. A set lives in a folder of its own in the cache
directory (never in the data folder):

    <name>-<split>-<version>/pixels.bin   all pixels, one image after the other, (H, W, 3) each
                             index.npz    offsets, sizes, targets, digests, in canonical order,
                                          and where the images came from

The version is a fingerprint of the file list (relative path, size, modification time), of the
decoder and of this layout, so changed files are decoded again.
"""

import hashlib
import io
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import __version__ as pillow_version
from PIL import features
from platformdirs import user_cache_path
from tqdm import tqdm

from vggrepro import UserError
from vggrepro.files import WRITING, cores, file_lock, open_regular, sweep, write_atomically

FORMAT = 2
"""Version of the layout above and of `sources.decode`: another makes every set be decoded again."""

OTHERWISE = "Free some space, or choose another cache directory with --cache-dir (cache_dir)."

CHUNK = 256
"""Images in flight at once: bounds the memory when the disk is slower than the decoder."""

T = TypeVar("T")
R = TypeVar("R")


class Reader(NamedTuple):
    """Images that are ready to be decoded: their number, bytes, and how to read the i-th.

    `read(i)` returns an (H, W, 3) uint8 RGB image and its target; it is called from threads.
    """

    n_images: int
    n_bytes: int
    read: Callable[[int], tuple[np.ndarray, int]]


class Source(NamedTuple):
    """What a cached set is made from: the part `train`, `val` or `all` of a data set.

    `origin` says where the images come from and `version` (see `version_of`) in which state
    they are; a new version replaces the old one of the same origin. `open` is called only when
    the set has to be built.
    """

    name: str
    part: str
    classes: tuple[str, ...]
    origin: str
    version: str
    open: Callable[[], Reader]


class CachedImages(Sequence):
    """`images[i]` is an (H, W, 3) uint8 view of the memory-mapped file: read-only, no copy.

    `digests` (N, 32) uint8 are SHA-256 of shape and pixels.
    """

    def __init__(
        self, pixels: np.ndarray, offsets: np.ndarray, sizes: np.ndarray, digests: np.ndarray
    ) -> None:
        # A plain array over the mapping: indexing np.memmap itself is several times slower. Kept
        # by subsets, because another process may have replaced the file since.
        self._pixels = np.asarray(pixels)
        self.offsets, self.sizes, self.digests = offsets, sizes, digests

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, i: int) -> np.ndarray:
        start, (height, width) = int(self.offsets[i]), self.sizes[i].tolist()
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

    def subset(self, indices: np.ndarray) -> "CachedImages":
        """The images at `indices`, in that order, over the same file."""
        parts = (part[indices] for part in (self.offsets, self.sizes, self.digests))
        return CachedImages(self._pixels, *parts)

    def fingerprint(self, targets: np.ndarray) -> str:
        """SHA-256 (hex) over the labels and the pixels of exactly these images."""
        content = targets.astype("<i8").tobytes() + self.digests.tobytes()
        return hashlib.sha256(content).hexdigest()

    def whole(self) -> bool:
        """Whether every image has the digest that it was decoded with."""
        # In blocks: of CIFAR-10's photos one is too little work for a thread.
        starts = range(0, len(self), CHUNK)

        def right(start: int) -> bool:
            block = range(start, min(start + CHUNK, len(self)))
            return all(image_digest(self[i]) == self.digests[i].tobytes() for i in block)

        with ThreadPoolExecutor(cores()) as pool:
            return len(self) > 0 and all(pool.map(right, starts))


def default_cache_dir() -> Path:
    """The user's cache directory for vggrepro (`~/.cache/vggrepro`, or below XDG_CACHE_HOME)."""
    path = user_cache_path("vggrepro", appauthor=False)
    if not path.is_absolute():  # "~/.cache", where neither HOME nor the user is known
        raise UserError("there is no home folder for the image cache: name one with --cache-dir")
    return path


def version_of(origin: str, parts: Iterable[str]) -> str:
    """Fingerprint (hex) of a source: its origin, its `parts`, the decoder and the layout."""
    decoder = [pillow_version, features.version("libjpeg_turbo")]
    digest = hashlib.sha256(json.dumps([FORMAT, decoder, origin]).encode())
    for part in parts:
        digest.update(b"\0" + os.fsencode(part))
    return digest.hexdigest()


def image_digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's shape and pixels, 32 bytes."""
    digest = hashlib.sha256(np.array(image.shape, "<i8").tobytes())
    digest.update(np.ascontiguousarray(image))
    return digest.digest()


def canonical_order(targets: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Indices that sort by target and then by digest, (N,): the order that pixels alone fix."""
    words = digests.view(">u8").reshape(len(digests), -1)  # big-endian: sorts as the bytes do
    return np.lexsort((*words.T[::-1], targets))


def in_threads(
    function: Callable[[T], R], items: Sequence[T], description: str | None = None
) -> Iterator[R]:
    """`map(function, items)` in threads, results in order, with a progress bar on a terminal.

    PIL, hashlib and numpy release the interpreter lock for the heavy part.
    """
    with (
        ThreadPoolExecutor(cores()) as pool,
        tqdm(total=len(items), desc=description, unit=" images", disable=None) as progress,
    ):
        for start in range(0, len(items), CHUNK):
            for result in pool.map(function, items[start : start + CHUNK]):
                yield result
                progress.update()


def open_or_build(source: Source, cache_dir: Path) -> tuple[np.ndarray, CachedImages]:
    """Open a cached set, decoding it first if it is missing, incomplete or out of date.

    Targets (N,) int64 and images, in canonical order: by target, then by digest.

    The set appears under its name only when it is complete, so a killed build leaves nothing
    that could be mistaken for a set. Of several processes one builds, the others wait.

    Raises `UserError` if an image cannot be read, the set exceeds the free space, or `cache_dir`
    cannot be written.
    """
    folder = cache_dir / f"{source.name}-{source.part}-{source.version[:16]}"
    decoded = _open(folder)
    if decoded:
        return decoded
    with alone(cache_dir):
        decoded = _open(folder)  # built while we waited?
        if not decoded:
            if folder.exists():
                text = f"{folder} is damaged: its photos are decoded again"
                warnings.warn(text, stacklevel=2)
            _build(source, folder)
            decoded = _open(folder)
    if not decoded:
        raise UserError(f"The image cache {folder} was changed while it was built; try again.")
    return decoded


def _build(source: Source, folder: Path) -> None:
    reader = source.open()
    _remove_outdated(source, folder)
    free = shutil.disk_usage(folder.parent).free
    if reader.n_bytes > free:
        taken, left = (f"{n_bytes / 2**30:.2f} GiB" for n_bytes in (reader.n_bytes, free))
        raise UserError(
            f"Decoding {source.name} {source.part} takes {taken}, but only {left} are free in "
            f"{folder.parent}. {OTHERWISE}"
        )
    temporary = folder.with_name(f"{WRITING}{folder.name}")
    temporary.mkdir()
    try:
        _write(source, reader, temporary)
        temporary.rename(folder)
    except BaseException:  # also on Ctrl-C: gigabytes must not stay behind
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(source: Source, reader: Reader, folder: Path) -> None:
    """Pixels go to disk in the order they are decoded; only the index is in canonical order."""

    def read(i: int) -> tuple[np.ndarray, int, bytes]:
        image, target = reader.read(i)
        return np.ascontiguousarray(image), target, image_digest(image)

    rows = []
    with open(folder / "pixels.bin", "wb") as file:
        description = f"decoding {source.name} {source.part}"
        for image, target, digest in in_threads(read, range(reader.n_images), description):
            file.write(image)
            rows.append((image.shape[:2], target, np.frombuffer(digest, np.uint8)))
        file.flush()
        os.fsync(file.fileno())
    sizes, targets, digests = (np.array(column) for column in zip(*rows, strict=True))
    lengths = 3 * sizes.prod(axis=1)
    index = {"offsets": np.cumsum(lengths) - lengths, "sizes": sizes}
    index |= {"targets": targets, "digests": digests}
    order = canonical_order(targets, digests)
    ordered = {name: column[order] for name, column in index.items()}
    write_arrays(folder / "index.npz", **ordered, origin=source.origin)


def _open(folder: Path) -> tuple[np.ndarray, CachedImages] | None:
    """The set in `folder`, or None if it is missing or damaged.

    All pixels are read and compared with their digests: a second or two for a gigabyte.
    """
    try:
        index = read_arrays(folder / "index.npz")
        parts = (index[name] for name in ("offsets", "sizes", "digests"))
        images = CachedImages(np.memmap(folder / "pixels.bin", np.uint8, mode="r"), *parts)
        return (index["targets"], images) if images.whole() else None
    except Exception:  # whatever a damaged file makes NumPy and zipfile raise
        return None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, which has a checksum of each."""
    with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def write_arrays(path: Path, **arrays: object) -> None:
    """Write an `.npz`. Raises `UserError` if it cannot be written."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(path, content.getvalue())


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in a small file of the cache; made and kept if that is missing or damaged.

    Raises `UserError` if it cannot be written.
    """
    try:
        return read_arrays(path)["made"]
    except Exception:  # missing, or whatever a damaged file makes NumPy and zipfile raise
        made = make()
    with alone(path.parent):
        write_arrays(path, made=made)
    return made


def _remove_outdated(source: Source, folder: Path) -> None:
    """Remove what `folder` replaces: a damaged set there, and sets of the same origin."""
    for other in folder.parent.glob(f"{source.name}-{source.part}-*"):
        try:
            outdated = read_arrays(other / "index.npz")["origin"] == source.origin
        except Exception:  # as in `_open`
            outdated = other == folder
        if outdated:
            shutil.rmtree(other, ignore_errors=True)


@contextmanager
def alone(cache_dir: Path) -> Iterator[None]:
    """Write to the cache while nobody else does; what killed writers left there is removed first.

    Turns a full disk or a missing permission into a `UserError`.
    """
    with writing(cache_dir), file_lock(cache_dir / ".lock"):
        sweep(cache_dir)
        yield


@contextmanager
def writing(cache_dir: Path) -> Iterator[None]:
    """Make the cache directory; turn a full disk or a missing permission into a UserError."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"The image cache in {cache_dir} cannot be written: {error}. {OTHERWISE}"
        ) from error
