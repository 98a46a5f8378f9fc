"""Which slices there are in files of DICOM or NIfTI, and in which order; no pixel is read.

Only what orders and scales the slices is taken from a header. Patients and series are numbered, so
that nothing in a reading says who they are. Names of files are told as they are: keep identifiers
out of those.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from staged_training.errors import InputError, Problem

NIFTI = (".nii", ".nii.gz")

_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "ImageType",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
]
_SAME = 1e-2  # mm, between positions that are one
_UNEVEN = 1.5  # of the usual distance between slices, from which on one is missing


@dataclass(frozen=True)
class Slice:
    """One slice of a scan.

    Attributes:
        file: Where it is.
        index: Its number in a file of many.
        position: Along the axis of the scan, in mm.
        spacing: Height and width of a pixel, in mm.
        shape: Rows and columns.

    Examples:
        >>> first, second, *others = find_series("scans").series[0].slices
        >>> second.file.name, round(second.position - first.position, 2), second.shape
        ('slice-4.dcm', 2.5, (128, 128))
    """

    file: Path
    index: int
    position: float
    spacing: tuple[float, float]
    shape: tuple[int, int]


@dataclass(frozen=True)
class Series:
    """The slices of one scan without a gap, by position.

    Where a slice is missing a scan ends and another begins, so that none is taken for the neighbour
    of one that it is not next to.

    Attributes:
        patient: Number of the patient.
        number: Number of the series, which the parts of a scan with gaps share.
        slices: The slices.

    Examples:
        >>> (series,) = find_series("scans").series
        >>> series.patient, series.number, len(series.slices)
        (0, 0, 5)
    """

    patient: int
    number: int
    slices: list[Slice]


class Found(NamedTuple):
    """The series in a folder, and what is wrong with it."""

    series: list[Series]
    problems: list[Problem]


@dataclass(frozen=True)
class _Header:
    """A slice of DICOM, and what it belongs to."""

    slice: Slice
    name: str
    patient: str
    series: tuple[Any, ...]
    identity: str
    placed: bool


class _LeftOutError(ValueError):
    """A file that holds no slice; says why."""


def find_series(source: str | Path) -> Found:
    """Find the series in a file of DICOM or NIfTI, or in a folder of such at any depth.

    Files are put together by what their headers say, wherever they lie. A file of NIfTI counts as a
    patient of its own.

    Args:
        source: The file or the folder.

    Returns:
        The series, and the files that are left out or not as expected, each with the reason.

    Raises:
        InputError: There is no such file or folder, or no slice of a CT scan in it.

    Examples:
        >>> from pathlib import Path
        >>> Path("scans/slice-3.dcm").unlink()  # the one in the middle
        >>> found = find_series("scans")
        >>> [len(series.slices) for series in found.series], found.problems[0].file
        ([2, 2], 'slice-4.dcm')
        >>> found.problems[0].reason
        'is 5.0 mm from the next slice, slice-2.dcm, where 2.5 mm are usual: 1 missing; ...'
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Check the path.")
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    problems: list[Problem] = []
    headers: list[_Header] = []
    volumes: list[tuple[str, list[Slice]]] = []  # each with what stands for its patient
    for file in files:
        name = str(file.relative_to(root))
        try:
            if file.name.endswith(NIFTI):
                volumes.append((f"NIfTI {name}", _nifti_slices(file)))
            else:
                headers.append(_dicom_header(file, name))
        except _LeftOutError as error:
            problems.append(Problem(name, str(error)))
    found = [*_in_order(headers, problems), *volumes]
    if not found:
        first = f"; {problems[0]}" if problems else ""
        raise InputError(
            f"{path}: holds no slice of a CT scan that can be used{first}. Give a file of DICOM or "
            "NIfTI, or a folder of such."
        )
    patients = {name: number for number, name in enumerate(dict.fromkeys(f[0] for f in found))}
    numbered = enumerate(found)
    series = [
        Series(patients[patient], number, part)
        for number, (patient, slices) in numbered
        for part in _without_gaps(slices, root, problems)
    ]
    return Found(series, problems)


def _dicom_header(file: Path, name: str) -> _Header:
    """Read what a slice is and where it belongs.

    Raises:
        _LeftOutError: It is none of CT, or lacks what makes Hounsfield units of it.
    """
    import pydicom
    from pydicom.config import disable_value_validation

    try:
        with disable_value_validation():  # its warnings quote what the header says
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
            return _checked_header(header, file, name)
    except _LeftOutError:
        raise
    except pydicom.errors.InvalidDicomError as error:
        raise _LeftOutError("is no DICOM file") from error
    except Exception as error:  # what a parser meets in a damaged file
        raise _LeftOutError(f"is damaged ({type(error).__name__})") from error


