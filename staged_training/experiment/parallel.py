"""Independent pieces of work, one after another or on all cores at once."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import torch
from joblib import Parallel, cpu_count, delayed
from tqdm.auto import tqdm

from staged_training.runtime.precision import MIXED_PRECISION
from staged_training.runtime.processes import TOLD_BY_LAUNCHER, count, on_main_process

_MEMORY = 2 * 2**30  # of a worker, in bytes

# Bars of several workers would overwrite one another; and when workers are ended amid their work,
# what counts their semaphores says that it had to remove some.
_ALONE_AND_QUIET = {
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
    **dict.fromkeys(TOLD_BY_LAUNCHER),
}


def run_serial(pieces: Mapping[str, Callable[[], Any]]) -> list[Any]:
    """Run the pieces one after another, print the name of each, and return their results."""
    results = []
    for name, work in pieces.items():
        print(name, flush=True)
        results.append(work())
    return results


def run_parallel(pieces: Mapping[str, Callable[[], Any]], what: str) -> list[Any]:
    """Run the pieces in as many processes as there are cores, with one thread each.

    A small model keeps one core busy and gains little from a second. Where memory is short there
    are fewer processes. In a run of several processes the first begins them, on its machine.

    Args:
        pieces: Work by its name; it, and what it returns, can be pickled.
        what: What the progress bar counts.
    """

    def work() -> list[Any]:
        with _environment(_ALONE_AND_QUIET):
            run = Parallel(_workers(), return_as="generator_unordered")
            begin = partial(_while_alive, os.getpid(), Path.cwd(), os.getenv(MIXED_PRECISION, "no"))
            found = run(delayed(begin)(*piece) for piece in enumerate(pieces.values()))
            bar = tqdm(found, what, total=len(pieces), unit="piece", dynamic_ncols=True)
            results = dict(bar)
            return [results[number] for number in range(len(pieces))]

    return on_main_process(work)


def gains_from_parallel() -> bool:
    """Return whether several small models train faster at once: on cores of this process alone."""
    return _workers() > 1 and count() == 1 and not torch.accelerator.is_available()


def _workers() -> int:
    return max(1, min(int(cpu_count()), int(psutil.virtual_memory().available // _MEMORY)))


def _while_alive(
    parent: int, folder: Path, precision: str, number: int, work: Callable[[], Any]
) -> tuple[int, Any]:
    """Run a numbered piece in a worker that ends when the process that began it is killed.

    It would go on otherwise, and write where a run that was resumed writes. A worker that is kept
    from earlier pieces may be in another folder than its parent now, and have another precision.
    """
    if os.getpid() != parent:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for its parent, with which it ends
        _end_with(parent)
        os.chdir(folder)
        os.environ[MIXED_PRECISION] = precision
    return number, work()


@cache
def _end_with(parent: int) -> None:
    """Watch a process from a thread, started once in each worker, and end with it."""

    def watch() -> None:
        # On Windows a process keeps the number of a parent that is no more.
        while os.getppid() == parent and psutil.pid_exists(parent):
            time.sleep(0.5)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables of new processes, or remove those that are `None`."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
