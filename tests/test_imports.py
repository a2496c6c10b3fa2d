"""Reading results needs no torch: a chapter opens, and `vggrepro --help` answers, at once."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

TORCH_FREE = ("vggrepro", "configs", "paper", "cost", "experiments", "results", "claims",
              "budgets", "records", "criteria", "statistics", "decisions", "calibration",
              "chapters", "figures", "figures_nets", "figures_protocols", "figures_scales",
              "tables_fusion", "tables_protocols", "tables_lrn", "tables_nets", "tables_scales",
              "verdicts",
              "report", "cli", "options", "render", "status", "windows",
              "devices", "workload", "memory", "rates", "planner", "progress",
              "compare", "compare_text", "power", "method", "tables_compare",
              "starts", "tables_starts", "figures_starts",
              "figures_method", "targets", "tables_costs", "tables_profile",
              "figures_costs", "figures_overview", "spent", "tables_deviations",
              "tables_summary")  # fmt: skip
EXISTING = [name for name in TORCH_FREE if name == "vggrepro" or find_spec(f"vggrepro.{name}")]


@pytest.mark.parametrize("name", EXISTING)
def test_import_brings_no_torch(name):
    module = name if name == "vggrepro" else f"vggrepro.{name}"
    code = f"import {module}, sys; print(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
