"""A sample of `make torture`: see `tests/torture.py`."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="its faults are Linux's")
def test_a_sample_of_all_that_can_hurt():
    """Nothing ends in a traceback, a hang, or another result without a word."""
    command = [sys.executable, "-m", "tests.torture", "--short"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr + done.stdout
