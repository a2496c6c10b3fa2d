"""Targets beside measurements: ratios within rounds, what counts as met, and how it is shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.records_by_hand import PROVENANCE
from vggrepro.bench import targets
from vggrepro.bench.targets import TARGETS, Target
from vggrepro.study.records import BenchRecord, Measured

RATES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=6)


def record(*measured, data="imagenette"):
    settings = {"data": data, "train_images": 8522, "threads": 2, "precision": "bf16"}
    return BenchRecord(
        name="speed", settings=settings, measured=measured, provenance=PROVENANCE
    )  # fmt: skip


def measured(name, values, unit="images/s", **of):
    return Measured(name=name, unit=unit, of=of, values=tuple(values))


def training(ours, theirs, alone, width):
    sides = {"vggrepro": ours, "torchvision": theirs, "step alone": alone}
    return [measured("training", v, side=s, width=width) for s, v in sides.items()]


def test_ratios_are_taken_within_a_round():
    # The machine is half as fast in the second round: the ratios do not see it.
    made = record(*training((400, 200), (100, 50), (500, 250), 0.25))
    against = {(t.unit, t.goals[:1]): t.values(made) for t in TARGETS if t.over}
    np.testing.assert_allclose(against["×", (4.0,)], [4, 4])
    np.testing.assert_allclose(against[" %", (92.0,)], [80, 80])
    assert against["×", (6.0,)] is None  # full width was not measured


@given(ours=RATES, factor=st.floats(0.1, 10))
def test_the_median_decides(ours, factor):
    goal = factor
    target = Target("", "", "×", "a", {}, "b", goals=(goal, 2 * goal))
    values = np.array(ours)
    rank = sorted(ours)
    middle = (rank[len(rank) // 2] + rank[(len(rank) - 1) // 2]) / 2
    expected = "no" if middle < goal else "the first" if middle < 2 * goal else "yes"
    assert target.met(values) == expected
    limit = Target("", "", "s", "a", {}, goals=(goal,))
    assert limit.met(values) == ("yes" if middle <= goal else "no")
    assert Target("", "", "s", "a", {}).met(values) == "–"


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("×", [4.3], "4.30×"),
        ("×", [4.0, 4.3, 12.34], "4.30× (4.00 to 12.3)"),
        (" %", [99.0, 100.0, 101.0], "100 % (99.0 to 101)"),
        (" MiB", [1431.2], "1,431 MiB"),
        (" s", [0.0512], "0.051 s"),
        (" s", [0.412], "0.412 s"),
        (" s", [999.9], "1000 s"),
    ],
)
def test_three_digits_with_the_range(unit, values, shown):
    assert Target("", "", unit, "a", {}).shown(np.array(values)) == shown


def test_the_goals_of_the_plan_are_the_goals_in_the_code():
    said = [target.said() for target in TARGETS]
    assert said[0] == "at least 4×, then 5×"
    assert [text for text in said if "%" in text] == [
        "at least 92 %",
        "at least 97 %",
        "at least 65 %",
    ]
    assert said[-5:] == ["at most 25 s", "at most 1 s", "at most 2048 MiB", *["at most 0.5 s"] * 2]


def test_rows_of_a_record():
    made = record(
        *training((420,) * 3, (100,) * 3, (440,) * 3, 0.25),
        measured("memory", [1500.0], "MiB", run="D-S256"),
        measured("starting", [0.7, 0.4, 0.6], "s", what="--help"),
    )
    found = {(row["what"], row["against"][:8]): row for row in targets.rows(made)}
    assert len(found) == len(TARGETS)
    d = "training D at `reduced`, photos to updated weights"
    assert found[d, "the same"]["met"] == "the first"
    assert found[d, "the step"]["met"] == "yes"
    assert found["peak anonymous memory of a run at `reduced`", "–"]["met"] == "yes"
    assert found["`vggrepro --help`", "–"]["met"] == "no"
    assert found["`vggrepro --help`", "–"]["measured"] == "0.600 s (0.400 to 0.700)"
    assert found["150 crops of each image", "one phot"]["measured"] == "not measured"
    assert found["150 crops of each image", "one phot"]["met"] == "–"


def test_nothing_is_met_on_other_photos_or_without_a_record():
    made = record(*training((420,), (100,), (440,), 0.25), data="synthetic")
    rows = targets.rows(made)
    assert rows[0]["measured"] == "4.20×"
    assert {row["met"] for row in rows} == {"–"}
    assert any("none is met or missed" in line for line in targets.lines(made))
