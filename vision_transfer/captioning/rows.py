"""A caption of an image, as a file has it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CaptionRow:
    """A caption of an image, as a file has it.

    Attributes:
        image: The name of the image.
        caption: What is said of it.
        where: The file and the row, for messages.
        fold: The fold of the image, or its part of a split, where it has one.
    """

    image: str
    caption: str
    where: str
    fold: Any = None
