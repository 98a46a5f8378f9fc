"""A caption of an image, as a file has it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staged_training.errors import InputError


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


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error}). Convert it.") from error
