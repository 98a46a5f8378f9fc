"""Ctrl-C and SIGTERM: a command that is asked to stop does so at once, and says so in one line."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ONCE_MORE = 0.01  # seconds in which a destructor that swallowed a signal has come to its end


class Stopped(KeyboardInterrupt):
    """A command was asked to stop.

    Args:
        number: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.status = 128 + number


def close_progress_bars() -> None:
    """Close open progress bars, which would be shown again as the process ends."""
    from tqdm import tqdm  # takes a while

    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` at the first of these signals; end at once at a second.

    Signals that are ignored, such as Ctrl-C by a process in the background, stay so.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        for other in before:
            signal.signal(other, lambda again, _: os._exit(128 + again))
        raise Stopped(number)

    def swallowed(unraisable: "UnraisableHookArgs") -> None:
        # Python lets no exception out of a destructor: where the signal came in one, send it again.
        if not isinstance(unraisable.exc_value, Stopped):
            tell(unraisable)
            return
        for number in before:
            signal.signal(number, stop)
        again = (os.getpid(), unraisable.exc_value.number)
        threading.Timer(ONCE_MORE, os.kill, again).start()

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    tell, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        sys.unraisablehook = tell
        for number, handler in before.items():
            signal.signal(number, handler)
