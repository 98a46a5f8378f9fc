"""Pages of labelling in processes of their own, on ports that are free."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

COMMAND = [sys.executable, "-m", "transfer_app.command_line", "label"]


@dataclass
class Page:
    """A page that is served.

    Attributes:
        process: Its process.
        address: Where it is.
        client: A client of it.
        folder: Where it was started.
    """

    process: subprocess.Popen
    address: str
    client: httpx.Client
    folder: Path

    def logged(self):
        """The lines of the log."""
        return [json.loads(line) for line in (self.folder / "labels.csv.answers.jsonl").open()]

    def ask(self, path, window="first", **body):
        """What the server answers to a window."""
        return self.client.post(path, json={"window": window, **body})

    def shown(self, window="first"):
        return self.ask("/next", window).json()["example"]

    def answer(self, label, window="first"):
        """Answer what a window shows; return what it was."""
        example = self.shown(window)
        answered = self.ask("/answer", window, key=example["key"], label=label)
        assert answered.status_code == 200, answered.text
        return example

    def stop(self, number=signal.SIGINT):
        """End it by a signal; what it printed since."""
        self.process.send_signal(number)
        told, problems = self.process.communicate(timeout=30)
        return told, problems


@contextmanager
def labelling(*arguments, folder, port=0):
    """Serve a page until the end."""
    command = [*COMMAND, *map(str, arguments), "--port", str(port)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=environment
    ) as process:
        told = process.stdout.readline()
        assert told, process.stderr.read()
        (address,) = (word for word in told.split() if word.startswith("http://"))
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield Page(process, address, client, folder)
        finally:
            process.kill()
            process.communicate()
