"""What `make` ends with: one sentence about the rerun, and an address that can be clicked."""

from pathlib import Path

import pytest

from tests.test_compare import net
from vggrepro.pages import reruns


@pytest.fixture
def study(tmp_path):
    for run, error in (("A-S256", 20.0), ("B-S256", 19.1)):
        net(tmp_path / "recorded", run, error, budget="quick", data="synthetic")
    return tmp_path / "recorded"


def test_a_rerun_with_the_recorded_digests(study):
    assert reruns.came_out(study, study, "quick") == "2 of 2 runs have the recorded digests."


def test_a_rerun_that_came_out_near_the_records(study, tmp_path):
    other = tmp_path / "rerun"
    net(other, "A-S256", 21.3, budget="quick", data="synthetic")
    net(other, "B-S256", 19.1, budget="quick", data="synthetic")
    net(other, "A-S256", 60.0, budget="smoke", data="synthetic")  # was not asked for
    assert reruns.came_out(study, other, "quick") == (
        "2 runs, at most 1.3 points from the recorded errors; 1 with the recorded digests."
    )


def test_a_rerun_of_what_is_not_recorded(study, tmp_path):
    net(tmp_path / "rerun", "A-S256", 20.0, budget="smoke", data="synthetic")
    said = reruns.came_out(study, tmp_path / "rerun", "smoke")
    assert said == "Nothing that is like this rerun is recorded at budget smoke."


def test_the_address_can_be_clicked(study, monkeypatch, capsys):
    monkeypatch.setattr(reruns, "RECORDED", study)
    monkeypatch.setattr(reruns, "RERUN", study)
    monkeypatch.setattr(reruns, "BUILT", Path("/my books/Prüfung/index.html"))
    reruns.main("quick")
    said, address = capsys.readouterr().out.splitlines()
    assert said == "2 of 2 runs have the recorded digests."
    assert address.endswith(" file:///my%20books/Pr%C3%BCfung/index.html")
