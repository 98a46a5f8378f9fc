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

from tests.forks import Forks


@dataclass
class Page:
    """A page that is served.

    Attributes:
        process: Its process.
        address: Where it is.
        client: A client of it.
        folder: Where it was started.
    """

    process: subprocess.Popen | Forks
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
def labelling(*arguments, folder, port=0, forks=None):
    """Serve a page until the end, in a fork if there is a process that forks."""
    words = ["label", *map(str, arguments), "--port", str(port)]
    if forks:
        code = f"from transfer_app.command_line import main\nraise SystemExit(main({words}))"
        forks.begin(code, folder, with_project=True)
        process, told = forks, forks.first_line()
    else:
        process = subprocess.Popen(
            [sys.executable, "-m", "transfer_app.command_line", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "home")},
        )
        told = process.stdout.readline()
    try:
        assert told, process.communicate()
        (address,) = (word for word in told.split() if word.startswith("http://"))
        with httpx.Client(base_url=address, timeout=60) as client:
            yield Page(process, address, client, folder)
    finally:
        process.kill()
        process.communicate()
