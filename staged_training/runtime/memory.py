"""The memory of a process: how much it may still take, and where no garbage is looked for."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import psutil

_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> float:
    """Return the bytes of memory that this process may still take.

    They are what is free on the machine, or within the limit of a container or of a job if that is
    less, shared evenly with the processes that a launcher began beside this one; or what the
    process' own limits (`ulimit -d`, `ulimit -v`) leave to it.
    """
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    shared: float = min(psutil.virtual_memory().available, *_left_to_groups(), inf)
    return max(0, min(shared / beside, *_left_by_limits(), inf))


@contextmanager
def importing() -> Iterator[None]:
    """Look for no garbage while modules are imported, nor among their objects later.

    The collector would go through the million objects of PyTorch and `transformers` again and
    again, and at the end of the process, which takes a third of the time of a short command. A
    process does it once: what it makes later may become garbage. Nor is it done where nobody
    collects, or `transformers` is there already, as in a notebook: what that made before may, too.

    Examples:
        >>> from staged_training.runtime.memory import importing
        >>> with importing():
        ...     import json
    """
    if gc.get_freeze_count() or not gc.isenabled() or "transformers" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _left_by_limits() -> Iterator[float]:
    if psutil.LINUX:
        process = psutil.Process()
        used = process.memory_info()
        for limit, taken in ((psutil.RLIMIT_DATA, used.data), (psutil.RLIMIT_AS, used.vms)):
            most, _ = process.rlimit(limit)
            if most != psutil.RLIM_INFINITY:
                yield most - taken


def _left_to_groups() -> Iterator[float]:
    """Yield what the control groups of this process, each within the next, leave to it."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return
    own = next((group[3:] for group in groups if group.startswith("0::")), "/")
    folder = _GROUPS / own.lstrip("/")
    for group in (folder, *folder.parents):
        try:
            most = int((group / "memory.max").read_text())
            statistics = (group / "memory.stat").read_text().split()
        except (OSError, ValueError):  # it has no limit
            continue
        counts = dict(zip(statistics[::2], map(int, statistics[1::2]), strict=True))
        current = int((group / "memory.current").read_text())
        yield most - (current - counts["inactive_file"])  # files are let go for what needs memory
