"""What was answered of a pool, and the tables that ask for answers and give them back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.tables.delimited import DELIMITERS
from staged_training.tables.labelled_texts import joined_texts
from staged_training.tables.labels import tidy_labels
from staged_training.tables.reading import check_columns, read_table, text_column
from staged_training.tables.writing import as_text_cell
from transfer_app.label.pool import Pool
from transfer_app.prediction.output import write_beside

_COMPARED = 200  # characters of a text, without what spreadsheets may change


@dataclass
class Answers:
    """What was answered so far.

    Attributes:
        labels: The label of each example of a pool, None where it has none.
        order: The examples that have one, in the order in which they got it.
        undecided: Examples that were asked and got none.
    """

    labels: list[str | None]
    order: list[int] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)

    @classmethod
    def in_pool(cls, pool: Pool) -> Self:
        """Return the labels that a pool has from the start."""
        order = [row for row, label in enumerate(pool.labels) if label is not None]
        return cls(list(pool.labels), order)

    def put(self, row: int, label: str | None) -> None:
        """Keep an answer; a new one takes the place of the old."""
        self.take_back(row)
        self.labels[row] = label
        (self.undecided if label is None else self.order).append(row)

    def take_back(self, row: int) -> None:
        """Forget the answer of an example, if there is one."""
        self.labels[row] = None
        for rows in (self.order, self.undecided):
            if row in rows:
                rows.remove(row)

    def first(self, count: int) -> "Answers":
        """Return what was known when there were so many labels."""
        labels: list[str | None] = [None] * len(self.labels)
        for row in self.order[:count]:
            labels[row] = self.labels[row]
        return Answers(labels, self.order[:count], list(self.undecided))

    @property
    def names(self) -> list[str]:
        """The labels that were given, sorted."""
        return sorted({label for label in self.labels if label is not None})


def key_column(pool: Pool) -> str:
    """Return the column that says which example a row is: `input`, or another if that is taken."""
    taken = {name.casefold() for name in [*pool.rows.column_names, pool.label_column]}
    name = "input"
    while name in taken:
        name += "_"
    return name


def write_rows(pool: Pool, rows: Sequence[int], labels: Sequence[str | None], file: Path) -> None:
    """Write some examples: their own columns, the label, and which they are.

    In a table for a spreadsheet no mail and no label is a formula, see `as_text_cell`; the columns
    of a table that is the pool are as they were.

    Args:
        pool: The examples.
        rows: Those to be written.
        labels: The label of each of them; None leaves its cell empty.
        file: The file, of a kind that `write_table` knows.

    Raises:
        InputError: The disk is full.
    """
    table, column = pool.table(rows, file), pool.label_column
    is_delimited = file.suffix.lower() in DELIMITERS
    cells = pa.array([label and as_text_cell(label) if is_delimited else label for label in labels])
    cells = cells.cast(pa.string())
    if column in table.column_names:
        table = table.set_column(table.column_names.index(column), column, cells)
    else:
        table = table.append_column(column, cells)
    keys = pa.table({key_column(pool): [pool.names[row] for row in rows]})
    if pool.is_mail:
        write_beside(None, table.append_column(keys.field(0), keys[0]), file)
    else:
        write_beside(table, keys, file)


class _Cell(NamedTuple):
    """A label as it was given: where, for which example; empty for none."""

    place: str
    row: int
    label: str


def read_answers(files: Sequence[Path], pool: Pool) -> Answers:
    """Read filled-in tables, after the labels that the pool has; a row left empty is undecided.

    Args:
        files: Tables as `write_rows` writes them.
        pool: The examples.

    Raises:
        InputError: A table lacks a column or has no label, a row is no example of the pool, or
            holds another one, or two rows give an example two labels.
    """
    answers = Answers.in_pool(pool)
    said = dict.fromkeys(answers.order, f"{pool.source}")
    cells = [cell for file in files for cell in _cells_in(file, pool)]
    for (place, row, _), label in zip(cells, _tidy(pool, cells), strict=True):
        if not label:
            if row not in said and row not in answers.undecided:
                answers.put(row, None)
        elif row not in said:
            answers.put(row, label)
            said[row] = place
        elif answers.labels[row] != label:
            raise InputError(
                f"{place} says '{label}' of {pool.names[row]}, and {said[row]} says "
                f"'{answers.labels[row]}'. Correct one of them."
            )
    return answers


def _tidy(pool: Pool, cells: Sequence[_Cell]) -> list[str]:
    """Return labels tidy, and warn of those of all tables and the pool that are all but the same.

    Where 1 is a label, 1.0 is the same: so a program writes it if a cell of the column is empty.
    """
    known = [label for label in pool.labels if label is not None]
    given = [cell.label for cell in cells]
    names = {*known, *given}
    given = [
        whole if (whole := label.removesuffix(".0")).isdigit() and whole in names else label
        for label in given
    ]
    return tidy_labels(pool.source, [*known, *given])[len(known) :]


def _cells_in(file: Path, pool: Pool) -> list[_Cell]:
    """Return the labels of a table, whose rows are checked."""
    key, column = key_column(pool), pool.label_column
    table = read_table(file, [key, column], typed=False)
    check_columns(file, table.column_names, {key: None, column: "label_column"})
    keys = [_text_of(cell) for cell in text_column(table, file, key)]
    labels = [_text_of(cell) for cell in text_column(table, file, column)]
    if not any(labels):
        raise InputError(
            f"{file}: no label is filled in. Fill in the column '{column}' and save it, or leave "
            "the file out."
        )
    row_of = {name: row for row, name in enumerate(pool.names)}
    rows = []
    for number, name in enumerate(keys, start=1):
        if name not in row_of:
            raise InputError(
                f"{file}: row {number}: '{name}' in '{key}' is no example of {pool.source}. Leave "
                "that column as it was written, and give the same data."
            )
        rows.append(row_of[name])
    _check_contents(file, table, pool, rows)
    places = [f"{file}: row {number}" for number in range(1, len(rows) + 1)]
    return list(map(_Cell, places, rows, labels))


def _text_of(cell: str | None) -> str:
    """Return what a cell says; without the apostrophe that `as_text_cell` puts before a formula."""
    text = (cell or "").strip()
    return text[1:] if text.startswith("'") and as_text_cell(text[1:]) == text else text


def _check_contents(file: Path, table: pa.Table, pool: Pool, rows: Sequence[int]) -> None:
    """Refuse rows that hold other examples than they say, as far as their columns tell."""
    if pool.kind == "text":
        shared = [name for name in pool.text_columns if name in table.column_names]
        own = pool.rows.take(np.asarray(rows, dtype=np.int64))
        pairs = zip(
            map(_plain, joined_texts(table, file, shared)),
            map(_plain, joined_texts(own, pool.source, shared)),
            strict=True,
        )
        is_same = [written == there for written, there in pairs]
    elif "file_name" in table.column_names:
        names = text_column(table, file, "file_name")
        is_same = [
            _is_end(name or "", pool.names[row]) for name, row in zip(names, rows, strict=True)
        ]
    else:
        return
    if not all(is_same):
        number = is_same.index(False)
        raise InputError(
            f"{file}: row {number + 1} has another {pool.kind} than {pool.names[rows[number]]} in "
            f"{pool.source}, which was changed since, or the rows of one column were. Give both as "
            "they were."
        )


def _is_end(path: str, other: str) -> bool:
    """Return whether one of two paths ends as the other, from wherever they begin."""
    parts = [[part for part in Path(_text_of(one)).parts if part != ".."] for one in (path, other)]
    pairs = zip(*map(reversed, parts), strict=False)
    return all(one == another for one, another in pairs)


def _plain(text: str) -> str:
    """Return the first letters of a text: spreadsheets cut long cells, and change line breaks."""
    return re.sub(r"[\W_]+", "", text)[:_COMPARED]
