"""The embedded data set: pure, boxed, and told apart by arrangement alone."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vggrepro.data import synthetic

INDICES = st.integers(0, 10**9)
SEEDS = st.integers(0, 2**32)
SPLITS = st.sampled_from(synthetic.SPLITS)
CHANCE = 100 / len(synthetic.CLASSES)
TRAIN, VAL = 400, 400
# Four standard deviations of the accuracy of a guess above chance, in percent.
NEAR_CHANCE = CHANCE + 4 * 100 * np.sqrt(0.1 * 0.9 / VAL)


def figure_mask(
    name: str, radius: float = 40, angle: float = 0.0, mirrored: bool = False
) -> np.ndarray:
    """The canonical figure of a class, drawn alone, turned by an angle in radians: (H, W) bool."""
    centre = int(radius) + 2
    flip = np.diag([-1, 1] if mirrored else [1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ flip
    figure = synthetic.FIGURES[name]
    bars = centre + radius * figure.bars @ turn.T
    turned = synthetic.Figure(radius * figure.radius, bars)
    return synthetic.coverage(turned, 2 * centre, 2 * centre) >= 0.5


def arrangement(mask: np.ndarray) -> np.ndarray:
    """A description of a shape that no rotation, mirroring, move or scale changes.

    The distribution of the distances between the shape's pixels, and of their distances from
    its centre, in units of their root mean square.
    """
    points = np.argwhere(mask).astype(float)
    points -= points.mean(axis=0)
    points /= np.sqrt((points**2).sum(axis=1).mean())
    chosen = points[:: max(len(points) // 300, 1)]
    pairs = np.sqrt(((chosen[:, None] - chosen[None]) ** 2).sum(axis=-1)).ravel()
    radii = np.sqrt((points**2).sum(axis=1))
    levels = np.linspace(0, 1, 21)
    return np.concatenate([np.quantile(pairs, levels), np.quantile(radii, levels)])


def box_of(seed: int, split: str, index: int) -> tuple[int, int, int, int]:
    """The pixels that the object covers at least half of: left, top, right, bottom."""
    inside = synthetic.layers(seed, split, index).alpha >= 0.5
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, np.ndarray]]:
    """Per split, of many images: targets, colour histograms, and sizes, places, brightnesses."""
    statistics = {}
    for split, count in (("train", TRAIN), ("val", VAL)):
        targets, histograms, simple = [], [], []
        for index in range(count):
            image, target = synthetic.draw(0, split, index)
            box = box_of(0, split, index)
            targets.append(target)
            pixels = image[::2, ::2].reshape(-1, 3) // 32
            bins = np.bincount(pixels @ np.array([64, 8, 1]), minlength=512)
            histograms.append(np.sqrt(bins / len(pixels)))
            centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            simple.append([*image.shape[:2], *centre, image.mean(), image.std()])
        statistics[split] = {
            "targets": np.array(targets),
            "histogram": np.array(histograms),
            "simple": np.array(simple),
        }
    return statistics


def linear_accuracy(drawn: dict[str, dict[str, np.ndarray]], feature: str) -> float:
    """The accuracy on val, in percent, of a linear classifier of one feature."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    classifier.fit(drawn["train"][feature], drawn["train"]["targets"])
    return 100 * classifier.score(drawn["val"][feature], drawn["val"]["targets"])


# ---- pure functions of (seed, split, index) ----


@settings(max_examples=10, deadline=None)
@given(SEEDS, SPLITS, INDICES, st.randoms())
def test_an_image_depends_on_its_arguments_alone(seed, split, index, other):
    first = synthetic.draw(seed, split, index)
    np.random.seed(other.randrange(2**32))
    synthetic.draw(seed, split, index + 1)
    again = synthetic.draw(seed, split, index)
    assert first.image.tobytes() == again.image.tobytes()
    assert first[1:] == again[1:]


def test_seeds_splits_and_indices_give_different_images():
    keys = itertools.product((0, 1), synthetic.SPLITS, (0, 1, 10, 2**32))
    images = {synthetic.draw(*key).image.tobytes() for key in keys}
    assert len(images) == 16


