"""Windows: the part of the Hounsfield scale that is looked at."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from staged_training.runtime.errors import InputError

Pixels = TypeVar("Pixels", np.ndarray, torch.Tensor)

WINDOWS = {"soft tissue": (40.0, 400.0), "lung": (-600.0, 1500.0), "bone": (400.0, 1800.0)}
"""Centre and width in Hounsfield units of the windows that are known by name."""


def windowed(hounsfield: Pixels, window: str | tuple[float, float] = "soft tissue") -> Pixels:
    """Cut Hounsfield units to a window and scale them to 0 (at its lower end) to 1.

    Args:
        hounsfield: Any shape.
        window: One of `WINDOWS`, or centre and width in Hounsfield units.

    Returns:
        Numbers from 0 to 1, in the same shape.

    Raises:
        InputError: There is no such window, it is not two numbers, or its width is not positive.

    Examples:
        >>> windowed(np.array([-1000.0, 40.0, 240.0]))  # air, the middle, the upper end
        array([0. , 0.5, 1. ])
        >>> windowed(np.array([-1000.0, 40.0, 240.0]), WINDOWS["lung"]).round(2)
        array([0.23, 0.93, 1.  ])
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(
                f"{window!r} is not a known window; give one of {', '.join(WINDOWS)}, or "
                "centre and width in Hounsfield units."
            )
        window = WINDOWS[window]
    try:
        centre, width = map(float, window)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{window!r} is not a window; give its centre and width.") from error
    if not (0 < width < math.inf and math.isfinite(centre)):
        raise InputError(f"The window {window} has the width {width}; give a positive one.")
    return ((hounsfield - (centre - width / 2)) / width).clip(0, 1)


class WindowedSlices(Sequence[torch.Tensor]):
    """Slices as a network takes them: a window of them, scaled to -1 to 1.

    Args:
        hounsfield: Arrays `[channels, height, width]` of Hounsfield units; the column of a data
            set, which is read slice by slice, as well as an array of them in memory.
        window: As for `windowed`.

    Raises:
        InputError: As `windowed`.

    Examples:
        >>> from vision_transfer.ct import read_ct
        >>> slices = WindowedSlices(read_ct("scans").dataset["hounsfield"], "soft tissue")
        >>> len(slices), slices[0].shape, float(slices[0].min()), slices[0].dtype
        (5, torch.Size([1, 128, 128]), -1.0, torch.float32)
    """

    def __init__(self, hounsfield: Any, window: str | tuple[float, float]) -> None:
        windowed(np.zeros(1), window)  # refuses what is no window
        self.hounsfield, self.window = hounsfield, window

    def __len__(self) -> int:
        return len(self.hounsfield)

    def __getitem__(self, index: int) -> torch.Tensor:  # type: ignore[override]
        """Return an image, `float32 [channels, height, width]`."""
        units = np.asarray(self.hounsfield[index], np.float32)
        return torch.from_numpy(windowed(units, self.window)) * 2 - 1
