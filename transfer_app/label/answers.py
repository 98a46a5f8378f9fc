"""What was answered of a pool, and the tables that ask for answers and give them back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pyarrow as pa

from staged_training.runtime.errors import InputError
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
    name = "input"
    while name in pool.rows.column_names:
        name += "_"
    return name


def write_rows(pool: Pool, rows: Sequence[int], labels: Sequence[str | None], file: Path) -> None:
    """Write some examples: their own columns, the label, and which they are.

    Args:
        pool: The examples.
        rows: Those to be written.
        labels: The label of each of them; None leaves its cell empty.
        file: The file, of a kind that `write_table` knows.

    Raises:
        InputError: The disk is full.
    """
    table, column = pool.table(rows, file), pool.label_column
    cells = pa.array(labels, pa.string())
    if column in table.column_names:
        table = table.set_column(table.column_names.index(column), column, cells)
    else:
        table = table.append_column(column, cells)
    keys = pa.table({key_column(pool): [pool.names[row] for row in rows]})
    write_beside(table, keys, file)


def read_answers(files: Sequence[Path], pool: Pool) -> Answers:
    """Read filled-in tables, after the labels that the pool has; a row left empty is undecided.

    Args:
        files: Tables as `write_rows` writes them.
        pool: The examples.

    Raises:
        InputError: A table lacks a column, a row is no example of the pool, or holds another one,
            or two rows give an example two labels.
    """
    answers = Answers.in_pool(pool)
    row_of = {as_text_cell(name): row for row, name in enumerate(pool.names)}
    row_of |= {name: row for row, name in enumerate(pool.names)}
    said = dict.fromkeys(answers.order, f"{pool.source}")
    for file in files:
        for number, (key, label) in enumerate(_answers_in(file, pool, row_of), start=1):
            place = f"{file}: row {number}"
            row = row_of[key]
            if label is None:
                if row not in said and row not in answers.undecided:
                    answers.put(row, None)
            elif row in said and answers.labels[row] != label:
                raise InputError(
                    f"{place} says '{label}' of {pool.names[row]}, and {said[row]} says "
                    f"'{answers.labels[row]}'. Correct one of them."
                )
            elif row not in said:
                answers.put(row, label)
                said[row] = place
    return answers


def _answers_in(file: Path, pool: Pool, row_of: dict[str, int]) -> list[tuple[str, str | None]]:
    """Return the key and the label of each row of a table, which are checked."""
    key, column = key_column(pool), pool.label_column
    table = read_table(file, [key, column], typed=False)
    check_columns(file, table.column_names, {key: None, column: "label_column"})
    keys = [(cell or "").strip() for cell in text_column(table, file, key)]
    for number, cell in enumerate(keys, start=1):
        if cell not in row_of:
            raise InputError(
                f"{file}: row {number}: '{cell}' in '{key}' is no example of {pool.source}. Leave "
                f"that column as it was written, and give the same data."
            )
    if pool.kind == "text" and {*pool.text_columns} <= {*table.column_names}:
        texts = joined_texts(table, file, pool.text_columns)
        for number, (cell, text) in enumerate(zip(keys, texts, strict=True), start=1):
            if _plain(text) != _plain(pool.contents[row_of[cell]]):
                raise InputError(
                    f"{file}: row {number} has another text than {cell} in {pool.source}, which "
                    "was changed since, or the rows of that column were. Give the data as they "
                    "were."
                )
    cells = [(cell or "").strip() for cell in text_column(table, file, column)]
    tidy = iter(tidy_labels(file, filter(None, cells)))
    return [(cell, next(tidy) if label else None) for cell, label in zip(keys, cells, strict=True)]


def _plain(text: str) -> str:
    """Return the first letters of a text: spreadsheets cut long cells, and change line breaks."""
    return re.sub(r"[\W_]+", "", text)[:_COMPARED]
