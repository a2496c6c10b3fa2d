"""Where the images of each data set lie, and how to read them: files, batches or drawings.

What finds a data set returns what the cache needs to decode each part of it, train and val, without
opening an image. A class's index is the position of its name among the sorted names.
"""

import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from vggrepro import UserError
from vggrepro.data import published, synthetic
from vggrepro.data.cache import Reader, Source, in_threads, version_of
from vggrepro.data.published import CIFAR10_CLASSES, IMAGENETTE_CLASSES
from vggrepro.files import open_regular

PARTS = ("train", "val")  # on disk; minival is held out of train
SYNTHETIC_SEED = 1409_1556
CIFAR10_BATCHES = "cifar-10-batches-py"  # the folder in the authors' archive
IMAGENETTE_FOLDERS = {"160px": "imagenette2-160", "320px": "imagenette2-320", "full": "imagenette2"}
LIKE_TRAIN = {"train", "training"}
LIKE_VAL = {"val", "valid", "validation", "test", "testing"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
DEEP = "32-bit pixels; 8 or 16 bits per channel are supported"
# Of the commands that look for photos not all have the option.
FETCH = "`vggrepro run` with --download lets torchvision fetch it"
HIDDEN = ("@eaDir", "#recycle", "__MACOSX")  # what file servers and archives leave among photos


class File(NamedTuple):
    """A file below a folder of class folders: name there, bytes, time of change."""

    name: str
    size: int
    time: int


class Listing(NamedTuple):
    """The image files below one folder of class folders, by class and then by name.

    `targets` (N,) int64 are their classes; `passed_over` names the files that are no images and
    not hidden; `problems` says what keeps others from being read.
    """

    root: Path
    classes: tuple[str, ...]
    files: list[File]
    targets: np.ndarray
    passed_over: Sequence[str] = ()
    problems: Sequence[str] = ()

    def version(self) -> str:
        """Changes when a file is added, removed, renamed, resized or written again."""
        return version_of(str(self.root), (f"{f.name}/{f.size}/{f.time}" for f in self.files))


def told_of(root: Path, passed_over: Sequence[str]) -> str:
    """One line on files that do not count: how many, of which kinds."""
    kinds = sorted({Path(name).suffix or "no suffix" for name in passed_over})
    return (
        f"{root}: passed over {len(passed_over)} of the files ({', '.join(kinds)}), such as "
        f"{passed_over[0]}: what counts is images in class folders ({', '.join(SUFFIXES)})"
    )


def class_names(root: Path) -> tuple[str, ...]:
    """The class folders of `root`, sorted. Raises UserError if there are none, or no access."""
    if not root.is_dir():
        raise UserError(
            f"There is no folder {root}: expected {root.name}/<class>/<image files>. Class folders "
            "that are not split yet: move a share of the photos of each class to val/<class>/."
        )
    with _naming(root):
        names = sorted(p.name for p in root.iterdir() if not _hidden(p.name) and p.is_dir())
    if not names:
        raise UserError(f"{root} has no class folders: expected {root.name}/<class>/<image files>.")
    return tuple(names)


def list_images(root: Path) -> Listing:
    """List the image files in the class folders of `root`, at any depth and through links.

    Files are images by their suffix; hidden files and folders are passed over. Warns of others;
    raises UserError if there is no class folder, a class without an image, or an image that is no
    regular file.
    """
    listing = look_through(root)
    if listing.problems:
        raise UserError(listing.problems[0])
    if listing.passed_over:
        warnings.warn(told_of(root, listing.passed_over), stacklevel=2)
    return listing


def look_through(root: Path) -> Listing:
    """`list_images` with all problems in the list: only the lack of a class folder is raised."""
    classes, files, targets, problems = class_names(root), [], [], []
    with _naming(root), os.scandir(root) as entries:
        passed_over = sorted(e.name for e in entries if not (_hidden(e.name) or e.is_dir()))
    for target, class_name in enumerate(classes):
        broken: list[str] = []
        try:
            with _naming(root / class_name):
                below = sorted(_files(os.fspath(root / class_name), class_name, broken))
        except UserError as error:
            problems.append(str(error))
            continue
        problems += sorted(broken)
        passed_over += [file.name for file in below if not is_image(file.name)]
        found = [file for file in below if is_image(file.name)]
        if not found:
            problems.append(
                f"{root / class_name} holds no images ({', '.join(SUFFIXES)}): fill the folder "
                "or remove it."
            )
        files += found
        targets += [target] * len(found)
    problems += [
        f"{root / folder} has the parts of a split in it, which would be mixed: call them train "
        "and val, with the classes in each, and name their folder, or move the photos out of both"
        for folder in _split_within(file.name for file in files)
    ]
    return Listing(root, classes, files, np.array(targets, np.int64), passed_over, problems)


def _split_within(names: Iterable[str]) -> list[str]:
    """The folders, among those that files are in, that hold one for training and one for val."""
    below: dict[str, set[str]] = {}
    for path in {os.path.dirname(name) for name in names}:
        while path:
            path, part = os.path.split(path)
            below.setdefault(path, set()).add(part.lower())
    found = {f for f, parts in below.items() if parts & LIKE_TRAIN and parts & LIKE_VAL}
    # In place of classes one part alone, if it has folders in it, is enough.
    if any(f.lower() in LIKE_TRAIN | LIKE_VAL and f not in ("train", "val", "test") for f in below):
        found.add("")
    return sorted(found)


def is_image(name: str) -> bool:
    """Whether a file is taken for a photo, by its name alone."""
    return not _hidden(name) and name.lower().endswith(SUFFIXES)


def _hidden(name: str) -> bool:
    return name[0] == "." or name in HIDDEN


def _files(
    folder: str, prefix: str, broken: list[str], above: tuple[str, ...] = ()
) -> Iterator[File]:
    """The files that can be read, links followed; what is wrong with others goes into `broken`."""
    above = (*above, os.path.realpath(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if _hidden(entry.name):
                continue
            try:
                found = entry.stat()  # of what a link leads to
            except OSError as error:
                broken.append(_unreadable(entry.path, error))
                continue
            if not stat.S_ISDIR(found.st_mode):
                if is_image(entry.name) and not stat.S_ISREG(found.st_mode):
                    broken.append(f"{entry.path} is not a regular file: remove it.")
                else:
                    yield File(name, found.st_size, found.st_mtime_ns)
            elif os.path.realpath(entry.path) in above:
                broken.append(f"{entry.path} leads back to a folder above it: remove the link.")
            else:
                yield from _files(entry.path, name, broken, above)


def synthetic_images(part: str, counts: tuple[int, int], plain: bool = False) -> Source:
    """The embedded data set: `counts` drawings for train and val, always of the same seed."""
    numbers = tuple(counts) if isinstance(counts, Iterable) else ()
    if len(numbers) != 2 or not all(isinstance(n, Integral) and n > 0 for n in numbers):
        raise UserError(f"counts must be two positive numbers (train, val), not {counts!r}.")
    count = int(numbers[part == "val"])

    def open_reader() -> Reader:
        # How large each image is shows only when it is drawn; this is the upper bound.
        largest = 3 * synthetic.SHORT_SIDE**2 * synthetic.LONGEST_ASPECT
        draw = partial(synthetic.draw, SYNTHETIC_SEED, part, plain=plain)
        return Reader(count, int(count * largest), draw)

    origin = f"synthetic, seed {SYNTHETIC_SEED}, {count} {'plain ' * plain}images"
    version = version_of(origin, [str(synthetic.VERSION), part, np.__version__])
    return Source("synthetic", part, synthetic.CLASSES, origin, version, open_reader)


def cifar10(data_dir: Path, download: bool) -> dict[str, Source]:
    """CIFAR-10 from the authors' batches, through torchvision, or from class folders."""
    data_dir = data_dir.parent if data_dir.name == CIFAR10_BATCHES else data_dir
    root, folders = (root_of("cifar10", data_dir, part) for part in (CIFAR10_BATCHES, "train"))
    there = (root / CIFAR10_BATCHES).is_dir()
    if not there and (folders / "train").is_dir():
        return class_folders("cifar10", folders)
    if not there and not download:
        raise UserError(
            f"CIFAR-10 is not in {data_dir}: {FETCH}; or unpack cifar-10-python.tar.gz "
            f"(https://www.cs.toronto.edu/~kriz/cifar.html) there, which makes {CIFAR10_BATCHES}; "
            "or put images there as train/<class>/ and test/<class>/."
        )
    if download:  # also what is incomplete
        _batches(root, "train", download=True)
    return {part: _of_batches(root, part) for part in PARTS}


def _batches(root: Path, part: str, download: bool = False):
    from torchvision.datasets import CIFAR10  # imports torch: only when it is needed

    what, train = f"CIFAR-10 ({CIFAR10_BATCHES} in {root})", part == "train"
    return _with_torchvision(what, lambda: CIFAR10(str(root), train, download=download))


def _of_batches(root: Path, part: str) -> Source:
    def open_reader() -> Reader:
        photos = _batches(root, part)
        targets = [CIFAR10_CLASSES.index(photos.classes[label]) for label in photos.targets]
        return Reader(len(targets), photos.data.nbytes, lambda i: (photos.data[i], targets[i]))

    origin = root / CIFAR10_BATCHES
    files = sorted(path for path in origin.iterdir() if path.is_file())
    stats = [(path.name, path.stat()) for path in files]
    parts = [part, *(f"{name}/{stat.st_size}/{stat.st_mtime_ns}" for name, stat in stats)]
    version = version_of(str(origin), parts)
    return Source("cifar10", part, CIFAR10_CLASSES, str(origin), version, open_reader)


def imagenette(data_dir: Path, size: str, download: bool) -> dict[str, Source]:
    """Imagenette in torchvision's layout; classes are ordered by WordNet id, named in English."""
    if size not in IMAGENETTE_FOLDERS:
        raise UserError(f"Unknown Imagenette size {size!r}; it is one of {[*IMAGENETTE_FOLDERS]}.")
    data_dir = data_dir.parent if data_dir.name == IMAGENETTE_FOLDERS[size] else data_dir
    root = data_dir / IMAGENETTE_FOLDERS[size]
    if not root.is_dir() and not download:
        raise UserError(
            f"Imagenette is not in {root}: {FETCH}; or unpack {root.name}.tgz "
            "(https://github.com/fastai/imagenette) in the data folder."
        )
    if not root.is_dir():
        from torchvision.datasets import Imagenette

        _with_torchvision(
            f"Imagenette ({root})", lambda: Imagenette(str(data_dir), size=size, download=True)
        )
    names = tuple(IMAGENETTE_CLASSES.values())
    found = class_folders(f"imagenette-{size}", root)
    return {part: source._replace(classes=names) for part, source in found.items()}


def imagenet_folders(data_dir: Path, download: bool) -> dict[str, Path]:
    """The folders of ImageNet in torchvision's layout: `train/<wnid>/`, `val/<wnid>/`.

    `download` unpacks the archives (`ILSVRC2012_img_train.tar`, `ILSVRC2012_img_val.tar`,
    `ILSVRC2012_devkit_t12.tar.gz`) if they lie in `data_dir`; they need an account to get.
    Raises UserError, which says how, if there is neither, or not with the published classes.
    """
    folders = {part: data_dir / part for part in PARTS}
    for folder in folders.values():
        if download and not folder.is_dir():
            from torchvision.datasets import ImageNet

            made = f"ImageNet ({data_dir})"
            _with_torchvision(made, partial(ImageNet, str(data_dir), split=folder.name))
        if not folder.is_dir():
            raise UserError(
                f"ImageNet is not in {data_dir}: expected {folder.name}/<WordNet id>/ there. Get "
                "the archives from https://image-net.org and put them there; `vggrepro run` with "
                "--download unpacks them."
            )
    check_class_folders("imagenet", *folders.values())
    return folders


def root_of(name: str, data_dir: Path, part: str = "train") -> Path:
    """The folder that holds a part of a set, however its data folder was named."""
    below = {"cifar10": ("cifar10", "cifar-10"), "imagenette": (IMAGENETTE_FOLDERS["160px"],)}
    roots = [data_dir / folder for folder in below.get(name, ())]
    return next((root for root in roots if (root / part).is_dir()), data_dir)


def both(root: Path) -> tuple[Path, Path]:
    """The folders of the two parts of a set of class folders; `test` may stand for `val`."""
    test = root / "test"
    return root / "train", test if test.is_dir() and not (root / "val").is_dir() else root / "val"


def check_class_folders(name: str, train: Path, val: Path) -> None:
    """The class folders of a set. Raises UserError unless train, val and the publication agree.

    Both are asked for at once, so that a missing one is found before the training, not after: a
    class's index is its place among the sorted names, and one missing would shift all others.
    """
    classes = class_names(train)
    published.check_classes(name, train, classes)
    others = class_names(val)
    if others != classes:
        one = sorted(set(classes) ^ set(others))
        raise UserError(f"{train} and {val} must have the same class folders; only one has {one}.")
    check_two(train, classes)


def check_two(root: Path, classes: tuple[str, ...]) -> None:
    """Raise UserError if there is one class only."""
    if len(classes) < 2:
        raise UserError(f"{root} has one class only: there is nothing to tell apart.")


def is_split(root: Path) -> bool:
    """Whether a folder has `train`, `val` or `test`: else its folders are taken for classes."""
    return any((root / part).is_dir() for part in ("train", "val", "test"))


def any_folder(root: Path) -> dict[str, Source]:
    """The photos of `class_folders`, or without a split all that there are, as the part `all`."""
    if is_split(root):
        return class_folders("folder", root)
    listing = list_images(root)
    check_two(root, listing.classes)
    return dict.fromkeys(PARTS, _decoded("folder", "all", listing))


def class_folders(name: str, root: Path) -> dict[str, Source]:
    """Any data set of class folders: `train/<class>/`, and `val/<class>/` or `test/<class>/`."""
    folders = dict(zip(PARTS, both(root), strict=True))
    check_class_folders(name, *folders.values())
    return {
        part: _decoded(name, part, list_part(name, part, folder))
        for part, folder in folders.items()
    }


def list_part(name: str, part: str, folder: Path) -> Listing:
    """`list_images`, compared with what was published. Raises UserError for other counts."""
    listing = list_images(folder)
    published.check_counts(name, part, folder, listing.targets)
    return listing


def _decoded(name: str, part: str, listing: Listing) -> Source:
    paths = [os.fspath(listing.root / file.name) for file in listing.files]

    def open_reader() -> Reader:
        sizes = in_threads(read_size, paths, f"measuring {name} {part}")
        n_bytes = sum(3 * height * width for height, width in sizes)
        return Reader(len(paths), n_bytes, lambda i: (decode(paths[i]), int(listing.targets[i])))

    return Source(name, part, listing.classes, str(listing.root), listing.version(), open_reader)


def _with_torchvision(what: str, make: Callable[[], object]):
    """Let torchvision read, download or unpack a data set; its errors become a UserError."""
    try:
        return make()
    except Exception as error:  # URLError, RuntimeError, OSError, tarfile and pickle errors ...
        raise UserError(
            f"{what} could not be read or downloaded: {error}. Without a network, download the "
            "archive elsewhere and unpack it there."
        ) from error


# --- one image file -------------------------------------------------------------------------


def decode(path: str | os.PathLike) -> np.ndarray:
    """Decode one image file to upright RGB, (H, W, 3) uint8, read-only.

    EXIF orientation is applied. Greyscale, palette and CMYK become RGB as PIL does it;
    transparent pixels are composited on white; of 16-bit greyscale the high byte is kept; of an
    animation the first frame. Raises UserError, naming the file, when it is corrupt, truncated,
    or not an image.
    """
    with _naming(path), open_regular(path) as file, Image.open(file) as image:
        if (image.format, image.mode) == ("TIFF", "I"):  # of 16 bits it would be another mode
            raise ValueError(DEEP)
        if image.format == "PNG" and "transparency" in image.info:
            image.info["transparency"] = _as_decoded(image.info["transparency"], image.tile[0].args)
        pixels = np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    pixels.flags.writeable = False
    return pixels


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of the upright image, from the file's header where that has all of it.

    Pillow reads a PNG to its end to see whether it is to be turned. Raises UserError, naming the
    file, when the header is not an image's.
    """
    with _naming(path), open_regular(path) as file, Image.open(file) as image:
        if image.format == "TIFF":  # Pillow turns these itself, of late when it opens them
            return ImageOps.exif_transpose(image).size[::-1]
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # 0x0112: EXIF orientation
    return (width, height) if turned else (height, width)


@contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    """Turn whatever a decoder raises into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # PIL: OSError, SyntaxError, ValueError, struct.error, zlib.error
        named = getattr(error, "filename", None) or os.fspath(path)
        if isinstance(error, OSError) and error.errno:
            text = _unreadable(named, error)
        else:
            text = (
                f"{named} cannot be read as an image ({error}). It may be corrupt or truncated: "
                "replace it or remove it."
            )
        raise UserError(text) from error


def _unreadable(path: str | os.PathLike, error: OSError) -> str:
    target = f", a link to {os.readlink(path)}," if os.path.islink(path) else ""
    return f"{os.fspath(path)}{target} cannot be read: {error.strerror}"


def _as_decoded(colour: Any, in_file: str) -> Any:
    """What a colour of a PNG's file becomes where Pillow decodes pixels to 8 bits, but not it."""
    if in_file in ("L;2", "L;4"):
        return colour * (255 // (2 ** int(in_file[2:]) - 1))
    if in_file == "RGB;16B":  # what differs in low bytes only can no longer be told apart
        return tuple(value >> 8 for value in colour)
    return colour


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # convert("RGB") would clip 16 bits at 255
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(DEEP)
        # The one value that a PNG may call transparent; white, as below.
        values = np.where(values == image.info.get("transparency", -1), 0xFF00, values)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels; 8 or 16 bits per channel are supported")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
