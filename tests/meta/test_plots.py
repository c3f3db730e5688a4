"""The plots of the page on performance are those of the numbers that were recorded."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_plots_and_tables_are_those_of_the_recorded_numbers() -> None:
    """`python benchmarks/plots.py` would change nothing."""
    command = [sys.executable, "benchmarks/plots.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (0, "") == (done.returncode, done.stderr)
