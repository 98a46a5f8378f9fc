"""The slices of CT scans as a `datasets.Dataset` of Hounsfield units."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from staged_training.runtime.errors import InputError, Problem
from staged_training.runtime.files import state_of
from vision_transfer.ct.dicom import pixels_of_dicom
from vision_transfer.ct.nifti import is_nifti, pixels_of_nifti
from vision_transfer.ct.series import Found, Series, find_series
from vision_transfer.ct.slices import AIR, BrokenSliceError, Slice

if TYPE_CHECKING:
    from datasets import Dataset

_LARGEST = np.iinfo(np.int16).max
_MOST_PIXELS = 8192  # along a side
_LEAST = 0.01  # mm
_BATCH = 16  # rows that wait to be written


class Scan(NamedTuple):
    """A scan as a whole, of which a data set has the slices.

    Attributes:
        series: Its number in the data set.
        files: The files of its slices, by position; also of those that cannot be decoded.
        problem: Why the data set does not have all of it; empty if it does.
    """

    series: int
    files: list[str]
    problem: str


class CtReading(NamedTuple):
    """What was read, and all that was left out or not as expected.

    Attributes:
        dataset: A row for each slice, see `read_ct`.
        problems: Files, each with the reason; empty where all is as expected.
        scans: The scans, by number.

    Examples:
        >>> print(read_ct("scans").summary())
        5 slices of 1 series of 1 patients
    """

    dataset: "Dataset"
    problems: list[Problem]
    scans: list[Scan]

    def summary(self) -> str:
        """Return a line on what was read, and one on each problem."""
        rows = len(self.dataset)
        patients, series = (len(set(self.dataset[name])) for name in ("patient", "series"))
        read = f"{rows:,} slices of {series:,} series of {patients:,} patients"
        return "\n".join([read, *map(str, self.problems)])


def extent(dataset: "Dataset") -> str:
    """Describe how many slices, scans and patients a data set of `read_ct` has."""
    patients, scans = (len(set(dataset[name])) for name in ("patient", "series"))
    return f"{len(dataset):,} slices of {scans:,} scans of {patients:,} patients"


@dataclass(frozen=True)
class _Layout:
    """How slices become the arrays of a data set; see `read_ct`."""

    shape: tuple[int, int]
    spacing: float | None
    step: float | None
    neighbours: int


def read_ct(
    source: str | Path,
    size: int | None = None,
    spacing: float | None = None,
    step: float | None = None,
    neighbours: int = 0,
) -> CtReading:
    """Read CT scans slice by slice; memory does not grow with their number.

    Args:
        source: A file of DICOM or NIfTI, or a folder of such at any depth.
        size: Height and width in pixels that all slices are cut or, with air, filled up to.
        spacing: Height and width in mm that the pixels are resampled to; by default as scanned.
        step: Distance in mm of the slices along the scan, between which they are interpolated; by
            default as scanned. No slice is made up where one is missing.
        neighbours: Slices from each side that are stacked with each one (2.5-D), in order. Those at
            the ends of a series, which lack some, are not rows of their own.

    Returns:
        A data set with columns `hounsfield` (`int16 [1 + 2 neighbours, height, width]`), `file` and
        `index` (of the slice, in a file of many), `position` (mm), and `patient` and `series`,
        which are numbers. It has nothing else of the headers.

    Raises:
        InputError: There is no such file or folder, no slice in it, an argument is out of range,
            or slices of different shapes are not brought to one.

    Examples:
        >>> scans = read_ct("scans", size=96, neighbours=1).dataset.with_format("numpy")
        >>> scans["hounsfield"][:].shape  # three of five slices have two neighbours
        (3, 3, 96, 96)
        >>> np.diff(scans["position"][:])
        array([2.5, 2.5], dtype=float32)
    """
    check_layout(size, spacing, step)
    if neighbours < 0:
        raise InputError(f"neighbours is {neighbours}; give 0 or more.")
    found = find_series(source)
    layout = _Layout(_shape(found, size, spacing), spacing, step, neighbours)
    return _written(found, Path(source), layout)


def check_layout(size: object, spacing: object, step: object = None) -> None:
    """Refuse invalid layout arguments of `read_ct`, or sizes that would exhaust memory.

    Raises:
        InputError: One of them is.
    """
    if size is not None and not (isinstance(size, int | np.integer) and 0 < size <= _MOST_PIXELS):
        raise InputError(
            f"size is {size!r}; give a whole number from 1 to {_MOST_PIXELS}, or leave it out."
        )
    for name, value in {"spacing": spacing, "step": step}.items():
        is_length = isinstance(value, int | float | np.number) and _LEAST <= value < float("inf")
        if value is not None and not is_length:
            raise InputError(f"{name} is {value!r}; give {_LEAST} mm or more, or leave it out.")


def hounsfield(part: Slice) -> NDArray[np.int16]:
    """Decode one slice: Hounsfield units, `int16 [rows, columns]`, no less than `AIR`.

    Raises:
        BrokenSliceError: It cannot be decoded, or some of its pixels are no numbers.
    """
    try:
        values = pixels_of_nifti(part) if is_nifti(part.file) else pixels_of_dicom(part.file)
    except BrokenSliceError:
        raise
    except Exception as error:  # what decoders raise on damage
        raise BrokenSliceError(f"cannot be decoded ({type(error).__name__})") from error
    if values.shape != part.shape:
        raise BrokenSliceError(f"has {values.shape} pixels, and not {part.shape} as it says")
    if (unsigned := values > _LARGEST).any():
        # No tissue or metal is as dense: these are negative numbers whose sign was not written.
        values = np.where(unsigned, values.astype(np.float64) - 2**16, values)
    return values.clip(AIR, _LARGEST).astype(np.int16, copy=False)


def _shape(found: Found, size: int | None, spacing: float | None) -> tuple[int, int]:
    """Return height and width of all rows."""
    shapes: dict[tuple[int, int], Slice] = {}
    for series in found.series:
        for part in series.slices:
            shapes.setdefault(_resampled_shape(part, spacing), part)
    for shape, part in shapes.items():
        if spacing and max(shape) > _MOST_PIXELS:
            raise InputError(
                f"{part.file.name} would have {shape[0]} x {shape[1]} pixels, {spacing} mm apart. "
                "Give a larger spacing."
            )
    if size:
        return size, size
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise InputError(
            f"{first.file.name} has {one[0]} x {one[1]} pixels and {second.file.name} "
            f"{other[0]} x {other[1]}. Give a size that all are cut to."
        )
    return next(iter(shapes))


def _resampled_shape(part: Slice, spacing: float | None) -> tuple[int, int]:
    if spacing is None:
        return part.shape
    height, width = (
        max(1, round(count * mm / spacing))
        for count, mm in zip(part.shape, part.spacing, strict=True)
    )
    return height, width


def _written(found: Found, source: Path, layout: _Layout) -> CtReading:
    """Write the rows to a file of Arrow, so that only those in use are in memory."""
    from datasets import Array3D, Dataset, Features, Value

    count = 1 + 2 * layout.neighbours
    features = Features(
        {
            "hounsfield": Array3D(shape=(count, *layout.shape), dtype="int16"),
            "file": Value("string"),
            "index": Value("int32"),
            "position": Value("float32"),
            "patient": Value("int32"),
            "series": Value("int32"),
            "problem": Value("string"),
        }
    )
    root = source if source.is_dir() else source.parent
    # Files that changed are read again, and not taken from the cache of `datasets`.
    files = dict.fromkeys(part.file for series in found.series for part in series.slices)
    states = tuple(map(state_of, files))
    rows = Dataset.from_generator(
        _rows,
        features=features,
        gen_kwargs={
            "series": tuple(found.series),
            "layout": layout,
            "root": root,
            "states": states,
        },
        writer_batch_size=_BATCH,
    )
    told = list(rows["problem"])
    broken = list(_broken(told))
    kept = rows.select([row for row, problem in enumerate(told) if not problem])
    if not len(kept):
        raise InputError(
            f"{source}: no slice of it could be used{f'; {broken[0]}' if broken else ''}."
        )
    undecoded = Counter(number for number, told in zip(rows["series"], told, strict=True) if told)
    scans = list(_scans(found, undecoded, root))
    return CtReading(kept.remove_columns("problem"), [*found.problems, *broken], scans)


def _scans(found: Found, undecoded: Mapping[int, int], root: Path) -> Iterator[Scan]:
    """Yield the scans, whose parts share a number; rows of some could not be decoded."""
    for number, parts in groupby(found.series, lambda part: part.number):
        slices = [one for part in parts for one in part.slices]
        problem = found.incomplete.get(number, "")
        if count := undecoded.get(number):
            problem = f"has {count} slice{'s' if count > 1 else ''} that cannot be used"
        files = dict.fromkeys(str(one.file.relative_to(root)) for one in slices)
        yield Scan(number, list(files), problem)


def _broken(told: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of slices, once for all slices of a file that share one."""
    indices: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for problem in filter(None, told):
        file, index, reason = problem.split("\0")
        indices[file, reason].add(int(index))
    for (file, reason), slices in indices.items():
        one = f", in slice {min(slices)}" if is_nifti(Path(file)) else ""
        many = f", in {len(slices)} slices from {min(slices)} to {max(slices)}"
        yield Problem(file, f"{reason}{many if len(slices) > 1 else one}")


