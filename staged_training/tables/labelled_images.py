"""Tables of images: the names of the files, their labels, and their parts of the data."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.tables import reading as tables
from staged_training.tables.labels import LabelFormat, Labels, label_cells, read_labels
from staged_training.tables.parts import part_of

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # by preference


def rows_of_table(path: Path, written: LabelFormat, within: str = "") -> pd.DataFrame:
    """Read the rows of a table of labelled images.

    Args:
        path: The table.
        written: How its labels are written.
        within: What stands before the number of a row in messages.

    Returns:
        Columns `file_name`, `place` (what messages call it), `label` (as it is written) and, where
        there are such, `fold` and `split`.

    Raises:
        InputError: The table cannot be read, lacks a column, or a row has no file name.
    """
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


def labels_of(path: Path, table: pd.DataFrame, written: LabelFormat) -> Labels:
    """Return the labels of rows of images, see `rows_of_table`."""
    return read_labels(path, table["place"].tolist(), table["label"].tolist(), written, "image")
