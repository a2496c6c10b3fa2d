"""Reading results needs no torch: a chapter opens, and `vggrepro --help` answers, at once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

TORCH_FREE = ("vggrepro", "configs", "paper", "cost", "experiments", "results", "claims",
              "budgets", "records", "criteria", "statistics", "decisions", "calibration",
              "chapters", "figures", "figures_nets", "figures_protocols", "figures_scales",
              "tables_fusion", "tables_protocols", "tables_lrn", "tables_nets", "tables_scales",
              "verdicts", "differences", "arithmetic",
              "report", "cli", "options", "render", "status", "windows",
              "devices", "workload", "memory", "rates", "planner", "progress",
              "compare", "compare_text", "power", "method", "tables_compare",
              "starts", "starts_text", "tables_starts", "figures_starts",
              "figures_method", "targets", "tables_costs", "tables_profile",
              "figures_costs", "figures_overview", "spent", "tables_deviations",
              "tables_summary",
              "programme", "twins", "reading", "synthetic", "workers", "sources", "cache", "data",
              "files", "where")  # fmt: skip


@pytest.mark.parametrize("name", TORCH_FREE)
def test_import_brings_no_torch(name):
    module = name if name == "vggrepro" else f"vggrepro.{name}"
    code = f"import {module}, sys; print(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_reading_list_of_the_library_names_what_is_there_and_stays_short():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = guide.split("## The library in an hour")[1].split("\n## ")[0]
    for name in re.findall(r"`(\w+\*?(?:\.py)?)`", section):
        assert list((ROOT / "vggrepro").glob(name if name.endswith(".py") else f"{name}.py"))
    core = re.findall(r"`(\w+)\.py`", section.split("The rest shows it")[0])
    lines = {p.stem: len(p.read_text().splitlines()) for p in (ROOT / "vggrepro").glob("*.py")}
    assert sum(lines[name] for name in core) < 0.26 * sum(lines.values())


def test_installed_without_a_checkout_it_works_where_it_is_run(tmp_path):
    """A copy of the package alone, as pip installs it: no record goes beside the packages."""
    installed, here = tmp_path / "installed", tmp_path / "here"
    shutil.copytree(ROOT / "vggrepro", installed / "vggrepro")
    here.mkdir()
    code = "from vggrepro import results; print(results.RERUN)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(here / "rerun"), done.stderr
