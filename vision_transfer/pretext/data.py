"""Data of pretraining: an archive of images without labels, and labelled images of its kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.runtime.errors import InputError
from vision_transfer.few_labels import LabelledImages
from vision_transfer.image_task import (
    ImageDataset,
    ImageTask,
    check_one_label,
    content,
    read_photos,
)
from vision_transfer.images import Photos
from vision_transfer.pretext.rotation import middle_square, random_square


class NewModel(Protocol):
    """A function that makes an image classifier with random weights, and its processor."""

    def __call__(
        self, labels: Sequence[str], *, seed: int = 0
    ) -> tuple[PreTrainedModel, BaseImageProcessor]:
        """Return a model for some labels, with random weights of a seed."""


@dataclass(frozen=True)
class LabelledSplit:
    """Labelled images, split into those to draw a few from and those to measure on.

    Attributes:
        train: Images to draw from.
        test: Images to measure on.
        names: The names of the labels.
        augment: Changes an image of `train` at random each time it is trained on, in place of the
            transform that `train` has.
        as_photos: Prepares either part for a model of photos that has such a processor.
    """

    train: LabelledImages
    test: LabelledImages
    names: Sequence[str]
    augment: Callable[[torch.Tensor], torch.Tensor]
    as_photos: Callable[[LabelledImages, BaseImageProcessor], Dataset[Any]]


class LabelledBags(NamedTuple):
    """Which labelled images belong together, since a label is of all of them.

    Attributes:
        kind: What they are of: `patient` or `series`.
        train: The number of the bag and of the patient of each image to draw from.
        test: The same of the images to measure on.
    """

    kind: str
    train: tuple[NDArray[np.int64], NDArray[np.int64]]
    test: tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class PretrainingData:
    """An archive without labels, and labelled images of its kind.

    Attributes:
        archive: Images without labels, none of which is tested on.
        labelled: Labelled images.
        sizes: How many images the archive, `train` and `test` have, such as `296 photos`.
        left_out: What could not be read, and why.
        files: The files of all of them, where a run has to know them, see `RunFolder.open`.
        bags: Which labelled images have a label together, where several have.
    """

    archive: Sequence[torch.Tensor]
    labelled: LabelledSplit
    sizes: tuple[str, str, str]
    left_out: Sequence[object] = ()
    files: Sequence[Path] = ()
    bags: LabelledBags | None = None


def photo_data(task: ImageTask, archive: str | None, size: int) -> PretrainingData:
    """Split labelled photos, and read an archive of others.

    Args:
        task: The labelled photos; the first fold is tested on.
        archive: A folder of photos without labels, from which copies of test photos are left out;
            by default the labelled ones, except the test photos.
        size: Height and width of the model's input, in pixels.

    Raises:
        InputError: There are not two labels, or the archive cannot be read.
    """
    check_one_label(task)
    if len(task.names) != 2:
        raise InputError(
            f"{task.source}: there are {len(task.names)} labels, and the area under the ROC curve "
            "takes two. Give another `label_column`.",
            ["label_column"],
        )
    split = task.split(task.fold_numbers[0])
    rows = {"train": sorted([*split.train, *split.validation]), "test": sorted(split.test)}
    photos = {part: [task.paths[row] for row in rows[part]] for part in rows}
    files, left_out = photos["train"], list(task.skipped)
    if archive:
        found, broken = read_photos(archive)
        tested = set(map(content, photos["test"]))
        files = [file for file in found if content(file) not in tested]
        left_out += broken
    side = 2 * size  # larger than it is seen, to cut from at random
    train, test = (
        LabelledImages(
            Photos(photos[part], side),
            [task.labels[row] for row in rows[part]],
            middle_square(size),
        )
        for part in rows
    )
    return PretrainingData(
        Photos(files, side),
        LabelledSplit(train, test, task.names, random_square(size), _prepared),
        (
            f"{len(files):,} photos",
            f"{len(train):,} photos",
            f"{len(test):,} photos that the base never saw",
        ),
        left_out,
        [*task.paths, *files],
    )


def _prepared(part: LabelledImages, processor: BaseImageProcessor) -> ImageDataset:
    """Return labelled photos as a processor prepares them."""
    return ImageDataset(cast(Photos, part.images).paths, part.labels.tolist(), processor)
