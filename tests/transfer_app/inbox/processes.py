"""`nlp-transfer mark` in a process of its own, as a service runs it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def until(condition, seconds=20):
    """Wait for something to be so, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come to be so"
        time.sleep(0.02)
    return found


class Marking:
    """The command, which is killed at the end at the latest."""

    def __init__(self, *arguments, **environment):
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        self._command = [sys.executable, "-m", "transfer_app.command_line", "mark", *arguments]
        self._environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        self.start()

    def start(self):
        """Start it, after a kill once more."""
        out, err = (file.open("a") for file in self._files)
        with out, err:
            self.process = subprocess.Popen(
                [*map(str, self._command)], stdout=out, stderr=err, env=self._environment
            )

    @property
    def out(self):
        """What it printed."""
        return self._files[0].read_text()

    @property
    def err(self):
        """What it printed aside."""
        return self._files[1].read_text()

    def wait_for(self, words, seconds=20):
        """Wait until it printed words aside."""
        until(lambda: words in self.err or self.process.poll() is not None, seconds)
        assert words in self.err

    def end(self, number=signal.SIGTERM):
        """End it by a signal, and return its status."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self._folder.cleanup()
