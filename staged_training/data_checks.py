"""Checks of the data that a run is to read, before PyTorch is imported."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from staged_training.runtime.files import existing_path
from staged_training.tables.labelled_texts import read_labelled_rows
from staged_training.tables.labels import LabelFormat, Labels, read_labels
from staged_training.tables.reading import check_columns, is_table, read_table
from staged_training.tables.text_columns import choose_text_columns
from staged_training.tables.text_files import marked_encoding, open_text

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_images(source: str | None, **columns: str) -> None:
    """Refuse missing images, or a table of them that lacks columns, at once.

    Args:
        source: A folder, a table, or a name on the Hub, if one was given.
        **columns: The columns that a table must have, by the arguments that choose them.

    Raises:
        InputError: There is no such file, or no such column.
    """
    if source and (Path(source).exists() or not _HUB_NAME.fullmatch(source)):
        needed = {"file_name": None} | {column: name for name, column in columns.items()}
        if names := _columns_of(source):
            check_columns(source, names, needed)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep warnings back that are told when the data are read to be learnt from."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def check_captions(source: str | None) -> None:
    """Refuse missing captions, or a table of them that lacks columns, at once.

    Args:
        source: A folder or a file, if one was given; those of Flickr have other columns.

    Raises:
        InputError: There is no such file, or no such column.
    """
    if source and not _is_flickr(existing_path(source)) and (names := _columns_of(source)):
        found = [name for name in ("captions", "caption", "text") if name in names]
        check_columns(source, names, ["file_name", *(found or ["caption"])])


def _is_flickr(path: Path) -> bool:
    """Return whether a table begins as one of Flickr8k or Flickr30k."""
    if path.suffix != ".csv":
        return False
    with open_text(path, marked_encoding(path), "replace") as lines:
        header = "".join(lines.readline().split())
    return header.startswith(("image,caption", "image_name,", "image_name|"))


def check_image_labels(
    source: str,
    written: LabelFormat,
    positive_label: str | None = None,
    class_weight: Sequence[str] | None = None,
) -> None:
    """Refuse a table of images, or one in their folder, whose labels cannot be learnt from.

    Args:
        source: As for `check_images`.
        written: How labels are written.
        positive_label: The label that matters, if one does.
        class_weight: What labels weigh, see `read_class_weight`.

    Raises:
        InputError: As `check_images`, or nothing can be learnt from the labels.
    """
    from staged_training.tables.labelled_images import labels_of, rows_of_table, table_in

    path = Path(source)
    table = path if path.is_file() else table_in(path)
    if not table:
        check_images(source)
        return
    with _no_warnings():
        labels = labels_of(table, rows_of_table(table, written), written)
    _check_chosen(table, labels, positive_label, class_weight)


def check_texts(source: str | None, text_columns: Sequence[str] | None = None) -> None:
    """Refuse missing texts, or a table that lacks their columns, at once.

    Args:
        source: A file or a folder, if one was given.
        text_columns: Columns to read as text, see `choose_text_columns`.

    Raises:
        InputError: There is no such file, or no such column.
    """
    if source and (names := _columns_of(source)):
        choose_text_columns(source, names, text_columns)


def check_text_labels(
    source: str | None,
    text_columns: Sequence[str] | None = None,
    label_column: str = "label",
    label_separator: str | None = None,
    task: Literal["classification", "regression"] = "classification",
    positive_label: str | None = None,
    class_weight: Sequence[str] | None = None,
) -> None:
    """Refuse missing texts, or a table whose columns or labels cannot be used, at once.

    Args:
        source: As for `check_texts`.
        text_columns: As for `check_texts`.
        label_column: The column of labels.
        label_separator: What parts the labels of a text, see `LabelFormat`.
        task: Whether labels are names or numbers.
        positive_label: The label that matters, if one does.
        class_weight: What labels weigh, see `read_class_weight`.

    Raises:
        InputError: As `check_texts`, or nothing can be learnt from the labels.
    """
    if not source or not is_table(existing_path(source)):
        return
    path, written = Path(source), LabelFormat(label_column, label_separator, task)
    with _no_warnings():
        found = read_labelled_rows(path, text_columns, written)
        labels = read_labels(path, found.places, found.cells, written, "text")
    _check_chosen(path, labels, positive_label, class_weight)


def _check_chosen(
    source: Path, labels: Labels, positive: str | None, class_weight: Sequence[str] | None
) -> None:
    """Refuse a choice of labels that there are not."""
    from staged_training.experiment.target import positive_number  # takes a second
    from staged_training.heads.class_weights import read_class_weight

    positive_number(source, labels, positive)
    read_class_weight(class_weight, labels.names)


def check_table(source: str | None, *columns: str) -> None:
    """Refuse a missing table, or one that lacks columns, at once.

    Args:
        source: A file, if one was given.
        *columns: The columns that it must have.

    Raises:
        InputError: There is no such file, or no such column.
    """
    if source and (names := _columns_of(source)):
        check_columns(source, names, columns)


def _columns_of(source: str) -> list[str]:
    """Return the columns of a table; none for a folder, or another kind of file."""
    path = existing_path(source)
    return list(read_table(path, ()).column_names) if is_table(path) else []
