"""A chapter's furniture: what it knows of itself, and the commands that make it again."""

import os
import re
import subprocess
import sys

import pytest

from vggrepro import UserError
from vggrepro.pages.page import Chapter
from vggrepro.study import programme, runner, store
from vggrepro.study.claims import CLAIMS

DEFAULTS = ("reduced", "", 0, False, "", "")


@pytest.mark.parametrize("name", programme.CHAPTER_RUNS)
def test_a_chapter_knows_its_runs_and_claims(name):
    chapter = Chapter(name[:2], *DEFAULTS)
    assert (chapter.name, chapter.runs) == (name, programme.CHAPTER_RUNS[name])
    assert {CLAIMS[key].chapter for key in chapter.claims} <= {name}
    kinds = [CLAIMS[key].primary for key in chapter.claims]
    assert kinds == sorted(kinds, reverse=True), "primary claims come first"


def test_chapters_on_scale_show_imagenette_alone():
    titles = [[c.data for c in Chapter(name, *DEFAULTS).columns] for name in ("03", "06")]
    assert titles == [["cifar10", "imagenette"], ["imagenette"]]


def test_the_commands_of_a_chapter_name_all_its_recorded_runs_and_seeds():
    chapter = Chapter("03", *DEFAULTS)
    text = chapter.rerun().data
    for column in chapter.columns:
        for run in chapter.runs:
            trained = store.trainings(column.results_dir, column.experiment(run))
            named = [
                line
                for line in text.splitlines()
                if f" {run} " in line and f"--data {column.data} " in line
            ]
            seeds = [int(line.rsplit(" ", 1)[1]) for line in named]
            assert seeds == ([1 + max(trained)] if trained else [])


def test_a_fusion_that_has_its_second_seed_alone_is_named_by_that_seed():
    lines = Chapter("09", *DEFAULTS).rerun().data.splitlines()
    (line,) = (line for line in lines if " D-jitter+D-jitter " in line)
    assert line.endswith(" --data-dir DATA --seed 1")


def test_trainings_that_a_fusion_or_a_chain_needs_are_counted():
    """They go back to net A, and a fusion trains nothing itself: more than the page names."""
    for name in ("08", "09"):
        chapter = Chapter(name, *DEFAULTS)
        count = int(re.match(r"\*\*(\d+) trainings", chapter.rerun().data)[1])
        named = {run: len(chapter.columns[0].trainings(run)) for run in chapter.runs}
        assert count > sum(named.values())


def test_what_a_chapter_leaves_out_of_its_tables_is_said():
    said = Chapter("07", *DEFAULTS).elsewhere().data
    assert said.startswith("On CIFAR-10, which decides nothing here: D: Q = 256 − 3 Q: ")


def test_a_chapter_runs_what_it_shows_with_the_budgets_own_seeds(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "run", lambda *given: asked.append(given))
    monkeypatch.setenv("HOME", str(tmp_path))
    chapter = Chapter("02", "smoke", "", 0, True, "~/photos", "~/records")
    assert [c.data for c in chapter.columns] == ["cifar10", "imagenette", "synthetic"]
    ((runs, *how, where),) = asked
    assert (tuple(runs), how) == (chapter.runs, ["smoke", "synthetic", [0]])
    assert (where.results_dir, where.data_dir) == (tmp_path / "records", tmp_path / "photos")
    assert chapter.columns[-1].results_dir == where.results_dir


def test_wrong_parameters_are_refused():
    with pytest.raises(UserError, match="smoke, quick, reduced, gpu, full"):
        Chapter("03", "quik", *DEFAULTS[1:])


def test_matplotlib_tells_a_chapter_nothing_of_the_home_it_finds():
    found = subprocess.run(
        [sys.executable, "-c", "from vggrepro.pages import figures"],
        env=os.environ | {"MPLCONFIGDIR": "/dev/null/none"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (found.stdout, found.stderr) == ("", "")
