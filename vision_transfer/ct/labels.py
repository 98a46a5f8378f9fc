"""Labels of CT slices, from a table."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from staged_training.errors import InputError
from staged_training.labels import tidy_labels
from staged_training.tables import check_columns, read_table, text_column

if TYPE_CHECKING:
    from datasets import Dataset


def read_labels(
    table: Path, dataset: "Dataset"
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Read which slices of a data set have which of two labels.

    Args:
        table: A table (.csv, .tsv, .jsonl, .parquet, .xlsx) with columns `file` (as in the data
            set), `label` and, for files of many slices, `index`.
        dataset: From `read_ct`.

    Returns:
        The rows of the data set, the number of the label of each, and the names of the labels.

    Raises:
        InputError: The table cannot be read, names what is not there, or has not two labels.
    """
    if not table.exists():
        raise InputError(f"{table}: no such file. Check the path of the table of labels.")
    cells = read_table(table, ("file", "label", "index"))
    check_columns(table, cells.column_names, ("file", "label"))
    files = text_column(cells, table, "file")
    labels = tidy_labels(table, (label or "" for label in text_column(cells, table, "label")))
    many = "index" in cells.column_names
    indices = text_column(cells, table, "index") if many else ["0"] * len(files)
    known = {
        (file, str(number)): row
        for row, (file, number) in enumerate(zip(dataset["file"], dataset["index"], strict=True))
    }
    rows = []
    for row, key in enumerate(zip(files, indices, strict=True), start=1):
        if key not in known:
            raise InputError(
                f"{table}: row {row} names {key[0]}, slice {key[1]}, which is not among the "
                "slices that could be read. Correct the path, or leave the row out."
            )
        rows.append(known[key])
    names = sorted(set(labels))
    if not all(map(str.strip, names)) or len(names) != 2:
        raise InputError(f"{table}: has the labels {names}; there must be two, and no empty cell.")
    if len(set(rows)) < len(rows):
        raise InputError(f"{table}: names a slice twice. Leave one of the rows out.")
    numbers = [names.index(label) for label in labels]
    return np.asarray(rows, np.int64), np.asarray(numbers, np.int64), names
