"""Delimited text (CSV, TSV): which dialect a file is written in, and its rows as an Arrow table."""

import csv
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv

from staged_training.runtime.errors import InputError
from staged_training.runtime.unpacking import open_unpacked
from staged_training.tables.text_files import UTF8, open_text

logger = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""By suffix, the delimiter that is expected; another one is found."""

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[\r\n]*')  # that names the delimiter for Excel
_QUOTED = re.compile(r'"(?:[^"]++|"")*+"')

# One block holds any row that is worth reading; Arrow refuses a row longer than a block.
_BLOCK_BYTES = 64 * 2**20
_SMALL_BLOCK_BYTES = 2**18  # of a stream of rows, of which Arrow reads 32 blocks ahead
csv.field_size_limit(_BLOCK_BYTES)  # by default 128 KiB, less than many a mail

_MOST_ROWS = 10_000  # by whose cells those of a row that lies in a cell are known


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        encoding: Its encoding.
        delimiter: What parts its cells.
        header: How many lines stand before that of the names.
        quoted: Whether quotes may enclose a cell; else they are characters like any other.
        escaped: Whether a backslash makes the next character a part of the cell.
        width: How many columns its first row has.
        longest: How many characters its longest row has; 0 where that is not known.
    """

    encoding: str
    delimiter: str
    header: int = 0
    quoted: bool = True
    escaped: bool = False
    width: int = 0
    longest: int = 0

    def rows(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yield the cells of each row; a quote that is not closed properly is a `csv.Error`."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            escapechar="\\" if self.escaped else None,
            strict=True,
        )

    def arrow_options(self, block_bytes: int = _BLOCK_BYTES) -> dict[str, Any]:
        """Return how `pyarrow.csv` is to read such a file, with a row in one block of bytes."""
        return {
            # One thread, since only then do the errors name the row (the header is row 1).
            "read_options": pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=block_bytes,
                skip_rows=self.header,
                encoding="utf8" if self.encoding == UTF8 else self.encoding,
            ),
            "parse_options": pyarrow.csv.ParseOptions(
                delimiter=self.delimiter,
                quote_char=self.quoted and '"',
                escape_char=self.escaped and "\\",
                newlines_in_values=True,
            ),
        }


class _Reading(NamedTuple):
    """A dialect and what speaks against it, such as a quote that is not closed."""

    dialect: Dialect
    flaw: str = ""
    of_quotes: bool = False


def find_dialect(path: Path, encoding: str, delimiter: str) -> Dialect:
    """Find the dialect of a file: the one in which each row is as wide as the first.

    The whole file is read, a row at a time. A quote that begins a cell and is not closed properly
    would take the rows below into the cell. If each line is a whole row, quotes are read as
    characters then, with a warning.

    Args:
        path: The file.
        encoding: Its encoding.
        delimiter: What is expected to part its cells.

    Raises:
        InputError: Several delimiters would do, or a quote takes rows into a cell; the message
            names the line. Or all lines are blank.
    """
    with open_text(path, encoding, "replace", newline="") as lines:
        first = lines.readline()
    if told := _SEPARATOR_LINE.fullmatch(first):
        candidates, header = [told[1]], 1
    else:
        candidates, header = [delimiter, *(other for other in _NAMES if other in first)], 0
    readings = [
        _best_reading(path, Dialect(encoding, candidate, header))
        for candidate in dict.fromkeys(candidates)
    ]
    wide = [
        reading
        for reading in readings
        if reading.dialect.width > 1 and (not reading.flaw or not reading.dialect.quoted)
    ]
    wide = [reading for reading in wide if not reading.flaw] or wide
    if len(wide) > 1:
        choices = " or ".join(_NAMES[reading.dialect.delimiter] for reading in wide)
        raise InputError(
            f"{path}: its columns may be parted by {choices}. Rename the columns, or write a line "
            f"`sep={wide[0].dialect.delimiter}` above their names."
        )
    dialect, flaw, of_quotes = min(
        wide or readings, key=lambda reading: (bool(reading.flaw), reading.dialect.width < 2)
    )
    if flaw and not dialect.quoted:
        logger.warning("%s: %s. Quotes were read as characters, each line as a row.", path, flaw)
    elif of_quotes:
        raise InputError(
            f"{path}: {flaw}. Enclose the cell in quotes and double those within it, or export "
            "the table as .jsonl, .parquet or .xlsx."
        )
    if first and not dialect.width:  # an empty file is refused by its reader
        raise InputError(f"{path}: has no rows.")
    return dialect


def _best_reading(path: Path, quoted: Dialect) -> _Reading:
    """Return the reading of a dialect, unless it is flawed and another quoting is not."""
    reading = _read_as(path, quoted)
    if not reading.flaw:
        return reading
    for other in (quoted._replace(escaped=True), quoted._replace(quoted=False)):
        dialect, flaw, _ = _read_as(path, other)
        if not flaw:
            return _Reading(dialect, "" if dialect.quoted else reading.flaw)
    return reading