def test_pixels_are_those_of_this_version():
    """A change of the pixels needs a new VERSION, as records carry their fingerprint."""
    digest = hashlib.sha256()
    for split, index in itertools.product(synthetic.SPLITS, range(10)):
        digest.update(synthetic.draw(0, split, index).image.tobytes())
    assert (synthetic.VERSION, digest.hexdigest()[:16]) == (2, "5f6a9f0f02227563")


@pytest.mark.parametrize("key", [(0, "test", 0), (0, "train", -1), (-1, "train", 0)])
def test_bad_keys_draw_nothing(key):
    with pytest.raises(ValueError):
        synthetic.draw(*key)


# ---- images and boxes ----


@settings(max_examples=50, deadline=None)
@given(SEEDS, SPLITS, INDICES)
def test_image_and_box(seed, split, index):
    image, target = synthetic.draw(seed, split, index)
    left, top, right, bottom = box_of(seed, split, index)
    height, width = image.shape[:2]
    assert image.dtype == np.uint8 and image.shape == (height, width, 3)
    assert min(height, width) == 160 and 160 <= max(height, width) <= 256
    assert target == index % 10
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert max(right - left, bottom - top) >= 0.3 * 160


def test_shapes_vary():
    shapes = [synthetic.draw(0, "train", index).image.shape[:2] for index in range(40)]
    assert any(height > 1.3 * width for height, width in shapes)
    assert any(width > 1.3 * height for height, width in shapes)


@pytest.mark.parametrize("index", range(20))
def test_box_is_that_of_the_pixels_that_the_object_changes(index):
    image = synthetic.draw(3, "val", index).image
    left, top, right, bottom = box_of(3, "val", index)
    background = synthetic.layers(3, "val", index).background
    changed = np.abs(image.astype(float) - 255 * background).max(axis=-1) > 1
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    # The antialiased rim, less than half covered, reaches one pixel further.
    assert np.abs(np.array([columns[0], columns[-1] + 1]) - [left, right]).max() <= 1
    assert np.abs(np.array([rows[0], rows[-1] + 1]) - [top, bottom]).max() <= 1


@settings(max_examples=50, deadline=None)
@given(SEEDS, INDICES, st.floats(0, 1), st.floats(0, 1), st.floats(0.86, 1))
def test_every_crop_of_the_smallest_budget_shows_half_of_the_box(seed, index, x, y, side):
    image, box = synthetic.draw(seed, "train", index).image, box_of(seed, "train", index)
    height, width = image.shape[:2]
    side *= 160
    for x, y in itertools.chain([(x, y)], itertools.product((0, 1), repeat=2)):  # noqa: B020
        left, top = x * (width - side), y * (height - side)
        crop = (left, top, left + side, top + side)
        assert synthetic.visible_fraction(box, crop) >= 0.5


@given(st.tuples(*[st.integers(0, 30)] * 8))
def test_visible_fraction_counts_pixels(values):
    left, top, wide, high, crop_left, crop_top, crop_wide, crop_high = values
    box = (left, top, left + wide + 1, top + high + 1)
    crop = (crop_left, crop_top, crop_left + crop_wide, crop_top + crop_high)
    inside = [
        crop[0] <= x < crop[2] and crop[1] <= y < crop[3]
        for x in range(box[0], box[2])
        for y in range(box[1], box[3])
    ]
    assert synthetic.visible_fraction(box, crop) == pytest.approx(np.mean(inside))


# ---- what tells the classes apart ----


