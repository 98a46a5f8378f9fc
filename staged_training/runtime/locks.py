"""Locks that keep two processes from writing to the same place."""

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


def lock(file: Path) -> BaseFileLock | None:
    """Lock a file until it is released, or this process ends, however it does.

    A process may lock a file more than once. One that it forks has the lock with it, until either
    releases it.

    Args:
        file: The file, which is made if it is not there.

    Returns:
        The lock; `None` where another process has it.

    Raises:
        OSError: The file cannot be made.
    """
    held = FileLock(file, thread_local=False, is_singleton=True)
    try:
        held.acquire(blocking=False)
    except Timeout:
        return None
    if not file.exists():  # it was removed between opening and locking
        held.release(force=True)
        return None
    return held
