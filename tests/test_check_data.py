"""`vggrepro check-data`: all that is wrong with a folder of photos, at once."""

import os
import shutil

import pytest

from tests.image_folders import publish, random_images, write_folders, write_set
from vggrepro import UserError
from vggrepro.data import load, published


@pytest.fixture
def photos(tmp_path):
    return write_set(tmp_path / "photos")


def test_a_good_folder_is_ready(photos, vggrepro):
    status, out, _ = vggrepro("check-data", photos)
    assert (status, out) == (0, "2 classes: cat, dog\n46 photos, ready to be trained on\n")


def test_all_problems_are_listed_at_once(photos, vggrepro):
    train, val = photos / "train", photos / "val"
    (train / "dog" / "0001.png").write_bytes(b"no image")
    (train / "dog" / "0003.png").write_bytes((train / "dog" / "0005.png").read_bytes()[:-40])
    (val / "dog" / "gone.png").symlink_to("nowhere")
    (val / "cat" / "round.png").symlink_to("round.png")
    os.mkfifo(train / "cat" / "pipe.png")
    (train / "bird").mkdir()
    shutil.copy(train / "cat" / "0000.png", val / "cat" / "again.png")
    shutil.copy(train / "cat" / "0000.png", train / "cat" / "x.gif")
    (train / "notes").write_text("beside")
    write_folders(train, random_images(1, seed=9), [0], ("hen",))
    status, out, err = vggrepro("check-data", photos)
    assert status == 1
    for line in (
        "dog/0001.png cannot be read as an image",
        "dog/0003.png cannot be read as an image",
        "dog/gone.png, a link to nowhere, cannot be read",
        "cat/round.png, a link to round.png, cannot be read",
        "cat/pipe.png is not a regular file",
        "bird holds no images",
        "same class folders; only one has ['bird', 'hen']",
        "Class 'hen' has 1 training images",
        "cat/again.png is the same photo as",
        "passed over 2 of the files (.gif, no suffix), such as notes",
    ):
        assert line in out, line
    assert err.splitlines()[-1] == f"vggrepro: 8 problems in {photos}"


def test_photos_without_a_split_are_all_looked_at(tmp_path, vggrepro):
    write_folders(tmp_path, random_images(24), [i % 2 for i in range(24)], ("cat", "dog"))
    status, out, _ = vggrepro("check-data", tmp_path)
    assert (status, out) == (0, "2 classes: cat, dog\n24 photos, ready to be trained on\n")
    for name in ("cat/0000.png", "dog/0003.png"):
        (tmp_path / name).write_bytes(b"no image")
    write_folders(tmp_path, random_images(1, seed=9), [0], ("hen",))
    status, out, err = vggrepro("check-data", tmp_path)
    assert status == 1 and err.splitlines()[-1] == f"vggrepro: 3 problems in {tmp_path}"
    assert out.count("cannot be read as an image") == 2
    assert "Class 'hen' has 1 training images: too few" in out


def test_a_class_too_small_to_be_split_twice_is_a_problem(tmp_path, vggrepro):
    write_folders(tmp_path, random_images(14), [i >= 12 for i in range(14)], ("cat", "dog"))
    status, out, _ = vggrepro("check-data", tmp_path)
    assert status == 1 and "Class 'dog' has 1 training images: too few" in out


def test_val_that_is_train_is_one_problem(photos, vggrepro):
    shutil.rmtree(photos / "val")
    shutil.copytree(photos / "train", photos / "val")
    status, out, _ = vggrepro("check-data", photos)
    assert (status, out) == (1, "all 40 photos of val are among the training photos\n")


def test_a_published_set_is_compared_with_what_was_published(photos, vggrepro, monkeypatch):
    publish(monkeypatch, "imagenette-160px", ("cat", "dog"), [20, 20], [3, 3])
    (photos / "train" / "cat" / "0000.png").unlink()
    status, out, _ = vggrepro("check-data", photos, "--data", "imagenette")
    assert status == 1
    assert "39 photos in all, not 40 (by class [19, 20], not [20, 20])" in out
    publish(monkeypatch, "cifar10", published.CIFAR10_CLASSES, [1], [1])
    assert "lacking: airplane, automobile" in vggrepro("check-data", photos, "--data", "cifar10")[1]


@pytest.mark.parametrize("name", ["cifar10", "imagenette", "imagenet"])
def test_what_is_advised_is_an_option_of_the_command_that_is_named(tmp_path, vggrepro, name):
    status, _, err = vggrepro("check-data", tmp_path, "--data", name, "--cache-dir", tmp_path / "c")
    assert status == 1 and "`vggrepro run` with --download" in err
    assert err.count("--") == 1


def test_a_split_within_a_class_is_a_problem(photos, vggrepro):
    write_folders(photos.parent / "other", random_images(9, seed=2), [0] * 9, ("birds",))
    status, out, _ = vggrepro("check-data", photos.parent)
    assert status == 1 and f"{photos} has the parts of a split in it" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere does not exist: name the folder that holds the photos"),
        ((".", "--data", "synthetic"), "a data folder does nothing for synthetic"),
        ((".", "--data", "mnist"), "Unknown data set 'mnist'"),
    ],
)
def test_what_cannot_be_checked(tmp_path, monkeypatch, vggrepro, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = vggrepro("check-data", *arguments)
    assert status == 1 and message in err
    assert vggrepro("check-data", tmp_path)[0] == 1  # neither train nor val


def test_parts_under_other_names_are_no_classes(tmp_path, photos, vggrepro):
    for part, other in (("train", "Train"), ("val", "validation")):
        (photos / part).rename(photos / other)
    status, out, _ = vggrepro("check-data", photos)
    assert status == 1 and f"{photos} has the parts of a split in it" in out
    with pytest.raises(UserError, match="call them train and val"):
        load("folder", photos, cache_dir=tmp_path / "cache")
    (photos / "validation").rename(photos / "dev")
    with pytest.raises(UserError, match="call them train and val"):
        load("folder", photos, cache_dir=tmp_path / "cache")
    (photos / "Train").rename(photos / "train")
    with pytest.raises(UserError, match=r"no folder .*val: expected val/<class>"):
        load("folder", photos, cache_dir=tmp_path / "cache")


def test_a_photo_in_two_classes_is_named(tmp_path, vggrepro):
    write_folders(tmp_path, random_images(24), [i % 2 for i in range(24)], ("cat", "dog"))
    shutil.copy(tmp_path / "cat" / "0000.png", tmp_path / "dog" / "again.png")
    status, out, _ = vggrepro("check-data", tmp_path)
    assert status == 0
    assert "dog/again.png is the same photo as" in out and "of another class" in out
