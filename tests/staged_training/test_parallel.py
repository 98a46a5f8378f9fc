"""Independent pieces of work, one after another or on all cores at once."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from joblib import cpu_count
from tqdm.auto import tqdm

from staged_training import InputError
from staged_training.experiment.parallel import run_parallel, run_serial

_LONG = """
import time
from functools import partial
from staged_training.experiment.parallel import run_parallel
run_parallel({str(n): partial(time.sleep, 60) for n in range(8)}, "naps")
"""


_INTERRUPTED = """
import os, signal, sys, time
from functools import partial
from pathlib import Path
from threading import Thread
from staged_training.experiment.parallel import run_parallel
from tests.staged_training.test_parallel import nap_with_a_bar

signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in the background

def interrupt():
    while len(list(Path(sys.argv[1]).iterdir())) < 2:
        time.sleep(0.1)
    os.killpg(0, signal.SIGINT)  # as a terminal does

Thread(target=interrupt, daemon=True).start()
try:
    run_parallel({str(n): partial(nap_with_a_bar, sys.argv[1]) for n in range(4)}, "naps")
except KeyboardInterrupt:
    print("stopped")
"""


several = pytest.mark.skipif(cpu_count() < 2, reason="there is one worker only")


class WhenRemoved:
    """Python passes over what is raised in such a method, a Ctrl-C too, and only says so."""

    def __del__(self):
        time.sleep(0.01)


def nap_with_a_bar(folder):
    for _ in tqdm(range(60_000)):
        (Path(folder) / str(os.getpid())).touch()
        WhenRemoved()
        time.sleep(0.001)


def refuse():
    raise InputError("fold 3: no text is urgent.")


def test_results_come_in_the_order_of_the_pieces():
    pieces = {f"power {n}": partial(pow, 2, n) for n in range(9)}
    assert run_parallel(pieces, "powers") == run_serial(pieces) == [2**n for n in range(9)]


@several
def test_side_by_side_is_in_other_processes_without_bars_of_their_own(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    pieces = {"process": os.getpid, "bars": partial(os.getenv, "TQDM_DISABLE")}
    process, quiet = run_parallel(pieces, "pieces")
    assert process != os.getpid()
    assert (quiet, os.getenv("TQDM_DISABLE")) == ("1", None)


def test_a_process_that_is_kept_is_in_the_folder_of_its_parent(tmp_path, monkeypatch):
    run_parallel({"process": os.getpid, "another": os.getpid}, "processes")
    monkeypatch.chdir(tmp_path)
    assert run_parallel({"here": os.getcwd, "there": os.getcwd}, "folders") == [str(tmp_path)] * 2


def test_what_goes_wrong_in_a_process_is_told_as_ever():
    with pytest.raises(InputError, match="fold 3: no text is urgent"):
        run_parallel({"fold 3": refuse}, "folds")


@several
def test_workers_end_when_the_process_that_began_them_is_killed():
    process = subprocess.Popen([sys.executable, "-c", _LONG])
    begun = psutil.Process(process.pid)
    while not (workers := [c for c in begun.children() if "popen_loky" in " ".join(c.cmdline())]):
        assert process.poll() is None
        time.sleep(0.1)
    time.sleep(3)  # they are at work
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(workers, timeout=30)  # some have not begun yet
    assert not left


@several
def test_workers_that_are_stopped_leave_no_word_of_it(tmp_path):
    command = [sys.executable, "-c", _INTERRUPTED, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    assert finished.stdout == "stopped\n"
    assert "leaked" not in finished.stderr and "Traceback" not in finished.stderr
