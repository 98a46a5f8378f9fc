"""Images with the boxes that somebody drew in them, and where the image files are."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from staged_training.errors import InputError
from staged_training.parts import part_of
from vision_transfer.images import SUFFIXES

SHARES = (1.0, 1.0)
"""The size of the frame that shares from 0 to 1 are in."""

_IMAGE_FOLDERS = ("", "images", "JPEGImages")  # where formats have them


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
            was turned or scaled. Without it they are pixels of the upright image.
    """

    file: Path
    boxes: list[Marked]
    fold: object = None
    frame: tuple[float, float] | None = None


class ImageFiles:
    """The image files of some folders, found by the names that annotations have for them.

    Args:
        bases: The folders, or those above folders `images` or `JPEGImages`, the likeliest first.
        part: The part of a split; folders of its name in them are looked into first.
    """

    def __init__(self, bases: Iterable[Path], part: str | None = None) -> None:
        around = [base / name for base in bases for name in _IMAGE_FOLDERS]
        within = [f for f in around if f.is_dir()] if part else []
        self.folders = [child for f in within for child in _folders_of_part(f, part)] + around

    def find(self, name: str) -> Path | None:
        """Return the image of a name that may have another ending, or none, or a path before it."""
        path = PureWindowsPath(name)  # which knows both kinds of separators
        if not path.name:
            return None
        candidates = [folder / part for folder in self.folders for part in (name, path.name)]
        found = next((file for file in candidates if _is_file(file)), None)
        return found or self._by_stem.get(_plain(path.name)) or self._by_stem.get(_plain(path.stem))

    def expect(self, name: str) -> Path:
        """Return the image of a name, or where it should be."""
        return self.find(name) or self.folders[0] / name

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        files = (f for folder in reversed(self.folders) if folder.is_dir() for f in _sorted(folder))
        return {_plain(file.stem): file for file in files if is_image(file)}


def is_image(file: Path) -> bool:
    """Whether a file is called like an image, and is not hidden as the `._a.jpg` of a Mac is."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def visible(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files below a folder that have one of these endings, but for what is hidden."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def corners_from_size(where: str, box: Any) -> tuple[float, float, float, float]:
    """Return the corners of a box that is given by its first corner, its width and its height.

    Raises:
        InputError: It is not four numbers.
    """
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {box!r} is no box. It takes four numbers, [x, y, width, height]."
        ) from error
    return x, y, x + width, y + height


def frame_of(width: Any, height: Any) -> tuple[float, float] | None:
    """Return the frame that annotations name, if they do: many have 0 there, or nothing."""
    try:
        frame = float(width), float(height)
    except (TypeError, ValueError):
        return None
    return frame if min(frame) > 0 else None


def _folders_of_part(folder: Path, part: str | None) -> list[Path]:
    return [child for child in _sorted(folder) if part_of(child.name) == part and child.is_dir()]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name may be too long
        return False


def _sorted(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _plain(name: str) -> str:
    """A name as Linux spells it; a Mac writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)
