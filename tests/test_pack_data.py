"""Data sets in parts that travel: nothing above the limit, and the same images afterwards."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.image_folders import publish, random_images, write_folders
from tests.running import PowerCutError, power_cut
from tools import pack_data
from vggrepro import UserError, data
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

    def half(self, path, **_):
        Path(path).write_bytes(b"half")
        power_cut()

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(Image.Image, "save", half)
        pack_data.unpack(tmp_path / "parts", tmp_path / "there")
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
    (tmp_path / "imagenette2-160").mkdir()
    for name, message in (("cifar10", "is not in"), ("imagenette", "no photos in")):
        for there in (tmp_path, tmp_path / "none"):
            with pytest.raises(UserError, match=f"{message}|does not exist"):
                pack_data.pack(name, there, tmp_path / "parts")
    with pytest.raises(UserError, match="no parts"):
        pack_data.unpack(tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["imagenette2-160"]


def test_what_cannot_be_written_or_read(tmp_path):
    photos = tmp_path / "imagenette2-160" / "train"
    write_folders(photos, random_images(1, 0, (20, 30)), [0], "a")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*: it is not a folder"):
        pack_data.pack("imagenette", tmp_path, tmp_path / "file")
    (part,) = pack_data.pack("imagenette", tmp_path, tmp_path / "parts")
    with pytest.raises(UserError, match=r"cannot write to .*: it is not a folder"):
        pack_data.unpack(tmp_path / "parts", tmp_path / "file")
    part.write_bytes(part.read_bytes()[:700])
    with pytest.raises(UserError, match="is not a whole part: carry it here again"):
        pack_data.unpack(tmp_path / "parts", tmp_path / "there")


def test_what_is_wrong_is_one_line_and_a_status(tmp_path):
    command = [sys.executable, pack_data.__file__, "unpack", tmp_path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("vggrepro: no parts (*.tar) in ")
