"""What a training is asked for: the paper's values, the schedule by hand, bad values refused."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from vggrepro import UserError
from vggrepro.recipe import Recipe, learning_rate_at, single_scale
from vggrepro.study.experiments import Experiment

BY_STEPS = Recipe(schedule="steps", learning_rate=0.02)


def test_the_defaults_are_those_of_section_31():
    assert asdict(Recipe()) == {
        "train_scale": (256, 256),
        "epochs": 74,
        "batch_size": 256,
        "learning_rate": 0.01,
        "schedule": "plateau",
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "colour_shift": 0.1,
    }
    declared = asdict(Experiment("x", "A"))
    assert asdict(Recipe()).items() <= declared.items()


@pytest.mark.parametrize(
    ("epochs", "first", "second"),
    [(4, 2, 3), (5, 3, 4), (10, 6, 8), (12, 7, 10), (20, 12, 17), (30, 18, 26), (74, 44, 63)],
)
def test_steps_divide_the_rate_by_ten_at_60_and_85_percent(epochs, first, second):
    recipe = replace(BY_STEPS, epochs=epochs)
    rates = [0.02] * first + [0.002] * (second - first) + [0.0002] * (epochs - second)
    assert [learning_rate_at(recipe, e) for e in range(epochs)] == pytest.approx(rates)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_schedule_of_fewer_epochs_keeps_its_rate(epochs):
    recipe = replace(BY_STEPS, epochs=epochs)
    assert {learning_rate_at(recipe, e) for e in range(epochs)} == {0.02}


def test_q_of_one_scale_is_s_or_the_middle_of_its_interval():
    assert single_scale(Recipe(train_scale=(384, 384))) == 384
    assert single_scale(Recipe(train_scale=(256, 512))) == 384


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number from 1 up, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"learning_rate": -0.1}, "learning_rate must be positive, not -0.1"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive, not nan"),
        ({"schedule": "cosine"}, "schedule must be plateau or steps, not 'cosine'"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1, not 1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"colour_shift": float("inf")}, "colour_shift must be at least 0"),
        ({"train_scale": (384, 256)}, "train_scale must be the smallest and the largest S"),
        ({"train_scale": ("256", "512")}, "train_scale must be the smallest and the largest S"),
        ({"train_scale": (256, float("inf"))}, "train_scale must be the smallest and the largest"),
        ({"learning_rate": "0.1"}, "learning_rate must be positive, not '0.1'"),
        ({"momentum": None}, "momentum must be from 0 to below 1, not None"),
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(value, message):
    with pytest.raises(UserError, match=message) as caught:
        Recipe(**value)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    recipe = Recipe(epochs=np.int64(2), batch_size=np.int32(8), learning_rate=np.float32(0.5))
    assert recipe == Recipe(epochs=2, batch_size=8, learning_rate=0.5)
