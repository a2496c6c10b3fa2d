"""Decoding, and the cache of decoded images: what comes out, and what survives accidents."""

import errno
import multiprocessing
import os
import shutil
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vggrepro import UserError
from vggrepro.data import cache
from vggrepro.data.sources import decode, read_size
from vggrepro.files import write_atomically


def random_images(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*rng.integers(1, 9, 2), 3), np.uint8) for _ in range(n)]


def source_of(images, targets, version="1", origin="here", opened=None):
    """A source over arrays in memory; `opened` collects one entry for each build."""

    def open_reader():
        if opened is not None:
            opened.append(version)
        n_bytes = sum(image.nbytes for image in images)
        return cache.Reader(len(images), n_bytes, lambda i: (images[i], targets[i]))

    return cache.Source(
        "set", "train", ("class",), origin, cache.version_of(origin, [version]), open_reader
    )


# -- decoding ---------------------------------------------------------------------------------


def test_colour_modes_become_rgb(tmp_path):
    """Each mode against values worked out by hand."""
    grey = Image.new("L", (3, 2), 77)
    palette = Image.new("P", (3, 2), 1)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    half_red = Image.new("RGBA", (3, 2), (255, 0, 0, 128))  # on white: 255, 127, 127
    clear = Image.new("LA", (3, 2), (0, 0))
    deep = Image.fromarray(np.full((2, 3), 0x1234, np.uint16))
    keyed = Image.new("RGB", (3, 2), (1, 2, 3))
    cases = {
        "grey.png": (grey, {}, (77, 77, 77)),
        "one_bit.png": (Image.new("1", (3, 2), 1), {}, (255, 255, 255)),
        "palette.png": (palette, {}, (10, 200, 30)),
        "clear_palette.png": (palette, {"transparency": 1}, (255, 255, 255)),
        "half_red.png": (half_red, {}, (255, 127, 127)),
        "clear.png": (clear, {}, (255, 255, 255)),
        "deep.png": (deep, {}, (0x12, 0x12, 0x12)),
        "deep.tif": (deep, {}, (0x12, 0x12, 0x12)),
        "keyed.png": (keyed, {"transparency": (1, 2, 3)}, (255, 255, 255)),
        "cmyk.tif": (Image.new("CMYK", (3, 2), (255, 0, 0, 0)), {}, (0, 255, 255)),
    }
    for name, (image, options, rgb) in cases.items():
        image.save(tmp_path / name, **options)
        pixels = decode(tmp_path / name)
        assert pixels.shape == (2, 3, 3) and pixels.dtype == np.uint8, name
        assert (pixels == rgb).all(), (name, pixels[0, 0])
        assert not pixels.flags.writeable, name


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=95)
    assert np.abs(decode(tmp_path / "red.jpg").astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    """The eight EXIF orientations by hand: what to do to the stored array to see it upright."""
    upright = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }[orientation]
    stored = np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("photo.png", "photo.tif", "photo.webp"):
        path = tmp_path / name
        Image.fromarray(stored).save(path, exif=exif, lossless=True)
        assert np.array_equal(decode(path), upright(stored)), name
        assert read_size(path) == decode(path).shape[:2], name


