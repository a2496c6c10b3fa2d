"""Windows against lists made by hand, and what nets make of them against one crop at a time."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.image_sets import CPU, as_input, image_set, noise, small_net
from vggrepro import UserError, evaluators
from vggrepro.evaluators import evaluate
from vggrepro.models import VGG, to_dense
from vggrepro.windows import OF_TORCHVISION, PROTOCOLS, Window, box, rescaled_size, scaled

CROPPING = {"centre-crop": 1, "multi-crop": 25, "alexnet-10": 5, "googlenet-144": 18}
COUNTS = {**CROPPING, "dense": 1, "dense-shifted": 4, "overfeat": 1}
# 110 px, which is Q = 384 for a crop of 64, is the short side already: nothing is resampled, and
# a crop is a slice.
SIZES = ((110, 110), (110, 170), (131, 110))


def places(windows):
    return [(w.left, w.top) for w in windows]


# --- boxes by hand ------------------------------------------------------------------------


def test_every_protocol_is_tested_here():
    assert set(COUNTS) == set(PROTOCOLS)


def test_the_grid_of_multi_crop():
    # 60x80 rescaled to 40 is 40x53: 8 px of room below the crop, 21 beside it.
    windows = PROTOCOLS["multi-crop"]((60, 80), 40, 32)
    assert places(windows) == [
        (0, 0), (5, 0), (10, 0), (16, 0), (21, 0),
        (0, 2), (5, 2), (10, 2), (16, 2), (21, 2),
        (0, 4), (5, 4), (10, 4), (16, 4), (21, 4),
        (0, 6), (5, 6), (10, 6), (16, 6), (21, 6),
        (0, 8), (5, 8), (10, 8), (16, 8), (21, 8),
    ]  # fmt: skip
    assert {(w.scale, w.width, w.height) for w in windows} == {(40, 32, 32)}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((60, 80), [(6, 0), (14, 0), (6, 8), (14, 8), (10, 4)]),
        ((80, 60), [(0, 6), (8, 6), (0, 14), (8, 14), (4, 10)]),
        ((60, 60), [(0, 0), (8, 0), (0, 8), (8, 8), (4, 4)]),
    ],
)
def test_alexnets_five_crops_are_of_the_central_square(size, expected):
    windows = PROTOCOLS["alexnet-10"](size, 40, 32)
    assert places(windows) == expected
    assert {(w.scale, w.width, w.height) for w in windows} == {(40, 32, 32)}


def test_googlenets_crops():
    # 40x53: squares at 0, 6 and 13. For the resized squares 32x42: at 0, 5 and 10.
    five = [(0, 0), (8, 0), (0, 8), (8, 8), (4, 4)]
    expected = []
    for square, resized in ((0, 0), (6, 5), (13, 10)):
        expected += [Window(40, square + x, y, 32, 32) for x, y in five]
        expected += [Window(32, resized, 0, 32, 32)]
    assert PROTOCOLS["googlenet-144"]((60, 80), 40, 32) == expected
    portrait = [w._replace(left=w.top, top=w.left) for w in expected]
    assert set(PROTOCOLS["googlenet-144"]((80, 60), 40, 32)) == set(portrait)


@pytest.mark.parametrize(
    ("side", "crop", "expected"),
    [
        (55, 32, [(3, 32), (19, 32)]),  # 23 px to spare: half a stride fits
        (146, 64, [(1, 128), (17, 128)]),
        (110, 64, [(0, 96), (14, 96)]),  # 14: as far as there is room
        (73, 64, [(0, 64), (9, 64)]),
        (256, 224, [(0, 256), (16, 224)]),  # none: one position fewer
        (512, 224, [(0, 512), (16, 480)]),
        (69, 32, [(2, 64), (18, 32)]),
        (37, 32, [(0, 32), (5, 32)]),  # nor one to lose
        (64, 64, [(0, 64), (0, 64)]),
    ],
)
def test_shifted_grids(side, crop, expected):
    windows = PROTOCOLS["dense-shifted"]((side, side), side, crop)
    assert windows == [
        Window(side, left, top, width, height)
        for (top, height), (left, width) in product(expected, expected)
    ]


def test_sides_are_shifted_on_their_own():
    windows = PROTOCOLS["dense-shifted"]((110, 146), 110, 64)
    assert [w[1:] for w in windows] == [
        (1, 0, 128, 96), (17, 0, 128, 96), (1, 14, 128, 96), (17, 14, 128, 96)
    ]  # fmt: skip


def test_the_papers_numbers_of_crops():
    def crops(protocol, scales):
        return sum(2 * len(PROTOCOLS[protocol]((375, 500), q, 224)) for q in scales)

    assert crops("multi-crop", (384,)) == 50
    assert crops("multi-crop", (256, 384, 512)) == 150
    assert crops("alexnet-10", (256,)) == 10
    assert crops("googlenet-144", (256, 288, 320, 352)) == 144


# --- boxes of any image -------------------------------------------------------------------

SIDES = st.integers(20, 700)
ANY_PROTOCOL = pytest.mark.parametrize("protocol", COUNTS)


@ANY_PROTOCOL
@given(SIDES, SIDES, st.sampled_from([32, 64, 96, 224]), st.integers(0, 300))
def test_windows_lie_inside_and_are_as_many_for_any_image(protocol, height, width, crop, more):
    windows = PROTOCOLS[protocol]((height, width), crop + more, crop)
    assert len(windows) == COUNTS[protocol]
    for window in windows:
        inside_height, inside_width = rescaled_size(height, width, window.scale)
        assert 0 <= window.left <= inside_width - window.width
        assert 0 <= window.top <= inside_height - window.height
        if protocol in CROPPING:
            assert (window.width, window.height) == (crop, crop)
        else:  # room for a position, and no border that the poolings drop
            assert min(window.width, window.height) >= crop
            assert window.width % 32 == window.height % 32 == 0
        left, top, right, bottom = box((height, width), window)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


@ANY_PROTOCOL
@given(SIDES, SIDES, st.sampled_from([32, 64]), st.integers(0, 100))
def test_windows_are_as_far_from_left_as_from_right(protocol, height, width, crop, more):
    """To a pixel: an odd number is not halved evenly. To two for a centre within a centre."""
    off = 2 if protocol in ("alexnet-10", "googlenet-144") else 1
    windows = PROTOCOLS[protocol]((height, width), crop + more, crop)
    for scale in {w.scale for w in windows}:
        inside = rescaled_size(height, width, scale)[1]
        here = [w for w in windows if w.scale == scale]
        lefts = sorted((w.left, w.width) for w in here)
        rights = sorted((inside - w.left - w.width, w.width) for w in here)
        for (left, _), (right, _) in zip(lefts, rights, strict=True):
            assert abs(left - right) <= off


@given(SIDES, SIDES, st.integers(0, 100))
def test_the_grid_spans_the_image(height, width, more):
    windows = PROTOCOLS["multi-crop"]((height, width), 64 + more, 64)
    inside_height, inside_width = rescaled_size(height, width, 64 + more)
    assert {(w.left, w.top) for w in windows} >= set(
        product((0, inside_width - 64), (0, inside_height - 64))
    )
    for side, starts in ((inside_width, [w.left for w in windows]),
                         (inside_height, [w.top for w in windows])):  # fmt: skip
        regular = np.linspace(0, side - 64, 5)
        assert np.abs(np.unique(np.rint(regular)) - np.unique(starts)).max() == 0


def test_a_box_in_pixels_of_the_image():
    # 100x150 rescaled to 50: every pixel of a window is two of the image.
    assert box((100, 150), Window(50, 10, 5, 32, 40)) == (20, 10, 84, 90)
    assert box((150, 100), Window(200, 10, 5, 32, 40)) == (5, 2.5, 21, 22.5)


@pytest.mark.parametrize("protocol", [*COUNTS, *OF_TORCHVISION])
def test_a_scale_below_the_crop_is_refused_before_the_net_sees_it(protocol):
    with pytest.raises(UserError, match="Q = 63 px is smaller than the 64 px crop"):
        evaluators.windows(protocol, image_set(1), 63, 64)


# --- what a net makes of them -------------------------------------------------------------


def crops_of(protocol, picture):
    """By torchvision and by numpy, from a picture that needs no rescaling."""
    width, height = picture.size
    if protocol == "alexnet-10":
        return tvf.five_crop(tvf.center_crop(picture, 110), 64)
    if protocol == "multi-crop":
        lefts, tops = (np.rint(np.linspace(0, side - 64, 5)) for side in (width, height))
        return [tvf.crop(picture, int(t), int(x), 64, 64) for t in tops for x in lefts]
    found = []
    for where in (0, 0.5, 1):
        top, left = int((height - 110) * where), int((width - 110) * where)
        square = tvf.crop(picture, top, left, 110, 110)
        # The part of the image that is the square, read with its surroundings.
        resized = picture.resize(
            (64, 64), Image.Resampling.BILINEAR, (left, top, left + 110, top + 110)
        )
        found += [*tvf.five_crop(square, 64), resized]
    return found


@pytest.mark.parametrize("pixels", [2**20, 7 * 64 * 64])
@pytest.mark.parametrize("protocol", ["multi-crop", "alexnet-10", "googlenet-144"])
@torch.no_grad()
def test_crops_against_one_crop_at_a_time(protocol, pixels, monkeypatch):
    # Batches of seven leave a ragged last one: each crop is counted once all the same.
    monkeypatch.setattr(evaluators, "BATCH_PIXELS", {"cpu": pixels})
    # GoogLeNet's resized square starts at a fraction of a pixel, unless the image is square.
    sizes = SIZES[:1] if protocol == "googlenet-144" else SIZES
    model, images = small_net(), image_set(5, sizes=sizes)
    done = []
    tested = evaluate(model, images, protocol, 384, device=CPU, progress=done.append)
    for image, found in zip(images.images, tested.posteriors, strict=True):
        crops = crops_of(protocol, Image.fromarray(image))
        views = [as_input(view) for crop in crops for view in (crop, tvf.hflip(crop))]
        wanted = model(torch.cat(views)).softmax(1).mean(0)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    windows = CROPPING[protocol] * 5
    assert tested.positions == {"1x1": windows}
    assert sum(done) == windows
    assert windows % 7
    assert tested.seconds > 0


@torch.no_grad()
def test_shifted_grids_against_one_grid_at_a_time():
    model, images = small_net(), image_set(3, sizes=SIZES)
    tested = evaluate(model, images, "dense-shifted", 384, device=CPU, progress=False)
    dense = to_dense(model)
    for image, found in zip(images.images, tested.posteriors, strict=True):
        wanted = []
        for window in PROTOCOLS["dense-shifted"](image.shape[:2], 110, 64):
            bottom, right = window.top + window.height, window.left + window.width
            part = image[window.top : bottom, window.left : right]
            views = (as_input(part), as_input(part[:, ::-1]))
            wanted += [dense(view).mean((-2, -1))[0].softmax(0) for view in views]
        np.testing.assert_allclose(found, torch.stack(wanted).mean(0), atol=1e-6)


@torch.no_grad()
def test_dense_is_cropping_at_every_position_but_for_the_padding():
    """A crop that brings the surroundings along gives the position's scores; alone it does not."""
    # The last map of A sees 59 px around its own 32, so 64 px more on each side are enough.
    model = small_net()
    dense = to_dense(model)
    image = as_input(noise(288, 256))
    scores = dense(image)[0]
    rows, columns = scores.shape[1:]
    assert (rows, columns) == (8, 7)
    interior = 0
    for i, j in product(range(rows), range(columns)):
        top, left = 32 * i, 32 * j
        crop = image[..., top : top + 64, left : left + 64]
        # The border differs because a crop is padded with zeros: every position has a border.
        assert not torch.allclose(scores[:, i, j], model(crop)[0], atol=1e-2)
        if 2 <= i < rows - 2 and 2 <= j < columns - 2:
            around = image[..., top - 64 : top + 128, left - 64 : left + 128]
            assert torch.allclose(scores[:, i, j], dense(around)[0, :, 2, 2], atol=1e-5)
            interior += 1
    assert interior == 4 * 3


