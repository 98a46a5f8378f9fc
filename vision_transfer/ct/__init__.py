"""CT scans, DICOM or NIfTI, as Hounsfield units; what cannot be used is named, never guessed."""

from vision_transfer.ct.dataset import CtReading, read_ct
from vision_transfer.ct.series import Series, find_series
from vision_transfer.ct.slices import Slice
from vision_transfer.ct.windows import WINDOWS, WindowedSlices, windowed

__all__ = [
    "WINDOWS",
    "CtReading",
    "Series",
    "Slice",
    "WindowedSlices",
    "find_series",
    "read_ct",
    "windowed",
]
