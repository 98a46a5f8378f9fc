"""What a person corrects, written down as labels that the next model can learn from."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.tables.delimited import DELIMITERS
from staged_training.tables.reading import read_table, text_column
from staged_training.tables.writing import as_text_cell, check_table_file, write_table

_COLUMNS = ("text", "label")


class Corrections:
    """A table of texts and labels that grows, each row once, and that its owner alone can read.

    Args:
        file: The file of the table; rows of earlier ones stay.

    Raises:
        InputError: It cannot be written, or holds something else.
    """

    def __init__(self, file: Path) -> None:
        check_table_file(file)
        self._file = file
        self._rows()

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Add rows of text and label; those that are there already stay as they are."""
        before = self._rows()
        every = list(dict.fromkeys([*before, *map(self._row, rows)]))
        if len(every) > len(before):
            columns = zip(*every, strict=True)
            table = pa.table(dict(zip(_COLUMNS, map(list, columns), strict=True)))
            with written_whole(self._file, mode=0o600) as temporary:
                write_table(table, temporary)

    def _row(self, row: Iterable[str]) -> tuple[str, ...]:
        is_for_spreadsheets = self._file.suffix.lower() in DELIMITERS
        return tuple(as_text_cell(cell) if is_for_spreadsheets else cell for cell in row)

    def _rows(self) -> list[tuple[str, ...]]:
        if not self._file.exists():
            return []
        table = read_table(self._file, _COLUMNS, typed=False)
        if {*table.column_names} != {*_COLUMNS}:
            raise InputError(
                f"{self._file}: has other columns than {' and '.join(_COLUMNS)}. Name a file of "
                "its own for what is corrected."
            )
        cells = [text_column(table, self._file, name) for name in _COLUMNS]
        return [(text or "", label or "") for text, label in zip(*cells, strict=True)]
