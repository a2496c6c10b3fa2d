"""Image sets: sources, canonical order, splits, fingerprints, statistics."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.image_folders import load, pairs, publish, random_images, write_folders, write_set
from vggrepro import UserError, data
from vggrepro.data import published, sources, synthetic

pytestmark = pytest.mark.usefixtures("own_cache")


# -- folder -----------------------------------------------------------------------------------


def test_splits_are_disjoint_complete_and_stratified(tmp_path):
    root = write_set(tmp_path / "set")
    train, minival, val = (load("folder", split, root) for split in data.images.SPLITS)
    written = sorted(
        (i % 2, image.shape, image.tobytes()) for i, image in enumerate(random_images(40))
    )
    assert sorted(pairs(train) + pairs(minival)) == written
    assert np.bincount(train.targets).tolist() == [18, 18]
    assert np.bincount(minival.targets).tolist() == [2, 2]
    assert len(val) == 6 and val.classes == train.classes == ("cat", "dog")
    assert len({train.fingerprint, minival.fingerprint, val.fingerprint}) == 3
    assert [list(image.shape[:2]) for image in train.images] == train.sizes.tolist()
    assert train.targets.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        train[0][0][0] = 0


def test_content_alone_fixes_order_fingerprint_and_minival(tmp_path):
    """Other file names, another format, `test` for `val`: the same set."""
    one = write_set(tmp_path / "one")
    images, targets = random_images(40)[::-1], [i % 2 for i in range(40)][::-1]
    two = tmp_path / "two"
    write_folders(two / "train", images, targets, ("a", "b"), ".bmp")
    write_folders(two / "test", random_images(6, seed=1), [0, 1] * 3, ("a", "b"))
    for split in data.images.SPLITS:
        a, b = load("folder", split, one), load("folder", split, two)
        assert a.fingerprint == b.fingerprint
        assert pairs(a) == pairs(b)


def test_fingerprint_is_what_the_docstring_says(tmp_path):
    val = load("folder", "val", write_set(tmp_path / "set"))
    digest = hashlib.sha256(b"".join(int(t).to_bytes(8, "little") for t in val.targets))
    for image in val.images:
        shape = b"".join(n.to_bytes(8, "little") for n in image.shape)
        digest.update(hashlib.sha256(shape + image.tobytes()).digest())
    assert val.fingerprint == digest.hexdigest()


def test_fingerprint_sees_one_pixel_and_one_label(tmp_path):
    root = write_set(tmp_path / "set")
    before = load("folder", "val", root).fingerprint
    path = root / "val" / "cat" / "0000.png"
    image = np.array(Image.open(path))
    image[0, 0, 0] ^= 1
    Image.fromarray(image).save(path)  # the cache must notice, too
    changed = load("folder", "val", root).fingerprint
    (root / "val" / "dog" / "0001.png").rename(root / "val" / "cat" / "0001.png")
    assert len({before, changed, load("folder", "val", root).fingerprint}) == 3


def test_duplicates_stay_on_one_side(tmp_path):
    """30 images of which many are equal: no pixels are in both train and minival."""
    few = random_images(4, shape=(4, 4))
    images = [few[i % 4] for i in range(30)]
    write_folders(tmp_path / "train", images, [0] * 30, ["thing"])
    write_folders(tmp_path / "train", random_images(20, seed=2), [0] * 20, ["other"])
    write_folders(tmp_path / "val", random_images(2, seed=3), [0, 1], ["thing", "other"])
    train, minival = (load("folder", split, tmp_path) for split in ("train", "minival"))
    assert len(train) + len(minival) == 50 and len(minival) >= 7
    assert not set(pairs(train)) & set(pairs(minival))


@given(
    st.lists(st.integers(0, 2), min_size=60, max_size=200),
    st.integers(2, 256),
    st.randoms(use_true_random=False),
)
def test_hold_out_properties(classes, variety, random):
    """Any order of the images gives the same images; a tenth per class; duplicates together."""
    items = sorted((c, random.randrange(variety)) for c in [0, 1, 2] * 20 + classes)

    def held_out(items):
        digests = np.zeros((len(items), 32), np.uint8)
        digests[:, 0] = [d for _, d in items]
        return data.images.hold_out(np.array([c for c, _ in items]), digests, "abc")

    tenths = [sorted(d for c, d in items if c == target) for target in range(3)]
    tenths = [digests[(len(digests) + 5) // 10 - 1] for digests in tenths]
    if any(max(d for c, d in items if c == target) == tenths[target] for target in range(3)):
        with pytest.raises(UserError, match="too few different"):
            held_out(items)
        return
    mask = held_out(items)
    for (target, digest), held in zip(items, mask, strict=True):
        assert held == (digest <= tenths[target])
    shuffled = items.copy()
    random.shuffle(shuffled)
    mask = held_out(shuffled)
    for (target, digest), held in zip(shuffled, mask, strict=True):
        assert held == (digest <= tenths[target])


def test_hidden_and_other_files_are_passed_over_and_subfolders_are_read(tmp_path):
    root = write_set(tmp_path / "set")
    before = load("folder", "val", root).fingerprint
    (root / "val" / "cat" / "notes.txt").write_text("not an image")
    (root / "val" / "cat" / "._0000.png").write_text("not an image")
    (root / "val" / ".cache").mkdir()
    (root / "val" / "cat" / "more").mkdir()
    (root / "val" / "cat" / "0000.png").rename(root / "val" / "cat" / "more" / "0000.PNG")
    assert load("folder", "val", root).fingerprint == before


def test_a_broken_file_is_named(tmp_path):
    root = write_set(tmp_path / "set")
    path = root / "train" / "dog" / "0007.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"dog/0007\.png"):
        load("folder", "train", root)
    assert len(load("folder", "val", root)) == 6


def test_bad_folders_are_clear_errors(tmp_path):
    root = write_set(tmp_path / "set")
    (root / "train" / "empty").mkdir()
    (root / "val" / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no images \(\.jpg, .*\.webp\): fill"):
        load("folder", "train", root)
    (root / "val" / "empty").rmdir()
    shutil.copy(root / "train" / "cat" / "0000.png", root / "train" / "empty")
    with pytest.raises(UserError, match=r"same class folders.*'empty'"):
        load("folder", "val", root)
    shutil.rmtree(root / "train" / "empty")
    shutil.rmtree(root / "val")
    for split in ("train", "val"):  # before a training, not after it
        with pytest.raises(UserError, match=r"no folder.*val: expected val/<class>"):
            load("folder", split, root)
    (root / "val").mkdir()
    with pytest.raises(UserError, match="no class folders"):
        load("folder", "val", root)
    single = tmp_path / "single"
    write_folders(single / "train", random_images(3), [0, 0, 1], ("cat", "dog"))
    write_folders(single / "val", random_images(2), [0, 1], ("cat", "dog"))
    with pytest.raises(UserError, match=r"'dog' has 1 training images"):
        load("folder", "minival", single)
    for part in ("train", "val"):
        shutil.rmtree(single / part / "dog")
    with pytest.raises(UserError, match="one class only"):
        load("folder", "train", single)


def test_photos_are_looked_for_without_opening_any(tmp_path, monkeypatch):
    root = write_set(tmp_path / "set")
    (root / "train" / "cat" / "0000.png").write_bytes(b"no image")
    data.load("folder", root)
    data.load("synthetic")
    data.load("cifar10", tmp_path / "nowhere", download=True)
    publish(monkeypatch, "imagenet", ("cat", "dog"), [40], [6])
    write_set(tmp_path / "imagenet")
    data.load("imagenet", tmp_path / "imagenet")
    shutil.rmtree(root / "val")
    for name, message in (
        ("folder", r"no folder.*val"),
        ("cifar10", "class folders of cifar10.*lacking: airplane"),
        ("imagenette", "imagenette2-160"),
        ("imagenet", r"expected val/<WordNet id>"),
    ):
        with pytest.raises(UserError, match=message):
            data.load(name, root)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is not a folder"):
        data.load("folder", tmp_path / "file")


def test_bad_arguments_are_clear_errors(tmp_path):
    with pytest.raises(UserError, match=r"'mnist'.*synthetic, cifar10"):
        load("mnist", "train")
    with pytest.raises(UserError, match=r"needs a data folder: name .*--data-dir.*--download"):
        load("cifar10", "train")
    with pytest.raises(
        UserError, match=r"does not exist: name the folder that holds the photos\.$"
    ):
        load("folder", "train", tmp_path / "nowhere")
    for counts in ((0, 5), (4,), 5, None, "45", ("4", "5"), (4.0, 5), (4, None), {4: 5}):
        with pytest.raises(UserError, match="counts must be two positive numbers"):
            data.load("synthetic", counts=counts)
    with pytest.raises(UserError, match=r"'64px'.*160px"):
        load("imagenette", "train", tmp_path, size="64px")


# -- synthetic --------------------------------------------------------------------------------


def test_synthetic_is_what_the_drawings_are():
    train, minival, val = (
        load("synthetic", split, counts=(40, 10)) for split in data.images.SPLITS
    )
    assert (len(train), len(minival), len(val)) == (30, 10, 10)
    assert train.classes == synthetic.CLASSES
    drawn = [synthetic.draw(sources.SYNTHETIC_SEED, "train", i) for i in range(40)]
    expected = sorted((s.target, s.image.shape, s.image.tobytes()) for s in drawn)
    assert sorted(pairs(train) + pairs(minival)) == expected


def test_more_synthetic_images_do_not_replace_fewer(tmp_path):
    few = load("synthetic", "val", cache_dir=tmp_path, counts=(20, 4))
    many = load("synthetic", "val", cache_dir=tmp_path, counts=(20, 6))
    assert set(pairs(few)) < set(pairs(many))
    assert len(list(tmp_path.glob("synthetic-val-*"))) == 2


def test_loading_does_not_import_torch():
    code = (
        "import sys; from vggrepro import data; data.load('synthetic', counts=(20, 2)).val;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- statistics -------------------------------------------------------------------------------


def test_pixel_statistics_against_numpy(tmp_path):
    train = load("folder", "train", write_set(tmp_path / "set"))
    pixels = np.concatenate([image.reshape(-1, 3) for image in train.images]).astype(float)
    statistics = data.images.pixel_statistics(train)
    np.testing.assert_allclose(statistics.mean, pixels.mean(0), rtol=1e-12)
    values, vectors = statistics.eigenvalues, statistics.eigenvectors
    assert (np.diff(values) <= 0).all()
    covariance = np.cov(pixels.T, bias=True)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, rtol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert (vectors.max(0) >= -vectors.min(0)).all()  # the largest component is positive


def test_eigenvector_signs_do_not_depend_on_the_solver(tmp_path, monkeypatch):
    train = load("folder", "train", write_set(tmp_path / "set"))
    first = data.images.pixel_statistics(train).eigenvectors
    solve = np.linalg.eigh

    def flipped(matrix):
        values, vectors = solve(matrix)
        return values, -vectors

    monkeypatch.setattr(np.linalg, "eigh", flipped)
    assert np.array_equal(data.images.pixel_statistics(train).eigenvectors, first)


def test_pixel_statistics_are_kept_and_recomputed_when_damaged(tmp_path):
    train = load("folder", "train", write_set(tmp_path / "set"))
    first = data.images.pixel_statistics(train, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("statistics-*.npz")
    object.__setattr__(train, "images", None)  # a second reading of the pixels would fail
    again = data.images.pixel_statistics(train, tmp_path / "cache")
    assert np.array_equal(first.mean, again.mean)
    assert np.array_equal(first.eigenvectors, again.eigenvectors)
    kept = path.read_bytes()
    middle = kept.index(b"NUMPY") + 130  # among the numbers
    flipped = bytes([*kept[:middle], kept[middle] ^ 1, *kept[middle + 1 :]])
    for damaged in (b"", b"{", kept[:-9], flipped, kept.replace(b"made", b"male")):
        path.write_bytes(damaged)
        with pytest.raises(TypeError):
            data.images.pixel_statistics(train, tmp_path / "cache")


# -- what is refused, and what is said --------------------------------------------------------


def link_to(target):
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("make", "message"),
    {
        "a dangling link": (
            link_to("nowhere"),
            "x.png, a link to nowhere, cannot be read: No",
        ),
        "a link to itself": (link_to("x.png"), "x.png, a link to x.png, cannot be read: Too many"),
        "a pipe": (os.mkfifo, "x.png is not a regular file"),
        "a device": (link_to("/dev/zero"), "x.png is not a regular file"),
        "a link up": (link_to("."), "x.png leads back to a folder above it"),
        "empty": (lambda path: path.touch(), "x.png cannot be read as an image"),
        "noise": (lambda path: path.write_bytes(bytes(range(256))), "x.png cannot be read as an"),
    }.values(),
)
def test_a_hostile_photo_is_named_before_a_training(tmp_path, part, make, message):
    root = write_set(tmp_path / "set")
    make(root / part / "dog" / "x.png")
    with pytest.raises(UserError, match=message):
        load("folder", "train", root)


def test_links_to_photos_are_photos(tmp_path):
    root = write_set(tmp_path / "set")
    before = load("folder", "train", root).fingerprint
    photo = root / "train" / "dog" / "0001.png"
    photo.symlink_to(photo.rename(tmp_path / "photo.png"))
    (root / "train" / "cat").rename(tmp_path / "cat")
    (root / "train" / "cat").symlink_to(tmp_path / "cat")
    assert load("folder", "train", root).fingerprint == before


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("place", ["train/cat/@eaDir/0.png/thumb.png", "train/__MACOSX/0.png"])
def test_what_file_servers_leave_is_no_photo(tmp_path, place):
    root = write_set(tmp_path / "set")
    (root / place).parent.mkdir(parents=True)
    shutil.copy(root / "train" / "cat" / "0000.png", root / place)
    assert len(load("folder", "train", root)) == 36


@pytest.mark.parametrize("place", ["train/x.png", "train/cat/x.gif", "val/dog/x.jfif", "val/x"])
def test_what_is_passed_over_is_said(tmp_path, place):
    root = write_set(tmp_path / "set")
    shutil.copy(root / "train" / "cat" / "0000.png", root / place)
    with pytest.warns(
        UserWarning, match=rf"passed over 1 of the files .* such as \S*{os.path.basename(place)}"
    ):
        load("folder", "train", root)


@pytest.mark.parametrize("how", ["copied", "linked", "saved anew"])
def test_val_that_is_train_is_refused(tmp_path, how):
    root = write_set(tmp_path / "set")
    shutil.rmtree(root / "val")
    if how == "linked":
        (root / "val").symlink_to(root / "train")
    elif how == "copied":
        shutil.copytree(root / "train", root / "val")
    else:
        write_folders(root / "val", random_images(40), [0, 1] * 20, ("cat", "dog"), ".bmp")
    with pytest.raises(UserError, match="all 40 photos of val are among the training photos"):
        load("folder", "train", root)


def test_a_photo_that_train_and_val_share_is_said(tmp_path):
    root = write_set(tmp_path / "set")
    shutil.copy(root / "train" / "cat" / "0000.png", root / "val" / "dog" / "x.png")
    with pytest.warns(UserWarning, match="1 of the 7 photos of val are among the training photos"):
        load("folder", "train", root)


@pytest.mark.parametrize("change", ["missing in val", "renamed in val", "missing in both"])
@pytest.mark.parametrize("name", ["imagenet", "imagenette", "cifar10", "folder"])
def test_classes_are_compared_before_a_photo_is_opened(tmp_path, monkeypatch, name, change):
    root = tmp_path / ("imagenette2-160" if name == "imagenette" else "set")
    classes = ("a", "b", "c", "d")
    write_set(root, classes, n=80)
    publish(monkeypatch, "imagenette-160px" if name == "imagenette" else name, classes, [80], [6])
    if change == "renamed in val":
        (root / "val" / "a").rename(root / "val" / "e")
    else:
        shutil.rmtree(root / "val" / "a")
    if change == "missing in both":
        shutil.rmtree(root / "train" / "a")
        if name == "folder":  # has no publication
            return
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(UserError, match=r"'a'|lacking: a"):
        data.load(name, root if name != "imagenette" else tmp_path)


def test_three_folders_are_not_imagenet(tmp_path):
    root = write_set(tmp_path / "set", ("n01440764", "n01443537", "n99"))
    with pytest.raises(
        UserError, match=r"set/train should hold .* 1,000 WordNet .*lacking: n01484850, "
    ):
        data.load("imagenet", root)


def test_published_sets_have_their_published_counts(tmp_path):
    classes = tuple(published.IMAGENETTE_CLASSES)
    write_set(tmp_path / "imagenette2-160", classes, n=20)
    write_folders(tmp_path / "imagenette2-160" / "val", random_images(10), range(10), classes)
    for folder in (tmp_path, tmp_path / "imagenette2-160"):  # its own folder will do
        with pytest.raises(UserError, match=r"20 photos in all, not 9,469 \(by class \[2, 2"):
            data.load("imagenette", folder)
    write_set(tmp_path / "set", published.CIFAR10_CLASSES)
    write_folders(tmp_path / "set" / "val", random_images(10), range(10), published.CIFAR10_CLASSES)
    with pytest.raises(UserError, match="40 photos in all, not 50,000"):
        data.load("cifar10", tmp_path / "set")


def test_other_pixels_than_the_published_ones_are_said(tmp_path, monkeypatch):
    publish(monkeypatch, "cifar10", published.CIFAR10_CLASSES, [40], [10])
    images = random_images(50, shape=(32, 32))
    for part, some in (("train", images[:40]), ("val", images[40:])):
        targets = [i % 10 for i in range(len(some))]
        write_folders(tmp_path / part, some, targets, published.CIFAR10_CLASSES)
    known = load("cifar10", "val", tmp_path).fingerprint
    monkeypatch.setitem(published.SETS["cifar10"].fingerprints, "val", known[::-1])
    with pytest.warns(UserWarning, match="the val photos of cifar10 have other pixels"):
        load("cifar10", "val", tmp_path)


def test_drawn_images_have_no_folder(tmp_path):
    for options, named in (
        ({"data_dir": tmp_path}, "a data folder"),
        ({"download": True}, "--download"),
    ):
        with pytest.raises(UserError, match=f"^{named} does nothing for synthetic, which is drawn"):
            data.load("synthetic", **options)


@pytest.mark.parametrize("parts", [("train", "val"), ("Training", "test")])
@pytest.mark.parametrize("within", ["data", "data/set"])
def test_a_split_below_the_folder_is_not_taken_for_classes(tmp_path, parts, within):
    write_set(tmp_path / within)
    for before, after in zip(("train", "val"), parts, strict=True):
        (tmp_path / within / before).rename(tmp_path / within / after)
    write_folders(tmp_path, random_images(9, seed=2), [0] * 9, ("other",))
    with pytest.raises(UserError, match=f"{within} has the parts of a split in it"):
        data.load("folder", tmp_path)


def test_photos_can_be_sent_to_another_process(tmp_path):
    photos = data.load("folder", write_set(tmp_path / "set"))
    found = pickle.dumps(photos)
    expected = pairs(photos.train)
    assert pickle.dumps(photos) == found, "without the pixels, which lie in the cache"
    there = pickle.loads(found)
    assert there == photos and pairs(there.train) == expected
