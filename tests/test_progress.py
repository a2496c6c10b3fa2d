"""One bar over everything: what it counts, what it leaves out of the speed, when it ends."""

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vggrepro import UserError
from vggrepro.pages import render
from vggrepro.study import progress, runner
from vggrepro.study.budgets import BUDGETS, at_budget
from vggrepro.study.experiments import FUSIONS, RUNS, evaluations_of, with_needs
from vggrepro.study.progress import CHAPTER, TRAINING, Progress
from vggrepro.study.workload import expected, multiply_adds

A, B = ("A-S256", 0), ("B-S256", 0)


@pytest.fixture
def bar(monkeypatch):
    """A bar on nothing that can be looked at: `bar(tasks)`."""
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    return Progress


# --- how much work a part is ---------------------------------------------------------------


@pytest.mark.parametrize("budget", BUDGETS)
def test_every_run_has_the_work_of_all_its_parts(budget):
    tasks = with_needs(runner.asked([*RUNS, *FUSIONS], [0]))
    data = next(iter(BUDGETS[budget].data))
    found = expected(tasks, budget, data)
    assert list(found) == tasks
    for (name, _), work in found.items():
        if name in FUSIONS:
            assert work == 0
            continue
        experiment = at_budget(name, budget, data)
        tested = {part for e in evaluations_of(name) for part in e.parts}
        parts = [multiply_adds(experiment, part) for part in (TRAINING, *tested)]
        assert min(parts) > 0
        assert work == pytest.approx(sum(parts))


def test_deeper_longer_and_finer_is_more_work():
    def work(run, part=TRAINING):
        return multiply_adds(at_budget(run, "reduced", "imagenette"), part)

    assert work("A-S256") < work("D-S256") < work("E-S256")
    assert work("D-he-long") == 2 * work("D-he")
    dense, crops = ((protocol, 384) for protocol in ("dense", "multi-crop"))
    assert work("D-jitter", dense) < work("D-jitter", crops)
    assert multiply_adds(at_budget("D-S256", "reduced", "folder"), TRAINING) == work("D-S256")


# --- what the bar counts --------------------------------------------------------------------


def left(whole):
    """What is to be done yet."""
    return whole._total - whole._done


def test_parts_count_by_their_work(bar):
    with bar({A: 40.0, B: 60.0}) as whole:
        with whole.part(A, TRAINING, 30.0, 200, "img") as update:
            update(50)
            assert (whole._bar.n, whole._bar.total, left(whole)) == (7.5, 100, 92.5)
            assert "1/2 A-S256 seed 0, training" in whole._bar.desc
            assert "img/s" in whole._bar.postfix
            update(150)
        with whole.part(A, ("dense", 256), 10.0, 10) as update:
            update(4)  # the rest is not reported: the part has ended all the same
            assert "1/2 A-S256 seed 0, dense Q=256" in whole._bar.desc
        whole.finish(A)
        assert (whole._bar.n, whole._bar.initial) == (40, 0)
        with whole.part(B, TRAINING, 60.0, 10):
            assert "2/2 B-S256" in whole._bar.desc
        whole.finish(B)
    assert left(whole) == 0


def test_what_was_there_is_no_speed(bar):
    with bar({A: 40.0, B: 60.0}) as whole:
        whole.finish(A)
        assert whole._bar is None, "no bar while there is nothing to do"
        with whole.part(B, TRAINING, 60.0, 100) as update:
            assert (whole._bar.n, whole._bar.initial) == (40, 40)
            update(50, found=True)  # from a checkpoint
            assert (whole._bar.n, whole._bar.initial) == (70, 70)
            update(25)
            assert (whole._bar.n, whole._bar.initial) == (85, 70)


