"""A command that is asked to stop ends with one line."""

import signal
import subprocess
import sys
import time

import pytest

COMMAND = """
import os, signal, sys, time
os.environ.pop("TQDM_DISABLE", None)
from transfer_app import command_line
from tqdm.auto import tqdm

bar = tqdm(total=4, desc="working")
signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in the background

def wait(arguments):
    bar.update()
    print("at work", flush=True)
    time.sleep(60)

command_line._run = command_line._coverage = wait
sys.exit(command_line.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "coverage"])
def test_it_says_so_in_one_line_and_by_its_exit_status(number, command):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "at work\n"
    start = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - start < 5
    assert process.returncode == 128 + number
    hint = "; continue with --resume" if command == "run" else ""
    before, last = said.rstrip("\n").rsplit("\n", 1)
    assert last == f"nlp-transfer: stopped{hint}"
    assert "working" in before
    assert "Traceback" not in before


IN_A_DESTRUCTOR = """
import signal, sys, time
from staged_training.runtime.stopping import Stopped, stoppable

class Cleaner:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

try:
    with stoppable():
        Cleaner()
        time.sleep(60)
except Stopped as stopped:
    sys.exit(stopped.status)
"""


def test_a_signal_that_comes_while_something_is_destructed_is_not_lost():
    start = time.monotonic()
    command = [sys.executable, "-c", IN_A_DESTRUCTOR]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert time.monotonic() - start < 5
    assert (finished.returncode, finished.stderr) == (128 + signal.SIGTERM, "")
