"""Workbooks of Excel: the first sheet that holds anything, as columns of Python's values."""

import logging
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.unpacking import MOST_GROWTH, most_unpacked

logger = logging.getLogger(__name__)

_NO_WORKBOOK = (
    "Save it as .xlsx (Excel Workbook), without a password, or export the sheet as CSV UTF-8."
)


def read_sheet(source: Path) -> tuple[list[str], list[list[Any]]]:
    """Read the first sheet with cells, without empty rows; warn of the other sheets.

    Formulas are read as the values that the program which saved the file has computed.

    Returns:
        The names of the columns, from the first row that is not empty, and the cells of each.

    Raises:
        InputError: openpyxl is not installed, or the file is no such workbook.
    """
    if find_spec("openpyxl") is None:
        raise InputError(
            f"{source}: reading .xlsx needs openpyxl. Install it with "
            "`pip install 'nlp-transfer[excel]'`, or export the sheet as CSV UTF-8."
        )
    import openpyxl

    try:
        with zipfile.ZipFile(source) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most_unpacked(source):
            raise InputError(f"{source}: unpacks to more than {MOST_GROWTH} times its size.")
        workbook = openpyxl.load_workbook(source, read_only=True, data_only=True)
        sheets = {sheet.title: list(_rows(sheet)) for sheet in workbook.worksheets}
        workbook.close()
    except InputError:
        raise
    except Exception as error:  # openpyxl raises almost anything on damage
        raise InputError(
            f"{source}: cannot be read as XLSX ({first_line(error)}). {_NO_WORKBOOK}"
        ) from error
    filled = {title: rows for title, rows in sheets.items() if rows}
    if not filled:
        raise InputError(f"{source}: has no rows.")
    (title, rows), *others = filled.items()
    if others:
        names = ", ".join(f"'{name}'" for name, _ in others)
        logger.warning("%s: sheet '%s' was read. Left out: %s.", source, title, names)
    width = max(map(len, rows))
    columns = [[row[i] if i < len(row) else None for row in rows] for i in range(width)]
    return ["" if cells[0] is None else str(cells[0]) for cells in columns], [
        cells[1:] for cells in columns
    ]


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a sheet that are not empty."""
    from openpyxl.utils.escape import unescape

    sheet.reset_dimensions()  # some programs write wrong ones
    for row in sheet.iter_rows(values_only=True):
        if any(cell is not None for cell in row):
            yield tuple(unescape(cell) if isinstance(cell, str) else cell for cell in row)
