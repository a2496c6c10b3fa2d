"""Records: what they hold comes back, and what was edited is seen."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.records_by_hand import (
    PROVENANCE,
    eval_record,
    path_of,
    train_record,
    written,
)
from vggrepro.study import store
from vggrepro.study.records import (
    Array,
    BenchRecord,
    DataUsed,
    Epoch,
    EvalRecord,
    FirstStepsRecord,
    Measured,
    Provenance,
    Signal,
    TrainRecord,
    summarise,
)

KINDS = pytest.mark.parametrize("make", [train_record, eval_record])
DTYPES = ["u1", "i2", ">i4", "i8", "f2", "f4", ">f4", "f8", "?"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples of a property test, which write their files anew."""
    return tmp_path_factory.mktemp("records")


def test_what_is_published_is_as_it_was_written():
    """A field more, or another way to hash, would make all of it invalid."""
    paths = store.record_files(store.RECORDED)
    assert len(paths) > 400
    assert store.verify(paths) == []


@pytest.mark.parametrize(
    ("other", "elsewhere"),
    [
        ({"device": "cuda"}, True),
        ({"processor": "another"}, True),
        ({"threads": 2}, True),
        ({"versions": {"torch": "2.9.2"}}, True),
        ({"command": "vggrepro run B-S256", "finished": "2027-01-02T03:04Z"}, False),
    ],
)
def test_rounding_is_that_of_device_processor_threads_and_versions(other, elsewhere):
    changed = PROVENANCE.model_copy(update=other)
    assert changed.elsewhere(PROVENANCE) == PROVENANCE.elsewhere(changed) == elsewhere


# --- arrays and what follows from the images ------------------------------------------------


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))
    )
)
def test_array_comes_back_through_json(values):
    for given_values in (values, values.T):  # the transposed one is not contiguous
        text = json.dumps(Array.of(given_values).model_dump(mode="json"))
        back = Array.model_validate_json(text).numpy()
        assert back.shape == given_values.shape
        assert back.dtype == given_values.dtype.newbyteorder("<")
        np.testing.assert_array_equal(back, given_values)


def test_array_is_little_endian():
    assert Array.of(np.array([1, 2], ">u2")).model_dump() == {
        "dtype": "<u2",
        "shape": (2,),
        "base64": "AQACAA==",  # 01 00 02 00
    }


OUTCOME = st.tuples(st.booleans(), st.booleans(), st.floats(-60, 0))


