"""`nlp-transfer mark` in a process of its own, as a service runs it."""

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from email.message import EmailMessage
from pathlib import Path

import pandas as pd

from recipes.email_urgency import DATA
from transfer_app.command_line import main


def mails(count):
    """Yield shipped texts as mails; in a third of them the server is down."""
    texts = pd.read_parquet(DATA / "messages.parquet")["text"]
    for number, text in zip(range(count), itertools.cycle(texts), strict=False):
        mail = EmailMessage()
        mail["Message-ID"], mail["Subject"] = f"<{number}@example.org>", f"Mail {number}"
        mail.set_content(text if number % 3 else f"The server is down. {text[:50]}")
        yield mail.as_bytes()


def until(condition, seconds=20):
    """Wait for something to be so, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it does not come to be so"
        time.sleep(0.02)
    return found


def marked(server, user):
    """The UIDs of mails that are marked."""
    with server.client(user, readonly=True) as client:
        return {*client.search(["KEYWORD", "$Urgent"])}


def predicted(server, user, model, folder):
    """The UIDs of mails that `predict` calls urgent, which are saved in a folder."""
    folder.mkdir()
    with server.client(user, readonly=True) as client:
        for uid in client.search():
            (folder / f"{uid}.eml").write_bytes(client.fetch([uid], ["BODY[]"])[uid][b"BODY[]"])
    with redirect_stdout(io.StringIO()) as told:
        assert main(["predict", str(model), str(folder), "--json"]) == 0
    answers = map(json.loads, told.getvalue().splitlines())
    return {int(Path(a["input"]).stem) for a in answers if a["label"] == "urgent"}


class Marking:
    """The command, which is killed at the end at the latest.

    Args:
        arguments: Its arguments.
        before: Code that runs before it in its process.
    """

    def __init__(self, *arguments, before="pass"):
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name, name) for name in ("out", "err")]
        code = f"import sys\nfrom transfer_app.command_line import main\n{before}\nsys.exit(main())"
        self._command = [sys.executable, "-c", code, "mark", *arguments]
        self.start()

    def start(self):
        """Start it, after a kill once more."""
        out, err = (file.open("a") for file in self._files)
        with out, err:
            self.process = subprocess.Popen(
                [*map(str, self._command)],
                stdout=out,
                stderr=err,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
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