def _checked_header(header: Any, file: Path, name: str) -> _Header:
    if "Rows" not in header or "Columns" not in header:
        raise _LeftOutError("is an object without an image")
    if header.get("SamplesPerPixel", 1) != 1:
        raise _LeftOutError("is a picture in colours, a secondary capture")
    if header.get("Modality") != "CT":
        raise _LeftOutError(f"is no CT, but {header.get('Modality') or 'of no modality'}")
    if "LOCALIZER" in (header.get("ImageType") or ()):
        raise _LeftOutError("is a localizer, which looks through the body and is no slice of it")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise _LeftOutError("has several frames in one file, which is not read")
    if header.get("RescaleSlope") is None or header.get("RescaleIntercept") is None:
        raise _LeftOutError("has no rescale slope and intercept, so that its units are unknown")
    if not header.get("PixelSpacing"):
        raise _LeftOutError("has no pixel spacing")
    shape = int(header.Rows), int(header.Columns)
    height, width = (float(value) for value in header.PixelSpacing)
    orientation = tuple(round(float(v), 3) for v in header.get("ImageOrientationPatient") or ())
    origin = header.get("ImagePositionPatient")
    placed = bool(origin) and len(orientation) == 6
    position = 0.0
    if placed:
        normal = np.cross(orientation[:3], orientation[3:])
        position = float(np.dot(normal, np.asarray(origin, dtype=float)))
    uid = str(header.get("SeriesInstanceUID", ""))
    return _Header(
        slice=Slice(file, 0, position, (height, width), shape),
        name=name,
        patient=str(header.get("PatientID") or uid),
        series=(uid, orientation, shape, (height, width)),
        identity=str(header.get("SOPInstanceUID", "")),
        placed=placed,
    )


def _in_order(
    headers: Sequence[_Header], problems: list[Problem]
) -> Iterator[tuple[str, list[Slice]]]:
    """The slices of each series by position, with its patient; tells what has no place in one."""
    groups: defaultdict[tuple[Any, ...], list[_Header]] = defaultdict(list)
    for header in headers:
        groups[(header.patient, *header.series)].append(header)
    folders: defaultdict[Path, list[list[_Header]]] = defaultdict(list)
    for group in groups.values():
        folders[group[0].slice.file.parent].append(group)
    for groups_here in folders.values():
        if len(groups_here) > 1:
            firsts = ", ".join(f"{len(group)} from {group[0].name} on" for group in groups_here)
            where = Path(groups_here[0][0].name).parent
            problems.append(
                Problem(str(where), f"holds {len(groups_here)} series, kept apart: {firsts}")
            )
    for group in groups.values():
        kept: list[_Header] = []
        seen: dict[str, str] = {}
        for header in sorted(group, key=lambda h: (h.slice.position, h.name)):
            if header.identity and header.identity in seen:
                reason = f"is the same slice as {seen[header.identity]}"
            elif not header.placed and len(group) > 1:
                reason = "has no position, so that its place in the series is unknown"
            elif kept and abs(header.slice.position - kept[-1].slice.position) < _SAME:
                reason = f"lies at the same position as {kept[-1].name}"
            else:
                kept.append(header)
                seen[header.identity] = header.name
                continue
            problems.append(Problem(header.name, reason))
        if kept:
            yield kept[0].patient, [header.slice for header in kept]


def _without_gaps(
    slices: list[Slice], root: Path, problems: list[Problem]
) -> Iterator[list[Slice]]:
    """The parts of a series between missing slices, which are told."""
    distances = np.diff([part.position for part in slices])
    usual = float(np.median(distances)) if len(distances) else 0.0
    start = 0
    for end, distance in enumerate(distances, start=1):
        if distance > _UNEVEN * usual:
            before, after = (str(slices[i].file.relative_to(root)) for i in (end - 1, end))
            missing = round(distance / usual) - 1
            problems.append(
                Problem(
                    before,
                    f"is {distance:.1f} mm from the next slice, {after}, where {usual:.1f} mm are "
                    f"usual: {missing} missing; the series is parted there",
                )
            )
            yield slices[start:end]
            start = end
    yield slices[start:]


def _nifti_slices(file: Path) -> list[Slice]:
    """The slices of a volume from feet to head."""
    import nibabel

    try:
        image = cast(Any, nibabel.load(file))
        if len(image.shape) != 3:
            raise _LeftOutError(f"is no volume: it has {len(image.shape)} dimensions, not 3")
        axes = anatomical_axes(image)
        sizes = image.header.get_zooms()
    except _LeftOutError:
        raise
    except Exception as error:  # what a parser meets in a damaged file
        raise _LeftOutError(f"is no NIfTI file, or damaged ({type(error).__name__})") from error
    width, height, step = (float(sizes[axis]) for axis in axes)
    columns, rows, depth = (image.shape[axis] for axis in axes)
    return [Slice(file, i, i * step, (height, width), (rows, columns)) for i in range(depth)]


def anatomical_axes(image: Any) -> list[int]:
    """The axes of a volume of nibabel that run left or right, front or back, and up or down."""
    import nibabel

    meanings = nibabel.io_orientation(image.affine)[:, 0].tolist()
    return [meanings.index(meaning) for meaning in range(3)]
