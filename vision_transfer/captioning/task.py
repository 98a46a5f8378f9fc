"""A captioning task: images with captions, checked, dealt into folds."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import BaseImageProcessor

from staged_training.experiment.splits import Indices, given_folds, torn_groups
from staged_training.experiment.task import Task
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
    """Return the words of a caption in lower case, without punctuation, separated by spaces.

    Captions are learnt and compared in this form. The function is idempotent.
    """
    return " ".join(_WORD.findall(caption.lower().replace("\u2019", "'")))


@dataclass(frozen=True, kw_only=True)
class CaptionTask(Task):
    """Images with captions, in folds.

    Attributes:
        paths: The images.
        captions: The captions of each image, normalized by `words`.
        skipped: Images that could not be decoded.
        problems: Captions, and images without any, that were left out.
    """

    paths: list[Path]
    captions: list[list[str]]
    skipped: list[Skipped]
    problems: list[Problem]

    @property
    def contents(self) -> list[Any]:
        """What a run depends on besides the images: captions and folds."""
        return [self.captions, self.folds]

    def images(self, rows: Iterable[int], processor: BaseImageProcessor) -> ImageDataset:
        """Return some of the images, prepared by a processor; their labels are their numbers."""
        rows = list(rows)
        return ImageDataset([self.paths[row] for row in rows], rows, processor)

    def captions_of(self, rows: Iterable[int]) -> list[list[str]]:
        """Return the captions of some of the images."""
        return [self.captions[row] for row in rows]


def read_caption_task(source: str | Path, images: str | Path | None = None) -> CaptionTask:
    """Read images with captions.

    Images that cannot be decoded and captions of more than `MOST_WORDS` words are left out and
    reported. Images come with folds, or in the parts of a split; otherwise they are dealt into five
    folds, with copies of a file in the same fold.

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
    """Return the usable captions of an image, and add the others to the problems."""
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
    """Deal images into folds of nearly equal size, each group into one."""
    order = np.random.default_rng(0).permutation(max(groups) + 1)
    return np.asarray(order[groups] % _FOLDS, np.int64)
