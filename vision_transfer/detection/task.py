"""A detection task: images with boxes, checked, dealt into folds."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torchvision.ops import box_convert
from transformers import BaseImageProcessor

from staged_training.errors import InputError, Problem, given_path
from staged_training.labels import tidy_labels
from staged_training.splits import Indices, Split, fold_split, given_folds, stratified_folds
from vision_transfer.detection.annotations import AnnotatedImage, Marked, read_annotations
from vision_transfer.detection.evaluation import Boxes
from vision_transfer.image_task import ImageDataset, Skipped, checked_images, content
from vision_transfer.images import load_rgb, seeded, upright_size

_AT_EDGE = 1.0  # pixels that a box may stand out without a word
_THIN = 0.01  # pixels; a narrower box has no area
_MOST_CUT = 0.4  # share of an image that a view may lack at each side


@dataclass(frozen=True)
class DetectionTask:
    """What a detector learns from and is measured on.

    Attributes:
        source: The file or folder of the boxes.
        paths: The images.
        sizes: Of each image, width and height in pixels.
        boxes: Of each image, x1, y1, x2 and y2 in pixels, `[boxes, 4]`.
        labels: Of each image, the numbers of the classes of its boxes.
        names: The names of the classes, in the order of their numbers.
        folds: The fold of each image.
        own_folds: Whether the folds came with the images; else they were dealt here.
        skipped: Images that could not be decoded.
        problems: Boxes that were left out or cut, and why.
    """

    source: Path
    paths: list[Path]
    sizes: list[tuple[int, int]]
    boxes: list[NDArray[np.float32]]
    labels: list[list[int]]
    names: list[str]
    folds: Indices
    own_folds: bool
    skipped: list[Skipped]
    problems: list[Problem]

    def split(self, fold: int) -> Split:
        """The rows to train on, to validate on and to test on, where a fold is the test part."""
        return fold_split(self.folds, fold)

    def true_boxes(self, rows: Iterable[int]) -> list[Boxes]:
        """The boxes of some of the images, as shares of them."""
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
        """Some of the images, each also in a number of augmented views."""
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
        """`[most, 5]`: classes, and boxes by centre and size as shares of the image."""
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

    Images that cannot be decoded are left out and told, and so are boxes without an area; a box
    that stands out of its image is cut, and told. A column `fold` of a table says which fold each
    image belongs to; else they are dealt into five, with equal shares of their rarest classes.

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
    annotated = read_annotations(path, Path(images) if images else None, box_column, label_column)
    skipped, _ = checked_images([image.file for image in annotated])
    broken = {item.path for item in skipped}
    kept = [image for image in annotated if image.file not in broken]
    if not kept:
        problem = f"no image could be decoded; {skipped[0]}" if skipped else "no image in it"
        raise InputError(f"{path}: {problem}.")
    problems: list[Problem] = []
    sizes = [upright_size(image.file) for image in kept]
    boxes = [
        _checked_boxes(image, *size, problems) for image, size in zip(kept, sizes, strict=True)
    ]
    marked = [mark.label for of_image in boxes for mark in of_image]
    tidy = dict(zip(marked, tidy_labels(path, marked), strict=True))
    names = sorted(set(tidy.values()))
    if not names:
        raise InputError(f"{path}: there is no box. Mark what is to be found.")
    labels = [[names.index(tidy[mark.label]) for mark in of_image] for of_image in boxes]
    corners = [
        np.asarray([mark.corners for mark in of_image], np.float32).reshape(-1, 4)
        for of_image in boxes
    ]
    own_folds = kept[0].fold is not None
    paths = [image.file for image in kept]
    folds = given_folds(path, [i.fold for i in kept]) if own_folds else _dealt(paths, labels)
    return DetectionTask(
        path, paths, sizes, corners, labels, names, folds, own_folds, skipped, problems
    )


def _dealt(paths: Sequence[Path], labels: Sequence[Sequence[int]]) -> Indices:
    """Five folds with equal shares of the rarest class of each image, copies in the same one."""
    counts = Counter(label for of_image in labels for label in set(of_image))
    common = counts.most_common(1)[0][0]  # which stands for images without boxes
    rarest = [min(of_image, key=lambda n: counts[n], default=common) for of_image in labels]
    contents = list(map(content, paths))
    number = {digest: n for n, digest in enumerate(dict.fromkeys(contents))}
    return stratified_folds(rarest, [number[digest] for digest in contents])


def _checked_boxes(
    image: AnnotatedImage, width: int, height: int, problems: list[Problem]
) -> list[Marked]:
    """The boxes of an image, cut at its edges."""
    checked = (_checked_box(mark, image.file, width, height, problems) for mark in image.boxes)
    return [mark for mark in checked if mark]


def _checked_box(
    mark: Marked, file: Path, width: int, height: int, problems: list[Problem]
) -> Marked | None:
    """A box, cut at the edges of its image; `None` if it has no area."""
    where, shown = mark.where, f"the box {list(mark.corners)} of {file.name}"
    try:
        x1, y1, x2, y2 = map(float, mark.corners)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {shown} is not four numbers, [x1, y1, x2, y2].") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise InputError(f"{where}: {shown} is not four numbers, [x1, y1, x2, y2].")
    if x2 < x1 or y2 < y1:
        raise InputError(
            f"{where}: {shown} ends before it begins. Write its corners as x1, y1, x2 and y2; if "
            "these are x, y, width and height, add them up."
        )
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise InputError(
            f"{where}: {shown} lies outside it; the image is {width} x {height} pixels. Are the "
            "boxes those of another size of it?"
        )
    cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if cut[2] - cut[0] < _THIN or cut[3] - cut[1] < _THIN:
        problems.append(Problem(where, f"was left out: {shown} has no area"))
        return None
    out = max(abs(a - b) for a, b in zip(cut, (x1, y1, x2, y2), strict=True))
    if out > _AT_EDGE:
        problems.append(Problem(where, f"was cut: {shown} stands out of it by {out:.0f} pixels"))
    return mark._replace(corners=cut)


def _random_view(
    image: Image.Image, boxes: torch.Tensor, seed: int
) -> tuple[Image.Image, torch.Tensor]:
    """A view of an image with its boxes, all of them whole."""
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
