"""The check of accelerators tells what fails, and lets it stop nothing else."""

import sys
import time

import psutil
import pytest
import torch

from tests.accelerator.__main__ import checks_for, main, speeds
from tests.accelerator.harness import run_checks


def python(code):
    return [sys.executable, "-c", code]


def test_checks_that_fail_or_hang_are_told_and_do_not_stop_the_others(tmp_path, capsys):
    started = f"{tmp_path}/started"
    hangs = f"import subprocess, time; open({started!r}, 'w').write(str(subprocess.Popen("
    hangs += "['sleep', '60']).pid)); time.sleep(60)"
    checks = {
        "fails": python("print('out'); raise ValueError('of no use')"),
        "hangs": python(hangs),
        "passes": python("print('plain\\t12')"),
    }
    start = time.monotonic()
    outputs, failed = run_checks(checks, 2, tmp_path / "logs")
    assert time.monotonic() - start < 30
    assert (outputs, failed) == ({"passes": "plain\t12\n"}, 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["FAIL", "fails"],
        ["FAIL", "hangs"],
        ["PASS", "passes"],
    ]
    assert lines[0].endswith("status 1: ValueError: of no use")
    assert lines[1].endswith("took longer than 2 s")
    assert (tmp_path / "logs" / "fails.log").read_text() == "out\n"
    with pytest.raises(psutil.NoSuchProcess):  # what it started has ended, too
        wait_for_end(psutil.Process(int((tmp_path / "started").read_text())))


def wait_for_end(process):
    for _ in range(50):
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(process.pid)
        time.sleep(0.1)


def test_a_failing_check_makes_the_exit_status_1(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checks = {"passes": python(""), "fails": python("raise SystemExit(3)")}
    monkeypatch.setattr("tests.accelerator.__main__.checks_for", lambda _: checks)
    assert main(["--device", "cpu"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 of 2 checks passed")
    assert main(["--device", "cpu", "--only", "passes"]) == 0


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator")
def test_without_an_accelerator_it_says_so_in_one_line(capsys):
    assert main([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "finds no accelerator" in line


def test_speeds_are_shown_beside_the_processor():
    names = [name for name in checks_for("accelerator") if name.startswith("speed, ")]
    table = speeds({name: f"plain\t{n}\nstored\t{10 * n}\n" for n, name in enumerate(names, 1)})
    header, _, plain, stored = ([c.strip() for c in row.split("|")] for row in table.splitlines())
    assert header[2:5] == ["cpu, fp32", "accelerator, fp32", "accelerator, bf16"]
    assert (plain[2:5], stored[2:5]) == (["1", "2", "3"], ["10", "20", "30"])
