"""Carry CIFAR-10 or Imagenette-160 to a machine without network, in parts of a limited size.

    python tools/pack_data.py pack cifar10 DATA PARTS       # parts of at most 40 MiB
    python tools/pack_data.py pack imagenette DATA PARTS
    python tools/pack_data.py unpack PARTS DATA             # on the other machine; any parts twice

CIFAR-10 travels as lossless sheets of up to a thousand images of a class, and is unpacked to class
folders; Imagenette's JPEG files travel as they are. Pixels, and so the fingerprints in records,
stay the same.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package need not be installed

from vggrepro import UserError
from vggrepro.files import WRITING, expanded, make_writable, write_atomically
from vggrepro.process import in_order

if TYPE_CHECKING:
    from vggrepro.data import Photos

LIMIT = 40 * 2**20  # bytes of a part: what travels with the repository may be limited, too
ROWS, COLUMNS, SIDE = 25, 40, 32  # of a sheet, in images, and of an image in pixels
SHEETS = "sheets"


def pack(name: str, data_dir: Path, parts: Path, limit: int = LIMIT) -> list[Path]:
    """Write the data set into `parts` as tar files of at most `limit` bytes, and return them.

    Raises `UserError` for a data set that is not there, and for a folder that cannot be written.
    """
    files = _cifar10(data_dir) if name == "cifar10" else _photos(data_dir / "imagenette2-160")
    make_writable(parts)
    written: list[Path] = []
    for contents in _below(files, limit):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path, content in contents:
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        written.append(parts / f"{name}-{len(written)}.tar")
        write_atomically(written[-1], packed.getbuffer())
    return written


def _below(files: Iterable[tuple[str, bytes]], limit: int) -> Iterator[list[tuple[str, bytes]]]:
    """The files in groups that make tar files of at most `limit` bytes."""
    group, size = [], tarfile.RECORDSIZE  # a tar file is padded to whole records
    for path, content in files:
        entry = 2 * tarfile.BLOCKSIZE + len(content)  # its header, and padding to whole blocks
        if group and size + entry > limit:
            yield group
            group, size = [], tarfile.RECORDSIZE
        group.append((path, content))
        size += entry
    if group:
        yield group


def _photos(root: Path) -> Iterator[tuple[str, bytes]]:
    found = sorted(path for path in root.rglob("*") if path.is_file())
    if not found:
        raise UserError(f"no photos in {root}: name the folder that holds {root.name}/train")
    return ((str(path.relative_to(root.parent)), path.read_bytes()) for path in found)


def _cifar10(data_dir: Path) -> Iterator[tuple[str, bytes]]:
    from vggrepro.data import load  # not for unpacking, where what it needs may be missing

    return _sheets(load("cifar10", data_dir))


def _sheets(photos: "Photos") -> Iterator[tuple[str, bytes]]:
    from vggrepro.data.sources import CIFAR10_CLASSES

    parts = {"train": ("train", "minival"), "test": ("val",)}
    for part, splits in parts.items():
        sets = [getattr(photos, split) for split in splits]
        for target, name in enumerate(CIFAR10_CLASSES):
            images = [s.images[i] for s in sets for i in np.flatnonzero(s.targets == target)]
            for start in range(0, len(images), ROWS * COLUMNS):
                some = np.stack(images[start : start + ROWS * COLUMNS])
                yield f"{SHEETS}/{part}-{name}-{start}-{len(some)}.webp", _sheet(some)


def _sheet(images: np.ndarray) -> bytes:
    """Images (N, 32, 32, 3) side by side as one lossless WebP file."""
    rows = -(-len(images) // COLUMNS)
    whole = np.zeros((rows * COLUMNS, SIDE, SIDE, 3), np.uint8)
    whole[: len(images)] = images
    grid = whole.reshape(rows, COLUMNS, SIDE, SIDE, 3).swapaxes(1, 2)
    buffer = io.BytesIO()
    picture = Image.fromarray(grid.reshape(rows * SIDE, COLUMNS * SIDE, 3))
    picture.save(buffer, "webp", lossless=True, quality=80)
    return buffer.getvalue()


def unpack(parts: Path, data_dir: Path) -> None:
    """Unpack every part in `parts` into `data_dir`; what is there already is left alone.

    Raises `UserError` for parts that are not there or not whole, and for a folder that cannot be
    written.
    """
    found = sorted(parts.glob("*.tar"))
    if not found:
        raise UserError(f"no parts (*.tar) in {parts}: name the folder that `pack` wrote them to")
    make_writable(data_dir)
    for part in found:
        try:
            with tarfile.open(part) as tar:
                tar.extractall(data_dir, filter="data")
        except tarfile.TarError as error:
            raise UserError(f"{part} is not a whole part: carry it here again") from error
    for sheet in sorted((data_dir / SHEETS).glob("*.webp")):
        split, name, start, count = sheet.stem.rsplit("-", 3)
        folder = data_dir / split / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Image.open(sheet).convert("RGB"))
        grid = pixels.reshape(-1, SIDE, COLUMNS, SIDE, 3).swapaxes(1, 2)
        images = grid.reshape(-1, SIDE, SIDE, 3)[: int(count)]
        for i, image in enumerate(images, start=int(start)):
            path = folder / f"{i:05d}.png"
            if not path.exists():
                temporary = path.with_name(f"{WRITING}{path.name}")
                Image.fromarray(image).save(temporary, compress_level=0)
                temporary.replace(path)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("name", choices=("cifar10", "imagenette"))
    packing.add_argument("data_dir", type=expanded)
    packing.add_argument("parts", type=expanded)
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("parts", type=expanded)
    unpacking.add_argument("data_dir", type=expanded)
    options = parser.parse_args(arguments)
    if options.command == "unpack":
        unpack(options.parts, options.data_dir)
        return
    for path in pack(options.name, options.data_dir, options.parts):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    with in_order():
        main()
