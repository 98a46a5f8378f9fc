"""Which slices there are in files of DICOM or NIfTI, and in which order; no pixel is read.

Only what orders and scales the slices is taken from a header. Patients and series are numbered, so
that nothing in a reading says who they are. Names of files are shown as they are: keep identifiers
out of those.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import InputError, Problem
from vision_transfer.ct.dicom import Header, is_dicom, read_header
from vision_transfer.ct.nifti import degrees_apart, is_nifti, volume_slices
from vision_transfer.ct.slices import LeftOutError, Slice

_SAME = 1e-2  # mm, between positions that are one
_GAP = 1.5  # times the distance beside it, from which on one between slices is another
_UNEVEN = 1.1  # times the smallest distance, from which on the largest is reported
_TILT = 1.0  # degrees, from which on it is reported


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
    """The series in a folder, and what is wrong with it.

    Attributes:
        series: The series, in parts without a gap.
        problems: Files that are left out or not as expected, each with the reason.
        incomplete: Why a series is not the whole of a scan, by its number: slices are missing, or
            are of several sizes.
    """

    series: list[Series]
    problems: list[Problem]
    incomplete: dict[int, str]


class _Scan(NamedTuple):
    """The slices of a scan by position, what stands for its patient, and why it is not whole."""

    patient: str
    slices: list[Slice]
    problem: str = ""


def is_scan(file: Path) -> bool:
    """Return whether a file is NIfTI by its name, or begins as DICOM does."""
    try:
        return is_nifti(file) or is_dicom(file)
    except OSError:  # may not be read
        return False


def find_series(source: str | Path) -> Found:
    """Find the series in a file of DICOM or NIfTI, or in a folder of such at any depth.

    Files are put together by what their headers say, wherever they lie. Acquisitions that a series
    holds side by side are kept apart. A file of NIfTI counts as a patient of its own; masks of
    labels are left out.

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
    root = path if path.is_dir() else path.parent
    problems: list[Problem] = []
    headers: list[Header] = []
    volumes: list[_Scan] = []
    for file in files_of(path):
        name = str(file.relative_to(root))
        try:
            if is_nifti(file):
                slices, tilt = volume_slices(file)
                volumes.append(_Scan(f"NIfTI {name}", slices))
                problems += _tilted(name, tilt)
            else:
                headers.append(read_header(file, name))
        except LeftOutError as error:
            problems.append(Problem(name, str(error)))
    found = [*_in_order(headers, problems), *volumes]
    if not found:
        first = f"; {problems[0]}" if problems else ""
        raise InputError(
            f"{path}: holds no slice of a CT scan that can be used{first}. Give a file of DICOM or "
            "NIfTI, or a folder of such."
        )
    names = dict.fromkeys(scan.patient for scan in found)
    patients = {name: number for number, name in enumerate(names)}
    series: list[Series] = []
    incomplete: dict[int, str] = {}
    for number, (patient, slices, problem) in enumerate(found):
        parts, missing = _without_gaps(slices, root, problems)
        series += [Series(patients[patient], number, part) for part in parts]
        if missing:
            problem = f"lacks {missing} slice{'s' if missing > 1 else ''} between those it has"
        if problem:
            incomplete[number] = problem
    return Found(series, problems, incomplete)


def _in_order(headers: Sequence[Header], problems: list[Problem]) -> Iterator[_Scan]:
    """Yield each scan's slices by position, with its patient; report those that fit in no scan."""
    shapes: defaultdict[tuple[str, str], set[tuple[int, int]]] = defaultdict(set)
    for header in headers:
        shapes[header.patient, header.series[0]].add(header.shape)
    scans = [scan for group in _groups(headers) for scan in _acquisitions(group, problems)]
    folders: defaultdict[Path, list[list[Header]]] = defaultdict(list)
    for scan in scans:
        folders[scan[0].file.parent].append(scan)
    for scans_here in folders.values():
        if len(scans_here) > 1:
            firsts = ", ".join(f"{len(scan)} from {scan[0].name} on" for scan in scans_here)
            where = str(Path(scans_here[0][0].name).parent)
            own = len({scan[0].series for scan in scans_here}) == len(scans_here)
            told = f"holds {len(scans_here)} {'series' if own else 'acquisitions'}, kept apart: "
            problems.append(Problem(where, told + firsts))
    for scan in scans:
        kept = _once_each(scan, problems)
        if len(kept) > 1:
            steps = [after.origin - before.origin for before, after in pairwise(kept)]
            tilt = np.median([degrees_apart(kept[0].normal, step) for step in steps])
            problems += _tilted(kept[0].name, float(tilt))
        uid = scan[0].series[0]
        sizes = sorted(shapes[scan[0].patient, uid]) if uid else []
        shown = " and ".join(f"{rows} x {columns}" for rows, columns in sizes)
        yield _Scan(
            kept[0].patient,
            [Slice(h.file, 0, _position(h, scan[0]), scan[0].spacing, h.shape) for h in kept],
            f"has slices of several sizes: {shown} pixels" if len(sizes) > 1 else "",
        )


