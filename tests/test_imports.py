"""Reading results needs no torch: a chapter opens, and `vggrepro --help` answers, at once."""

import subprocess
import sys

import pytest

TORCH_FREE = ("vggrepro", "configs", "paper", "cost", "experiments", "results", "claims",
              "budgets", "records", "criteria", "statistics", "decisions", "calibration",
              "chapters", "figures", "figures_nets", "figures_protocols", "figures_scales",
              "tables_fusion", "tables_protocols", "tables_lrn", "tables_nets", "tables_scales",
              "verdicts", "differences", "arithmetic",
              "report", "cli", "options", "render", "status", "windows",
              "devices", "workload", "memory", "rates", "planner", "progress",
              "compare", "compare_text", "power", "method", "tables_compare",
              "starts", "tables_starts", "figures_starts",
              "figures_method", "targets", "tables_costs", "tables_profile",
              "figures_costs", "figures_overview", "spent", "tables_deviations",
              "tables_summary",
              "programme", "synthetic", "workers", "sources", "cache", "data", "files",
              "where")  # fmt: skip


@pytest.mark.parametrize("name", TORCH_FREE)
def test_import_brings_no_torch(name):
    module = name if name == "vggrepro" else f"vggrepro.{name}"
    code = f"import {module}, sys; print(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
