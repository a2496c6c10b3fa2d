"""Crops, flips and colour shifts: against PIL and torchvision, and against the paper's formulas."""

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.image_sets import CPU, Pictures, image_set, noise, small_net, statistics_of
from vggrepro import UserError
from vggrepro.augmentations import (
    Draws,
    Rescaled,
    Resident,
    colour_shifts,
    cut_batch,
)
from vggrepro.windows import Window, centre_window, cut, dense_window, random_window, rescaled_size

sides = st.integers(1, 120)
sizes = st.tuples(sides, sides)
scales = st.integers(8, 140)


# PIL filters rows and columns one after the other, in the order that is cheaper for the size, and
# rounds after each: half a grey level twice, for the cut as for the whole image.
ROUNDING = 2


def differences(found, wanted):
    return np.abs(found.astype(int) - wanted.astype(int))


# --- rescaling and cutting --------------------------------------------------------------------


@given(size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), scale=st.integers(1, 600))
def test_rescaled_sizes_are_torchvisions(size, scale):
    assert list(rescaled_size(*size, scale)) == tvf._compute_resized_output_size(size, [scale])


@pytest.mark.parametrize("size", [(40, 40), (40, 61), (99, 47), (33, 100)])
def test_rescaled_sizes_are_those_of_a_resized_image(size):
    resized = tvf.resize(Image.fromarray(noise(*size)), 37)
    assert rescaled_size(*size, 37) == resized.size[::-1]


@st.composite
def images_and_windows(draw):
    size = draw(st.tuples(st.integers(8, 70), st.integers(8, 70)))
    scale = draw(scales)
    height, width = rescaled_size(*size, scale)
    cut_height, cut_width = draw(st.integers(1, height)), draw(st.integers(1, width))
    left = draw(st.integers(0, width - cut_width))
    top = draw(st.integers(0, height - cut_height))
    return size, Window(scale, left, top, cut_width, cut_height)


@given(images_and_windows(), st.integers(0, 100))
def test_a_cut_is_the_crop_of_the_rescaled_image(drawn, seed):
    (height, width), window = drawn
    image = noise(height, width, seed=seed)
    new_height, new_width = rescaled_size(height, width, window.scale)
    # One ratio for both sides, as isotropic rescaling means it; see the next test for PIL's.
    ratio = min(height, width) / window.scale
    box = (0, 0, min(new_width * ratio, width), min(new_height * ratio, height))
    whole = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR, box)
    right, bottom = window.left + window.width, window.top + window.height
    wanted = np.asarray(whole.crop((window.left, window.top, right, bottom)))
    assert differences(cut(image, window), wanted).max() <= ROUNDING


@given(size=sizes.filter(lambda s: min(s) >= 8), scale=scales)
def test_pils_own_rescaling_is_less_than_a_pixel_away(size, scale):
    # A ramp along the long side shows displacement as brightness. The whole image has its long
    # side rounded down, so PIL stretches it a little; a cut does not.
    long, short = max(size), min(size)
    ramp = np.broadcast_to(np.arange(long, dtype=np.uint8)[None, :, None], (short, long, 3))
    image = np.ascontiguousarray(ramp if size[1] == long else ramp.transpose(1, 0, 2))
    height, width = rescaled_size(*image.shape[:2], scale)
    plain = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    found = cut(image, Window(scale, 0, 0, width, height))
    pixel = short / scale  # of the rescaled image, in pixels (= grey levels) of this one
    assert differences(found, plain).max() <= pixel + ROUNDING


@pytest.mark.parametrize(
    ("size", "scale"), [((40, 40), 73), ((60, 80), 45), ((80, 60), 90), ((30, 77), 60)]
)
def test_where_no_side_is_rounded_the_cut_is_pils_own(size, scale):
    image = noise(*size)
    height, width = rescaled_size(*size, scale)
    assert height * size[1] == width * size[0]
    whole = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    window = Window(scale, width - 33, height - 31, 32, 30)
    found = cut(image, window)
    assert differences(found, whole[-31:-1, -33:-1]).max() <= ROUNDING


def test_a_cut_at_the_images_own_scale_copies_pixels():
    image = noise(50, 70)
    np.testing.assert_array_equal(cut(image, Window(50, 11, 7, 40, 30)), image[7:37, 11:51])


def test_cutting_leaves_the_image_alone():
    image = noise(50, 70)
    image.setflags(write=False)
    before = image.copy()
    cut(image, Window(37, 1, 1, 32, 32))
    np.testing.assert_array_equal(image, before)


# --- the training crop ------------------------------------------------------------------------