def test_unreadable_files_are_named(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    bad = {}
    for suffix in ("jpg", "png"):
        noise.save(tmp_path / f"good.{suffix}")
        whole = (tmp_path / f"good.{suffix}").read_bytes()
        bad[f"truncated.{suffix}"] = whole[: len(whole) // 2]
    bad["corrupt.png"] = whole[:60] + bytes(40) + whole[100:]
    bad["text.jpg"] = b"this is not a photo"
    bad["empty.png"] = b""
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            decode(tmp_path / name)
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"float\.tif.*floating-point"):
        decode(tmp_path / "float.tif")
    with pytest.raises(UserError, match=r"text\.jpg"):
        read_size(tmp_path / "text.jpg")


def png(bits, colour_type, row, transparent):
    """A PNG of one row with a transparent colour, as its specification has it."""

    def chunk(name, content):
        check = zlib.crc32(name + content).to_bytes(4)
        return len(content).to_bytes(4) + name + content + check

    columns = 8 * len(row) // (bits * (3 if colour_type == 2 else 1))
    header = columns.to_bytes(4) + (1).to_bytes(4) + bytes([bits, colour_type, 0, 0, 0])
    parts = {b"IHDR": header, b"tRNS": transparent}
    parts |= {b"IDAT": zlib.compress(b"\0" + row), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


@pytest.mark.parametrize(
    ("bits", "colour_type", "row", "transparent", "decoded"),
    [
        (1, 0, "55", "0001", [0, 255] * 4),
        (2, 0, "1b", "0001", [0, 255, 170, 255]),  # of 0, 1, 2, 3
        (4, 0, "5a", "0005", [255, 170]),
        (8, 0, "50a0", "0050", [255, 160]),
        (16, 0, "50005001a000", "5000", [255, 80, 160]),
        (8, 2, "505050a0a0a0", "005000500050", [255, 160]),
        (16, 2, "500050005000a000a000a000", "500050005000", [255, 160]),
    ],
)
def test_a_transparent_colour_is_white_in_every_depth(
    tmp_path, bits, colour_type, row, transparent, decoded
):
    path = tmp_path / "x.png"
    path.write_bytes(png(bits, colour_type, bytes.fromhex(row), bytes.fromhex(transparent)))
    assert decode(path).tolist() == [[[value] * 3 for value in decoded]]


# -- order ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(min_size=32, max_size=32)), min_size=1))
def test_canonical_order_is_that_of_sorted_pairs(pairs):
    targets = np.array([target for target, _ in pairs])
    digests = np.array([list(digest) for _, digest in pairs], np.uint8)
    order = cache.canonical_order(targets, digests)
    assert [pairs[i] for i in order] == sorted(pairs)


@given(arrays(np.uint8, (2, 3, 3)))
def test_digest_covers_shape_and_pixels(image):
    digest = cache.image_digest(image)
    assert digest != cache.image_digest(image.reshape(3, 2, 3))
    assert digest == cache.image_digest(np.asfortranarray(image))  # the same pixels in memory
    changed = image.copy()
    changed[1, 2, 0] ^= 1
    assert digest != cache.image_digest(changed)


# -- the cache --------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    """Every image comes back, in the order of (target, digest), read-only and without a copy."""
    images = random_images(600)  # more than two chunks
    targets = [i % 7 for i in range(600)]
    found, decoded = cache.open_or_build(source_of(images, targets), tmp_path)
    expected = sorted(
        (target, cache.image_digest(image), image.tobytes())
        for image, target in zip(images, targets, strict=True)
    )
    got = [
        (int(t), d.tobytes(), image.tobytes())
        for t, d, image in zip(found, decoded.digests, decoded, strict=True)
    ]
    assert got == expected
    first = decoded[0]
    assert not first.flags.writeable and not first.flags.owndata
    assert np.array_equal(decoded[-1], decoded[599])
    with pytest.raises(IndexError):
        decoded[600]


def test_order_does_not_depend_on_the_source(tmp_path):
    images, targets = random_images(50), [i % 3 for i in range(50)]
    shuffled = np.random.default_rng(1).permutation(50)
    _, one = cache.open_or_build(source_of(images, targets, origin="a"), tmp_path)
    _, two = cache.open_or_build(
        source_of([images[i] for i in shuffled], [targets[i] for i in shuffled], origin="b"),
        tmp_path,
    )
    assert np.array_equal(one.digests, two.digests)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_subset_keeps_the_pixels(tmp_path):
    _, decoded = cache.open_or_build(source_of(random_images(20), [0] * 20), tmp_path)
    images = decoded.subset(np.array([5, 3]))
    assert np.array_equal(images[0], decoded[5])
    assert np.array_equal(images[1], decoded[3])
    assert len(images) == 2


def test_built_once_and_rebuilt_when_the_version_changes(tmp_path):
    opened = []
    images = random_images(5)
    for version in ("1", "1", "2"):
        cache.open_or_build(source_of(images, [0] * 5, version, opened=opened), tmp_path)
    cache.open_or_build(source_of(images, [0] * 5, origin="elsewhere", opened=opened), tmp_path)
    assert opened == ["1", "2", "1"]
    assert len(list(tmp_path.glob("set-*"))) == 2  # version 1 was replaced, elsewhere was not


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed"])
def test_damaged_sets_are_rebuilt(tmp_path, name, damage):
    opened = []
    source = source_of(random_images(5), [0] * 5, opened=opened)
    before = cache.open_or_build(source, tmp_path)[1].digests.copy()
    (path,) = tmp_path.glob(f"set-*/{name}")
    if damage == "removed":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 3 if damage == "truncated" else 0])
    _, after = cache.open_or_build(source, tmp_path)
    assert len(opened) == 2
    assert np.array_equal(after.digests, before)
    assert [cache.image_digest(i) for i in after] == [d.tobytes() for d in before]


