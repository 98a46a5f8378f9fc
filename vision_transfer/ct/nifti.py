"""Slices of NIfTI volumes: where they lie, and their pixels as DICOM has them."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staged_training.runtime.files import state_of
from vision_transfer.ct.slices import BrokenSliceError, LeftOutError, Slice

_ENDINGS = (".nii", ".nii.gz")
_LABEL_INTENT = 1002  # by which a header says that its voxels are numbers of labels
_MASK = "labels?|masks?|msk|seg|segmentations?|annotations?|gt|ground_?truth"
_MASK_FOLDER = re.compile(rf"(\w+_)?({_MASK})_?(tr|ts|te|val?|train|test)?", re.IGNORECASE)
_MASK_FILE = re.compile(rf"(.*[^a-z])?({_MASK})([^a-z].*)?", re.IGNORECASE)


def is_nifti(file: Path) -> bool:
    """Return whether a file is NIfTI by its name."""
    return file.name.lower().endswith(_ENDINGS)


def without_ending(name: str) -> str:
    """Return the name of a file without the ending of its format."""
    return re.sub(r"\.(nii|nii\.gz|dcm|dicom|ima)$", "", name, flags=re.IGNORECASE)


def volume_slices(file: Path) -> tuple[list[Slice], float]:
    """Return the slices of a volume from feet to head, and its shear in degrees.

    Raises:
        LeftOutError: It is no volume of CT.
    """
    import nibabel

    try:
        image: Any = nibabel.load(file)
        _check(image, file)
        axes = anatomical_axes(image)
        sizes = nibabel.affines.voxel_sizes(image.affine)
    except LeftOutError:
        raise
    except Exception as error:  # what a parser meets in a damaged file
        raise LeftOutError(f"is not a NIfTI file, or damaged ({type(error).__name__})") from error
    width, height, step = (float(sizes[axis]) for axis in axes)
    columns, rows, depth = (image.shape[axis] for axis in axes)
    upwards = nibabel.io_orientation(image.affine)[axes[2], 1] > 0
    slices = [
        Slice(file, i if upwards else depth - 1 - i, i * step, (height, width), (rows, columns))
        for i in range(depth)
    ]
    across, along, up = (image.affine[:3, axis] for axis in axes)
    return slices, degrees_apart(np.cross(across, along), up)


def _check(image: Any, file: Path) -> None:
    if len(image.shape) < 3 or any(size != 1 for size in image.shape[3:]):
        raise LeftOutError(f"is not a volume: it has {len(image.shape)} dimensions, not 3")
    kind, scaled = image.get_data_dtype(), (image.dataobj.slope, image.dataobj.inter) != (1, 0)
    if kind.kind not in "iuf":
        raise LeftOutError(f"is not CT: its voxels are {kind}, and not numbers")
    if kind.itemsize == 1 and not scaled:
        raise LeftOutError("is not CT, but a mask or a picture: its voxels have 8 bits")
    if (
        image.header.get_intent("code")[0] == _LABEL_INTENT
        or _MASK_FOLDER.fullmatch(file.absolute().parent.name)
        or _MASK_FILE.fullmatch(without_ending(file.name))
    ):
        raise LeftOutError("is a mask of labels by its header, name or folder, not CT")


def degrees_apart(normal: NDArray[np.float64], direction: NDArray[np.float64]) -> float:
    """Return the angle between two lines, in degrees; 0 for slices straight above one another."""
    lengths = np.linalg.norm(normal) * np.linalg.norm(direction)
    return float(np.degrees(np.arccos(np.clip(abs(normal @ direction) / lengths, 0, 1))))


def pixels_of_nifti(part: Slice) -> NDArray[Any]:
    """Return one slice as DICOM has it: rows from the front, columns from the patient's right.

    Raises:
        BrokenSliceError: Some of its voxels are no numbers.
    """
    import nibabel

    image = _volume(part.file, state_of(part.file))
    axes = anatomical_axes(image)
    # 1 where indices grow to the right and to the front.
    signs = nibabel.io_orientation(image.affine)[axes, 1]
    where: list[int | slice] = [slice(None)] * 3 + [0] * (len(image.shape) - 3)
    where[axes[2]] = part.index
    values = np.asarray(image.dataobj[tuple(where)])
    if count := values.size - np.isfinite(values).sum():
        raise BrokenSliceError(f"has {count:,} voxels that are no numbers (NaN or infinite)")
    if axes[0] < axes[1]:
        values = values.T
    return values.round()[:: -int(signs[1]), :: -int(signs[0])]


def anatomical_axes(image: Any) -> list[int]:
    """Return the axes of a nibabel volume that run left or right, front or back, and up or down."""
    import nibabel

    meanings = nibabel.io_orientation(image.affine)[:, 0].tolist()
    return [meanings.index(meaning) for meaning in range(3)]


@lru_cache(maxsize=1)
def _volume(file: Path, _: tuple[int, ...]) -> Any:
    """Load a volume, and cache it until its file changes."""
    import nibabel

    # Kept open, a compressed file is read once through and not from its start for each slice.
    return nibabel.load(file, keep_file_open=True)
