"""Labels of CT slices, from a table."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from staged_training.errors import InputError
from staged_training.tables import read_table

if TYPE_CHECKING:
    from datasets import Dataset


def read_labels(
    table: Path, dataset: "Dataset"
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Read which slices of a data set have which of two labels.

    Args:
        table: A table (.csv, .tsv, .jsonl, .parquet) with columns `file` (as in the data set),
            `label` and, for files of many slices, `index`.
        dataset: From `read_ct`.

    Returns:
        The rows of the data set, the number of the label of each, and the names of the labels.

    Raises:
        InputError: The table cannot be read, names what is not there, or has not two labels.
    """
    if not table.exists():
        raise InputError(f"{table}: no such file. Check the path of the table of labels.")
    cells = pd.DataFrame(read_table(table, ("file", "label", "index")).to_pydict())
    missing = {"file", "label"} - set(cells.columns)
    if missing:
        raise InputError(
            f"{table}: no column {', '.join(sorted(missing))}. Its columns are: "
            f"{', '.join(cells.columns)}."
        )
    index = cells["index"] if "index" in cells.columns else pd.Series("0", cells.index)
    known = {
        (file, str(number)): row
        for row, (file, number) in enumerate(zip(dataset["file"], dataset["index"], strict=True))
    }
    wanted = list(zip(cells["file"], index, strict=True))
    rows = []
    for line, key in enumerate(wanted, start=2):
        if key not in known:
            raise InputError(
                f"{table}: line {line} names {key[0]}, slice {key[1]}, which is not among the "
                "slices that could be read. Correct the path, or leave the line out."
            )
        rows.append(known[key])
    labels = sorted({label or "" for label in cells["label"]})
    if not all(map(str.strip, labels)) or len(labels) != 2:
        raise InputError(f"{table}: has the labels {labels}; there must be two, and no empty cell.")
    if len(set(rows)) < len(rows):
        raise InputError(f"{table}: names a slice twice. Leave one of the lines out.")
    numbers = cells["label"].map(labels.index).to_numpy(np.int64)
    return np.asarray(rows, np.int64), numbers, labels
