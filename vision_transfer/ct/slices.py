"""A slice of a CT scan, and what is raised where a file holds none that can be used."""

from dataclasses import dataclass
from pathlib import Path

AIR = -1024
"""What lies outside of the circle that a scanner sees counts as air; in Hounsfield units."""


class LeftOutError(ValueError):
    """A file that holds no slice; says why."""


class BrokenSliceError(ValueError):
    """A slice whose pixels cannot be used; says why."""


@dataclass(frozen=True)
class Slice:
    """One slice of a scan.

    Attributes:
        file: Where it is.
        index: Its number in a file of many, as the file counts along its axis of slices.
        position: Along the axis of the scan, in mm.
        spacing: Height and width of a pixel, in mm.
        shape: Rows and columns.

    Examples:
        >>> from vision_transfer.ct import find_series
        >>> first, second, *others = find_series("scans").series[0].slices
        >>> second.file.name, round(second.position - first.position, 2), second.shape
        ('slice-4.dcm', 2.5, (128, 128))
    """

    file: Path
    index: int
    position: float
    spacing: tuple[float, float]
    shape: tuple[int, int]
