"""The rows of a table that have a text, with the cells of their labels."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.tables.labels import LabelFormat, label_cells
from staged_training.tables.reading import read_table, text_column
from staged_training.tables.text_columns import DEFAULTS, choose_text_columns

logger = logging.getLogger(__name__)

_MOST_NAMED = 5


class LabelledRows(NamedTuple):
    """Rows of a table.

    Attributes:
        table: The rows, with all columns.
        rows: Their numbers, from 1 on.
        texts: The text of each.
        cells: The label of each, see `label_cells`.
        text_columns: The columns that the texts were joined from.
    """

    table: pa.Table
    rows: list[int]
    texts: list[str]
    cells: list[Any]
    text_columns: list[str]

    @property
    def places(self) -> list[str]:
        """What messages call each row."""
        return [f"row {row}" for row in self.rows]


def joined_texts(table: pa.Table, source: Path, columns: Sequence[str]) -> list[str]:
    """Return the text of each row: its columns, where they are filled, joined by line breaks."""
    cells = [text_column(table, source, column) for column in columns]
    return ["\n".join(filter(None, row)) for row in zip(*cells, strict=True)]


def read_labelled_rows(
    source: Path, text_columns: Sequence[str] | None, written: LabelFormat
) -> LabelledRows:
    """Read the rows that have a text; a warning names the others.

    Args:
        source: The table.
        text_columns: See `choose_text_columns`.
        written: How the labels are written.

    Raises:
        InputError: The table cannot be read, it lacks a column, or no row has a text.
    """
    table = read_table(source, [*(text_columns or DEFAULTS), written.column])
    columns = choose_text_columns(source, table.column_names, text_columns, written.column)
    texts = joined_texts(table, source, columns)
    filled = [row for row, text in enumerate(texts) if text.strip()]
    if empty := len(texts) - len(filled):
        numbers = sorted({*range(len(texts))} - {*filled})[:_MOST_NAMED]
        named = ", ".join(str(number + 1) for number in numbers)
        more = " and others" if empty > _MOST_NAMED else ""
        what = f"no text in {' and '.join(columns)}"
        if not filled:
            raise InputError(f"{source}: no row has a text: there is {what}.", ["text_columns"])
        logger.warning(
            "%s: %d rows are left out: %s (rows %s%s).", source, empty, what, named, more
        )
    table = table.take(filled)
    return LabelledRows(
        table,
        [row + 1 for row in filled],
        [texts[row] for row in filled],
        label_cells(table, source, written.column),
        columns,
    )
