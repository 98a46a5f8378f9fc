"""Labelled images before any is decoded: the rows of tables and folders, and their labels."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.tables import reading as tables
from staged_training.tables.labels import LabelFormat, Labels, label_cells, read_labels
from staged_training.tables.parts import part_of
from vision_transfer.image_folders import holds_images, rows_of_folders

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # by preference


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


def labels_of(path: Path, table: pd.DataFrame, written: LabelFormat) -> Labels:
    """Return the labels of rows of `LabelledRows.table`."""
    return read_labels(path, table["place"].tolist(), table["label"].tolist(), written, "image")


def is_dataset(path: Path) -> bool:
    """Return whether a folder holds a data set in the files of `datasets`, images and all."""
    if not path.is_dir() or holds_images(path):
        return False
    return any(not file.stem.startswith("metadata") for file in path.rglob("*.parquet"))


def _read_rows(path: Path, written: LabelFormat) -> tuple[pd.DataFrame, list[str]]:
    """Read `LabelledRows.table`, and what else lies in the folder."""
    if not path.is_dir():
        return _rows_of_table(path, written), []
    if found := table_in(path):
        return _rows_of_table(found, written, f"{found.name}, "), []
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
        rows = _rows_of_table(table, written, f"{table.relative_to(path)}, ")
        rows["file_name"] = name + "/" + rows["file_name"]
        if "split" not in rows and (part := part_of(name)):
            rows["split"] = part
        parts.append(rows)
    return pd.concat(parts, ignore_index=True), []


def _rows_of_table(path: Path, written: LabelFormat, within: str = "") -> pd.DataFrame:
    """Read the rows of a table, which lies within a folder of images or stands alone."""
    table = _read_arrow(path, "file_name", written.column)
    needed = {"file_name": None, written.column: "label_column"}
    tables.check_columns(path, table.column_names, needed)
    names = table["file_name"].to_pylist()
    for row, name in enumerate(names, start=1):
        if not is_file_name(name):
            raise InputError(f"{path}: row {row} has no file name. Fill or delete it.")
    rows = pd.DataFrame({"file_name": names})
    rows["place"] = [f"{within}row {row}" for row in range(1, len(names) + 1)]
    rows["label"] = pd.Series(label_cells(table, path, written.column), dtype=object)
    if "fold" in table.column_names:
        rows["fold"] = table["fold"].to_pylist()
    elif "split" in table.column_names:
        cells = table["split"].to_pylist()
        rows["split"] = [part_of(str(cell)) for cell in cells]
        if rows["split"].isna().any():
            row = int(rows["split"].isna().argmax())
            raise InputError(
                f"{path}: row {row + 1}: the column 'split' says '{cells[row]}'. Write train, "
                "validation or test, or give the column another name."
            )
    return rows


def read_table(path: Path, *as_text: str) -> pd.DataFrame:
    """Read a table of images.

    Args:
        path: The file.
        as_text: Columns that are texts whatever they look like, see `tables.read_table`.

    Raises:
        InputError: It is of another kind than `tables.SUFFIXES`, has no rows, or is damaged.
    """
    return pd.DataFrame(_read_arrow(path, *as_text).to_pydict())


def _read_arrow(path: Path, *as_text: str) -> pa.Table:
    if not tables.table_suffix(path):
        raise InputError(
            f"{path}: not a kind of file that can be read here. Give a folder of images, or a "
            f"table ({', '.join(tables.SUFFIXES)}) with a column 'file_name'."
        )
    return tables.read_table(path, as_text)


def is_file_name(cell: Any) -> bool:
    """Return whether a cell of a table names a file."""
    return isinstance(cell, str) and bool(cell.strip())


def table_in(folder: Path) -> Path | None:
    """Return the table of a folder of images, `metadata` of any kind, if it has one."""
    return next((folder / name for name in _METADATA if (folder / name).exists()), None)
