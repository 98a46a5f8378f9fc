"""Two readers of the same examples: how far they agree, and on which they do not."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np
import pyarrow as pa

from nlp_transfer.emails.containers import shown_name
from staged_training.labels.agreement import agreement
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path
from staged_training.runtime.printable import one_line
from staged_training.tables.labelled_images import table_in
from staged_training.tables.labelled_texts import joined_texts
from staged_training.tables.labels import tidy_labels
from staged_training.tables.reading import check_columns, is_table, read_table, text_column
from staged_training.tables.text_columns import choose_text_columns
from transfer_app.prediction.output import write_beside

_SHOWN = 10


def compare_readers(
    data: str, columns: Sequence[str], text_columns: Sequence[str] | None, output: Path | None
) -> None:
    """Print how far two readers agree, and the first examples on which they differ.

    Args:
        data: A table, or a folder of images with one.
        columns: The columns of the two readers' labels.
        text_columns: Columns to read as text, see `choose_text_columns`; of images the name of the
            file says which they are.
        output: The file to write all rows to, those first on which the readers differ.

    Raises:
        InputError: There is no such table or column, or no two labels to compare.
    """
    path = existing_path(data)
    file = table_in(path) if path.is_dir() else path
    if file is None or not is_table(file):
        raise InputError(f"{path}: holds no table. The labels of two readers are columns of one.")
    if columns[0] == columns[1]:
        raise InputError(
            "`readers` names one column twice. Name those of two readers.", ["readers"]
        )
    table = read_table(file, (), typed=False)
    check_columns(file, table.column_names, dict.fromkeys(columns, "readers"))
    said = [[cell or "" for cell in text_column(table, file, name)] for name in columns]
    first, second = (tidy_labels(file, cells) for cells in said)
    both = [row for row, pair in enumerate(zip(first, second, strict=True)) if all(pair)]
    if len({first[row] for row in both} | {second[row] for row in both}) < 2:
        raise InputError(
            f"{file}: no two labels were given by {' and '.join(map(repr, columns))} to the "
            f"{len(both):,} rows that both labelled. Name other columns by `readers`.",
            ["readers"],
        )
    print(agreement([first[row] for row in both], [second[row] for row in both]))
    if left := len(table) - len(both):
        print(f"\n{left:,} rows that not both have labelled are left out.")
    differ = [row for row in both if first[row] != second[row]]
    texts = _texts(file, table, text_columns)
    print(f"\nThey differ on {len(differ):,}" + (", such as:" if differ else "."))
    for number, row in enumerate(differ[:_SHOWN], start=1):
        print(one_line(f"{number:2}. row {row + 1}: {first[row]}, then {second[row]}"))
        print(one_line(f"    {shorten(texts[row][:1000], 120, placeholder='…')}"))
    if output:
        rows = np.argsort([row not in set(differ) for row in range(len(table))], kind="stable")
        found = {
            "input": [f"{shown_name(file.name)}#{row + 1}" for row in rows],
            "differ": [row in set(differ) for row in rows],
        }
        write_beside(table.take(rows), pa.table(found), output)


def _texts(file: Path, table: pa.Table, columns: Sequence[str] | None) -> list[str]:
    """Return what people see of each row: its text, or the name of its image."""
    if "file_name" in table.column_names and columns is None:
        return [str(name) for name in table["file_name"].to_pylist()]
    return joined_texts(table, file, choose_text_columns(file, table.column_names, columns))