# --- OverFeat's offsets -------------------------------------------------------------------


@pytest.mark.parametrize("config", ["A", "C", "E"])
@torch.no_grad()
def test_every_offset_against_pooling_each_offset_alone(config):
    model = small_net(config)
    image = as_input(noise(128, 192))
    *before, pool, relu = model.features
    assert isinstance(pool, torch.nn.MaxPool2d)
    maps = image
    for module in before:
        maps = module(maps)
    found = to_dense(model, every_offset=True)(image)[0]
    assert found.shape[1:] == (2 * 3 - 1, 2 * 5 - 1)
    seen = torch.zeros(found.shape[1:])
    for dy, dx in product((0, 1), (0, 1)):
        pooled = relu(F.max_pool2d(maps[..., dy:, dx:], 2, stride=2))
        for i, j in product(range(pooled.shape[-2] - 1), range(pooled.shape[-1] - 1)):
            wanted = model.classifier(pooled[..., i : i + 2, j : j + 2].flatten(1))[0]
            assert torch.allclose(found[:, 2 * i + dy, 2 * j + dx], wanted, atol=1e-5)
            seen[2 * i + dy, 2 * j + dx] += 1
    assert (seen == 1).all()
    # The first offset is VGG's own map.
    assert torch.allclose(found[:, ::2, ::2], to_dense(model)(image)[0], atol=1e-5)


