"""Predictions as a file: a row for each input, its own columns first."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any

import pyarrow as pa

from nlp_transfer.emails.containers import shown_name
from staged_training.runtime.printable import shell_path
from staged_training.tables.delimited import DELIMITERS
from staged_training.tables.writing import as_text_cell, write_table
from transfer_app.prediction.inputs import Input, usable
from transfer_app.prediction.predictor import Predictor

PREFIX = "predicted_"
"""Of a column whose name is taken by one of the table that was predicted of."""

_BATCH_ROWS = 10_000  # that are Python's objects at a time


def write_predictions(
    predictor: Predictor, inputs: Iterable[Input], file: Path, own: pa.Table | None = None
) -> str:
    """Predict of all inputs and write a table: what each is, what is predicted, and `problem`.

    Each field of a prediction is a column, and so is the score of each label. An input that cannot
    be read has a row with nothing but `problem`, which says why. The file is written whole or not
    at all, and in a format as `write_table`.

    Args:
        predictor: The model.
        inputs: Its inputs, those that cannot be read among them.
        file: The file to write.
        own: The table whose rows the inputs are; its columns come first. Without it `input`, the
            name of each input, does.

    Returns:
        What was written, in words.

    Raises:
        InputError: An input cannot be read, or the disk is full.
    """
    rows = _rows(predictor, inputs)
    parts = [_table(part) for part in iter(lambda: list(islice(rows, _BATCH_ROWS)), [])]
    found = pa.concat_tables(parts, promote_options="permissive")
    unread = len(found) - found["problem"].null_count
    last = "problem"  # the first rows may have no other column
    found = found.select([*(name for name in found.column_names if name != last), last])
    write_beside(own, found if own is None else found.drop_columns("input"), file)
    told = f"Wrote {shell_path(file)}: {len(found):,} row{'s' if len(found) > 1 else ''}"
    return f"{told}, {unread:,} of them unread, see `problem`." if unread else f"{told}."


def write_beside(own: pa.Table | None, found: pa.Table, file: Path) -> None:
    """Write columns of ours, after those of a table that is the input.

    Args:
        own: The table whose rows they are about, if there is one.
        found: Our columns; in delimited text none is a formula, see `_as_cells`.
        file: The file to write.

    Raises:
        InputError: The disk is full.
    """
    if file.suffix.lower() in DELIMITERS:
        found = pa.table({name: _as_cells(found[name]) for name in found.column_names})
    write_table(found if own is None else _beside(own, found), file)


def _rows(predictor: Predictor, inputs: Iterable[Input]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row; not all rows have all of them."""
    labels = list((predictor.pipeline.model.config.id2label or {}).values())
    inputs, ahead = (inputs, inputs) if isinstance(inputs, list) else tee(inputs)
    predictions = predictor.predict(usable(ahead))
    for item in inputs:
        row = {"input": shown_name(item.name), **item.facts, "problem": item.problem}
        if item.problem is None:
            _, prediction = next(predictions)
            row |= _columns(prediction.fields, labels)
        yield row


def _columns(fields: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return fields with a column for each score, in the order of the labels of the model."""
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "scores":
            columns |= {f"score_{label}": value[label] for label in labels}
        else:
            columns[name] = value
    return columns


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    texts = pa.string()  # whose type is not to be seen where all are missing
    several = pa.list_(texts)
    kinds = {"labels": several, "set": several}
    kinds |= dict.fromkeys(("input", "series", "problem"), texts)
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], kinds.get(name)) for name in names}
    )


def _as_cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of ours for a spreadsheet, see `as_text_cell`.

    Names of files and labels of models come from strangers, too; the columns of the input stay as
    they are. Several labels stand in one cell, parted by `;`.
    """
    if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
        column = pa.array([None if cell is None else ";".join(cell) for cell in column.to_pylist()])
    if not pa.types.is_string(column.type):
        return column
    return pa.array([cell and as_text_cell(cell) for cell in column.to_pylist()])


def _beside(own: pa.Table, found: pa.Table) -> pa.Table:
    """Return the columns of both; one of ours whose name is taken, in any case, gets `PREFIX`."""
    taken = {name.casefold() for name in own.column_names}
    for name, column in zip(found.column_names, found.columns, strict=True):
        while name.casefold() in taken:
            name = PREFIX + name
        own = own.append_column(name, column)
    return own
