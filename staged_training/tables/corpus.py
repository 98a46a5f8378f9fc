"""A corpus of plain texts, streamed from files again and again; only one text is held in memory."""

import io
import json
import logging
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
from pyarrow import csv, parquet

from staged_training.runtime.errors import InputError, given_path
from staged_training.runtime.unpacking import open_unpacked
from staged_training.tables.delimited import DELIMITERS, Dialect, find_dialect
from staged_training.tables.text_columns import choose_text_columns
from staged_training.tables.text_files import UTF8, marked_encoding

logger = logging.getLogger(__name__)

SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv", ".tsv", ".parquet")
PIECE_CHARS = 2**20
"""A line of plain text that is longer is read as several texts."""

# Bytes that are not UTF-8 are decoded to these, and JSON can escape them.
_NO_CHARACTER = re.compile("[\ud800-\udfff]")
_ROWS_AT_ONCE = 256
_CSV_BLOCK_BYTES = 16 * 2**20  # Arrow refuses a row longer than a block


class Corpus:
    """The texts of a file, or of all such files in a folder at any depth, in the order of names.

    Plain text holds one text on each line; a table one in each row. Texts without any are left
    out. Texts are UTF-8, or UTF-16 that says so, and may be packed with gzip. What is not UTF-8
    becomes U+FFFD, byte by byte, with one warning for each file; NULs are dropped.

    Args:
        path: A file with one of `SUFFIXES`, or a folder of such.
        text_columns: Columns of a table to be joined with a line break; by default `text`, or
            else `subject` and `body`.

    Raises:
        InputError: There is no such file, it is of another kind, a table lacks the columns, or a
            file holds no text. Damage further down raises it while the corpus is read.
    """

    def __init__(
        self, path: str | PathLike[str], text_columns: Sequence[str] | None = None
    ) -> None:
        self.path = given_path(path)
        self.files = _files(self.path)
        self._columns = text_columns
        self._dialects: dict[Path, Dialect] = {}
        self._warned: set[Path] = set()
        for file in self.files:
            if next(self._texts(file), None) is None:
                raise InputError(f"{file}: holds no text. Delete it, or give another file.")

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(map(self._texts, self.files))

    def _texts(self, file: Path) -> Iterator[str]:
        replaced = 0
        for text in _read(file, self._columns, self._dialects):
            if not text.isascii():
                text, count = _NO_CHARACTER.subn("\ufffd", text)
                replaced += count
            text = text.replace("\0", "")
            if text.strip():
                yield text
        if replaced and file not in self._warned:
            self._warned.add(file)
            logger.warning("%s: %s bytes are not UTF-8 and read as U+FFFD.", file, f"{replaced:,}")


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Check the path.")
    if path.is_file():
        if not _kind(path):
            raise InputError(
                f"{path}: not a kind of file that can be read here. Give {', '.join(SUFFIXES)}, "
                "or a folder of such files."
            )
        return [path]
    files = [file for file in sorted(path.rglob("*")) if _kind(file)]
    if not files:
        raise InputError(f"{path}: the folder holds none of {', '.join(SUFFIXES)}.")
    return files


def _kind(file: Path) -> str:
    """Return the suffix of a file that is one of `SUFFIXES`, without its dot and `.gz`."""
    suffix = Path(file.name.lower().removesuffix(".gz")).suffix
    packed_columns = suffix == ".parquet" and file.suffix.lower() == ".gz"
    return "" if suffix not in SUFFIXES or packed_columns else suffix[1:]


def _read(
    file: Path, columns: Sequence[str] | None, dialects: dict[Path, Dialect]
) -> Iterator[str]:
    """Yield texts with a lone surrogate for each byte that is not UTF-8."""
    kind = _kind(file)
    try:
        if kind == "txt":
            yield from _lines(file)
        elif kind == "jsonl":
            yield from _json_rows(file, columns)
        elif kind == "parquet":
            for batch in _parquet_batches(file, columns):
                yield from _rows(file, batch)
        else:
            if file not in dialects:
                dialects[file] = find_dialect(file, marked_encoding(file), DELIMITERS[f".{kind}"])
            for batch in _csv_batches(file, columns, dialects[file]):
                yield from _rows(file, batch)
    except (pa.ArrowException, EOFError, OSError, UnicodeError, zlib.error) as error:
        raise InputError(
            f"{file}: cannot be read as {kind.upper()}: {error}. Repair the file or export it anew."
        ) from error


def _lines(file: Path) -> Iterator[str]:
    """Yield the lines; those longer than `PIECE_CHARS` in pieces that end between words."""
    with open_unpacked(file) as stream:
        lines = _decoded(file, stream)
        rest = ""
        while piece := rest + lines.readline(PIECE_CHARS):
            goes_on = len(piece) >= PIECE_CHARS and piece[-1] != "\n"
            end = (piece.rfind(" ") + 1 if goes_on else 0) or len(piece)
            yield piece[:end].rstrip("\n")
            rest = piece[end:]


def _json_rows(file: Path, columns: Sequence[str] | None) -> Iterator[str]:
    decoder = json.JSONDecoder(strict=False)  # control characters may stand in texts
    with open_unpacked(file) as stream:
        for number, line in enumerate(_decoded(file, stream), start=1):
            if not line.strip("\0 \n"):
                continue
            try:
                row = decoder.decode(line)
            except ValueError as error:
                raise InputError(f"{file}: line {number} is not JSON ({error}).") from error
            if not isinstance(row, dict):
                raise InputError(
                    f'{file}: line {number} is not a JSON object. Write each row as {{"text": '
                    '"..."}.'
                )
            names = choose_text_columns(f"{file}: line {number}", list(row), columns)
            yield "\n".join(str(row[name]) for name in names if row[name] is not None)


def _parquet_batches(file: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with parquet.ParquetFile(file) as table:
        names = choose_text_columns(file, table.schema_arrow.names, columns)
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=names):
            yield batch.select(names)


def _csv_batches(
    file: Path, columns: Sequence[str] | None, dialect: Dialect
) -> Iterator[pa.RecordBatch]:
    options = dialect.arrow_options(_CSV_BLOCK_BYTES)
    with open_unpacked(file) as stream:
        names = choose_text_columns(file, csv.open_csv(stream, **options).schema.names, columns)
    conversion = csv.ConvertOptions(
        include_columns=names, column_types=dict.fromkeys(names, pa.binary())
    )
    with open_unpacked(file) as stream:
        yield from csv.open_csv(stream, convert_options=conversion, **options)


def _rows(file: Path, batch: pa.RecordBatch) -> Iterator[str]:
    """Yield the text of each row of a batch that holds nothing but columns of text."""
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not pa.types.is_binary(column.type):
            try:
                column = column.cast(pa.large_string()).cast(pa.large_binary())
            except pa.ArrowException as error:
                raise InputError(f"{file}: column '{name}' holds {column.type}, not text.") from (
                    error
                )
        columns.append(column.to_pylist())
    for cells in zip(*columns, strict=True):
        yield b"\n".join(filter(None, cells)).decode("utf-8", "surrogateescape")


def _decoded(file: Path, stream: BinaryIO) -> io.TextIOWrapper:
    encoding = marked_encoding(file)
    return io.TextIOWrapper(stream, encoding, "surrogateescape" if encoding == UTF8 else "replace")
