"""What is done to a run: signals, a disk that is full or may not be written to, a clock's jump."""

import os
import resource
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import psutil

from staged_training.runtime.files import written_whole

SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "Ctrl-C": signal.SIGINT,
    "Ctrl-C to its group": signal.SIGINT,
}
FULL, READ_ONLY, CLOCK = "disk full", "read-only", "clock, SIGKILL"

DISK = "512m"
LOG = 100_000  # bytes that may be written in any case: to tell of it
DAY = 86400
PATIENCE = 120  # seconds until a process that should end is called hung


class Disk:
    """A disk in memory to run on where one can be mounted, or else a plain folder.

    Where it is a plain folder, "full" means that no file may become larger than it is likely to be.
    """

    def __init__(self, path):
        self.path = path
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0

    def remove(self):
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    @contextmanager
    def full(self, process, left):
        """Only so many bytes can still be written, by the process or those that it started."""
        if self.mounted:
            filler = self.path / "filler"
            status = os.statvfs(self.path)
            count = max(0, status.f_bavail * status.f_frsize - left)
            with filler.open("wb") as file, suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(1, count))
            yield
            filler.unlink()
        else:
            with suppress(psutil.NoSuchProcess):
                for each in [process, *process.children(recursive=True)]:
                    _, most = resource.prlimit(each.pid, resource.RLIMIT_FSIZE)
                    resource.prlimit(each.pid, resource.RLIMIT_FSIZE, (left + LOG, most))
            yield

    @contextmanager
    def read_only(self):
        """What opens a file there finds that it may not write."""
        path = str(self.path)
        subprocess.run(["mount", "--bind", "--read-only", path, path], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
        subprocess.run(["umount", "--lazy", path], check=True)


class Clock:
    """The clock that the Python code of a run reads, see `spy`; files get the times of a jump.

    libfaketime would set it wrong for other code too, but lets Python's `sleep` fail.
    """

    def __init__(self, folder):
        self.file = folder / "clock"
        self.set(0)

    def set(self, seconds):
        with written_whole(self.file) as path:  # it is read all the time
            path.write_text(str(seconds))

    def jump(self, seconds, folder):
        """Jump; the files that were there were then written so much later or earlier."""
        self.set(seconds)
        for path in content(folder):
            with suppress(OSError):
                when = path.stat().st_mtime - seconds
                os.utime(path, (when, when))


def content(folder):
    """The paths in a folder in which others write and remove."""
    while True:
        with suppress(FileNotFoundError):
            return set(folder.rglob("*"))


def possible(disk):
    """The faults that can be made here."""
    return [*SIGNALS, FULL, CLOCK, *([READ_ONLY] if disk.mounted else [])]


def send(kind, process):
    """Send a signal to a process, or to its group as a terminal does."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if kind == "Ctrl-C to its group":
            os.killpg(process.pid, SIGNALS[kind])
        else:
            process.send_signal(SIGNALS[kind])


def seconds_to_end(process):
    """How long it takes until a process has ended; it is killed when that is too long."""
    start = time.monotonic()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() - start > PATIENCE:
            process.kill()
        with suppress(psutil.Error):
            process.wait(0.05)
    return time.monotonic() - start
