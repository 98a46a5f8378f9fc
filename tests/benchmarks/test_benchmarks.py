"""The benchmarks meet their targets, which they say by their exit status; and all of them run."""

import subprocess
import sys
from pathlib import Path

import pytest
from page import BENCHMARKS

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alignment", "word2vec"])
def test_targets_are_met(name):
    command = [sys.executable, str(SCRIPTS / f"{name}.py"), "--runs", "3"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
def test_all_run_on_little_data(tmp_path):
    pytest.importorskip("fastai", reason="needs the extra `benchmarks`")
    pytest.importorskip("setfit", reason="needs the extra `benchmarks`")
    command = [sys.executable, str(SCRIPTS / "page.py"), "--quick", "--runs", "1"]
    finished = subprocess.run(
        [*command, "--into", str(tmp_path)], capture_output=True, text=True, timeout=1800
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    written = (tmp_path / "benchmarks.md").read_text()
    assert all(f"`benchmarks/{name}.py`" in written for name in BENCHMARKS)
    assert (tmp_path / "benchmarks.png").exists()