def _rows(
    series: Sequence[Series], layout: _Layout, root: Path, states: Sequence[tuple[int, ...]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the data set; a row that cannot be made holds the reason."""
    empty = np.zeros((1 + 2 * layout.neighbours, *layout.shape), np.int16)
    for one in series:

        @lru_cache(maxsize=2 * layout.neighbours + 3)
        def prepared(number: int, one: Series = one) -> NDArray[np.int16] | str:
            part = one.slices[number]
            try:
                return _laid_out(hounsfield(part), part, layout)
            except BrokenSliceError as error:
                return f"{part.file.relative_to(root)}\0{part.index}\0{error}"

        for position, stack in _stacks(one.slices, layout):
            nearest = min(stack[layout.neighbours], key=lambda pair: -pair[1])[0]
            part = one.slices[nearest]
            needed = {number: prepared(number) for mix in stack for number, _ in mix}
            problem = next((told for told in needed.values() if isinstance(told, str)), "")
            usable = cast(dict[int, NDArray[np.int16]], needed)
            yield {
                "hounsfield": empty if problem else np.stack([_mixed(usable, m) for m in stack]),
                "file": str(part.file.relative_to(root)),
                "index": part.index,
                "position": position,
                "patient": one.patient,
                "series": one.number,
                "problem": problem,
            }


Mix = list[tuple[int, float]]  # slices by number, and their weights


def _stacks(slices: list[Slice], layout: _Layout) -> Iterator[tuple[float, list[Mix]]]:
    """Yield the position of each row, and the slices that its stack is mixed from."""
    places = [part.position for part in slices]
    if layout.step is None or len(places) == 1:
        mixes: list[Mix] = [[(number, 1.0)] for number in range(len(slices))]
    else:
        wanted = np.arange(places[0], places[-1] + 1e-6, layout.step)
        mixes, below = [], np.clip(np.searchsorted(places, wanted, "right") - 1, 0, len(places) - 2)
        for place, number in zip(wanted, below.tolist(), strict=True):
            share = (place - places[number]) / (places[number + 1] - places[number])
            pairs = [(number, 1 - share), (number + 1, share)]
            mixes.append([(n, float(weight)) for n, weight in pairs if weight > 1e-6])
        places = wanted.tolist()
    around = layout.neighbours
    for row in range(around, len(mixes) - around):
        yield places[row], mixes[row - around : row + around + 1]


def _mixed(slices: dict[int, NDArray[np.int16]], mix: Mix) -> NDArray[np.int16]:
    if len(mix) == 1:
        return slices[mix[0][0]]
    total: NDArray[np.float32] = np.sum([slices[n] * np.float32(w) for n, w in mix], 0)
    return total.round().astype(np.int16)


def _laid_out(values: NDArray[np.int16], part: Slice, layout: _Layout) -> NDArray[np.int16]:
    """Resample and crop or pad a slice to the spacing and size of a data set."""
    shape = _resampled_shape(part, layout.spacing)
    if shape != values.shape:
        pixels = torch.from_numpy(values.astype(np.float32))[None, None]
        scaled = functional.interpolate(pixels, shape, mode="bilinear", antialias=True)
        values = scaled[0, 0].round().numpy().astype(np.int16)
    for axis, wanted in enumerate(layout.shape):
        extra = wanted - values.shape[axis]
        if extra < 0:
            start = -extra // 2
            values = np.take(values, range(start, start + wanted), axis)
        elif extra > 0:
            padding = [(0, 0), (0, 0)]
            padding[axis] = (extra // 2, extra - extra // 2)
            values = np.pad(values, padding, constant_values=AIR)
    return values