def test_what_was_not_expected_makes_the_whole_longer(bar):
    with bar({A: 30.0}) as whole:
        whole.finish(A)
        with whole.part(A, TRAINING, 30.0, 10) as update:
            assert (whole._bar.total, left(whole)) == (60, 30)
            update(10)
    assert left(whole) == 0
    with bar({A: 30.0}) as whole:
        with whole.part(A, TRAINING, 20.0, 1):
            pass
        with whole.part(A, ("dense", 256), 20.0, 1):
            assert whole._bar.total == 40
        whole.finish(A)
    assert left(whole) == 0


@given(
    st.lists(st.lists(st.floats(0.01, 1e6), max_size=4), min_size=1, max_size=6),
    st.data(),
)
def test_it_ends_where_it_should(parts, data):
    """In whatever order parts are worked on, found or left out, nothing remains in the end."""
    tasks = {(f"run {i}", 0): work for i, work in enumerate(parts)}
    whole = Progress({task: sum(work) for task, work in tasks.items()}, shown=False)
    seen = [left(whole)]
    for task, of_parts in tasks.items():
        for k, work in enumerate(of_parts):
            if data.draw(st.booleans()):
                with whole.part(task, f"part {k}", work, 10) as update:
                    for done in data.draw(st.lists(st.integers(0, 12), max_size=3)):
                        update(done, found=data.draw(st.booleans()))
                        seen.append(left(whole))
        whole.finish(task)
        seen.append(left(whole))
    assert all(later <= earlier * (1 + 1e-9) + 1e-6 for earlier, later in pairwise(seen))
    assert left(whole) == pytest.approx(0, abs=1e-6 * max(1, seen[0]))


# --- a rerun --------------------------------------------------------------------------------


def test_a_rerun_has_one_bar_over_runs_and_chapters(vggrepro, smoke, copied, monkeypatch):
    executed, bars = [], []

    def execute(script, output, parameters):
        executed.append((script.stem, parameters))
        return output

    monkeypatch.setattr(render, "execute", execute)
    monkeypatch.setattr(progress, "tqdm", _counted(bars))
    options = ["--budget", "smoke", "--results-dir", copied, "--cache-dir", smoke.cache_dir]
    options += ["--threads", "1", "--device", "cpu", "--precision", "float32"]
    status, out, err = vggrepro("rerun", "02_lrn", *options)
    assert status == 0, err
    (parameters,) = [p for stem, p in executed if stem == "02_lrn"]
    assert parameters["budget"] == "smoke" and parameters["results_dir"] == str(copied)
    assert out.splitlines()[-1].endswith("02_lrn.ipynb")
    assert len(bars) == 1
    assert bars[0].n == pytest.approx(bars[0].total)
    assert 0 < bars[0].initial < bars[0].total  # A-S256 was recorded
    labels = re.findall(r"(\d/\d) ([^,\r]+), ([^:\r]+):", err)
    assert ("2/5", "A-LRN-S256 seed 0", TRAINING) in labels
    assert ("5/5", "02_lrn", CHAPTER) in labels


def _counted(bars):
    def make(**options):
        bars.append(progress_tqdm(**options))
        return bars[-1]

    progress_tqdm = progress.tqdm
    make.write = progress_tqdm.write
    return make


def test_a_chapter_that_fails_keeps_the_last_line_of_its_error(vggrepro, tmp_path, monkeypatch):
    def execute(script, output, parameters):
        raise UserError("Chapter x failed; the copy is y.\nthe budgets are quick, reduced")

    monkeypatch.setattr(render, "execute", execute)
    status, _, err = vggrepro("rerun", "01", "--budget", "smoke", "--results-dir", tmp_path)
    assert status == 1
    assert err.splitlines()[-1] == "the budgets are quick, reduced"


def test_a_rounding_beyond_the_whole_is_no_warning(recwarn):
    """0.1 + 0.2 + 0.3 is more than 0.3 + 0.2 + 0.1."""
    task = ("A-S256", 0)
    with Progress({task: 0.3 + 0.2 + 0.1}) as whole:
        for part, work in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
            with whole.part(task, part, work, 1) as update:
                update(1)
        whole.finish(task)
    assert [str(one.message) for one in recwarn] == []