def _groups(headers: Sequence[Header]) -> Iterator[list[Header]]:
    """Yield the slices that belong together by their UIDs, their pixels and orientation."""
    groups: defaultdict[tuple[object, ...], list[list[Header]]] = defaultdict(list)
    for header in headers:
        known = groups[header.patient, header.series]
        for group in known:
            if header.lies_like(group[0]):
                group.append(header)
                break
        else:
            known.append([header])
    for known in groups.values():
        yield from known


def _acquisitions(group: list[Header], problems: list[Problem]) -> list[list[Header]]:
    """Split a series into scans: acquisitions, unless they interleave."""
    if len(group) > 1:
        reason = "has no position, so that its place in the series is unknown"
        problems += [Problem(header.name, reason) for header in group if not header.placed]
        group = [header for header in group if header.placed]
    by_acquisition: defaultdict[tuple[str, ...], list[Header]] = defaultdict(list)
    for header in group:
        by_acquisition[header.acquisition].append(header)
    scans: list[list[Header]] = []
    places: list[list[float]] = []
    for _, block in sorted(by_acquisition.items()):
        own = [_position(header, group[0]) for header in block]
        for scan, others in zip(scans, places, strict=True):
            if not _side_by_side(own, others):
                scan += block
                others += own
                break
        else:
            scans.append(list(block))
            places.append(own)
    return scans


def _side_by_side(one: list[float], other: list[float]) -> bool:
    """Return whether slices of both share a position, or their ranges of positions overlap."""
    overlap = min(max(one), max(other)) - max(min(one), min(other))
    same = (np.abs(np.subtract.outer(one, other)) < _SAME).any()
    return bool(same) or (len(one) > 1 and len(other) > 1 and overlap > _SAME)


def _once_each(scan: list[Header], problems: list[Problem]) -> list[Header]:
    """Return the slices of a scan by position, without duplicates, which are reported."""
    kept: list[Header] = []
    seen: dict[str, str] = {}
    for header in sorted(scan, key=lambda h: (_position(h, scan[0]), h.name)):
        if header.identity and header.identity in seen:
            reason = f"is the same slice as {seen[header.identity]}"
        elif kept and _position(header, scan[0]) - _position(kept[-1], scan[0]) < _SAME:
            reason = f"lies at the same position as {kept[-1].name}"
        else:
            kept.append(header)
            seen[header.identity] = header.name
            continue
        problems.append(Problem(header.name, reason))
    return kept


def _position(header: Header, first: Header) -> float:
    """Return where a slice lies along the axis of its scan, in mm; the first gives the axis."""
    return float(first.normal @ header.origin) if header.placed else 0.0


def _tilted(name: str, degrees: float) -> list[Problem]:
    if degrees < _TILT:
        return []
    told = f"is of a scan that is sheared by {degrees:.1f} degrees, as of a tilted gantry: slices"
    return [Problem(name, f"{told} are as they were, stacks of them are oblique")]


def _without_gaps(
    slices: list[Slice], root: Path, problems: list[Problem]
) -> tuple[list[list[Slice]], int]:
    """Split a series where slices are missing or their distance changes; report both.

    Returns:
        The evenly spaced parts, and how many slices are missing in all.
    """
    distances = np.diff([part.position for part in slices]).tolist()
    names = [str(part.file.relative_to(root)) for part in slices]
    starts, missing = [0], 0
    for number, distance in enumerate(distances):
        beside = [*distances[max(0, number - 1) : number], *distances[number + 1 : number + 2]]
        usual = min(beside, default=distance)
        if distance <= _GAP * usual:
            continue
        told = f"is {distance:.1f} mm from the next slice, {names[number + 1]}, "
        if distance > _GAP * max(beside):
            count = round(distance / usual) - 1
            missing += count
            told += f"where {usual:.1f} mm are usual: {count} missing"
        else:
            told += f"and beside them it is {usual:.1f} mm: the distance of slices changes"
        problems.append(Problem(names[number], f"{told}; the series is parted there"))
        starts.append(number + 1)
    parts = []
    for start, end in pairwise([*starts, len(slices)]):
        inside = distances[start : end - 1]
        if inside and max(inside) > _UNEVEN * min(inside):
            told = f"begins slices that lie {min(inside):.1f} to {max(inside):.1f} mm apart"
            problems.append(Problem(names[start], f"{told}, which is not even"))
        parts.append(slices[start:end])
    return parts, missing
