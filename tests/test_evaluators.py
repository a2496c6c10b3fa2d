"""Test protocols against slow versions that take one image, one view, one position at a time."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as tvf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from tests.image_sets import CPU, as_input, image_set, noise, small_net
from vggrepro import UserError, evaluators
from vggrepro.evaluators import (
    combine,
    evaluate,
    lrn_denominator,
    outcomes,
    windows,
)
from vggrepro.models import to_dense

# Short sides of 55 and 110 px: at Q = 384, which is 110 px for a crop of 64, no long side is
# rounded, so that a cut is the crop of what PIL resizes. Long sides give maps of 1 to 4 columns.
SIZES = ((55, 61), (110, 110), (90, 55), (55, 55), (110, 170), (131, 110))


def resized(image, scale):
    short = min(image.shape[:2])
    height, width = (side * scale // short for side in image.shape[:2])
    return Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)


def slow_dense(model, image, scale):
    """Section 3.2 by hand: trim, slide the classifier over the map, average, soft-max, flip."""
    picture = resized(image, scale)
    width, height = picture.size
    left, top = width % 32 // 2, height % 32 // 2
    box = (left, top, left + width // 32 * 32, top + height // 32 * 32)
    found = []
    for view in (picture.crop(box), tvf.hflip(picture.crop(box))):
        maps = model.features(as_input(view))
        side = model.crop // 32
        scores = [
            model.classifier(maps[:, :, i : i + side, j : j + side].flatten(1))[0]
            for i in range(maps.shape[2] - side + 1)
            for j in range(maps.shape[3] - side + 1)
        ]
        found.append(torch.stack(scores).mean(0).softmax(0))
    return ((found[0] + found[1]) / 2).detach().numpy(), len(scores)


def slow_centre_crop(model, image, scale):
    """The plain net on the central crop and on its mirror image."""
    picture = resized(image, scale)
    left, top = ((side - model.crop) // 2 for side in picture.size)
    crop = picture.crop((left, top, left + model.crop, top + model.crop))
    found = [model(as_input(view))[0].softmax(0) for view in (crop, tvf.hflip(crop))]
    return ((found[0] + found[1]) / 2).detach().numpy()


@pytest.mark.parametrize("pixels", [2**20, 2 * 128 * 96, 1])
@pytest.mark.parametrize("protocol", ["dense", "centre-crop"])
def test_evaluate_against_one_image_at_a_time(protocol, pixels, monkeypatch):
    # Mixed shapes, in batches of any number, the last of them ragged.
    monkeypatch.setattr(evaluators, "BATCH_PIXELS", {"cpu": pixels})
    model = small_net()
    # Doubling multiples of 16 gives whole numbers: PIL, which may take rows or columns first, then
    # has nothing to round in between.
    pictures = [noise(*SIZES[i % 6], seed=i) // 16 * 16 for i in range(17)]
    images = image_set(17, images=pictures)
    done = []
    tested = evaluate(model, images, protocol, 384, device=CPU, progress=done.append)
    if protocol == "dense":
        wanted, positions = zip(*(slow_dense(model, i, 110) for i in images.images), strict=True)
        assert len(set(positions)) > 2
        sizes = [math.prod(map(int, name.split("x"))) for name in tested.positions]
        counted = np.repeat(sizes, list(tested.positions.values()))
        assert sorted(counted) == sorted(positions)
    else:
        wanted = [slow_centre_crop(model, i, 110) for i in images.images]
        assert tested.positions == {"1x1": 17}
    assert tested.posteriors.dtype == np.float32
    np.testing.assert_allclose(tested.posteriors, wanted, atol=1e-6)
    assert np.ptp(tested.posteriors, axis=0).min() > 0.01  # images differ, so rows are told apart
    assert sum(done) == 17


def test_an_image_with_several_windows_gets_their_mean(monkeypatch):
    model = small_net()
    images = image_set(7, sizes=SIZES)
    alone = [
        evaluate(model, images, p, 384, device=CPU, progress=False)
        for p in ("centre-crop", "dense")
    ]

    def both(protocol, *how):
        return windows("centre-crop", *how) + windows("dense", *how)

    monkeypatch.setattr(evaluators, "windows", both)
    together = evaluate(model, images, "dense", 384, device=CPU, progress=False)
    wanted = combine(alone)
    np.testing.assert_allclose(together.posteriors, wanted.posteriors, atol=1e-6)
    assert together.positions == wanted.positions


def test_positions_are_height_by_width():
    images = image_set(2, sizes=((64, 160), (128, 64)))
    model = small_net()
    assert evaluate(model, images, "dense", 224, device=CPU, progress=False).positions == {
        "1x4": 1,
        "3x1": 1,
    }


@given(
    kinds=st.lists(st.sampled_from(SIZES), min_size=1, max_size=40),
    pixels=st.sampled_from([1, 64 * 96 * 2, 2**20]),
    protocol=st.sampled_from(["dense", "centre-crop"]),
)
def test_every_window_is_in_one_batch_of_one_shape(kinds, pixels, protocol):
    images = image_set(len(kinds), images=[np.zeros((*size, 3), np.uint8) for size in kinds])
    work = windows(protocol, images, 110, 64)
    batches = evaluators._batches(work, pixels)
    assert sorted(item for batch in batches for item in batch) == sorted(work)
    assert sorted(i for i, _ in work) == list(range(len(kinds)))
    for batch in batches:
        shapes = {(w.height, w.width) for _, w in batch}
        assert len(shapes) == 1
        height, width = shapes.pop()
        assert len(batch) == 1 or len(batch) * height * width <= pixels


@pytest.mark.parametrize("crop", [32, 33, 55, 63, 64, 100])
def test_dense_on_the_crop_itself_is_the_centre_crop(crop):
    images = image_set(6, sizes=((crop, crop),))
    model = small_net(crop=crop)
    dense, shifted, centre = (
        evaluate(model, images, protocol, 224, device=CPU, progress=False).posteriors
        for protocol in ("dense", "dense-shifted", "centre-crop")
    )
    np.testing.assert_array_equal(dense, centre)
    np.testing.assert_allclose(shifted, centre, atol=1e-6)


@torch.no_grad()
def test_a_dense_position_sees_its_surroundings_where_a_crop_sees_zeros():
    # Section 3.2: "the padding for the same crop naturally comes from the neighbouring parts of
    # an image". A unit of the last map of A sees 59 px around its own 32.
    model = small_net()
    dense = to_dense(model)
    image = as_input(noise(256, 320))
    scores = dense(image)[0]
    assert scores.shape[1:] == (7, 9)
    for i, j in ((2, 2), (4, 6), (3, 4)):  # 64 px from every border
        top, left = 32 * i, 32 * j
        around = image[..., top - 64 : top + 128, left - 64 : left + 128]
        assert torch.allclose(scores[:, i, j], dense(around)[0, :, 2, 2], atol=1e-5)
        alone = image[..., top : top + 64, left : left + 64]
        assert not torch.allclose(scores[:, i, j], model(alone)[0], atol=1e-2)
    # At a corner of the image the crop has half of its own padding, and half is the image's.
    corner = dense(image[..., :128, :128])[0, :, 0, 0]
    assert torch.allclose(scores[:, 0, 0], corner, atol=1e-5)
    assert not torch.allclose(scores[:, 0, 0], model(image[..., :64, :64])[0], atol=1e-2)


@pytest.mark.parametrize("protocol", ["dense", "centre-crop"])
def test_mirror_images_have_the_same_posteriors(protocol):
    # An even number of pixels to trim: otherwise the grid moves by one when mirrored.
    images = [noise(64, 98, seed=s) for s in range(5)]
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
    model = small_net()
    found, again = (
        evaluate(
            model, image_set(5, images=some), protocol, 224, device=CPU, progress=False
        ).posteriors
        for some in (images, mirrored)
    )
    np.testing.assert_allclose(found, again, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_and_the_mode_and_weights_stay(training):
    model = small_net().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = image_set(5, sizes=SIZES)
    once, again = (
        evaluate(model, images, "dense", 384, device=CPU, progress=False) for _ in range(2)
    )
    np.testing.assert_array_equal(once.posteriors, again.posteriors)
    np.testing.assert_allclose(
        once.posteriors[1], slow_dense(model.eval(), images.images[1], 110)[0], atol=1e-6
    )
    model.train(training)
    evaluate(model, images, "centre-crop", 384, device=CPU, progress=False)
    assert model.training == training

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(model, images, "centre-crop", 384, device=CPU, progress=stop)
    assert model.training == training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    model(torch.zeros(2, 3, 64, 64)).sum().backward()  # a training can go on


def test_bad_protocols_and_scales_are_user_errors():
    images = image_set(2, sizes=SIZES)
    with pytest.raises(UserError, match="choose one of: centre-crop, dense"):
        evaluate(small_net(), images, "sliding", 256, device=CPU, progress=False)
    with pytest.raises(UserError, match="Q = 29 px"):
        evaluate(small_net(), images, "dense", 100, device=CPU, progress=False)
    with pytest.raises(UserError, match="scales are positive whole numbers"):
        evaluate(small_net(), images, "dense", (), device=CPU, progress=False)
    with pytest.raises(UserError, match="Q = 57 px is smaller than the 64 px crop"):
        evaluate(small_net(), images, "centre-crop", 200, device=CPU, progress=False)


# --- posteriors -------------------------------------------------------------------------------


def test_combine_by_hand():
    one = evaluators.Tested(np.array([[0.7, 0.3], [0.2, 0.8]], np.float32), {"1x1": 2})
    two = evaluators.Tested(np.array([[0.1, 0.9], [0.4, 0.6]], np.float32), {"1x1": 1, "1x2": 1})
    three = evaluators.Tested(np.array([[0.4, 0.6], [0.0, 1.0]], np.float32), {"2x2": 2})
    both = combine([one, two, three])
    np.testing.assert_allclose(both.posteriors, [[0.4, 0.6], [0.2, 0.8]], atol=1e-7)
    assert both.posteriors.dtype == np.float32
    assert both.positions == {"1x1": 3, "1x2": 1, "2x2": 2}
    np.testing.assert_array_equal(combine([one]).posteriors, one.posteriors)


def test_outcomes_by_hand():
    posteriors = np.array(
        [
            [0.5, 0.2, 0.1, 0.1, 0.05, 0.05],  # right
            [0.2, 0.5, 0.1, 0.1, 0.05, 0.05],  # second
            [0.0, 0.3, 0.2, 0.2, 0.2, 0.1],  # last
            [0.4, 0.4, 0.1, 0.1, 0.0, 0.0],  # a tie for the first place
            [0.1, 0.3, 0.3, 0.2, 0.05, 0.05],  # fourth
            [0.1, 0.2, 0.3, 0.2, 0.1, 0.1],  # shares the last three places: sixth
            [1 / 6] * 6,  # nothing learned
        ]
    )
    targets = np.array([0, 0, 0, 1, 0, 5, 3])
    top1, top5, log_probability = outcomes(posteriors, targets)
    assert top1.tolist() == [True, False, False, False, False, False, False]
    assert top5.tolist() == [True, True, False, True, True, False, False]
    np.testing.assert_allclose(
        log_probability[[0, 1, 3, 6]], np.log([0.5, 0.2, 0.4, 1 / 6]), rtol=1e-12
    )
    assert log_probability[2] == pytest.approx(-126 * math.log(2))  # float32's smallest: finite


def test_fifth_place_is_in_the_top_five_unless_shared():
    fifth = np.array([[0.3, 0.25, 0.2, 0.15, 0.06, 0.04], [0.3, 0.25, 0.2, 0.15, 0.05, 0.05]])
    assert outcomes(fifth, np.array([4, 4]))[1].tolist() == [True, False]


@pytest.mark.parametrize("row", [[np.nan] * 6, [np.nan, 0.2, 0.2, 0.2, 0.2, 0.2]])
def test_posteriors_that_are_no_numbers_are_wrong(row):
    top1, top5, log_probability = outcomes(np.array([row]), np.array([0]))
    assert not top1[0]
    assert not top5[0]
    assert np.isnan(log_probability[0])


@settings(max_examples=30)
@given(
    npst.arrays(np.float32, (8, 7), elements=st.floats(0, 1, width=32), unique=True),
    st.lists(st.integers(0, 6), min_size=8, max_size=8),
)
def test_outcomes_without_ties_are_those_of_sorting(posteriors, targets):
    top1, top5, _ = outcomes(posteriors, np.array(targets))
    for row, target, first, five in zip(posteriors, targets, top1, top5, strict=True):
        best = sorted(range(7), key=lambda c: -row[c])
        assert first == (best[0] == target)
        assert five == (target in best[:5])


def test_error_and_loss_by_hand():
    posteriors = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.7, 0.3]], np.float32)
    tested = evaluators.Tested(posteriors, {}, targets=np.array([0, 1, 0, 0]))
    assert (tested.top1_error, tested.top5_error) == (50.0, 0.0)
    assert tested.log_loss == pytest.approx(
        -(math.log(0.9) + math.log(0.5 * 0.2 * 0.7)) / 4, rel=1e-6
    )
    scores = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(50) % 4
    tested = evaluators.Tested(scores.softmax(1).numpy(), {}, targets=targets.numpy())
    assert tested.log_loss == pytest.approx(F.cross_entropy(scores, targets).item(), rel=1e-5)


# --- LRN --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_lrn_quantiles_are_numpys_over_the_layers_input(training):
    model = small_net("A-LRN").train(training)
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = lrn_denominator(model, images, (0.01, 0.5, 0.99))
    assert model.training == training
    # A-LRN is conv1_1, ReLU, LRN and then the pool; alpha grows with the square of the divisor.
    first = model.features[0]
    maps = F.conv2d(images, first.weight, first.bias, padding=1).relu().detach().numpy()
    channels = maps.shape[1]
    squares = np.zeros_like(maps, dtype=np.float64)
    for c in range(channels):
        for other in range(max(0, c - 2), min(channels, c + 3)):
            squares[:, c] += maps[:, other].astype(np.float64) ** 2
    wanted = np.quantile(2 + 1e-4 * 60**2 * squares, (0.01, 0.5, 0.99))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert found[2] / found[0] > 1.5  # a layer that does something


def test_nets_without_lrn_have_no_denominator():
    assert lrn_denominator(small_net("A"), torch.zeros(1, 3, 64, 64), (0.5,)) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": torch.nn.Linear(3, 4)},
            "takes a vggrepro.VGG, not Linear: a net",
        ),
        ({"model": small_net().double()}, "in torch.float64: make it float32"),
        ({"images": [1, 2]}, "such as photos.val, not list"),
        ({"images": image_set(4).subset(np.array([], int))}, "no image"),
        ({"protocol": ["dense"]}, "unknown protocol"),
        *(({"scales": scales}, "scales are") for scales in ("256", {256}, None, [[256]], ())),
        *(({"scales": scales}, "scales are") for scales in (math.nan, math.inf, -256, 0)),
        ({"scales": 64.5, "pixels": True}, "scales are positive whole"),
    ],
    ids=str,
)
def test_what_cannot_be_tested_is_one_message(change, message):
    given = {"model": small_net(), "images": image_set(4), "device": CPU, "progress": False}
    with pytest.raises(UserError, match=message):
        evaluate(**(given | change))


def test_every_part_of_the_net_is_back_in_its_mode():
    model = small_net().train()
    model.features.eval()
    evaluate(model, image_set(4), "centre-crop", device=CPU, progress=False)
    assert (model.training, model.features.training, model.classifier.training) == (1, 0, 1)


def test_a_dense_net_is_not_made_dense_again():
    with pytest.raises(UserError, match="not DenseVGG"):
        to_dense(to_dense(small_net()), every_offset=True)
