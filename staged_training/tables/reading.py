"""Tables (CSV, TSV, JSON Lines, Parquet, Excel) as Arrow tables, each mistake by file and row."""

import difflib
import json
import logging
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from staged_training.runtime.errors import InputError
from staged_training.tables.delimited import DELIMITERS, find_dialect, read_delimited
from staged_training.tables.parquet_files import parquet_batches
from staged_training.tables.spreadsheets import read_sheet
from staged_training.tables.text_files import open_text, text_encoding

logger = logging.getLogger(__name__)

SUFFIXES = (*DELIMITERS, ".jsonl", ".parquet", ".xlsx")
"""Of tables; text may be packed too: `.csv.gz`."""

_TEXTS = (*DELIMITERS, ".jsonl")
_MOST_COLUMNS = 1_000  # each takes memory for every row


def table_suffix(path: Path) -> str | None:
    """Return the suffix of a table, one of `SUFFIXES`, also below `.gz`; else `None`."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    known = _TEXTS if name.endswith(".gz") else SUFFIXES
    return suffix if suffix in known else None


def is_table(path: Path) -> bool:
    """Return whether a path is the file of a table."""
    return path.is_file() and table_suffix(path) is not None


def read_table(source: Path, as_text: Sequence[str], *, typed: bool = True) -> pa.Table:
    """Return the rows of `source`, at least one.

    Args:
        source: the file.
        as_text: columns that are texts whatever they look like (a CSV has no types: the
            others become numbers, dates or truth values where all their cells look like them).
        typed: whether they do; else a CSV is read as it is written, `007` as a text, and a cell
            with nothing in it as null.

    Raises:
        InputError: it is another kind of file, or cannot be read; the message names the line.
    """
    with damage_reported(source) as suffix:
        if suffix == ".parquet":
            file = parquet.ParquetFile(source)
            check_width(source, file.metadata.num_columns)
            table = pa.concat_tables(parquet_batches(source, file))
        elif suffix == ".jsonl":
            table = _read_json_lines(source, as_text)
        elif suffix == ".xlsx":
            names, columns = read_sheet(source)
            check_width(source, len(names))
            table = _with_names(source, _from_cells(source, names, columns, as_text), as_text)
        else:
            dialect = find_dialect(source, text_encoding(source), DELIMITERS[suffix])
            check_width(source, dialect.width)
            table = _with_names(
                source, read_delimited(source, dialect, as_text if typed else None), as_text
            )
        check_names(source, table.column_names, len(table))
    return table


@contextmanager
def damage_reported(source: Path) -> Iterator[str]:
    """Yield the suffix of a table that is read.

    Raises:
        InputError: it is another kind of file, or cannot be read.
    """
    suffix = table_suffix(source)
    if suffix is None:
        raise InputError(f"{source}: is not a table ({', '.join(SUFFIXES)}). Export it as one.")
    try:
        yield suffix
    except (pa.ArrowException, EOFError, OSError, UnicodeError, zlib.error) as error:
        raise InputError(
            f"{source}: cannot be read as {suffix[1:].upper()}: {error}. "
            "Repair the file or export it anew."
        ) from error


def text_column(table: pa.Table, source: Path, column: str) -> list[str | None]:
    """Return the cells of an existing column as texts, numbers and truth values written out.

    Raises:
        InputError: its cells are lists or records.
    """
    try:
        cells: list[str | None] = table[column].cast(pa.string()).to_pylist()
        return cells
    except pa.ArrowException as error:
        raise InputError(
            f"{source}: column '{column}' holds {table[column].type}, not text."
        ) from error


def check_columns(
    source: object, names: Sequence[str], needed: Mapping[str, str | None] | Iterable[str]
) -> None:
    """Refuse a table that lacks columns.

    Args:
        source: the table, for the message.
        names: the columns that it has.
        needed: those that it must have; where an argument chooses one, with its name.

    Raises:
        InputError: the message names all that are missing, those that are there, and
            those that are likely meant.
    """
    chosen_by = needed if isinstance(needed, Mapping) else dict.fromkeys(needed)
    missing = [column for column in chosen_by if column not in names]
    if not missing:
        return
    listed = ", ".join(f"'{column}'" for column in missing)
    guesses = [f"'{guess}' for '{column}'" for column in missing if (guess := _like(column, names))]
    arguments = list(dict.fromkeys(filter(None, map(chosen_by.get, missing))))
    chosen = " and ".join(f"`{argument}`" for argument in arguments)
    fixed = ", ".join(f"'{column}'" for column in missing if not chosen_by[column])
    raise InputError(
        f"{source}: has no column{'s' if len(missing) > 1 else ''} {listed}. "
        f"Its columns are: {', '.join(names)}."
        + (f" Is it {', '.join(guesses)}?" if guesses else "")
        + (f" Choose columns by {chosen}." if chosen else "")
        + (f" Rename what is to be {fixed}." if fixed else ""),
        arguments,
    )


def _like(column: str, names: Sequence[str]) -> str | None:
    """Return the name most similar to that of a column, if one is."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    found = difflib.get_close_matches(column.strip().casefold(), folded, n=1)
    return folded[found[0]] if found else None


