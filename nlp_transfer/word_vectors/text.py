"""Vectors as text, a word and its numbers on each line: GloVe and Word2Vec's text format.

GloVe (Pennington et al. 2014, https://nlp.stanford.edu/projects/glove) has no header; Word2Vec
(Mikolov et al. 2013) and fastText begin with a line "count dim". Words may contain spaces, as some
of GloVe 840B do (". . .", "at name@domain.com"): the last `dim` fields of a line are its numbers.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow
import pyarrow.csv

from nlp_transfer.word_vectors.base import Matrix, Wanted, WordVectors, check_finite
from nlp_transfer.word_vectors.sources import Source
from nlp_transfer.word_vectors.text_lines import Line, LineReader, is_number
from staged_training.runtime.errors import InputError

_LINES_PARSED_AT_ONCE = 2048


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
        for lines in LineReader(self._source, self.dim, self._count, None):
            rows = np.empty((len(lines), self.dim), np.float32)
            self._parse(lines, rows)
            for line, row in zip(lines, rows, strict=True):
                yield line.word.decode("utf-8", "replace"), row

    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.lookup`."""
        wanted = Wanted(words, self.dim)
        pending: list[Line] = []
        parsing: list[Future[None]] = []

        def parse() -> None:
            end = len(wanted.words)
            rows = wanted.rows[end - len(pending) : end]
            parsing.append(pool.submit(self._parse, pending.copy(), rows))
            pending.clear()

        with ThreadPoolExecutor(1) as pool:  # Arrow works without the interpreter's lock
            for lines in LineReader(self._source, self.dim, self._count, wanted):
                pending += lines
                if len(pending) >= _LINES_PARSED_AT_ONCE:
                    parse()
            if pending:
                parse()
            for task in parsing:
                task.result()
        return wanted.found()

    def _parse(self, lines: Sequence[Line], rows: Matrix) -> None:
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
        if table.num_rows != len(lines):  # a carriage return between numbers ends a row
            raise self._not_numbers(lines)
        for column, values in enumerate(table.columns):
            rows[:, column] = np.from_dlpack(values.combine_chunks())  # `to_numpy` imports pandas
        check_finite(rows, [f"{self.name}, line {line.number}" for line in lines])

    def _not_numbers(self, lines: Sequence[Line]) -> InputError:
        for line in lines:
            fields = line.numbers.split()
            wrong = next((field for field in fields if not is_number(field)), b"")
            if wrong or len(fields) != self.dim:
                return InputError(
                    f"{self.name}, line {line.number}: found {wrong.decode('utf-8', 'replace')!r} "
                    f"among the numbers, expected {self.dim} numbers with one space between. The "
                    "file is damaged or not one of word vectors."
                )
        return InputError(f"{self.name}, line {lines[0].number} or below: unreadable numbers.")
