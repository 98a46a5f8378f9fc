"""Arrow tables to files: CSV, TSV, JSON Lines, Parquet."""

import base64
import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.tables.delimited import DELIMITERS
from staged_training.tables.text_files import UTF8

SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet")
"""Of tables that can be written."""

_BATCH_ROWS = 1_000  # that are Python's objects at a time
_GROUP_BYTES = 2**24  # of rows that make a group of Parquet, and wait for it
_FORMULA = re.compile(r"[=+\-@\t\r\n].*[^\W\d_]", re.DOTALL)  # it has a letter, unlike -1 and +
_FEATURES = b"huggingface"  # where `datasets` describes all columns, of which there are more now


def as_text_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula.

    One that begins as a formula gets the apostrophe by which they know a text, as OWASP advises.

    Examples:
        >>> as_text_cell("=SUM(A1)"), as_text_cell("-1")
        ("'=SUM(A1)", '-1')
    """
    return f"'{text}" if _FORMULA.match(text) else text


def check_table_file(path: Path, others: Sequence[str] = ()) -> None:
    """Refuse a file that no table can be written to, before the work for it.

    Args:
        path: The file.
        others: Endings of files that are no tables, and are written as well.

    Raises:
        InputError: Its ending is unknown, or its folder is missing or may not be written to.
    """
    if path.suffix.lower() not in (*SUFFIXES, *others):
        raise InputError(
            f"{path}: tables are written as {', '.join(SUFFIXES)}. Use one of these endings."
        )
    if path.is_dir():
        raise InputError(f"{path}: is a folder. Name a file.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}. Make it first.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} may not be written to. Name another.")


def check_schema(schema: pa.Schema, path: Path) -> None:
    """Refuse columns that the format of a file does not have, before the work for it.

    Args:
        schema: The columns, and their types.
        path: The file, of one of `SUFFIXES`.

    Raises:
        InputError: One is of a type that Parquet does not have, such as a record without fields.
    """
    if path.suffix.lower() != ".parquet":
        return
    try:
        parquet.ParquetWriter(io.BytesIO(), schema).close()
    except pa.ArrowNotImplementedError as error:
        raise InputError(
            f"{path}: a column cannot be written as Parquet ({error}). Name a file that ends in "
            ".jsonl.",
            ["output"],
        ) from error


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table, see `write_parts`.

    Raises:
        InputError: The disk is full or may not be written to.
    """
    write_parts(table.schema, [table], path)


def write_parts(schema: pa.Schema, parts: Iterable[pa.Table], path: Path) -> None:
    """Write the parts of a table, whole or not at all, in the format that a file's ending names.

    Delimited text is UTF-8 with a byte order mark, without which Excel takes it for a code page
    and shows `Ã¼` for `ü`. In text, what has no form of its own is written as follows: lists and
    records in cells as JSON, dates as ISO 8601, bytes in base64, NaN and infinity of JSON as null.

    Args:
        schema: The columns of all parts, and their types.
        parts: Some rows each.
        path: The file, of one of `SUFFIXES`; one that is there is replaced.

    Raises:
        InputError: The disk is full or may not be written to.
    """
    with written_whole(path) as temporary:
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            _write_parquet(schema, parts, temporary)
        elif suffix == ".jsonl":
            _write_json_lines(schema.names, parts, temporary)
        else:
            _write_delimited(schema.names, parts, temporary, DELIMITERS[suffix])


def _write_parquet(schema: pa.Schema, parts: Iterable[pa.Table], path: Path) -> None:
    metadata = {**(schema.metadata or {})}
    metadata.pop(_FEATURES, None)
    schema = schema.with_metadata(metadata)
    waiting = schema.empty_table()
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            waiting = pa.concat_tables([waiting, part.replace_schema_metadata(metadata)])
            if waiting.nbytes > _GROUP_BYTES:
                writer.write_table(waiting)
                waiting = schema.empty_table()
        if len(waiting):
            writer.write_table(waiting)


def _write_json_lines(names: Sequence[str], parts: Iterable[pa.Table], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for cells in _rows(parts, _for_json):
            row = dict(zip(names, cells, strict=True))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_delimited(
    names: Sequence[str], parts: Iterable[pa.Table], path: Path, delimiter: str
) -> None:
    with path.open("w", encoding=UTF8, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(names)
        writer.writerows(_rows(parts, _cell))


def _rows(parts: Iterable[pa.Table], made: Callable[[Any], Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of each row, by a function for those that are more than a text."""
    for part in parts:
        for batch in part.to_batches(_BATCH_ROWS):
            columns = ((column.type, column.to_pylist()) for column in batch.columns)
            cells = (c if pa.types.is_string(kind) else map(made, c) for kind, c in columns)
            yield from zip(*cells, strict=True)


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(_for_json(value), ensure_ascii=False)
    return value if isinstance(value, float) else _for_json(value)


def _for_json(value: Any) -> Any:
    """Return a value of Arrow as one that JSON has."""
    if isinstance(value, dict):
        return {name: _for_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if value is None or isinstance(value, str | int) else str(value)
