"""The benchmarks meet their targets; they say so by their exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alignment", "word2vec"])
def test_targets_are_met(name):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--runs", "3"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
