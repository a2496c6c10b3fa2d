"""Data sets in parts that travel: nothing above the limit, and the same images afterwards."""

import pytest

from tests.image_folders import publish, random_images, write_folders
from tools import pack_data
from vggrepro import data
from vggrepro.data.sources import CIFAR10_CLASSES


def test_cifar10_travels_in_sheets_and_stays_the_same(tmp_path, own_cache, monkeypatch):
    monkeypatch.setattr(pack_data, "ROWS", 1)
    monkeypatch.setattr(pack_data, "COLUMNS", 3)
    publish(monkeypatch, "cifar10", CIFAR10_CLASSES, [7] * 10, [2] * 10)
    for split, count, seed in (("train", 70, 0), ("test", 20, 1)):
        images = random_images(count, seed, (32, 32))
        targets = [i % 10 for i in range(count)]
        write_folders(tmp_path / "here" / split, images, targets, CIFAR10_CLASSES)
    parts = pack_data.pack("cifar10", tmp_path / "here", tmp_path / "parts", limit=100_000)
    assert len(parts) > 1
    assert all(part.stat().st_size <= 100_000 for part in parts)
    for _ in range(2):  # a second call brings nothing new
        pack_data.unpack(tmp_path / "parts", tmp_path / "there")
    here, there = (data.load("cifar10", tmp_path / name) for name in ("here", "there"))
    for split in data.images.SPLITS:
        before, after = getattr(here, split), getattr(there, split)
        assert before.fingerprint == after.fingerprint
        assert (before.targets == after.targets).all()


def test_photos_travel_as_they_are_whatever_part_comes_first(tmp_path):
    root = tmp_path / "here" / "imagenette2-160" / "train"
    write_folders(root, random_images(9, 0, (20, 30)), [i % 3 for i in range(9)], "abc")
    parts = pack_data.pack("imagenette", tmp_path / "here", tmp_path / "parts", limit=20_000)
    assert len(parts) == 3 and all(part.stat().st_size <= 20_000 for part in parts)
    for part in reversed(parts):
        part.rename(tmp_path / "parts" / "one.tar")
        pack_data.unpack(tmp_path / "parts", tmp_path / "there")
    there = tmp_path / "there" / "imagenette2-160" / "train"
    files = [path.relative_to(root) for path in root.rglob("*.png")]
    assert len(files) == 9
    assert all((root / file).read_bytes() == (there / file).read_bytes() for file in files)


def test_what_cannot_be_packed(tmp_path):
    for name, message in (("cifar10", "is not in"), ("imagenette", "no folder")):
        with pytest.raises(SystemExit, match=message):
            pack_data.pack(name, tmp_path, tmp_path / "parts")
    with pytest.raises(SystemExit, match="no parts"):
        pack_data.unpack(tmp_path, tmp_path)