def check_width(source: Path, columns: int) -> None:
    """Refuse a table with very many columns."""
    if columns > _MOST_COLUMNS:
        raise InputError(
            f"{source}: has {columns:,} columns, more than {_MOST_COLUMNS:,}. Leave out "
            "what is not needed."
        )


def check_names(source: Path, names: Sequence[str], rows: int) -> None:
    """Refuse a table whose columns cannot be told apart, or that has no rows."""
    if len(set(names)) < len(names):
        raise InputError(f"{source}: two columns have the same name: {list(names)}.")
    if unprintable := [name for name in names if "\0" in name]:
        raise InputError(f"{source}: the name of a column holds a NUL: {unprintable[0]!r}.")
    if not (rows and names):  # rows of JSON may be without any
        raise InputError(f"{source}: has no rows.")


def _with_names(source: Path, table: pa.Table, needed: Sequence[str]) -> pa.Table:
    filled = filled_cells(table)
    kept = kept_names(source, table.column_names, filled, needed)
    return table.select(list(kept)).rename_columns(list(kept.values()))


def filled_cells(table: pa.Table) -> Counter[int]:
    """Return how many cells are filled in each column without a name, of those that hold any."""
    columns = (
        (i, table.column(i)) for i, name in enumerate(table.column_names) if not name.strip()
    )
    return Counter(
        {
            index: sum(cell not in (None, "") for cell in column.to_pylist())
            for index, column in columns
            if column.null_count < len(column)
        }
    )


def kept_names(
    source: Path, names: Sequence[str], filled: Mapping[int, int], needed: Sequence[str]
) -> dict[int, str]:
    """Return the columns to keep by their numbers, with names as pandas gives them.

    One whose name is missing or a duplicate gets another. Empty columns without a name are left
    out. Names that are needed stay as they are.

    Args:
        source: the table, for the warning.
        names: of all columns.
        filled: see `filled_cells`.
        needed: the names that stay.
    """
    kept: dict[int, str] = {}
    for index, name in enumerate(names):
        earlier = names[:index].count(name)
        if name.strip():
            kept[index] = f"{name}.{earlier}" if earlier and name not in needed else name
        elif index in filled:
            kept[index] = f"Unnamed: {index}"
            if index:  # the first holds the numbers of the rows
                logger.warning(
                    "%s: column %d has no name; cells in it: %d. If they go on with the column "
                    "before, enclose that in quotes.",
                    source,
                    index + 1,
                    filled[index],
                )
    return kept


def _read_json_lines(source: Path, as_text: Sequence[str]) -> pa.Table:
    rows = list(json_rows(source, text_encoding(source)))
    names = list(dict.fromkeys(key for row in rows for key in row))
    check_width(source, len(names))
    return _from_cells(source, names, [[row.get(name) for row in rows] for name in names], as_text)


def json_rows(source: Path, encoding: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of JSON Lines.

    Raises:
        InputError: a line is not JSON, or not an object.
    """
    with open_text(source, encoding) as lines:
        for number, line in enumerate(lines, start=1):
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
            yield row


def _from_cells(
    source: Path, names: Sequence[str], columns: Iterable[list[Any]], as_text: Sequence[str]
) -> pa.Table:
    """Build a table of Python values; a column of several types becomes texts."""
    try:
        arrays = [
            _array(source, name, cells, must_be_alike=name in as_text)
            for name, cells in zip(names, columns, strict=True)
        ]
    except UnicodeError as error:
        raise half_a_pair(source, error) from error
    return pa.table(arrays, names=list(names))


def half_a_pair(source: Path, error: UnicodeError) -> InputError:
    """Return the error of a text that is no Unicode."""
    return InputError(f"{source}: a text holds half a surrogate pair ({error}).")


def _array(source: Path, name: str, cells: list[Any], *, must_be_alike: bool) -> pa.Array:
    def breaks(rows: int) -> bool:
        try:
            pa.array(cells[:rows])
        except (pa.ArrowException, OverflowError):
            return True
        return False

    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError) as error:
        if must_be_alike and any(isinstance(cell, list | dict) for cell in cells):
            row = bisect_left(range(len(cells) + 1), True, key=breaks)
            raise InputError(
                f"{source}: row {row}: '{name}' is of another kind than in the rows above, or "
                f"holds several kinds ({error}). Write it alike in all rows."
            ) from error
    return texts_of(cells)


def texts_of(cells: Iterable[Any]) -> pa.Array:
    """Return values of several types as texts."""
    texts = [None if cell is None or cell != cell else _as_text(cell) for cell in cells]  # NaN
    return pa.array(texts, pa.string())


def _as_text(cell: Any) -> str:
    return json.dumps(cell) if isinstance(cell, bool | list | dict) else str(cell)
