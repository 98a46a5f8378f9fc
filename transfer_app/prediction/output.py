"""Predictions as a file: a row for each input, its own columns first."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, cycle, islice, tee
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from tqdm.auto import tqdm

from nlp_transfer.emails.containers import shown_name
from nlp_transfer.emails.text_tables import TextStream
from staged_training.heads.drift import Watch
from staged_training.runtime import processes
from staged_training.runtime.files import put_on_disk, unwritable_reported
from staged_training.runtime.printable import shell_path
from staged_training.tables.delimited import DELIMITERS
from staged_training.tables.writing import as_text_cell, write_parts, write_table
from transfer_app.prediction.inputs import Input, Unread, usable
from transfer_app.prediction.parts import Parts
from transfer_app.prediction.predictor import Predictor
from transfer_app.prediction.text_inputs import texts_of_rows

PREFIX = "predicted_"
"""Of a column whose name is taken by one of the table that was predicted of."""


def write_predictions(
    predictor: Predictor,
    inputs: Unread | TextStream,
    file: Path,
    asked: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> str:
    """Predict of all inputs and write a table: what each is, what is predicted, and `problem`.

    Each field of a prediction is a column, and so is the score of each label. An input that cannot
    be read has a row with nothing but `problem`, which says why. The format is as for
    `write_parts`.

    Inputs are read as they come, and what is predicted of so many of them is a part, see `Parts`.
    In the end the parts are joined: the file is written whole or not at all. Of several processes
    each predicts its share of the parts, which does not change what is in them.

    Args:
        predictor: The model.
        inputs: Its inputs, those that cannot be read among them; or the table whose rows they are,
            the columns of which come first. Without it `input`, the name of each input, does.
        file: The file to write.
        asked: What the predictions depend on, see `asked_of`.

    Returns:
        What was written, in words.

    Raises:
        InputError: An input cannot be read, the disk is full, or parts of something else are there.
    """
    parts, size = Parts(file, asked), predictor.rows_at_once
    own = inputs.table.parts(size) if isinstance(inputs, TextStream) else None
    with parts.opened():
        number, turns = -1, cycle(range(processes.count()))
        with _progress(predictor, inputs.count, size * len(parts.done)) as bar:
            for number, group in enumerate(_groups(inputs, size)):
                if number not in parts.done and next(turns) == processes.number():
                    parts.save(number, _predicted(predictor, group, bar), _seen(predictor))
        join = partial(_join, parts, number + 1, _watch(predictor), own, file)
        return processes.on_main_process(join)


def _groups(inputs: Unread | TextStream, size: int) -> Iterator[Iterator[Input]]:
    """Yield what reads so many inputs each; those that are not read are passed over."""
    if isinstance(inputs, TextStream):
        yield from map(texts_of_rows, inputs.parts(size))
        return
    each = iter(inputs.each)
    for first in each:
        group = chain([first], islice(each, size - 1))
        yield (read() for read in group)
        deque(group, maxlen=0)


@contextmanager
def _progress(predictor: Predictor, total: int | None, done: int) -> Iterator[tqdm]:
    """Show how many inputs are done, in all processes as far as the first one knows."""
    predictor.shows_progress = False  # of each part
    shown = {} if processes.is_main_process() else {"disable": True}
    bar = tqdm(total=total, initial=done, unit="input", delay=2, dynamic_ncols=True, **shown)
    try:
        with bar:
            yield bar
    finally:
        predictor.shows_progress = True


def _predicted(predictor: Predictor, inputs: Iterable[Input], bar: tqdm) -> pa.Table:
    rows = []
    for row in _rows(predictor, inputs):
        rows.append(row)
        bar.update(processes.count())
    return _table(rows)


def _watch(predictor: Predictor) -> Watch | None:
    return getattr(predictor, "watch", None)


def _seen(predictor: Predictor) -> Sequence[float]:
    watch = _watch(predictor)
    return watch.taken() if watch else ()


def _join(
    parts: Parts, count: int, watch: Watch | None, own: Iterator[pa.Table] | None, file: Path
) -> str:
    """Write the parts as one file, remove them, and return what was written, in words.

    Args:
        parts: The parts.
        count: How many there are.
        watch: What is told what was seen of all inputs, if anything is.
        own: Of a table, the rows that each part is of.
        file: The file to write.
    """
    schema, rows, unread = pa.schema([]), 0, 0
    for number in range(count):
        found, seen = parts.read(number)
        schema = pa.unify_schemas([schema, found.schema], promote_options="permissive")
        rows, unread = rows + len(found), unread + len(found) - found["problem"].null_count
        if watch:
            watch.add(*seen)
    last = "problem"  # the first rows may have no other column
    names = [name for name in schema.names if name != last and (own is None or name != "input")]
    empty = schema.empty_table()

    def tables() -> Iterator[pa.Table]:
        for number in range(count):
            found = pa.concat_tables([empty, parts.read(number)[0]], promote_options="permissive")
            yield _beside(next(own) if own else None, found.select([*names, last]), file)

    joined = tables()
    first = next(joined)
    with unwritable_reported(file):
        whole = parts.folder / file.name
        write_parts(first.schema, chain([first], joined), whole)
        put_on_disk(whole)  # before its parts are removed
        whole.replace(file)
    parts.remove()
    told = f"Wrote {shell_path(file)}: {rows:,} row{'s' if rows > 1 else ''}"
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
    write_table(_beside(own, found, file), file)


def _rows(predictor: Predictor, inputs: Iterable[Input]) -> Iterator[dict[str, Any]]:
    """Yield the columns of each row; not all rows have all of them."""
    labels = list((predictor.pipeline.model.config.id2label or {}).values())
    inputs, ahead = tee(inputs)
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


def _beside(own: pa.Table | None, found: pa.Table, file: Path) -> pa.Table:
    """Return the columns of both; one of ours whose name is taken, in any case, gets `PREFIX`."""
    if file.suffix.lower() in DELIMITERS:
        found = pa.table({name: _as_cells(found[name]) for name in found.column_names})
    if own is None:
        return found
    taken = {name.casefold() for name in own.column_names}
    for name, column in zip(found.column_names, found.columns, strict=True):
        while name.casefold() in taken:
            name = PREFIX + name
        own = own.append_column(name, column)
    return own