def _die_half_way(cache_dir):
    images = random_images(600)
    source = source_of(images, [0] * 600)
    reader = source.open()

    def read(i):
        if i == 500:
            os._exit(9)  # as by kill -9: no handler runs
        return reader.read(i)

    source = source._replace(open=lambda: cache.Reader(600, reader.n_bytes, read))
    cache.open_or_build(source, cache_dir)


def test_a_killed_build_is_cleaned_up_and_done_again(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_die_half_way, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list(tmp_path.glob(".writing-*/pixels.bin"))) == 1
    assert not list(tmp_path.glob("set-*"))
    cache.open_or_build(source_of([np.zeros((1, 1, 3), np.uint8)], [0], "other"), tmp_path)
    assert not list(tmp_path.glob(".writing-*"))
    assert len(cache.open_or_build(source_of(random_images(600), [0] * 600), tmp_path)[1]) == 600


def test_two_builders_at_once_build_one_set(tmp_path):
    opened, results = [], []
    source = source_of(random_images(300), [0] * 300, opened=opened)
    start = threading.Barrier(4)

    def build():
        start.wait()
        results.append(cache.open_or_build(source, tmp_path))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1
    assert len({images.digests.tobytes() for _, images in results}) == 1 and len(results) == 4


def test_a_running_build_is_not_mistaken_for_a_leftover(tmp_path):
    """Another set is asked for while the first is half-way: it waits, and cleans nothing away."""
    images = random_images(3)
    slow, waiting = source_of(images, [0] * 3), []

    def read(i):
        if i == 1:
            other = (source_of(images, [0] * 3, origin="other"), tmp_path)
            waiting.append(threading.Thread(target=cache.open_or_build, args=other))
            waiting[0].start()
            waiting[0].join(0.3)
            assert waiting[0].is_alive() and list(tmp_path.glob(".writing-*/pixels.bin"))
        return images[i], 0

    slow = slow._replace(open=lambda: cache.Reader(3, 0, read))
    assert len(cache.open_or_build(slow, tmp_path)[1]) == 3
    waiting[0].join()
    assert len(list(tmp_path.glob("set-*"))) == 2


def test_no_room_on_the_disk_is_seen_before_writing(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="free"):
        cache.open_or_build(source_of(random_images(5), [0] * 5), tmp_path)
    assert not list(tmp_path.glob("*set-*/"))


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        cache.open_or_build(source_of(random_images(5), [0] * 5), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    with pytest.raises(UserError, match="No space left on device"):
        write_atomically(tmp_path / "sums.json", b"{}")
    assert not [path for path in tmp_path.iterdir() if path.name != ".lock"]


def test_an_unwritable_cache_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        cache.open_or_build(source_of(random_images(1), [0]), tmp_path / "file" / "cache")


def test_default_cache_dir_follows_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert cache.default_cache_dir() == tmp_path / "vggrepro"


@pytest.mark.parametrize("file", ["pixels.bin", "index.npz"])
def test_a_flipped_bit_is_never_trained_on(tmp_path, file):
    """At places all over each file: the set is decoded again, or the flip changed nothing."""
    source = source_of(random_images(6), [0, 1] * 3)
    targets, before = cache.open_or_build(source, tmp_path)
    expected = [image.tobytes() for image in before]
    (path,) = tmp_path.glob(f"*/{file}")
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(bytes([*whole[:place], whole[place] ^ 4, *whole[place + 1 :]]))
        again, after = cache.open_or_build(source, tmp_path)
        assert [image.tobytes() for image in after] == expected
        assert np.array_equal(again, targets)
        assert np.array_equal(after.digests, before.digests)


def test_a_set_in_use_outlives_its_files(tmp_path):
    images = cache.open_or_build(source_of(random_images(6), [0, 1] * 3), tmp_path)[1]
    expected = [image.tobytes() for image in images]
    shutil.rmtree(tmp_path)
    assert [image.tobytes() for image in images.subset(np.arange(len(images)))] == expected


def test_what_killed_writers_left_is_removed(tmp_path):
    (tmp_path / ".writing-0123456789abcdef").touch()
    cache.kept(tmp_path / "kept", lambda: np.zeros(3))
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".lock"}
