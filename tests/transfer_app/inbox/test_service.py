"""The unit of systemd is one, gives away little, and runs the command as its flags are."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from transfer_app.inbox.command import new_parser
from transfer_app.inbox.credentials import CREDENTIAL

UNIT = Path(__file__).parents[3] / "deploy" / "nlp-transfer-mark.service"
ANALYZE = shutil.which("systemd-analyze")


@pytest.fixture
def unit(tmp_path):
    """The unit, with a program that is there."""
    if not ANALYZE:
        pytest.skip("there is no systemd-analyze")
    file = tmp_path / UNIT.name
    file.write_text(re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text()))
    return file


def test_systemd_finds_no_fault_with_it(unit):
    ran = subprocess.run([ANALYZE, "verify", "--man=no", unit], capture_output=True, text=True)
    assert ran.returncode == 0 and unit.name not in ran.stderr


def test_it_has_few_rights(unit):
    command = [ANALYZE, "security", "--offline=yes", "--threshold=20", "--no-pager", unit]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_it_runs_the_command_as_its_comment_says():
    text = UNIT.read_text()
    values = dict(re.findall(r"^#   (\w+)=(.*)$", text, re.M))
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    words = shlex.split(re.sub(r"\$\{?(\w+)\}?", lambda name: values[name[1]], command))
    options = new_parser().parse_args(words[2:])
    assert words[1] == "mark" and options.source == values["SOURCE"] and options.flag
    assert f"LoadCredential={CREDENTIAL}:" in text
    assert "SuccessExitStatus=143" in text