@given(st.lists(OUTCOME, min_size=1, max_size=40))
def test_summarise_counts_as_by_hand(images):
    correct, correct_top5, log_probability = map(np.array, zip(*images, strict=True))
    found = summarise(correct, correct_top5, log_probability)
    n = len(images)
    assert found["top1_error"] == pytest.approx(100 * sum(not c for c, _, _ in images) / n)
    assert found["top5_error"] == pytest.approx(100 * sum(not c for _, c, _ in images) / n)
    as_half = [struct.unpack("<e", struct.pack("<e", p))[0] for _, _, p in images]
    assert found["log_loss"] == pytest.approx(-sum(as_half) / n)
    bits = "".join("01"[c] for c, _, _ in images).ljust(-(-n // 8) * 8, "0")
    by_hand = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    assert found["correct"].numpy().tobytes() == by_hand

    data = eval_record().data.model_copy(update={"count": n})
    top1, top5, stored = eval_record(data=data, **found).outcomes()
    assert top1.tolist() == correct.tolist()
    assert top5.tolist() == correct_top5.tolist()
    assert stored.tolist() == as_half


# --- digests --------------------------------------------------------------------------------


@KINDS
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # changed to what is no value
def test_result_digest_ignores_provenance_and_nothing_else(make, tmp_path):
    def digests(record):
        sealed = store.write(record, tmp_path / "train.json")
        return sealed.result_digest, sealed.file_digest

    result, file = digests(make())
    assert digests(make()) == (result, file)
    for name, value in PROVENANCE.model_dump().items():
        other = PROVENANCE.model_copy(
            update={name: {"x": "1"} if name == "versions" else f"{value}1"}
        )
        changed = digests(make(provenance=other))
        assert changed[0] == result, name
        assert changed[1] != file, name
    ignored = {"provenance", "result_digest", "file_digest"}
    for name, value in make().model_dump().items():
        if name in ignored:
            continue
        record = make().model_copy(update={name: f"{value} and more"})
        assert digests(record)[0] != result, name


@KINDS
def test_a_record_as_written_has_no_problems(make, tmp_path):
    written(train_record(), tmp_path)
    record = store.write(make(), path_of(make(), tmp_path))
    path = path_of(record, tmp_path)
    assert store.read(path) == record
    assert list(store.problems(path)) == []
    assert store.verify(store.record_files(tmp_path)) == []


@given(data=st.data(), kind=st.sampled_from([train_record, eval_record]))
def test_every_edited_digit_is_seen(folder, data, kind):
    """In values, base64, digests, provenance: anywhere in the file."""
    path = written(kind(), folder)
    text = path.read_text()
    places = [i for i, c in enumerate(text) if c.isdigit()]
    i = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != text[i]]))
    path.write_text(text[:i] + digit + text[i + 1 :])
    assert store.verify([path])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.30000000000000004", "0.30000000000000005"),  # the same double
        ('"seed": 0', '"seed": 7,\n "seed": 0'),  # the first is read by people, the last by JSON
        ('"seed": 0', '"seed": "0"'),
        ("\n}", "\n\n}"),
    ],
)
def test_edits_that_change_no_value_are_seen_too(tmp_path, old, new):
    path = written(train_record(), tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    (problem,) = store.problems(path)
    assert "edited after it was written" in problem


@given(data=st.data(), kind=st.sampled_from([train_record, eval_record]))
def test_every_truncated_file_is_seen(folder, data, kind):
    path = written(kind(), folder)
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    (problem,) = store.problems(path)
    assert str(path) in problem


@pytest.mark.parametrize("field", ["top1_error", "top5_error", "log_loss"])
def test_errors_are_counted_again(tmp_path, field):
    """A better number with fitting digests is still not that of its images."""
    record = eval_record()
    path = written(record.model_copy(update={field: getattr(record, field) - 0.5}), tmp_path)
    (problem,) = store.problems(path)
    assert f"{field} " in problem
    assert "not that of its images" in problem


@pytest.mark.parametrize("damage", [{"dtype": "nonsense"}, {"shape": (3,)}, {"base64": "A"}])
def test_unreadable_outcomes_are_one_problem(tmp_path, damage):
    record = eval_record()
    broken = record.log_probability.model_copy(update=damage)
    path = written(record.model_copy(update={"log_probability": broken}), tmp_path)
    (problem,) = store.problems(path)
    assert "per-image outcomes cannot be read" in problem


@KINDS
@pytest.mark.parametrize("place", ["seed3", "../D-S256/seed0", "../../imagenette/A-S256/seed0"])
def test_a_record_in_the_wrong_folder_is_seen(make, place, tmp_path):
    path = written(make(), tmp_path)
    moved = (path.parent.parent / place).resolve() / path.name
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    (problem,) = store.problems(moved)
    assert f"smoke/synthetic/A-S256/seed0/{moved.name}, not of this place" in problem


def test_a_bench_record_is_verified_like_the_others(tmp_path):
    measured = Measured(name="step", unit="ms", of={"net": "A", "crop": 64}, values=(1.5, 1.25))
    record = BenchRecord(name="lrn", settings={}, measured=(measured,), provenance=PROVENANCE)
    path = store.bench_path(tmp_path, "lrn")
    store.write(record, path)
    assert store.record_files(tmp_path) == [path]
    assert store.read(path).values("step", crop=64).tolist() == [1.5, 1.25]
    assert list(store.problems(path)) == []
    path.write_text(path.read_text().replace("1.25", "1.15"))
    assert len(list(store.problems(path))) == 1


# --- what people are told -------------------------------------------------------------------

README = (Path(__file__).parents[1] / "results" / "README.md").read_text(encoding="utf-8")


def test_the_readme_explains_every_field():
    models = (TrainRecord, EvalRecord, FirstStepsRecord, BenchRecord)
    models += (Signal, Provenance, DataUsed, Measured, Array)
    fields = {
        name for model in models for name in model.model_fields
    } | Epoch.__annotations__.keys()
    assert {name for name in fields if f"`{name}`" not in README} == set()


def test_the_readmes_code_reads_a_record(tmp_path):
    code = README.split("```python\n")[1].split("```")[0]
    example = "results/reduced/cifar10/D-S256/seed0/eval-centre-crop-256.json"
    assert example in code
    record = eval_record()
    found = {}
    exec(code.replace(example, str(written(record, tmp_path))), found)
    assert found["top1_error"] == pytest.approx(100 * 3 / 11)
    assert found["log_loss"] == pytest.approx(record.log_loss)
