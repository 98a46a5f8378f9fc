"""A captioning task: images with captions, checked, dealt into folds."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import BaseImageProcessor

from staged_training.experiment.splits import (
    Indices,
    Split,
    fold_numbers,
    fold_split,
    given_folds,
    torn_groups,
)
from staged_training.runtime.errors import InputError, Problem, given_path
from vision_transfer.captioning.layouts import image_files, read_captions
from vision_transfer.captioning.rows import CaptionRow
from vision_transfer.image_task import (
    ImageDataset,
    Skipped,
    checked_images,
    content,
    group_numbers,
)

MOST_WORDS = 50
"""Longer captions are left out: they are descriptions, and one of them would slow every batch."""

_FOLDS = 5

# Clitics come off (don't: do n't), as in the vocabularies of this project; hyphens part words.
_WORD = re.compile(r"[^\W_]+(?=n't\b)|n't\b|'(?:s|m|re|ve|ll|d)\b|[^\W_]+")


def words(caption: str) -> str:
    """The words of a caption, lower case and without punctuation, with a space between them.

    It is what captions are learnt as, and what they are compared by; of its own result it makes the
    same again.
    """
    return " ".join(_WORD.findall(caption.lower().replace("\u2019", "'")))


@dataclass(frozen=True)
class CaptionTask:
    """What a captioner learns from and is measured on.

    Attributes:
        source: The file of the captions.
        paths: The images.
        captions: Of each image, its captions, as `words` has them.
        folds: The fold of each image.
        own_folds: Whether the folds came with the images; else they were dealt here.
        skipped: Images that could not be decoded.
        problems: Captions, and images without any, that were left out.
    """

    source: Path
    paths: list[Path]
    captions: list[list[str]]
    folds: Indices
    own_folds: bool
    skipped: list[Skipped]
    problems: list[Problem]

    def split(self, fold: int) -> Split:
        """The images to train on, to validate on and to test on, where a fold is the test part."""
        return fold_split(self.folds, fold)

    def images(self, rows: Iterable[int], processor: BaseImageProcessor) -> ImageDataset:
        """Some of the images, as a processor prepares them; their labels are their numbers."""
        rows = list(rows)
        return ImageDataset([self.paths[row] for row in rows], rows, processor)

    def captions_of(self, rows: Iterable[int]) -> list[list[str]]:
        """The captions of some of the images."""
        return [self.captions[row] for row in rows]

    @property
    def fold_numbers(self) -> list[int]:
        """The numbers of the folds."""
        return fold_numbers(self.folds)


def read_caption_task(source: str | Path, images: str | Path | None = None) -> CaptionTask:
    """Read images with captions.

    Images that cannot be decoded, and captions of more than `MOST_WORDS` words, are left out and
    told. Images come with folds, or in parts of a split; else they are dealt into five folds, with
    copies of a file in the same one.

    Args:
        source: A folder or a file of captions, see `read_captions`.
        images: The folder of the images; by default that of the captions, or a sub-folder.

    Raises:
        InputError: There are no such files, a caption is empty, names no image or is of none, or
            there are fewer than five images.
    """
    file = read_captions(given_path(source))
    folder = Path(images) if images else file.path.parent
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Check the path of the images.")
    problems = list(file.problems)
    rows: dict[Path, list[CaptionRow]] = {}
    find = image_files(file, folder if images else None)
    for row in file.rows:
        rows.setdefault(find(row), []).append(row)
    rows = {path: _usable(of_image, problems) for path, of_image in rows.items()}
    paths = [path for path, captions in rows.items() if captions]
    skipped, _ = checked_images(paths)
    broken = {item.path for item in skipped}
    paths = [path for path in paths if path not in broken]
    if len(paths) < _FOLDS:
        reason = f"; {skipped[0]}" if skipped else ""
        raise InputError(
            f"{file.path}: {len(paths)} images with captions can be used, and {_FOLDS} are the "
            f"least{reason}. Check the folder of the images ({folder})."
        )
    groups = group_numbers(map(content, paths))
    given = [rows[path][0].fold for path in paths]
    own_folds = any(fold is not None for fold in given)
    folds = given_folds(file.path, given, groups) if own_folds else _dealt(groups)
    return CaptionTask(
        source=file.path,
        paths=paths,
        captions=[[words(row.caption) for row in rows[path]] for path in paths],
        folds=folds,
        own_folds=own_folds,
        skipped=skipped,
        problems=problems + torn_groups(file.path, folds, groups),
    )


def _usable(rows: Sequence[CaptionRow], problems: list[Problem]) -> list[CaptionRow]:
    """The captions of an image that can be learnt; the others are added to the problems."""
    usable = []
    for row in rows:
        count = len(words(row.caption).split())
        if not count:
            raise InputError(
                f"{row.where}: the caption of {row.image} is empty or has no word in it: "
                f"{row.caption!r}. Fill or delete it."
            )
        if count > MOST_WORDS:
            told = f"has {count} words, and more than {MOST_WORDS} are left out"
            problems.append(Problem(f"{row.where}: the caption of {row.image}", told))
        else:
            usable.append(row)
    return usable


def _dealt(groups: Sequence[int]) -> Indices:
    """Deal images into folds of nearly equal size, those of a group into the same one."""
    order = np.random.default_rng(0).permutation(max(groups) + 1)
    return np.asarray(order[groups] % _FOLDS, np.int64)
