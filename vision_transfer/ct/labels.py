"""Labels of CT slices, from a table of slices, of files and folders, of series or of patients."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.splits import Split, fold_split, stratified_folds
from staged_training.runtime.errors import InputError
from staged_training.runtime.seal import digest
from staged_training.tables.labels import tidy_labels
from staged_training.tables.reading import check_columns, read_table, text_column
from vision_transfer.ct.dicom import header_value
from vision_transfer.ct.nifti import is_nifti, without_ending

if TYPE_CHECKING:
    from datasets import Dataset

_TAGS = {"series": "SeriesInstanceUID", "patient": "PatientID"}
_FOLDS = 5


class SliceLabels(NamedTuple):
    """Labels of slices of a data set.

    Attributes:
        rows: The rows of the data set that have a label.
        numbers: The number of the label of each.
        names: The names of the labels.
        by: The column of the table that names slices: `file`, `series` or `patient`.
    """

    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]
    names: list[str]
    by: str


def read_labels(table: Path, dataset: "Dataset", source: Path) -> SliceLabels:
    """Read the labels of slices of a data set.

    Args:
        table: A table (.csv, .tsv, .jsonl, .parquet, .xlsx) with a column `label` and one of `file`
            (a file as in the data set, or a folder: all slices in it have the label), `series` (the
            series' UID) and `patient` (the patient's ID; both as in the header of DICOM, or the
            name of a file of NIfTI). With `file`, a column `index` may name a slice of a volume.
        dataset: From `read_ct`.
        source: What it was read from.

    Raises:
        InputError: The table cannot be read, names what is not there, gives a slice two labels, or
            has not two labels.
    """
    if not table.exists():
        raise InputError(f"{table}: no such file. Check the path of the table of labels.")
    cells = read_table(table, ("file", "label", "index", *_TAGS))
    check_columns(table, cells.column_names, ("label",))
    labels = tidy_labels(table, (label or "" for label in text_column(cells, table, "label")))
    by = next((column for column in ("file", *_TAGS) if column in cells.column_names), None)
    if by is None:
        raise InputError(
            f"{table}: has no column 'file', 'series' or 'patient', by which slices are known. Its "
            f"columns are: {', '.join(cells.column_names)}."
        )
    known = _by_name(dataset["file"]) if by == "file" else _by_header(dataset, source, by)
    indices: Sequence[str | None] = [None] * len(labels)
    if by == "file" and "index" in cells.column_names:
        indices = text_column(cells, table, "index")
    label_of: dict[int, str] = {}
    for number, (name, index, label) in enumerate(
        zip(text_column(cells, table, by), indices, labels, strict=True), start=1
    ):
        for row in _named(known, dataset, (by, name or "", index), f"{table}: row {number}"):
            if label_of.setdefault(row, label) != label:
                raise InputError(
                    f"{table}: row {number} names a slice twice, with another label than above. "
                    "Leave one of the rows out."
                )
    names = sorted(set(labels))
    if not all(names) or len(names) < 2:
        raise InputError(
            f"{table}: has the labels {names}; there must be two or more, and no empty cell."
        )
    numbers = [names.index(label) for label in label_of.values()]
    return SliceLabels(np.array(list(label_of), np.int64), np.array(numbers, np.int64), names, by)


def split_by_patient(
    labels: NDArray[np.int64], patients: NDArray[np.int64], names: Sequence[str]
) -> Split:
    """Split slices by patient: three folds to train on, one for each other part.

    Raises:
        InputError: A label has slices of too few patients to be in each part.
    """
    for number, name in enumerate(names):
        if (count := len(set(patients[labels == number].tolist()))) < _FOLDS:
            raise InputError(
                f"Label '{name}' has slices of {count} patients, and the split is by patient. Give "
                f"scans of {_FOLDS} patients or more for each label."
            )
    return fold_split(stratified_folds(labels.tolist(), patients, _FOLDS), 0)


def _by_name(files: Sequence[str]) -> Mapping[str, list[int]]:
    """Map each file name, with its ending and without, and each folder to its rows."""
    known: defaultdict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        path = PurePosixPath(Path(file).as_posix())
        names = {str(path), without_ending(str(path)), *map(str, path.parents)} - {"."}
        for name in names:
            known[name].append(row)
    return known


def _by_header(dataset: "Dataset", source: Path, column: str) -> Mapping[str, list[int]]:
    """Map the name of each series or patient, from the header of one of its files, to its rows."""
    root = source if source.is_dir() else source.parent
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(dataset[column]):
        rows_of[number].append(row)
    known: defaultdict[str, list[int]] = defaultdict(list)
    for rows in rows_of.values():
        known[known_as(root / dataset[rows[0]]["file"], column)] += rows
    return known


def patients_of(dataset: "Dataset", source: Path) -> dict[int, str]:
    """Return what tells each patient of a data set from those of others, by number.

    That is the ID, the UID of a series without one, or, of NIfTI, a digest of the file. It is for
    comparisons in memory, and not to be shown.

    Args:
        dataset: From `read_ct`.
        source: What it was read from.
    """
    root = source if source.is_dir() else source.parent
    numbered = dict(zip(dataset["patient"], dataset["file"], strict=True))
    return {number: _patient(root / file) for number, file in numbered.items()}


def _patient(file: Path) -> str:
    return digest(file) if is_nifti(file) else known_as(file, "patient") or known_as(file, "series")


def known_as(file: Path, column: str) -> str:
    """Return what a table of labels calls the `series` or the `patient` of a file of slices."""
    if is_nifti(file):
        return without_ending(file.name)
    return header_value(file, _TAGS[column])


def _named(
    known: Mapping[str, list[int]],
    dataset: "Dataset",
    named: tuple[str, str, str | None],
    where: str,
) -> list[int]:
    """Return the rows that a row of the table names, at least one."""
    by, name, index = named
    if by == "file":
        name = str(PurePosixPath(name.strip().replace("\\", "/")))
    rows = known.get(name.strip(), [])
    if index:
        try:
            wanted = int(float(index))  # a column with empty cells may be written as 6.0
        except ValueError as error:
            raise InputError(f"{where} has the index {index!r}; give a whole number.") from error
        rows = [row for row in rows if dataset[row]["index"] == wanted]
        name = f"{name}, slice {wanted}"
    if not rows:
        # The names of patients are not shown.
        told = f"names {name}, which" if by == "file" else f"names a {by} that"
        raise InputError(
            f"{where} {told} is not among the slices that could be read. Correct it, or leave the "
            "row out."
        )
    return rows
