"""Tables of any length, a part of their rows at a time, as `read_table` reads the whole."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import state_of
from staged_training.tables.delimited import DELIMITERS, delimited_batches, find_dialect
from staged_training.tables.parquet_files import parquet_batches
from staged_training.tables.reading import (
    check_names,
    check_width,
    damage_reported,
    filled_cells,
    half_a_pair,
    json_rows,
    kept_names,
    read_table,
    texts_of,
)
from staged_training.tables.text_files import text_encoding

_BATCH_ROWS = 1_000  # of JSON that are Python's objects at a time
_BUFFER_BYTES = 2**20  # of a column of Parquet, which is else read whole

_Reading = tuple[pa.Schema, int, Callable[[], Iterator[pa.Table]]]


@dataclass(frozen=True)
class TableStream:
    """A table that is read anew each time that its rows are asked for.

    Attributes:
        path: The file.
        schema: Its columns and their types.
        count: How many rows it has, one at least.
    """

    path: Path
    schema: pa.Schema
    count: int
    _read: Callable[[], Iterator[pa.Table]]
    _state: tuple[int, ...]

    def parts(self, rows: int) -> Iterator[pa.Table]:
        """Yield the rows in their order, so many at a time; at the end there may be fewer.

        Raises:
            InputError: The file is not the same any more.
        """
        waiting = self.schema.empty_table()
        with damage_reported(self.path):
            if state_of(self.path) != self._state:
                raise InputError(f"{self.path}: was changed since it was read first. Begin anew.")
            for table in self._read():
                waiting = pa.concat_tables([waiting, table])
                while len(waiting) >= rows:
                    yield waiting[:rows]
                    waiting = waiting[rows:]
        if len(waiting):
            yield waiting


def stream_table(source: Path, as_text: Sequence[str]) -> TableStream:
    """Return a table as `read_table` does, untyped, without holding it in memory.

    It is read once to its end, so that whatever is wrong with it is told first. A workbook (.xlsx),
    which has no more than a million rows, is read whole.

    Args:
        source: The file.
        as_text: As for `read_table`.

    Raises:
        InputError: As `read_table`.

    Examples:
        >>> from pathlib import Path
        >>> from staged_training.tables.streaming import stream_table
        >>> length = Path("t.csv").write_text("id,text\\n007,call me\\n008,\\n009,noon\\n")
        >>> table = stream_table(Path("t.csv"), ["text"])
        >>> table.count, [part.to_pydict()["id"] for part in table.parts(2)]
        (3, [['007', '008'], ['009']])
    """
    with damage_reported(source) as suffix:
        state = state_of(source)
        if suffix == ".parquet":
            schema, count, read = _parquet(source)
        elif suffix == ".jsonl":
            schema, count, read = _json_lines(source, as_text)
        elif suffix == ".xlsx":
            table = read_table(source, as_text, typed=False)
            schema, count, read = table.schema, len(table), lambda: iter([table])
        else:
            schema, count, read = _delimited(source, DELIMITERS[suffix], as_text)
        check_names(source, schema.names, count)
    return TableStream(source, schema, count, read, state)


def _parquet(source: Path) -> _Reading:
    def read() -> Iterator[pa.Table]:
        with parquet.ParquetFile(source, buffer_size=_BUFFER_BYTES) as file:
            yield from parquet_batches(source, file)

    with parquet.ParquetFile(source) as file:
        check_width(source, file.metadata.num_columns)
    tables = read()
    schema = next(tables).schema
    return schema, sum(map(len, tables)), read


def _delimited(source: Path, delimiter: str, needed: Sequence[str]) -> _Reading:
    dialect = find_dialect(source, text_encoding(source), delimiter)
    check_width(source, dialect.width)

    def tables() -> Iterator[pa.Table]:
        return (pa.Table.from_batches([batch]) for batch in delimited_batches(source, dialect))

    count, filled = 0, Counter[int]()
    for table in tables():
        count += len(table)
        filled.update(filled_cells(table))
    kept = kept_names(source, table.column_names, filled, needed)

    def read() -> Iterator[pa.Table]:
        for table in tables():
            yield table.select(list(kept)).rename_columns(list(kept.values()))

    return next(read()).schema, count, read


def _json_lines(source: Path, as_text: Sequence[str]) -> _Reading:
    encoding, count = text_encoding(source), 0
    kinds: dict[str, pa.DataType | None] = {}  # None for several that are not alike: texts
    doubted, nested = set[str](), set[str]()
    for rows in _batches(source, encoding):
        count += len(rows)
        for name, cells in _columns(rows, dict.fromkeys(name for row in rows for name in row)):
            before = kinds.get(name, pa.null())
            if before is not None:  # what came before tells what this may be
                kinds[name] = _kind_of(source, [_example(before), *cells])
            if kinds[name] is None:
                _texts_of(source, cells)  # which refuses what is no Unicode
            if before not in (pa.null(), kinds[name]):
                doubted.add(name)  # numbers may be too large for what others are
            if any(isinstance(cell, list | dict) for cell in cells):
                nested.add(name)
    check_width(source, len(kinds))
    for rows in _batches(source, encoding) if doubted else ():
        for name, cells in _columns(rows, doubted):
            if kinds[name] is not None:
                kinds[name] = _kind_of(source, cells, kinds[name])
    if any(kinds[name] is None for name in nested.intersection(as_text)):
        read_table(source, as_text)  # which refuses it, and says where

    def read() -> Iterator[pa.Table]:
        for rows in _batches(source, encoding):
            yield pa.table(
                {name: made(cells, kinds[name]) for name, cells in _columns(rows, kinds)}
            )

    def made(cells: list[Any], kind: pa.DataType | None) -> pa.Array:
        return _texts_of(source, cells) if kind is None else pa.array(cells, kind)

    texts = pa.string()
    fields = [(name, texts if kind is None else kind) for name, kind in kinds.items()]
    return pa.schema(fields), count, read


def _batches(source: Path, encoding: str) -> Iterator[list[dict[str, Any]]]:
    rows = json_rows(source, encoding)
    return iter(lambda: list(islice(rows, _BATCH_ROWS)), [])


def _columns(rows: list[dict[str, Any]], names: Iterable[str]) -> Iterator[tuple[str, list[Any]]]:
    return ((name, [row.get(name) for row in rows]) for name in names)


def _kind_of(source: Path, cells: list[Any], kind: pa.DataType | None = None) -> pa.DataType | None:
    """Return the type of cells, of which one may be asked; none if they are not alike."""
    try:
        return pa.array(cells, kind).type
    except UnicodeError as error:
        raise half_a_pair(source, error) from error
    except (pa.ArrowException, OverflowError):
        return None


def _texts_of(source: Path, cells: list[Any]) -> pa.Array:
    try:
        return texts_of(cells)
    except UnicodeError as error:
        raise half_a_pair(source, error) from error


def _example(kind: pa.DataType) -> Any:
    """Return a value of a type that JSON has."""
    if pa.types.is_struct(kind):
        return {field.name: _example(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_example(kind.value_type)]
    return {pa.bool_(): True, pa.int64(): 0, pa.float64(): 0.5, pa.string(): ""}.get(kind)