unit = st.one_of(
    st.floats(0, 1, exclude_max=True, width=32), st.just(float(np.nextafter(np.float32(1), 0)))
)


@given(
    size=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    crop=st.integers(1, 224),
    more=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    uniform=st.tuples(unit, unit, unit, unit),
)
def test_random_windows_lie_inside_the_rescaled_image(size, crop, more, uniform):
    train_scale = (crop + more[0], crop + sum(more))
    window = random_window(size, train_scale, crop, np.array(uniform, np.float32))
    assert train_scale[0] <= window.scale <= train_scale[1]
    assert (window.width, window.height) == (crop, crop)
    height, width = rescaled_size(*size, window.scale)
    assert 0 <= window.left <= width - crop
    assert 0 <= window.top <= height - crop


def test_a_training_scale_below_the_crop_is_refused():
    with pytest.raises(UserError, match="S = 31 px is smaller than the 32 px crop"):
        Rescaled(image_set(4), None, (31, 48), 32)


def chi_squared(values, low, high):
    counts = np.bincount(np.array(values) - low, minlength=high - low + 1)
    assert len(counts) == high - low + 1  # nothing outside
    expected = len(values) / len(counts)
    return ((counts - expected) ** 2 / expected).sum(), len(counts) - 1


def test_scale_and_place_are_uniform():
    draws = Draws.of(seed=0, epoch=3, count=6000)
    windows = [random_window((40, 48), (37, 48), 32, row) for row in draws.uniform]
    at_40 = [random_window((40, 48), (40, 40), 32, row) for row in draws.uniform]
    for values, low, high in [
        ([w.scale for w in windows], 37, 48),
        ([w.left for w in at_40], 0, 16),
        ([w.top for w in at_40], 0, 8),
    ]:
        statistic, freedom = chi_squared(values, low, high)
        # Mean `freedom`, variance twice that: five standard deviations.
        assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def test_scale_place_flip_and_colour_do_not_depend_on_each_other():
    draws = Draws.of(seed=1, epoch=0, count=5000)
    correlations = np.corrcoef(np.hstack([draws.uniform, draws.normal]).T)
    assert np.abs(correlations - np.eye(7)).max() < 0.06  # four standard deviations


def test_draws_depend_on_seed_and_epoch_alone():
    one = Draws.of(3, 5, 100)
    again = Draws.of(3, 5, 100)
    np.testing.assert_array_equal(one.uniform, again.uniform)
    np.testing.assert_array_equal(one.normal, again.normal)
    for other in Draws.of(3, 6, 100), Draws.of(4, 5, 100), Draws.of(5, 3, 100):
        assert not np.isin(one.uniform[:, 0], other.uniform[:, 0]).any()
        assert not np.isin(one.normal[:, 0], other.normal[:, 0]).any()


@given(
    order=st.permutations(range(12)),
    size=st.integers(1, 12),
    train_scale=st.sampled_from([(37, 37), (37, 60)]),
)
@settings(max_examples=30)
def test_a_training_crop_does_not_depend_on_its_batch(order, size, train_scale):
    images = image_set(12, seed=2)
    draws = Draws.of(0, 0, 12)
    together = Rescaled(images, None, train_scale, 32).batch(np.arange(12), draws)
    rescaled = Rescaled(images, None, train_scale, 32)
    for start in range(0, 12, size):
        chosen = order[start : start + size]
        assert torch.equal(rescaled.batch(np.array(chosen), draws), together[chosen])


def test_rescaled_images_are_kept_for_one_scale_alone():
    class Counting(Pictures):
        opened = 0

        def __getitem__(self, i):
            self.opened += 1
            return super().__getitem__(i)

    for train_scale, times in (((37, 37), 1), ((37, 38), 3)):
        images = image_set(4, images=Counting(noise(40, 50 + i, seed=i) for i in range(4)))
        rescaled = Rescaled(images, None, train_scale, 32)
        images.images.opened = 0
        for epoch in range(3):
            rescaled.batch(np.arange(4), Draws.of(0, epoch, 4))
        assert images.images.opened == 4 * times


def test_a_set_too_large_to_keep_gives_the_same_crops(monkeypatch):
    images = image_set(12, seed=2)
    # Both shapes, 40 x 48 and 52 x 40, rescaled to 37 px, where 44.4 and 48.1 are rounded down.
    size = 3 * 6 * 37 * (44 + 48)
    batches = []
    for limit in (2 * size, 0.9 * size):
        monkeypatch.setattr(Rescaled, "LIMIT_BYTES", limit)
        rescaled = Rescaled(images, None, (37, 37), 32)
        assert (rescaled._kept is None) == (limit < size)
        draws = Draws.of(0, 0, 12)
        batches.append(rescaled.batch(np.arange(12), draws).numpy())
    assert differences(*batches).max() <= ROUNDING


