"""Services in processes of their own, on ports that are free."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

signal.signal(signal.SIGINT, signal.default_int_handler)  # the suite may run in the background

COMMAND = [sys.executable, "-m", "transfer_app.command_line", "serve"]


@dataclass
class Server:
    """A service that runs.

    Attributes:
        process: Its process.
        address: Where it listens.
        log: What it has written to standard error.
        client: A client of it.
    """

    process: subprocess.Popen
    address: str
    log: Path
    client: httpx.Client

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def memory(self, what="VmRSS"):
        """The memory that it holds in MB; `VmHWM` is the most that it ever did."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{what}:")[2].split()[0]) / 1024

    def logged(self):
        return self.log.read_text(errors="replace")


def environment(**variables):
    """That of this process, without a token, and on one thread."""
    kept = {name: value for name, value in os.environ.items() if name != "NLP_TRANSFER_TOKEN"}
    return kept | {"OMP_NUM_THREADS": "1"} | variables


@contextmanager
def serving(folder, *models, flags=(), **variables):
    """Serve models until the end; what it logs goes to a file in the folder."""
    log = folder / "log"
    command = [*COMMAND, *map(str, models), "--port", "0", *flags]
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment(**variables)
        )
    with process:
        told = process.stdout.readline()
        assert told, log.read_text()
        (address,) = (word for word in told.split() if word.startswith("http://"))
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield Server(process, address, log, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            process.stdout.read()
