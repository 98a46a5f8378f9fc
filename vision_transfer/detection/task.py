"""A detection task: images with boxes, checked, dealt into folds."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.ops import box_convert
from transformers import BaseImageProcessor

from staged_training.experiment.splits import Indices, given_folds, multilabel_folds, torn_groups
from staged_training.experiment.task import Task
from staged_training.runtime.errors import InputError, Problem, given_path
from staged_training.runtime.photos import load_rgb
from staged_training.tables.labels import tidy_labels
from vision_transfer.detection.annotations import read_annotations
from vision_transfer.detection.evaluation import Boxes
from vision_transfer.detection.frames import upright_boxes
from vision_transfer.image_task import (
    ImageDataset,
    Skipped,
    checked_images,
    content,
    group_numbers,
)
from vision_transfer.images import seeded

_FOLDS = 5
_VERSION = re.compile(r"\.rf\.\w+\.\w+$")  # of the names of images that Roboflow has augmented
_MOST_CUT = 0.4  # share of an image that a view may lack at each side


@dataclass(frozen=True, kw_only=True)
class DetectionTask(Task):
    """Images with boxes, in folds.

    Attributes:
        paths: The images.
        sizes: Width and height of each image, in pixels.
        boxes: The boxes of each image as x1, y1, x2 and y2 in pixels, `[boxes, 4]`.
        labels: The class numbers of the boxes of each image.
        names: The names of the classes, in the order of their numbers.
        skipped: Images that could not be decoded.
        problems: Boxes that were left out or cut, and why.
    """

    paths: list[Path]
    sizes: list[tuple[int, int]]
    boxes: list[NDArray[np.float32]]
    labels: list[list[int]]
    names: list[str]
    skipped: list[Skipped]
    problems: list[Problem]

    @property
    def contents(self) -> list[Any]:
        """What a run depends on besides the images: boxes, classes and folds."""
        return [self.boxes, self.labels, self.names, self.folds]

    def true_boxes(self, rows: Iterable[int]) -> list[Boxes]:
        """Return the boxes of some images, in relative coordinates."""
        return [
            Boxes(
                self.boxes[row] / np.asarray([*self.sizes[row]] * 2, np.float64),
                np.asarray(self.labels[row], np.int64),
                np.ones(len(self.labels[row])),
            )
            for row in rows
        ]

    def dataset(
        self, rows: Iterable[int], processor: BaseImageProcessor, views: int = 0
    ) -> "DetectionDataset":
        """Return some of the images, each with a number of augmented views."""
        rows = list(rows)
        most = max((len(labels) for labels in self.labels), default=0)
        return DetectionDataset(
            [self.paths[row] for row in rows],
            [self.boxes[row] for row in rows],
            [self.labels[row] for row in rows],
            processor,
            views,
            most,
        )


class DetectionDataset(ImageDataset):
    """Images as a processor prepares them, with labels as `FastRCNNForObjectDetection` takes them.

    Args:
        paths: The files.
        boxes: Of each, corners in pixels, `[boxes, 4]`.
        labels: Of each, the classes of its boxes.
        processor: What prepares the images.
        views: Augmented views of each image, the same ones whenever they are asked for: mirrored
            half the time, and cropped around all boxes. They follow behind the images: view v of
            image i is number `v * len(paths) + i`, where view 0 is the image itself.
        most: Boxes that every image is made to have, by some of class -1, so that they stack.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        boxes: Sequence[NDArray[np.float32]],
        labels: Sequence[Sequence[int]],
        processor: BaseImageProcessor,
        views: int = 0,
        most: int = 0,
    ) -> None:
        super().__init__(paths, labels, processor, views)
        self.boxes = list(boxes)
        self.most = max([most, 1, *(len(of_image) for of_image in labels)])

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        view, row = divmod(index, len(self.paths))
        image, boxes = load_rgb(self.paths[row]), torch.from_numpy(self.boxes[row])
        classes = torch.tensor(self.labels[row], dtype=torch.long)
        if view:
            image, boxes = _random_view(image, boxes, index)
        pixels = self.processor(image, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels[0], "labels": self._labels(boxes, classes, image.size)}

    @property
    def fingerprint(self) -> str:
        """Changes with any file, box or class and the processor; see `features_key`."""
        digest = hashlib.sha256(f"{super().fingerprint} {self.most} {self.labels}".encode())
        for boxes in self.boxes:
            digest.update(f"{boxes.tolist()}\0".encode())
        return digest.hexdigest()

    def _labels(
        self, boxes: torch.Tensor, classes: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        """Return `[most, 5]`: classes, and boxes by centre and size as shares of the image."""
        labels = torch.zeros(self.most, 5)
        labels[:, 0] = -1
        labels[: len(classes), 0] = classes.float()
        shares = boxes / boxes.new_tensor([*size, *size])
        labels[: len(classes), 1:] = box_convert(shares, "xyxy", "cxcywh")
        return labels


def read_detection_task(
    source: str | Path,
    images: str | Path | None = None,
    box_column: str = "objects",
    label_column: str | None = None,
) -> DetectionTask:
    """Read images with boxes; see `read_annotations` for the formats.

    Images that cannot be decoded and boxes without an area are left out and reported. A box that
    reaches beyond its image is clipped and reported; one that was drawn before its image was
    rotated or resized is rotated and resized, too. Images come with folds, or in the parts of a
    split; otherwise they are dealt into five folds, with equal shares of each class and with copies
    in the same fold.

    Args:
        source: As for `read_annotations`; so are the others.
        images: The folder of the images.
        box_column: Of a table, the column of boxes.
        label_column: Of a table, the column of the class.

    Raises:
        InputError: There are no such images, a box cannot be one of its image, or the folds cannot
            be used.
    """
    path = given_path(source)
    problems: list[Problem] = []
    annotated = read_annotations(
        path, Path(images) if images else None, box_column, label_column, problems
    )
    skipped, _ = checked_images([image.file for image in annotated])
    broken = {item.path for item in skipped}
    kept = [image for image in annotated if image.file not in broken]
    if not kept:
        problem = f"no image could be decoded; {skipped[0]}" if skipped else "no image in it"
        raise InputError(f"{path}: {problem}.")
    sizes, boxes = upright_boxes(path, kept, problems)
    marked = [mark.label for of_image in boxes for mark in of_image]
    tidy = dict(zip(marked, tidy_labels(path, marked), strict=True))
    names = sorted(set(tidy.values()))
    if not names:
        raise InputError(f"{path}: there are no boxes. Mark what is to be found.")
    labels = [[names.index(tidy[mark.label]) for mark in of_image] for of_image in boxes]
    corners = [
        np.asarray([mark.corners for mark in of_image], np.float32).reshape(-1, 4)
        for of_image in boxes
    ]
    paths = [image.file for image in kept]
    given = [image.fold for image in kept]
    groups = _groups(paths)
    own_folds = any(fold is not None for fold in given)
    folds = given_folds(path, given, groups) if own_folds else _dealt(path, labels, groups)
    problems += torn_groups(path, folds, groups) + _rare(path, names, labels, folds)
    return DetectionTask(
        source=path,
        paths=paths,
        sizes=sizes,
        boxes=corners,
        labels=labels,
        names=names,
        folds=folds,
        own_folds=own_folds,
        skipped=skipped,
        problems=problems,
    )


def _groups(paths: Sequence[Path]) -> list[int]:
    """Return the group of each image, which copies and Roboflow's versions of it share."""
    names = [(path, _VERSION.sub("", path.name)) for path in paths]
    return group_numbers(content(path) if name == path.name else name for path, name in names)


def _dealt(source: Path, labels: Sequence[Sequence[int]], groups: Sequence[int]) -> Indices:
    """Deal images into five folds, with equal shares of each class as far as possible."""
    if len(set(groups)) < _FOLDS:
        raise InputError(
            f"{source}: has {len(set(groups))} images that differ, and {_FOLDS} are the least."
        )
    return multilabel_folds([set(of_image) for of_image in labels], groups, _FOLDS)


def _rare(
    source: Path, names: Sequence[str], labels: Sequence[Sequence[int]], folds: Indices
) -> list[Problem]:
    """Return the classes that are missing from a fold, or from a part of a split."""
    parts = set(folds.tolist())
    rare = []
    for number, name in enumerate(names):
        rows = [row for row, of_image in enumerate(labels) if number in of_image]
        without = len(parts - set(folds[rows].tolist()))
        if without:
            some = f"{len(rows)} of {len(labels)} images, and {without} of {len(parts)} parts"
            rare.append(Problem(f"{source}: the class '{name}'", f"is in {some} have none of it"))
    return rare


def _random_view(
    image: Image.Image, boxes: torch.Tensor, seed: int
) -> tuple[Image.Image, torch.Tensor]:
    """Return a random view of an image that shows all of its boxes in full."""
    extent = torch.tensor([image.width, image.height])
    first, last = (
        (boxes[:, :2].amin(0), boxes[:, 2:].amax(0)) if len(boxes) else (extent, 0 * extent)
    )
    with seeded(seed):
        cut, kept = torch.rand(2, 2)
        mirrored = bool(torch.rand(1) < 0.5)
    start = (cut * torch.minimum(first, _MOST_CUT * extent)).floor()
    least = torch.maximum(last, (1 - _MOST_CUT) * extent)
    end = (least + kept * (extent - least)).ceil()
    image = image.crop((*start.int().tolist(), *end.int().tolist()))
    boxes = boxes - start.repeat(2)
    if mirrored:
        image = ImageOps.mirror(image)
        boxes = torch.stack(
            [image.width - boxes[:, 2], boxes[:, 1], image.width - boxes[:, 0], boxes[:, 3]], 1
        )
    return image, boxes