@given(images_and_windows(), st.integers(0, 100))
def test_crops_of_kept_images_are_cuts(drawn, seed):
    size, window = drawn
    images = image_set(1, images=[noise(*size, seed=seed)])
    found = Rescaled(images, None, (window.scale, window.scale), 1).crop(0, window)
    assert differences(found, cut(images.images[0], window)).max() <= ROUNDING


def test_training_batch_against_one_image_at_a_time():
    images = image_set(30, seed=4)
    draws = Draws.of(0, 0, 30)
    batch = Rescaled(images, None, (37, 73), 32).batch(np.arange(30), draws)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous(memory_format=torch.channels_last)
    flips = 0
    for i, (patch, uniform) in enumerate(zip(batch, draws.uniform, strict=True)):
        image = images.images[i]
        plain = cut(image, random_window(image.shape[:2], (37, 73), 32, uniform))
        wanted = torch.from_numpy(plain.copy()).permute(2, 0, 1)
        flips += (flipped := not torch.equal(patch, wanted))
        assert torch.equal(patch, tvf.hflip(wanted) if flipped else wanted)
    assert 0 < flips < 30


@given(
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
    side=st.integers(8, 37),
    sizes=st.lists(st.tuples(st.integers(20, 70), st.integers(20, 70)), min_size=1, max_size=3),
)
@settings(max_examples=25)
def test_crops_taken_on_the_device_are_the_same_to_the_byte(seed, epoch, side, sizes):
    images, draws = image_set(20, sizes=sizes), Draws.of(seed, epoch, 20)
    rescaled, indices = Rescaled(images, None, (37, 37), side), np.array([7, 3, 19, 3])
    resident = rescaled.on(CPU.device)
    assert isinstance(resident, Resident)
    found, wanted = (each.batch(indices, draws) for each in (resident, rescaled))
    assert found.dtype == torch.uint8
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, wanted)


def test_what_is_not_kept_rescaled_stays_where_it_is(monkeypatch):
    jittered = Rescaled(image_set(4), None, (37, 73), 32)
    assert jittered.on(CPU.device) is jittered
    monkeypatch.setattr(Rescaled, "LIMIT_BYTES", 0)
    large = Rescaled(image_set(4), None, (37, 37), 32)
    assert large.on(CPU.device) is large


def test_half_of_the_crops_are_flipped():
    count = 2000
    # The left half is black and the right half white: each crop of the whole shows its flip.
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    images = image_set(count, images=[image] * count)
    rescaled = Rescaled(images, None, (32, 32), 32)
    batch = rescaled.batch(np.arange(count), Draws.of(0, 0, count))
    flipped = (batch[:, 0, 0, 0] == 255).sum().item()
    assert abs(flipped - count / 2) < 4 * (count / 4) ** 0.5


# --- colour -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values():
    mixing = np.array([[50.0, 45, 40], [10, 0, -10], [2, -4, 2]])
    return 128 + np.random.default_rng(0).standard_normal((5000, 3)) @ mixing


def test_colour_shifts_are_krizhevskys_formula(values):
    # [p1 p2 p3][a1 l1, a2 l2, a3 l3], the components being those of RGB values from 0 to 1.
    eigenvalues, vectors = np.linalg.eigh(np.cov(values.T / 255, bias=True))
    draws = Draws.of(0, 2, 50)
    indices = np.array([7, 3, 49, 0])
    statistics = statistics_of(values)
    found = colour_shifts(draws, indices, statistics, std=0.1)
    assert found.dtype == torch.float32
    for shift, i in zip(found.numpy(), indices, strict=True):
        wanted = np.zeros(3)
        for a, k in zip(draws.normal[i] * 0.1, (2, 1, 0), strict=True):  # the largest first
            # An eigenvector's sign is the solver's choice; the shift has to use the same.
            wanted += a * eigenvalues[k] * vectors[:, k] * 255
        np.testing.assert_allclose(shift, wanted, rtol=1e-5, atol=1e-6)


