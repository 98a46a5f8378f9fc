"""Images with the boxes that somebody drew in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from staged_training.runtime.errors import InputError

SHARES = (1.0, 1.0)
"""The size of the frame that shares from 0 to 1 are in."""

UNSAID = (0.0, 0.0)
"""The size of a frame where annotations should say it and do not."""


class Marked(NamedTuple):
    """A box that somebody drew.

    Attributes:
        where: The file and the place in it, for messages.
        label: Its class.
        corners: x1, y1, x2 and y2 in the frame of its image, not checked.
    """

    where: str
    label: str
    corners: Sequence[float]


class AnnotatedImage(NamedTuple):
    """An image and the boxes in it, none for one that shows nothing of interest.

    Attributes:
        file: Where it is.
        boxes: What is marked in it.
        fold: Its fold, or its part of a split, if it came with one.
        frame: Width and height of what the boxes were drawn on, which may be the image before it
            was turned or scaled; or `SHARES`, or `UNSAID`. By default, the upright image.
    """

    file: Path
    boxes: list[Marked]
    fold: object = None
    frame: tuple[float, float] | None = None


def corners_from_size(where: str, box: Any) -> tuple[float, float, float, float]:
    """Return the corners of a box that is given by its first corner, its width and its height.

    Raises:
        InputError: It is not four numbers.
    """
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{where}: {box!r} is not a box. It takes four numbers, [x, y, width, height]."
        ) from error
    return x, y, x + width, y + height


def frame_of(width: Any, height: Any) -> tuple[float, float]:
    """Return the frame that annotations name, if any: many have 0 there, or nothing."""
    try:
        frame = float(width), float(height)
    except (TypeError, ValueError, OverflowError):
        return UNSAID
    return frame if min(frame) > 0 else UNSAID
