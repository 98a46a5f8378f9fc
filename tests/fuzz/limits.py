"""What one input may cost, in processor time and in memory, and what a reader may raise."""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 10
"""Of processor time, which does not depend on what else the machine does."""

BYTES = 2**30
"""Of memory in use above what was in use before."""

REFUSALS = ("InputError", "BrokenImageError", "BrokenMessageError", "BrokenSliceError")
"""By name, so that no reader has to be imported before it is instrumented."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class TooSlowError(BaseException):
    """An input took too much time; no reader catches it by mistake."""


class TooLargeError(BaseException):
    """An input took too much memory."""


@contextmanager
def limited(seconds: float = SECONDS, most_bytes: int = BYTES) -> Iterator[None]:
    """Raise if what is done takes more processor time or memory than that (Linux only)."""

    def stop(*_: object) -> None:
        raise TooSlowError(f"more than {seconds} s of processor time")

    earlier = signal.signal(signal.SIGVTALRM, stop)
    _CLEAR.write_text("5")  # the peak is what is in use now, see proc(5)
    in_use = memory("VmRSS")
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, earlier)
    if (taken := memory("VmHWM") - in_use) > most_bytes:
        raise TooLargeError(f"{taken / 2**20:,.0f} MiB")


def memory(kind: str) -> int:
    """Bytes of this process: `VmRSS` in use, `VmHWM` at the peak, `VmData` asked for."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def cap_memory(more: int = 8 * 2**30) -> None:
    """Let this process ask for no more memory than that on top of what it has."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory("VmData") + more,) * 2)


def failure(read: Callable[[Path], object], file: Path) -> BaseException | None:
    """What is wrong with how a file is read; `None` if it was read, or refused as it should be."""
    try:
        with limited():
            read(file)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return None if is_refusal(error) else error
    return None


def is_refusal(error: BaseException) -> bool:
    """Whether an error is one that readers declare, and does not hide that memory ran out."""
    hidden = isinstance(error.__cause__ or error.__context__, MemoryError)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & set(REFUSALS)) and not hidden


def signature(error: BaseException) -> str:
    """The kind of an error and where it was raised: what tells findings apart."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = [f"{Path(frame.filename).stem}.{frame.name}:{frame.lineno}" for frame in frames]
    return f"{type(error).__name__} in {' > '.join(places)}"
