"""Locks that keep two processes from writing to the same place."""

import fcntl
import os
from pathlib import Path
from typing import IO


def lock(file: Path) -> IO[str] | None:
    """Lock a file until it is closed, or this process ends, however it does.

    Processes that this one starts do not inherit the lock: it outlives no process.

    Args:
        file: The file, which is made if it is not there.

    Returns:
        The file, opened; `None` where another process has locked it.

    Raises:
        OSError: It cannot be made.
    """
    opened = file.open("a")
    try:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(opened.fileno()).st_nlink:  # else removed between opening and locking
            return opened
    except (BlockingIOError, PermissionError):
        pass
    opened.close()
    return None