def test_colour_shifts_spread_along_the_components(values):
    statistics = statistics_of(values)
    count = 20000
    shifts = colour_shifts(Draws.of(0, 0, count), np.arange(count), statistics, 0.1).numpy()
    along = shifts @ statistics.eigenvectors
    # The paper's standard deviation 0.1, times the variance of pixels from 0 to 1, in grey levels.
    wanted = 0.1 * (np.linalg.norm([50, 45, 40]) / 255) ** 2 * 255
    assert along[:, 0].std() == pytest.approx(wanted, rel=0.05)
    assert 1 < wanted < 10  # visible, and far from blanking the image
    np.testing.assert_allclose(along.std(0), 0.1 * statistics.eigenvalues / 255, rtol=0.03)
    assert np.abs(along.mean(0) / along.std(0)).max() < 4 / count**0.5


def test_no_colour_shift_without_a_standard_deviation(values):
    shifts = colour_shifts(Draws.of(0, 0, 9), np.arange(9), statistics_of(values), 0.0)
    assert not shifts.any()


def test_normalise_pixel_by_pixel():
    batch = torch.from_numpy(np.stack([noise(2, 3, seed=s) for s in range(4)])).permute(0, 3, 1, 2)
    before = batch.clone()
    mean, shifts = torch.tensor([100.0, 120.0, 90.5]), torch.randn(4, 3)
    net = small_net()
    net.set_pixel_mean(mean.tolist())
    plain, shifted = net.normalised(batch), net.normalised(batch, shifts)
    assert plain.dtype == torch.float32
    for b, channel, row, column in np.ndindex(4, 3, 2, 3):
        pixel = float(batch[b, channel, row, column]) - float(mean[channel])
        assert plain[b, channel, row, column].item() == pytest.approx(pixel / 60, abs=1e-5)
        pixel += float(shifts[b, channel])
        assert shifted[b, channel, row, column].item() == pytest.approx(pixel / 60, abs=1e-5)
    assert torch.equal(batch, before)


# --- testing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "scale", "crop", "left", "top"),
    [
        ((256, 256), 256, 224, 16, 16),
        ((256, 384), 256, 224, 80, 16),
        ((384, 256), 256, 224, 16, 80),
        ((100, 50), 37, 32, 2, 21),  # 37 x 74
        ((73, 73), 73, 64, 4, 4),  # nine pixels to spare: four on the left, five on the right
        ((64, 200), 64, 64, 68, 0),
    ],
)
def test_centre_windows_by_hand(size, scale, crop, left, top):
    assert centre_window(size, scale, crop) == Window(scale, left, top, crop, crop)


@given(size=sizes, crop=st.integers(1, 60), more=st.integers(0, 30))
def test_centre_windows_are_torchvisions(size, crop, more):
    window = centre_window(size, crop + more, crop)
    height, width = rescaled_size(*size, crop + more)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wanted = tvf.center_crop(torch.stack([rows, columns]), [crop, crop])
    top, left = wanted[:, 0, 0].tolist()
    # With an odd number to spare torchvision rounds half to even, and we round down.
    for found, theirs, spare in ((window.top, top, height), (window.left, left, width)):
        assert found == theirs or ((spare - crop) % 2 == 1 and found == theirs - 1)


@given(size=sizes, crop=st.integers(32, 100), more=st.integers(0, 150))
def test_dense_windows_are_trimmed_evenly(size, crop, more):
    scale = crop + more
    window = dense_window(size, scale, crop)
    height, width = rescaled_size(*size, scale)
    for whole, start, kept in (
        (height, window.top, window.height),
        (width, window.left, window[3]),
    ):
        assert kept >= crop and (kept - crop) % 32 == 0
        after = whole - start - kept
        assert start >= 0
        assert start + after < 32  # no position is lost
        assert after - start in (0, 1)  # centred as well as whole pixels allow


def test_a_dense_window_by_hand():
    # 73 x 109: 64 kept of 73, 4 off the top and 5 off the bottom; 96 kept of 109, 6 and 7.
    assert dense_window((100, 150), 73, 64) == Window(73, 6, 4, 96, 64)
    # A crop of 55: 55 kept of 73, 9 off either side; 87 kept of 109, 11 off.
    assert dense_window((100, 150), 73, 55) == Window(73, 11, 9, 87, 55)


def test_cut_batch_holds_one_window_of_each_image():
    images = image_set(5, seed=1)
    indices = np.array([4, 0, 3])
    windows = [Window(40, 1, 2, 33, 32), Window(50, 0, 0, 33, 32), Window(37, 3, 4, 33, 32)]
    batch = cut_batch(images, indices, windows)
    assert batch.shape == (3, 3, 32, 33)
    for patch, i, window in zip(batch, indices, windows, strict=True):
        np.testing.assert_array_equal(patch.permute(1, 2, 0), cut(images.images[i], window))
