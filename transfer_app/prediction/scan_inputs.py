"""Scans of CT to predict of: slice by slice, or a series as one input."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from staged_training.runtime.errors import Problem
from transfer_app.prediction.inputs import Input

if TYPE_CHECKING:
    from torch import Tensor

    from vision_transfer.ct.dataset import CtReading, Scan


def scans(source: Path, ct: Mapping[str, Any] | None) -> tuple[list[Input], list[Problem]]:
    """Return the slices of CT of a file or a folder, decoded when asked for, and what is wrong.

    A file of which no slice can be read is an input with a problem.

    Args:
        source: The file or the folder.
        ct: How a model of CT has its slices read; None for another model, which is given photos.

    Raises:
        InputError: There is no slice that can be used.
    """
    from vision_transfer.ct.nifti import is_nifti

    root, reading, slices = _read(source, ct or _AS_SCANNED)
    rows, problems = reading.dataset, reading.problems
    inputs = []
    for row, (file, index) in enumerate(zip(rows["file"], rows["index"], strict=True)):
        name = f"{root / file}#{index}" if is_nifti(Path(file)) else str(root / file)
        inputs.append(Input(name, partial(_slice, slices, row, for_ct=ct is not None)))
    used = {*rows["file"]}
    unread = {file: reason for file, reason in problems if file not in used}
    for file, reason in unread.items():
        if (root / file).is_file():  # and no folder that holds several series
            inputs.append(Input(str(root / file), None, problem=reason))
    if not ct:
        told = "is CT, and the model does not say how it is read: as scanned, soft tissue"
        problems = [Problem(str(source), told), *problems]
    return inputs, problems


def series(
    folder: Path, ct: Mapping[str, Any], patients: dict[str, int]
) -> tuple[list[Input], list[Problem]]:
    """Return the series of CT in a folder, each an input of all its slices, and what is wrong.

    Slices are read as in training, by `read_ct`. A series that lacks slices is an input with a
    problem: what it lacks may be what matters. So are the files that are left out, those of a
    series together.

    Of the headers an input has the UID of its series, as a table of labels names it. Patients are
    numbers.

    Args:
        folder: The folder.
        ct: How a model of CT has its slices read.
        patients: The number of each patient so far, to which others are added.

    Raises:
        InputError: There is no slice that can be used.
    """
    root, reading, slices = _read(folder, ct)
    rows_of: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(reading.dataset["series"]):
        rows_of[number].append(row)
    folders = Counter(one for scan in reading.scans for one in _folders(root, scan))
    inputs = []
    for scan in reading.scans:
        rows, identity = rows_of[scan.series], _identity(root / scan.files[0])
        facts = {
            "patient": patients.setdefault(identity.patient, len(patients)),
            "series": identity.series or None,
            "slices": len(rows),
        }
        (parent, *others), name = _folders(root, scan), str(root / scan.files[0])
        if len(scan.files) > 1 and not others and folders[parent] == 1:
            name = str(parent)
        content = [partial(_slice, slices, row, for_ct=True) for row in rows]
        shown = f"{len(rows)} slice{'s' if len(rows) > 1 else ''}"
        inputs.append(Input(name, content, shown, scan.problem or None, facts))
    return [*inputs, *_left_out(root, reading)], reading.problems


_AS_SCANNED = {"size": None, "spacing": None, "window": "soft tissue"}


def _read(source: Path, ct: Mapping[str, Any]) -> tuple[Path, "CtReading", "Sequence[Tensor]"]:
    """Return the folder that names are relative to, what was read, and the slices of it."""
    from vision_transfer.ct import WindowedSlices, read_ct

    reading = read_ct(source, ct["size"], ct["spacing"])
    window = ct["window"] if isinstance(ct["window"], str) else tuple(ct["window"])
    slices = WindowedSlices(reading.dataset.with_format("numpy")["hounsfield"], window)
    return source if source.is_dir() else source.parent, reading, slices


def _slice(slices: "Sequence[Tensor]", row: int, *, for_ct: bool) -> Any:
    """Return a slice for a model of CT, `float32 [1, height, width]` from 0 to 1, or as a photo."""
    from torchvision.transforms.functional import to_pil_image

    pixels = (slices[row] + 1) / 2
    return pixels if for_ct else to_pil_image(pixels).convert("RGB")


class _Identity(NamedTuple):
    """What tells patients and series apart; that of patients is kept in memory alone."""

    patient: str
    series: str


def _identity(file: Path) -> _Identity:
    from vision_transfer.ct.labels import known_as
    from vision_transfer.ct.nifti import is_nifti

    series = known_as(file, "series")
    # A volume is a patient of its own.
    patient = str(file) if is_nifti(file) else known_as(file, "patient")
    return _Identity(patient or series, series)


def _folders(root: Path, scan: "Scan") -> list[Path]:
    return list(dict.fromkeys((root / file).parent for file in scan.files))


def _left_out(root: Path, reading: "CtReading") -> Iterator[Input]:
    """Yield files of which no slice is used, those of a series together."""
    used = {file for scan in reading.scans for file in scan.files}
    together: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in reading.problems:
        file = root / problem.file
        if problem.file not in used and file.is_file():
            together[_uid(file) or f"file {file}"].append(problem)
    for key, (first, *others) in together.items():
        files = "file" if len(others) == 1 else "files"
        more = f"; {len(others)} more {files} of its series left out" if others else ""
        uid = None if key.startswith("file ") else key
        yield Input(str(root / first.file), None, "", first.reason + more, {"series": uid})


def _uid(file: Path) -> str:
    """Return the UID of the series of a file of DICOM that is left out, if it says so."""
    from vision_transfer.ct.dicom import is_dicom

    try:
        return _identity(file).series if is_dicom(file) else ""
    except Exception:  # what a parser meets in a damaged file
        return ""
