"""Labelled images before any is decoded: the rows of tables and folders, and their labels."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from staged_training.runtime.errors import InputError
from staged_training.tables.labelled_images import labels_of, rows_of_table, table_in
from staged_training.tables.labels import LabelFormat, Labels
from staged_training.tables.parts import part_of
from vision_transfer.image_folders import holds_images, rows_of_folders

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class LabelledRows(NamedTuple):
    """Labelled images.

    Attributes:
        table: Columns `file_name`, `place` (what messages call it), `label` (as it is written) and,
            where there are such, `fold` and `split`.
        labels: Their labels.
        left_out: What else lies in the folder, see `rows_of_folders`.
    """

    table: pd.DataFrame
    labels: Labels
    left_out: list[str]


def read_labelled_rows(path: Path, written: LabelFormat) -> LabelledRows:
    """Read which images a folder or a table holds, and their labels.

    Args:
        path: As for `read_image_task`, but no data set.
        written: How the labels of a table are written.

    Raises:
        InputError: There are no images, or nothing can be learnt from their labels.
    """
    table, left_out = _read_rows(path, written)
    return LabelledRows(table, labels_of(path, table, written), left_out)


def is_dataset(path: Path) -> bool:
    """Return whether a folder holds a data set in the files of `datasets`, images and all."""
    if not path.is_dir() or holds_images(path):
        return False
    return any(not file.stem.startswith("metadata") for file in path.rglob("*.parquet"))


def _read_rows(path: Path, written: LabelFormat) -> tuple[pd.DataFrame, list[str]]:
    """Read `LabelledRows.table`, and what else lies in the folder."""
    if not path.is_dir():
        return rows_of_table(path, written), []
    if found := table_in(path):
        return rows_of_table(found, written, f"{found.name}, "), []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    tables = {folder.name: found for folder in folders if (found := table_in(folder))}
    if not tables:
        if written != LabelFormat(written.column):
            raise InputError(
                f"{path}: the folders of images are the labels, one for each. For several labels "
                "or numbers give a table with a column of them."
            )
        rows, left_out = rows_of_folders(path)
        return rows.assign(place=rows["file_name"]), left_out
    without = [f.name for f in folders if f.name not in tables and holds_images(f)]
    if without:
        raise InputError(
            f"{path}: {next(iter(tables.values())).relative_to(path)} describes the images of its "
            f"folder, and {without[0]} has no such table. Add one, or give a folder alone."
        )
    parts = []
    for name, table in tables.items():
        rows = rows_of_table(table, written, f"{table.relative_to(path)}, ")
        rows["file_name"] = name + "/" + rows["file_name"]
        if "split" not in rows and (part := part_of(name)):
            rows["split"] = part
        parts.append(rows)
    return pd.concat(parts, ignore_index=True), []
