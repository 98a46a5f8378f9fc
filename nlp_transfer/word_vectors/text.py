"""Vectors as text, a word and its numbers on each line: GloVe and Word2Vec's text format.

GloVe (Pennington et al. 2014, https://nlp.stanford.edu/projects/glove) has no header; Word2Vec
(Mikolov et al. 2013) and fastText begin with a line "count dim". Words may contain spaces, as some
of GloVe 840B do (". . .", "at name@domain.com"): the last `dim` fields of a line are its numbers.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.csv
from numpy.typing import NDArray

from nlp_transfer.word_vectors.base import Matrix, Wanted, WordVectors, check_finite
from nlp_transfer.word_vectors.prefix_filter import PrefixFilter
from nlp_transfer.word_vectors.sources import Source
from staged_training.errors import InputError

BLOCK_BYTES = 2**20
"""Bytes read at a time; no line may be longer."""

_WORKERS = 2
_LINES_PARSED_AT_ONCE = 2048
_NEWLINE, _SPACE = 10, 32


class _Line(NamedTuple):
    """A line of the file, its number counted from 1."""

    word: bytes
    numbers: bytes
    number: int


class TextVectors(WordVectors):
    """Vectors in a text file. Bytes that are not UTF-8 are read as U+FFFD and match no word.

    The number of fields is checked on every line, whoever asks for it; see `WordVectors.lookup`.

    Args:
        source: The file.
        dim: Numbers on each line.
        count: Lines below the header; `None` where there is no header.
    """

    def __init__(self, source: Source, dim: int, count: int | None = None) -> None:
        self.name, self.dim = str(source), dim
        self._source, self._count = source, count

    def __iter__(self) -> Iterator[tuple[str, Matrix]]:
        for lines in self._lines(None):
            rows = np.empty((len(lines), self.dim), np.float32)
            self._parse(lines, rows)
            for line, row in zip(lines, rows, strict=True):
                yield line.word.decode("utf-8", "replace"), row

    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        wanted = Wanted(words, self.dim)
        pending: list[_Line] = []
        parsing: list[Future[None]] = []

        def parse() -> None:
            end = len(wanted.words)
            rows = wanted.rows[end - len(pending) : end]
            parsing.append(pool.submit(self._parse, pending.copy(), rows))
            pending.clear()

        with ThreadPoolExecutor(1) as pool:
            for lines in self._lines(PrefixFilter(wanted.by_bytes)):
                pending += (line for line in lines if wanted.take(line.word))
                if len(pending) >= _LINES_PARSED_AT_ONCE:
                    parse()
            if pending:
                parse()
            for task in parsing:
                task.result()
        return wanted.found()

    def _lines(self, wanted: PrefixFilter | None) -> Iterator[list[_Line]]:
        """Yield, block by block, the lines whose words may be wanted; check the shape of all.

        Blocks are scanned in threads, since NumPy works on them without the interpreter's lock.
        """
        scan = partial(self._scan, wanted=wanted)
        scans: deque[Future[list[_Line]]] = deque()
        with ThreadPoolExecutor(_WORKERS) as pool:
            for block, first_line in self._blocks():
                scans.append(pool.submit(scan, block, first_line))
                if len(scans) > _WORKERS:
                    yield scans.popleft().result()
            while scans:
                yield scans.popleft().result()

    def _blocks(self) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines, about `BLOCK_BYTES` at a time, and the number of the first of them."""
        line, rest = 1, b""
        with self._source.open() as stream:
            if self._count is not None:
                stream.readline(BLOCK_BYTES)
                line += 1
            header = line - 1
            while block := stream.read(BLOCK_BYTES):
                whole, newline, after = block.rpartition(b"\n")
                if not newline:
                    rest += block
                    if len(rest) > BLOCK_BYTES:
                        raise InputError(
                            f"{self.name}, line {line}: is longer than {BLOCK_BYTES:,} bytes. Is "
                            "this a text file of word vectors?"
                        )
                    continue
                yield rest + whole + newline, line
                line += whole.count(b"\n") + 1
                rest = after
        if rest:
            yield rest + b"\n", line
            line += 1
        vectors = line - 1 - header
        if self._count is not None and vectors != self._count:
            raise InputError(
                f"{self.name}: the header says {self._count:,} vectors and the file holds "
                f"{vectors:,}. It is cut off or damaged; download or copy it again."
            )

    def _scan(self, block: bytes, first_line: int, wanted: PrefixFilter | None) -> list[_Line]:
        """Return the lines of a block that may be wanted, or all."""
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        regular = _counts_before(data == _SPACE, ends) == self.dim
        hits = wanted.matches(block, starts) if wanted else np.ones(len(starts), bool)
        lines = []
        for i in np.flatnonzero(hits | ~regular).tolist():
            start, end, number = int(starts[i]), int(ends[i]), first_line + i
            if regular[i]:
                space = block.index(b" ", start)
                lines.append(_Line(block[start:space], block[space + 1 : end], number))
            else:
                lines.append(self._split_irregular(block[start:end], number))
        return lines

    def _split_irregular(self, text: bytes, number: int) -> _Line:
        """Split a line whose word holds spaces, or that ends in a space."""
        word, *numbers = text.rstrip(b" \r").rsplit(b" ", self.dim)
        before = word.rpartition(b" ")[2] if b" " in word else b""
        if len(numbers) < self.dim or not _is_number(numbers[0]) or _is_number(before):
            found = count_numbers(text)
            raise InputError(
                f"{self.name}, line {number}: found {found} numbers, expected {self.dim} as on the "
                "line before. The file is cut off, damaged, or mixes vectors of several widths."
            )
        return _Line(word, b" ".join(numbers), number)

    def _parse(self, lines: Sequence[_Line], rows: Matrix) -> None:
        """Read the numbers of lines into `rows`, `[len(lines), dim]`."""
        names = [str(column) for column in range(self.dim)]
        try:
            table = pyarrow.csv.read_csv(
                pyarrow.BufferReader(b"\n".join(line.numbers for line in lines)),
                read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False),
                parse_options=pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pyarrow.float32()), null_values=[]
                ),
            )
        except pyarrow.ArrowInvalid as error:
            raise self._not_numbers(lines) from error
        for column, values in enumerate(table.columns):
            rows[:, column] = values.to_numpy()
        check_finite(rows, [f"{self.name}, line {line.number}" for line in lines])

    def _not_numbers(self, lines: Sequence[_Line]) -> InputError:
        for line in lines:
            fields = line.numbers.split()
            wrong = next((field for field in fields if not _is_number(field)), b"")
            if wrong or len(fields) != self.dim:
                return InputError(
                    f"{self.name}, line {line.number}: found {wrong.decode('utf-8', 'replace')!r} "
                    f"among the numbers, expected {self.dim} numbers with one space between. The "
                    "file is damaged or not one of word vectors."
                )
        return InputError(f"{self.name}, line {lines[0].number} or below: unreadable numbers.")


def count_numbers(line: bytes) -> int:
    """Count the numbers at the end of a line whose first field is a word."""
    count = 0
    for field in reversed(line.split()[1:]):
        if not _is_number(field):
            break
        count += 1
    return count


def _is_number(field: bytes) -> bool:
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
    return np.diff(until, prepend=0)
