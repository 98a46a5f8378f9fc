"""Image files, found by the names that annotations and captions have for them."""

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PureWindowsPath

from staged_training.experiment.fingerprints import files_of
from staged_training.tables.parts import part_of
from vision_transfer.image_folders import SUFFIXES

_FOLDERS = (  # where data sets have their images, spelt as there
    "",
    "images",
    "Images",
    "JPEGImages",
    "Flicker8k_Dataset",
    "flickr30k_images",
    "flickr30k-images",
)


class ImageFiles:
    """The image files of some folders, found by name.

    Args:
        bases: The folders, or those above folders `images` and the like; the likeliest first.
        part: The part of a split; folders of its name in them are looked into first.
    """

    def __init__(self, bases: Sequence[Path], part: str | None = None) -> None:
        around = [f for base in bases for name in _FOLDERS if (f := base / name).is_dir()]
        within = [child for f in around for child in _folders_of_part(f, part)] if part else []
        self.folders = [*within, *around] or list(bases)

    def find(self, name: str) -> Path | None:
        """Return the image of a name with another suffix, or none, or a path before it."""
        path = PureWindowsPath(name)  # which knows both kinds of separators
        if not path.name:
            return None
        candidates = [
            folder / part for folder in self.folders for part in (name, path.as_posix(), path.name)
        ]
        found = next((file for file in candidates if _is_file(file)), None)
        return found or self._by_stem.get(_plain(path.name)) or self._by_stem.get(_plain(path.stem))

    def expect(self, name: str) -> Path:
        """Return the image of a name, or where it should be."""
        return self.find(name) or self.folders[0] / name

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        folders = [folder for folder in reversed(self.folders) if folder.is_dir()]
        files = (file for folder in folders for file in _sorted(folder))
        return {_plain(file.stem): file for file in files if is_image(file)}


def is_image(file: Path) -> bool:
    """Return whether a file is named like an image and not hidden, as the `._a.jpg` of a Mac is."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def visible(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files of a folder that have one of these endings, see `files_of`."""
    return [file for file in files_of(folder) if file.suffix.lower() in suffixes]


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
    """Return a name as Linux spells it; a Mac writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)