def test_targets_are_balanced(drawn):
    assert np.bincount(drawn["train"]["targets"]).tolist() == [TRAIN // 10] * 10


@pytest.mark.parametrize("feature", ["histogram", "simple"])
def test_colour_place_and_image_size_say_nothing(drawn, feature):
    assert linear_accuracy(drawn, feature) < NEAR_CHANCE


def test_the_linear_classifier_would_find_a_leak(drawn):
    """Painting a twentieth of the pixels in a colour of the class's own is found at once."""
    leaking = {}
    for split, features in drawn.items():
        histogram = features["histogram"] ** 2 * 0.95
        histogram[np.arange(len(histogram)), features["targets"] * 50] += 0.05
        leaking[split] = {"targets": features["targets"], "histogram": np.sqrt(histogram)}
    assert linear_accuracy(leaking, "histogram") > 2 * NEAR_CHANCE


def test_every_figure_has_the_same_area():
    areas = [figure_mask(name, 200, angle=0.3).sum() / 200**2 for name in synthetic.CLASSES]
    assert np.abs(np.array(areas) / 1.28 - 1).max() < 0.02


def test_the_painted_area_says_nothing():
    areas, targets = [], []
    for index in range(200):
        areas.append([synthetic.layers(0, "train", index).alpha.sum()])
        targets.append(index % 10)
    areas, targets = np.array(areas), np.array(targets)
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    classifier.fit(areas[:100], targets[:100])
    assert classifier.score(areas[100:], targets[100:]) < 0.1 + 4 * np.sqrt(0.09 / 100)


def test_no_figure_is_another_one_turned_or_mirrored():
    """Laid over each other as well as can be, two figures share less than half of their area."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    poses = {
        name: np.array(
            [
                figure_mask(name, 30, angle, mirrored)
                for mirrored in (False, True)
                for angle in angles
            ]
        ).reshape(2, len(angles), -1)
        for name in synthetic.CLASSES
    }

    def overlap(mask: np.ndarray, others: np.ndarray) -> float:
        return float(((mask & others).sum(axis=-1) / (mask | others).sum(axis=-1)).max())

    for name, other in itertools.combinations(synthetic.CLASSES, 2):
        assert overlap(poses[name][0, 0], poses[other]) < 0.5, (name, other)
    for name in synthetic.CLASSES:
        # All but the zigzag are their own mirror image, turned.
        handed = overlap(poses[name][0, 0], poses[name][1]) < 0.8
        assert handed == (name == "zigzag"), name


def test_flips_and_rotations_keep_the_label():
    """What no flip or rotation changes is enough to tell the drawn objects' classes."""
    templates = np.array([arrangement(figure_mask(name)) for name in synthetic.CLASSES])
    for index in range(60):
        mask = synthetic.layers(5, "train", index).alpha >= 0.5
        for seen in (mask, mask[:, ::-1], mask[::-1], np.rot90(mask)):
            distances = np.abs(templates - arrangement(seen)).mean(axis=1)
            assert distances.argmin() == index % 10, synthetic.CLASSES[index % 10]


# ---- parts and background ----


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.floats(-10, 40)] * 4), st.floats(1.5, 8))  # px; every part is thicker
def test_coverage_is_a_smoothed_count_of_points_inside(ends, radius):
    bar = np.array([[ends[:2], ends[2:]]])
    alpha = synthetic.coverage(synthetic.Figure(radius, bar), 24, 30)
    fine = 8
    y, x = (np.mgrid[: 24 * fine, : 30 * fine] + 0.5) / fine
    start, end = np.array(ends[:2]), np.array(ends[2:])
    steps = np.linspace(0, 1, 120)[:, None] * (end - start) + start
    inside = np.zeros(x.shape, bool)
    for px, py in steps:
        inside |= (x - px) ** 2 + (y - py) ** 2 <= radius**2
    share = inside.reshape(24, fine, 30, fine).mean(axis=(1, 3))
    assert np.abs(alpha - share).max() < 0.35
    assert abs(alpha.sum() - share.sum()) < 0.05 * share.sum() + 2


def test_backgrounds_have_the_spectrum_of_photographs():
    """The amplitude falls as 1/f: a slope of -1 in log-log, in every image about that."""
    taper = np.hanning(160)[:, None] * np.hanning(160)
    frequency = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.fftfreq(160))
    band = (frequency > 2 / 160) & (frequency < 0.45)
    for seed in range(10):
        noise = synthetic.natural_noise(np.random.default_rng(seed), 160, 160)
        for plane in (noise.mean(axis=-1), noise[..., 0] - noise[..., 1]):
            amplitude = np.abs(np.fft.fft2((plane - plane.mean()) * taper))
            slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]
            assert -1.2 < slope < -0.8
