"""Tables (CSV, TSV, JSON Lines, Parquet) as Arrow tables, each mistake by file and row."""

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from staged_training.errors import InputError
from staged_training.unpacking import MOST_GROWTH, most_unpacked

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

# One block holds any row that is worth reading; Arrow refuses a row longer than a block.
_BLOCK_BYTES = 64 * 2**20

_MOST_COLUMNS = 1_000  # each takes memory for every row
_BATCH_ROWS = 256  # a value that is stored once may stand in each of them


def read_table(source: Path, as_text: Sequence[str]) -> pa.Table:
    """Return the rows of `source`, at least one.

    Args:
        source: the file.
        as_text: columns that are texts whatever they look like (a CSV tells no types: the
            others become numbers, dates or truth values where all their cells look like them).

    Raises:
        InputError: it is another kind of file, or cannot be read; the message names the line.
    """
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{source}: is no table ({', '.join(SUFFIXES)}). Export it as one.")
    try:
        if suffix == ".parquet":
            table = _read_parquet(source)
        elif suffix == ".jsonl":
            table = _read_json_lines(source)
        else:
            table = _read_delimited(source, "," if suffix == ".csv" else "\t", as_text)
        _check_names(source, table.column_names)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(
            f"{source}: cannot be read as {suffix[1:].upper()}: {error}. "
            "Repair the file or export it anew."
        ) from error
    if table.num_rows == 0:
        raise InputError(f"{source}: has no rows.")
    return table


def text_column(table: pa.Table, source: Path, column: str) -> list[str | None]:
    """Return the cells of `column` as texts (numbers and truth values written out).

    Raises:
        InputError: no such column, or one whose cells are lists or records.
    """
    check_columns(source, table.column_names, [column])
    try:
        cells: list[str | None] = table[column].cast(pa.string()).to_pylist()
        return cells
    except pa.ArrowException as error:
        raise InputError(
            f"{source}: column '{column}' holds {table[column].type}, not text."
        ) from error


def check_columns(source: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a table without a column that is needed.

    Raises:
        InputError: the message names the first that is missing, and those that are there.
    """
    for column in needed:
        if column not in names:
            raise InputError(
                f"{source}: has no column '{column}'. Its columns are: {', '.join(names)}."
            )


def _check_width(source: Path, columns: int) -> None:
    if columns > _MOST_COLUMNS:
        raise InputError(
            f"{source}: has {columns:,} columns, more than {_MOST_COLUMNS:,}. Leave out "
            "what is not needed."
        )


def _check_names(source: Path, names: Sequence[str]) -> None:
    _check_width(source, len(names))
    if len(set(names)) < len(names):
        raise InputError(f"{source}: two columns have the same name: {list(names)}.")
    if unprintable := [name for name in names if "\0" in name]:
        raise InputError(f"{source}: the name of a column holds a NUL: {unprintable[0]!r}.")


def _read_parquet(source: Path) -> pa.Table:
    file = parquet.ParquetFile(source)
    _check_width(source, file.metadata.num_columns)
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    left = most_unpacked(source) - sum(group.total_byte_size for group in groups)
    batches = []
    for batch in file.iter_batches(_BATCH_ROWS):
        left -= batch.nbytes
        if left < 0:
            raise pa.ArrowInvalid(f"it unpacks to more than {MOST_GROWTH} times its size")
        batches.append(batch)
    table = pa.Table.from_batches(batches, file.schema_arrow)
    table.validate(full=True)  # texts may be no UTF-8; those of the other kinds were decoded
    return table


def _read_delimited(source: Path, delimiter: str, as_text: Sequence[str]) -> pa.Table:
    for number, line in _lines(source):  # Arrow would not say which line is no UTF-8
        if number == 1:
            _check_width(source, line.count(delimiter) + 1)
    return csv.read_csv(
        source,
        # One thread, since only then do the errors name the row (the header is row 1).
        read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(as_text, pa.string())),
    )


def _read_json_lines(source: Path) -> pa.Table:
    rows = []
    for number, line in _lines(source):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{source}: line {number} is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(
                f"{source}: line {number} is not a JSON object. "
                'Write each row as {"column": "cell", ...}.'
            )
        rows.append(row)
    columns = dict.fromkeys(key for row in rows for key in row)
    _check_width(source, len(columns))
    try:
        return pa.table(
            {name: _column(source, name, [row.get(name) for row in rows]) for name in columns}
        )
    except UnicodeError as error:
        raise InputError(f"{source}: a text holds half a surrogate pair ({error}).") from error
    except OverflowError as error:
        raise InputError(f"{source}: holds a number that is too large ({error}).") from error


def _column(source: Path, name: str, cells: list[Any]) -> pa.Array:
    def breaks(rows: int) -> bool:
        try:
            pa.array(cells[:rows])
        except pa.ArrowException:
            return True
        return False

    try:
        return pa.array(cells)
    except pa.ArrowException as error:
        row = bisect_left(range(len(cells) + 1), True, key=breaks)
        raise InputError(
            f"{source}: row {row}: '{name}' is of another kind than in the rows above, or holds "
            f"several kinds ({error}). Write it alike in all rows."
        ) from error


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{source}: line {number} is not UTF-8 (byte {error.start + 1} of the line). "
                    "Save the file as UTF-8."
                ) from error
