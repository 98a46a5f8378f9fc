"""Tables of texts as they are: whole, or a part of their rows at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import pyarrow as pa

from nlp_transfer.emails.containers import shown_name
from staged_training.tables.labelled_texts import joined_texts
from staged_training.tables.labels import check_filled
from staged_training.tables.reading import text_column
from staged_training.tables.streaming import TableStream

_CHECKED_ROWS = 4_096  # whose texts are looked at together


@dataclass(frozen=True)
class TextTable:
    """A table, or consecutive rows of one, and the text of each row.

    Attributes:
        path: The file.
        table: All its columns; those of delimited text as they are written.
        text_columns: The columns that the texts are joined from.
        first: The number of the first row, from 1 on.
    """

    path: Path
    table: pa.Table
    text_columns: list[str]
    first: int = 1

    @cached_property
    def texts(self) -> list[str]:
        """The texts; blank where a row has none."""
        return joined_texts(self.table, self.path, self.text_columns)

    @property
    def rows(self) -> range:
        """The number of each row."""
        return range(self.first, self.first + self.table.num_rows)

    @property
    def names(self) -> list[str]:
        """The name of each row, as `read_texts` gives it."""
        return row_names(self.path, self.rows)

    def check_filled(self) -> None:
        """Refuse a row without text.

        Raises:
            InputError: There is one.
        """
        _check_filled(self.path, self.text_columns, [self])


@dataclass(frozen=True)
class TextStream:
    """A table of any length, and the text of each row.

    Attributes:
        table: The table.
        text_columns: The columns that the texts are joined from.

    Raises:
        InputError: One of these holds no texts.
    """

    table: TableStream
    text_columns: list[str]

    def __post_init__(self) -> None:
        empty = self.table.schema.empty_table()
        for name in self.text_columns:
            text_column(empty, self.table.path, name)
            if not pa.types.is_string(empty[name].type):  # bytes may be text, or not
                for part in self.parts(_CHECKED_ROWS):
                    text_column(part.table, self.table.path, name)

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.path

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.table.count

    def parts(self, rows: int) -> Iterator[TextTable]:
        """Yield the rows in their order, so many at a time; at the end there may be fewer."""
        for number, part in enumerate(self.table.parts(rows)):
            yield TextTable(self.path, part, self.text_columns, number * rows + 1)

    def check_filled(self) -> None:
        """Refuse a row without text.

        Raises:
            InputError: There is one.
        """
        _check_filled(self.path, self.text_columns, self.parts(_CHECKED_ROWS))

    def is_blank(self) -> bool:
        """Return whether no row has a text."""
        return not any(any(map(str.strip, part.texts)) for part in self.parts(_CHECKED_ROWS))


def row_names(path: Path, rows: Iterable[int]) -> list[str]:
    """Return what rows of a table are called, by their numbers."""
    name = shown_name(path.name)
    return [f"{name}#{row}" for row in rows]


def _check_filled(path: Path, columns: list[str], parts: Iterable[TextTable]) -> None:
    pairs = chain.from_iterable(zip(part.rows, part.texts, strict=True) for part in parts)
    blank = [f"row {row}" for row, text in pairs if not text.strip()]
    check_filled(path, blank, [""] * len(blank), f"text in {' and '.join(columns)}")
