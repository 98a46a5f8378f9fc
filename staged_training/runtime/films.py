"""Frames of films as players show them, which is not always as they are stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx"),
    *(".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".wmv", ".asf", ".flv", ".f4v"),
    *(".ogv", ".ogm"),
)
"""How the names of films end."""


class Display:
    """How the frames of a video stream are shown: which way up, and with pixels of which shape.

    Args:
        stream: The `av.VideoStream`.

    Attributes:
        pixel: How wide a pixel is shown, as a multiple of its height.
    """

    def __init__(self, stream: Any) -> None:
        self.pixel = float(stream.sample_aspect_ratio or 1)
        self._rotation: int | None = None
        self._matrix: bytes | None = None

    def shown(self, picture: Any, scale: float, format: str = "rgb24") -> NDArray[np.uint8]:
        """Return a frame with square pixels and the right way up.

        Args:
            picture: An `av.VideoFrame`.
            scale: How much larger to make it.
            format: `rgb24` or `gray`.

        Returns:
            `[height, width, 3]` or `[height, width]`.
        """
        small = picture.reformat(
            width=max(1, round(picture.width * self.pixel * scale)),
            height=max(1, round(picture.height * scale)),
            format=format,
            interpolation="AREA",
        ).to_ndarray()
        return _turned(small, self._matrix_of(picture))

    def _matrix_of(self, picture: Any) -> bytes | None:
        """Return the display matrix of a frame, read where the rotation is another one.

        In PyAV, a frame whose side data were looked at stays in memory until garbage is collected.
        """
        if picture.rotation != self._rotation:
            matrix = picture.side_data.get("DISPLAYMATRIX")
            self._matrix = None if matrix is None else bytes(matrix)
            self._rotation = picture.rotation
        return self._matrix


def _turned(pixels: NDArray[np.uint8], matrix: bytes | None) -> NDArray[np.uint8]:
    """Rotate by quarter turns and mirror a frame as its display matrix says, if it has one."""
    if matrix is None:
        return pixels
    # A pixel at x, y is shown at a x + c y, b x + d y.
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    across, down = a, d
    if abs(b) > abs(a):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
