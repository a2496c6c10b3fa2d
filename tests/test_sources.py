"""Data sets as torchvision lays them out, read beside torchvision's own readers."""

import hashlib
import pickle
import shutil
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from tests.image_folders import load, pairs, publish, random_images, write_folders, write_set
from vggrepro import UserError, data
from vggrepro.data import sources

pytestmark = pytest.mark.usefixtures("own_cache")


# -- CIFAR-10 ---------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """The same 60 + 20 random images as torchvision's batches and as class folders.

    torchvision's own reader and its checksums are at work: only the expected sums are ours. The
    batches number the classes in reverse, so an index taken over unread would be wrong.
    """
    names = list(sources.CIFAR10_CLASSES)[::-1]
    folder = tmp_path / "batches" / sources.CIFAR10_BATCHES
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    batches = []
    for i, n in enumerate((30, 30, 20)):
        images = random_images(n, seed=i, shape=(32, 32))
        labels = [j % 10 for j in range(n)]
        rows = np.stack([image.transpose(2, 0, 1).ravel() for image in images])
        batches.append(write(f"batch_{i}", {"data": rows, "labels": labels}))
        part = tmp_path / "folders" / "cifar-10" / ("test" if i == 2 else "train")
        for j, (image, label) in enumerate(zip(images, labels, strict=True)):
            (part / names[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(part / names[label] / f"{i}-{j}.png")
    _, md5 = write("batches.meta", {"label_names": names})
    publish(monkeypatch, "cifar10", sources.CIFAR10_CLASSES, [6] * 10, [2] * 10)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", batches[:2])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", batches[2:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5})
    return tmp_path


def test_cifar10_from_batches_and_from_folders_is_one_data_set(cifar):
    for split, n in (("train", 50), ("minival", 10), ("val", 20)):
        a = load("cifar10", split, cifar / "batches")
        b = load("cifar10", split, cifar / "folders")
        assert (a.name, a.classes, a.fingerprint) == (b.name, b.classes, b.fingerprint)
        assert pairs(a) == pairs(b) and len(a) == n
        assert a.classes == tuple(sorted(sources.CIFAR10_CLASSES))


def test_cifar10_batches_are_checked(cifar):
    path = cifar / "batches" / sources.CIFAR10_BATCHES / "batch_0"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"CIFAR-10.*corrupted"):
        load("cifar10", "train", cifar / "batches")


def test_cifar10_of_another_size_is_refused(cifar):
    for path in (cifar / "folders").rglob("*.png"):
        Image.open(path).resize((64, 64)).save(path)
    with pytest.raises(UserError, match="32x32"):
        load("cifar10", "val", cifar / "folders")


def test_cifar10_missing_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"--download.*cifar-10-python\.tar\.gz"):
        load("cifar10", "train", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "imagenette"])
def test_a_failed_download_says_how_to_go_on(tmp_path, monkeypatch, name):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(
        f"torchvision.datasets.{name}.download_and_extract_archive".replace("cifar10", "cifar"),
        offline,
    )
    with pytest.raises(UserError, match=r"no network.*Without a network"):
        load(name, "train", tmp_path, download=True)


# -- Imagenette and ImageNet ------------------------------------------------------------------


def test_imagenette_classes_are_torchvisions():
    first_names = {k: v[0] for k, v in datasets.Imagenette._WNID_TO_CLASS.items()}
    assert first_names == sources.IMAGENETTE_CLASSES
    assert list(first_names) == sorted(first_names)


def test_imagenette_layout(tmp_path, monkeypatch):
    wnids = list(sources.IMAGENETTE_CLASSES)
    publish(monkeypatch, "imagenette-320px", wnids, [4] * 10, [1] * 10)
    write_set(tmp_path / "imagenette2-320", wnids, n=40, suffix=".JPEG")
    val_folder = tmp_path / "imagenette2-320" / "val"
    write_folders(val_folder, random_images(10, seed=2), range(10), wnids, ".JPEG")
    train = load("imagenette", "train", tmp_path, size="320px")
    assert train.name == "imagenette-320px"
    assert train.classes[:2] == ("tench", "English springer")
    theirs = datasets.Imagenette(tmp_path, "val", "320px")
    ours = load("imagenette", "val", tmp_path, size="320px")
    assert sorted((int(t), np.asarray(i).tobytes()) for i, t in theirs) == sorted(
        (t, i.tobytes()) for i, t in ours
    )
    with pytest.raises(UserError, match=r"imagenette2-160.*--download"):
        load("imagenette", "train", tmp_path)
    shutil.rmtree(tmp_path / "imagenette2-320" / "train" / wnids[3])
    shutil.rmtree(val_folder / wnids[3])
    with pytest.raises(
        UserError, match=f"class folders of imagenette.*lacking: {wnids[3]}; unknown: none"
    ):
        load("imagenette", "train", tmp_path, size="320px")


def test_imagenet_streams_without_copying_pixels(tmp_path, monkeypatch):
    publish(monkeypatch, "imagenet", ("n01", "n02"), [20] * 2, [3] * 2)
    root = write_set(tmp_path / "imagenet", ("n01", "n02"), n=40)
    train, minival, val = (load("imagenet", split, root) for split in data.images.SPLITS)
    assert np.bincount(minival.targets).tolist() == [10, 10]
    assert np.bincount(train.targets).tolist() == [10, 10]
    assert not set(pairs(train)) & set(pairs(minival)) and len(val) == 6
    # The order is that of class and file name.
    for path, (image, target) in zip(sorted((root / "val").glob("*/*")), val, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(path)))
        assert path.parent.name == val.classes[target]
    assert [list(image.shape[:2]) for image in train.images] == train.sizes.tolist()
    assert not list((tmp_path / "xdg").rglob("pixels.bin"))
    with pytest.raises(UserError, match=r"ImageNet is not in"):
        load("imagenet", "val", tmp_path)