def _read_as(path: Path, dialect: Dialect) -> _Reading:
    """Read a file to its end, or to the first evidence against the dialect."""
    suspects: list[tuple[int, int, list[list[str]]]] = []
    by_line = dialect._replace(quoted=False, escaped=False)
    records = _records(path, dialect)
    count = 0
    try:
        _, lines, names = next(records, (0, [], []))
        longest = sum(map(len, lines))
        dialect = dialect._replace(width=len(names))
        if not dialect.quoted and any(map(_QUOTED.fullmatch, names)):
            return _Reading(dialect, "the names of columns are in quotes")
        seen: list[set[str]] = [set() for _ in names]
        for number, lines, row in records:
            longest = max(longest, sum(map(len, lines)))
            if len(row) != dialect.width:
                return _Reading(dialect, f"line {number} has {len(row)} cells, not {dialect.width}")
            if not dialect.quoted and any('""' in c and _QUOTED.fullmatch(c) for c in row):
                return _Reading(dialect, f"line {number} has a cell in quotes")
            if len(lines) > 1 and dialect.width > 1:  # a single column is no evidence
                literal = list(by_line.rows(lines))
                if {len(cells) for cells in literal} == {dialect.width}:
                    broken = next(i for i, cell in enumerate(row) if {*"\r\n"} & {*cell})
                    suspect = (literal, broken, seen, count, dialect.delimiter)
                    if count < _MOST_ROWS or _are_rows(*suspect):  # no more is seen later
                        suspects.append((number, broken, literal))
            if count < _MOST_ROWS:
                count += 1
                for values, cell in zip(seen, row, strict=True):
                    values.add(cell)
    except csv.Error as error:
        return _Reading(dialect, str(error), of_quotes=True)
    if not dialect.quoted and any(all(map(_QUOTED.fullmatch, values)) for values in seen if values):
        return _Reading(dialect, "all cells of a column are in quotes")
    for number, broken, literal in suspects:
        if _are_rows(literal, broken, seen, count, dialect.delimiter):
            flaw = f"line {number} begins a cell that looks like {len(literal)} whole rows"
            return _Reading(dialect, flaw, of_quotes=True)
    return _Reading(dialect._replace(longest=longest))


def _records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the number of the first line of each row, its lines, and its cells."""
    record: list[str] = []
    number = dialect.header + 1

    def remembered(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    with open_text(path, dialect.encoding, "replace", newline="") as lines:
        for _ in range(dialect.header):
            lines.readline()
        try:
            for row in dialect.rows(remembered(lines)):
                if row:
                    yield number, record, row
                number += len(record)
                record.clear()
        except csv.Error as error:
            raise csv.Error(
                f"line {number} begins a cell with a quote that is not closed properly ({error})"
            ) from error


def _are_rows(
    rows: list[list[str]], broken: int, seen: list[set[str]], count: int, delimiter: str
) -> bool:
    """Return whether lines of a cell are rows: one of their columns holds what it does elsewhere.

    What stands in the first line before the cell, and in the last one after it, says nothing.
    """
    if delimiter in "\t|":  # which texts do not have, at that once in each line
        return True
    for column, values in enumerate(seen):
        if column == broken:
            continue
        cells = {row[column] for row in (rows[1:] if column < broken else rows[:-1])}
        are_numbers = all(map(str.isdecimal, values | cells)) and len(values) == count
        if cells <= values - {""} or are_numbers:
            return True
    return False


def read_delimited(path: Path, dialect: Dialect, as_text: Iterable[str] | None) -> pa.Table:
    """Read a file.

    Args:
        path: Its path.
        dialect: How it is written.
        as_text: Columns that are texts whatever they look like. `None` for all of them, as they
            are written; a cell with nothing in it is null then.

    Raises:
        pa.ArrowException: A row is wider than the others, or not as wide.
    """
    conversion = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(as_text or (), pa.string()))
    with open_unpacked(path) as stream:
        return pyarrow.csv.read_csv(
            stream,
            convert_options=_as_written(path, dialect) if as_text is None else conversion,
            **dialect.arrow_options(),
        )


def delimited_batches(path: Path, dialect: Dialect) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file as they are written, see `read_delimited`, a block at a time.

    The first batch has the columns, if no row.

    Raises:
        pa.ArrowException: A row is wider than the others, or not as wide.
    """
    # A character takes four bytes at the most.
    longest = 4 * dialect.longest if dialect.longest else _BLOCK_BYTES
    options = dialect.arrow_options(min(max(longest, _SMALL_BLOCK_BYTES), _BLOCK_BYTES))
    with open_unpacked(path) as stream:
        conversion = _as_written(path, dialect)
        reader = pyarrow.csv.open_csv(stream, convert_options=conversion, **options)
        yield pa.RecordBatch.from_pylist([], reader.schema)
        yield from reader


def _as_written(path: Path, dialect: Dialect) -> pyarrow.csv.ConvertOptions:
    _, _, names = next(_records(path, dialect))
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
