"""Lines of a text of word vectors: all of them checked, those of wanted words taken apart."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_transfer.word_vectors.base import Wanted
from nlp_transfer.word_vectors.prefix_filter import PrefixFilter
from nlp_transfer.word_vectors.sources import Source
from staged_training.runtime.errors import InputError

BLOCK_BYTES = 2**20
"""Bytes read at a time; no line may be longer."""

_TAB, _NEWLINE, _SPACE = b"\t\n "


class Line(NamedTuple):
    """A line of the file, its number counted from 1."""

    word: bytes
    numbers: bytes
    number: int


class LineReader:
    """Reads a text of word vectors once, block by block.

    Args:
        source: The file.
        dim: Numbers on each line.
        count: Lines below the header; `None` where there is no header.
        wanted: The words whose lines are wanted; `None` for all.
    """

    def __init__(self, source: Source, dim: int, count: int | None, wanted: Wanted | None) -> None:
        self._source, self._dim, self._count, self._wanted = source, dim, count, wanted
        self._may_be_wanted = PrefixFilter(wanted.by_bytes) if wanted else None
        # One buffer and one mask for the whole file: fresh ones would cost more than the reading.
        self._buffer = bytearray(2 * BLOCK_BYTES)
        self._bytes = np.frombuffer(self._buffer, np.uint8)
        self._mask = np.empty(2 * BLOCK_BYTES, bool)

    def __iter__(self) -> Iterator[list[Line]]:
        """Yield the wanted lines of each block.

        Raises:
            InputError: A line with too few or too many numbers, or more or fewer lines than the
                header says.
        """
        header = self._count is not None
        line, rest = 1 + header, 0
        with self._source.open() as stream:
            if header:
                stream.readline(BLOCK_BYTES)
            room = memoryview(self._buffer)
            while read := stream.readinto(room[rest : rest + BLOCK_BYTES]):  # type: ignore[attr-defined]
                filled = rest + read
                whole = self._buffer.rfind(b"\n", 0, filled) + 1
                if whole:
                    lines, count = self._scan(whole, line)
                    yield lines
                    line += count
                rest = filled - whole
                if rest > BLOCK_BYTES:
                    raise InputError(
                        f"{self._source}, line {line}: is longer than {BLOCK_BYTES:,} bytes. Is "
                        "this a text file of word vectors?"
                    )
                room[:rest] = bytes(room[whole:filled])
        if rest:
            self._buffer[rest] = _NEWLINE
            lines, count = self._scan(rest + 1, line)
            yield lines
            line += count
        vectors = line - 1 - header
        if self._count not in (None, vectors):
            raise InputError(
                f"{self._source}: the header says {self._count:,} vectors and the file holds "
                f"{vectors:,}. It is cut off or damaged; download or copy it again."
            )

    def _scan(self, size: int, first_line: int) -> tuple[list[Line], int]:
        """Return the wanted ones of the whole lines in `buffer[:size]`, and how many there are."""
        block, mask, view = self._bytes[:size], self._mask[:size], memoryview(self._buffer)
        ends = np.flatnonzero(np.equal(block, _NEWLINE, out=mask))
        starts = np.concatenate([[0], ends[:-1] + 1])
        regular = _counts_before(np.equal(block, _SPACE, out=mask), ends) == self._dim
        if self._buffer.find(_TAB, 0, size) >= 0:
            regular &= _counts_before(np.equal(block, _TAB, out=mask), ends) == 0
        candidates = ~regular
        candidates |= self._may_be_wanted(block, starts) if self._may_be_wanted else True
        find_space, wanted = self._buffer.index, self._wanted
        lines = []
        for i in np.flatnonzero(candidates).tolist():
            start, end, number = int(starts[i]), int(ends[i]), first_line + i
            if regular[i]:
                space = find_space(b" ", start)
                word = bytes(view[start:space])
                if wanted is None or wanted.take(word):
                    lines.append(Line(word, bytes(view[space + 1 : end]), number))
            else:
                line = self._split_irregular(bytes(view[start:end]), number)
                if wanted is None or wanted.take(line.word):
                    lines.append(line)
        return lines, len(starts)

    def _split_irregular(self, text: bytes, number: int) -> Line:
        """Split a line whose word holds spaces, that ends in a space, or that has tabs."""
        text = text.rstrip(b" \t\r")
        tabs = text.count(b"\t")
        separator = b" " if not tabs else b"\t" if tabs == self._dim else None
        word, *numbers = text.rsplit(separator, self._dim) or [b""]
        # Where tabs part the numbers, a number may end the word: "windows 95".
        before = word.rpartition(b" ")[2] if b" " in word and separator != b"\t" else b""
        if len(numbers) < self._dim or not is_number(numbers[0]) or is_number(before):
            raise InputError(
                f"{self._source}, line {number}: found {count_numbers(text)} numbers, expected "
                f"{self._dim} as on the line before. The file is cut off, damaged, or mixes "
                "vectors of several widths."
            )
        return Line(word.strip(b" "), b" ".join(numbers), number)


def count_numbers(line: bytes) -> int:
    """Count the numbers at the end of a line whose first field is a word."""
    count = 0
    for field in reversed(line.split()[1:]):
        if not is_number(field):
            break
        count += 1
    return count


def is_number(field: bytes) -> bool:
    """Return whether a field reads as a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


def _counts_before(mask: NDArray[np.bool_], ends: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count the true values between each of `ends` (ascending) and the one before it."""
    # Packed into words of 64 bits this is six times as fast as a cumulative sum of bytes.
    packed = np.packbits(mask, bitorder="little")
    packed = np.concatenate([packed, np.zeros(-len(packed) % 8, np.uint8)]).view("<u8")
    total = np.cumsum(np.bitwise_count(packed), dtype=np.intp)
    word, bit = ends >> 6, (ends & 63).astype(np.uint64)
    until = total[word] - np.bitwise_count(packed[word] >> bit)
    counts: NDArray[np.intp] = np.diff(until, prepend=0)
    return counts