@torch.no_grad()
def test_an_offset_is_a_shift_of_the_image_by_half_a_stride():
    """Where no padding is in sight."""
    model = small_net()
    dense, fine = to_dense(model), to_dense(model, every_offset=True)
    image = as_input(noise(256, 320))
    found = fine(image)[0]
    for dy, dx in product((0, 1), (0, 1)):
        shifted = dense(image[..., 16 * dy :, 16 * dx :])[0]
        rows, columns = shifted.shape[1:]
        for i, j in product(range(2, rows - 2), range(2, columns - 2)):
            fits = torch.allclose(found[:, 2 * i + dy, 2 * j + dx], shifted[:, i, j], atol=1e-5)
            assert fits, (dy, dx, i, j)
        assert rows > 4


@torch.no_grad()
def test_overfeat_takes_the_maximum_of_each_class_over_space():
    model, images = small_net(), image_set(6, sizes=SIZES)
    tested = evaluate(model, images, "overfeat", 384, device=CPU, progress=False)
    fine = to_dense(model, every_offset=True)
    sizes = set()
    for image, found in zip(images.images, tested.posteriors, strict=True):
        height, width = (side // 32 * 32 for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        part = image[top : top + height, left : left + width]
        maps = [fine(as_input(view))[0] for view in (part, part[:, ::-1])]
        wanted = sum(scores.flatten(1).max(1).values.softmax(0) for scores in maps) / 2
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        sizes.add("{}x{}".format(*maps[0].shape[1:]))
    assert set(tested.positions) == sizes == {"3x3", "3x7", "5x3"}
    assert sum(tested.positions.values()) == 6


def test_the_weights_of_every_offset_are_the_nets_own():
    model = small_net()
    fine = to_dense(model, every_offset=True)
    with torch.no_grad():
        model.classifier[0].weight.mul_(2)
    dense = to_dense(model)
    assert torch.equal(fine.classifier[0].weight, dense.classifier[0].weight)
    image = torch.zeros(1, 3, 64, 64)
    assert torch.equal(fine(image), dense(image))  # at the crop's size there is one position


@pytest.mark.parametrize("crop", [32, 64])
@ANY_PROTOCOL
def test_every_protocol_at_the_scales_of_the_smallest_budgets(protocol, crop):
    model = VGG("A", 4, width=1 / 16, crop=crop, hidden=8, pixel_mean=(120, 110, 100))
    images = image_set(3, sizes=((40, 48), (52, 40), (32, 32)))
    for q in (224, 256, 384):
        tested = evaluate(model, images, protocol, q, device=CPU, progress=False)
        assert scaled(q, crop) >= crop
        np.testing.assert_allclose(tested.posteriors.sum(1), 1, atol=1e-6)
        assert sum(tested.positions.values()) == 3 * COUNTS[protocol]
