"""Folders of random images for the tests of data sets."""

import numpy as np
from PIL import Image

from vggrepro import data
from vggrepro.data import published


def random_images(n, seed=0, shape=None):
    rng = np.random.default_rng(seed)
    shapes = [shape or rng.integers(4, 12, 2) for _ in range(n)]
    return [rng.integers(0, 256, (*s, 3), np.uint8) for s in shapes]


def write_folders(root, images, targets, classes, suffix=".png"):
    for i, (image, target) in enumerate(zip(images, targets, strict=True)):
        folder = root / classes[target]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:04d}{suffix}")


def write_set(root, classes=("cat", "dog"), n=40, val="val", suffix=".png"):
    """A folder data set of random images: n for training, 6 for val."""
    write_folders(
        root / "train", random_images(n), [i % len(classes) for i in range(n)], classes, suffix
    )
    write_folders(
        root / val, random_images(6, seed=1), [i % len(classes) for i in range(6)], classes, suffix
    )
    return root


def load(name, split, *where, **options):
    """One split of a data set."""
    return getattr(data.load(name, *where, **options), split)


def pairs(image_set):
    return [(target, image.shape, image.tobytes()) for image, target in image_set]


def publish(monkeypatch, name, classes, train, val):
    """Let a small set be the published one: so many photos in all, or of each class."""
    counts = {"train": train, "val": val}
    small = published.Published(tuple(classes), counts)
    monkeypatch.setitem(published.SETS, name, small)
