"""Compressed files as streams of bytes; the bombs among them are refused, not unpacked."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

MOST_GROWTH = 200
"""How many times its size a file may unpack to; texts and vectors unpack to 10 times theirs."""

GZIP = b"\x1f\x8b"
"""How a gzip file begins."""

_ALWAYS = 64 * 2**20


class _Unpacked(io.RawIOBase):
    """What unpacks from a file, until that is more than an honest file would hold."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._left = stream, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(io.BufferedIOBase, self._stream).readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise zlib.error(f"it unpacks to more than {MOST_GROWTH} times its size")
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def most_unpacked(path: Path) -> int:
    """Return how many bytes a file may unpack to, with a floor for small files."""
    return max(_ALWAYS, path.stat().st_size * MOST_GROWTH)


def bounded(stream: BinaryIO, path: Path) -> io.BufferedReader:
    """Return a stream of unpacked bytes; beyond what the file may unpack to, a `zlib.error`."""
    return io.BufferedReader(_Unpacked(stream, most_unpacked(path)), 2**18)


def open_unpacked(path: Path) -> io.BufferedReader:
    """Open a file as bytes, unpacked if it is gzip, whatever its name.

    What reads them must expect `EOFError`, `OSError` and `zlib.error` of a damaged file.
    """
    file = path.open("rb")
    if file.peek(len(GZIP)).startswith(GZIP):
        file.close()
        return bounded(cast(BinaryIO, gzip.open(path)), path)
    return file
