"""ILSVRC's classes and its validation photos, in every way that they lie on disks."""

import re

import numpy as np
import pytest
from torchvision.models import VGG16_Weights

from tests.image_folders import random_images, write_folders
from vggrepro import UserError
from vggrepro.data import ilsvrc
from vggrepro.data.sources import IMAGENETTE_CLASSES

pytestmark = pytest.mark.usefixtures("own_cache")
WNIDS = ("n01440764", "n01751748", "n02102040")  # tench, sea snake, English springer
PLACES = [0, 65, 217]


def test_the_thousand_classes():
    assert len(ilsvrc.CLASSES) == len(set(ilsvrc.CLASSES)) == 1000
    assert sorted(ilsvrc.CLASSES) == list(ilsvrc.CLASSES)
    assert sorted(ilsvrc._BY_NUMBER) == list(range(1, 1001))
    assert [ilsvrc.CLASSES.index(wnid) for wnid in WNIDS] == PLACES
    assert ilsvrc.CLASSES[-1] == "n15075141"
    # Of the first photo, a sea snake: 490 in the kit's list, 65 in Caffe's.
    assert ilsvrc._BY_NUMBER[490] == 65


def test_places_are_those_of_torchvisions_outputs():
    names = VGG16_Weights.IMAGENET1K_V1.meta["categories"]
    found = {wnid: names[ilsvrc.CLASSES.index(wnid)] for wnid in IMAGENETTE_CLASSES}
    assert found == IMAGENETTE_CLASSES


IMAGES = random_images(6)
LABELS = [2, 0, 1, 1, 0, 2]  # of photos 1 to 6, among WNIDS
FLAT = {
    "ILSVRC2012_validation_ground_truth.txt": lambda i, wnid: f"{ilsvrc.ILSVRC_NUMBERS[wnid]}",
    "imagenet_2012_validation_synset_labels.txt": lambda i, wnid: wnid,
    "val.txt": lambda i, wnid: f"ILSVRC2012_val_{i:08}.JPEG {ilsvrc.CLASSES.index(wnid)}",
    "LOC_val_solution.csv": lambda i, wnid: f"ILSVRC2012_val_{i:08},{wnid} 3 1 40 40 ",
}


def flat(root, name):
    from PIL import Image

    root.mkdir(parents=True, exist_ok=True)
    lines = ["ImageId,PredictionString"] if name.startswith("LOC") else []
    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True), start=1):
        Image.fromarray(image).save(root / f"ILSVRC2012_val_{i:08}.JPEG", quality=95)
        lines.append(FLAT[name](i, WNIDS[label]))
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def found(images):
    return sorted((target, image.tobytes()) for image, target in images)


def test_every_layout_gives_the_same_photos(tmp_path):
    write_folders(tmp_path / "a" / "val", IMAGES, LABELS, WNIDS, ".JPEG")
    write_folders(tmp_path / "b", IMAGES, LABELS, WNIDS, ".JPEG")
    as_torchvision = ilsvrc.val(tmp_path / "a")
    assert as_torchvision.classes == ilsvrc.CLASSES
    assert sorted(as_torchvision.targets) == sorted(PLACES[label] for label in LABELS)
    assert found(ilsvrc.val(tmp_path / "b")) == found(as_torchvision)
    for name in FLAT:
        images = ilsvrc.val(flat(tmp_path / name.split(".")[0], name))
        by_name = {str(n): int(t) for n, t in zip(images.images.names, images.targets, strict=True)}
        assert list(by_name.values()) == sorted(by_name.values())  # canonical: by target
        assert [by_name[n] for n in sorted(by_name)] == [PLACES[label] for label in LABELS]


def test_other_labels_are_other_photos(tmp_path):
    root = flat(tmp_path, "val.txt")
    before = ilsvrc.val(root)
    text = (root / "val.txt").read_text()
    first, *others = text.splitlines()
    name, label = first.split()
    (root / "val.txt").write_text("\n".join([f"{name} {int(label) + 1}", *others]))
    changed = ilsvrc.val(root)
    assert sorted(changed.images.names) == sorted(before.images.names)
    assert changed.fingerprint != before.fingerprint


def test_labels_can_be_elsewhere(tmp_path):
    root = flat(tmp_path / "set" / "val", "val.txt")
    elsewhere = tmp_path / "labels.txt"
    (root / "val.txt").rename(elsewhere)
    with pytest.raises(UserError, match="--ground-truth"):
        ilsvrc.val(tmp_path / "set")
    images = ilsvrc.val(tmp_path / "set", ground_truth=elsewhere)
    assert np.bincount(images.targets).nonzero()[0].tolist() == PLACES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("490\n449\n", "has 2 labels for 6 photos"),
        ("1001\n" * 6, "does not say the class"),
        ("ILSVRC2012_val_00000001.JPEG 65\n", "does not say the class"),
        ("ILSVRC2012_val_00000001.JPEG 1000\n" * 6, "does not say the class of each photo: 1000"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, text, message):
    root = flat(tmp_path, "val.txt")
    (root / "val.txt").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        ilsvrc.val(root)
    assert "\n" not in str(error.value)


def test_folders_that_are_no_wordnet_ids(tmp_path):
    write_folders(tmp_path, IMAGES, LABELS, ("cat", *WNIDS[1:]))
    with pytest.raises(UserError, match=re.escape("has 'cat', which is none of them")):
        ilsvrc.val(tmp_path)


def test_training_photos_are_known_by_name():
    assert ilsvrc.is_of_training("val/n01440764/n01440764_10026.JPEG")
    assert not ilsvrc.is_of_training("val/n01440764/ILSVRC2012_val_00000293.JPEG")
