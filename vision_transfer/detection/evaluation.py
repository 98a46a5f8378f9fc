"""Scores of detections: the average precision of COCO, by its own code."""

import contextlib
import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torchvision.ops import box_iou
from transformers import EvalPrediction

from staged_training.runtime.errors import InputError

METRICS = {"map": "AP", "map_50": "AP at IoU 0.5", "map_75": "AP at IoU 0.75"}
"""Titles of the metrics, by the names that torchmetrics gives them too."""

_SIDE = 1000.0  # of every image: IoU does not depend on it


class Boxes(NamedTuple):
    """Boxes in an image.

    Attributes:
        corners: x1, y1, x2 and y2, `[boxes, 4]`.
        labels: Numbers of the classes, `[boxes]`.
        scores: `[boxes]`; 1 for true ones.
    """

    corners: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def from_lists(cls, parts: Sequence[Sequence[Any]]) -> "Boxes":
        """Return boxes from the lists that `to_lists` makes of them."""
        corners, labels, scores = parts
        return cls(
            np.asarray(corners, np.float64).reshape(-1, 4),
            np.asarray(labels, np.int64),
            np.asarray(scores, np.float64),
        )

    def to_lists(self) -> list[list[Any]]:
        """Return them as lists that JSON can hold."""
        return [part.tolist() for part in self]

    def only(self, chosen: NDArray[Any]) -> "Boxes":
        """Return some of them."""
        return Boxes(self.corners[chosen], self.labels[chosen], self.scores[chosen])


def require_metrics() -> None:
    """Refuse to run without the library that computes the scores.

    Raises:
        InputError: It is not installed.
    """
    if not find_spec("pycocotools"):
        raise InputError("Boxes are scored by a library: pip install 'nlp-transfer[detection]'.")


def detection_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the metrics of a detector, for `compute_metrics`; see `average_precision`."""
    logits, boxes = cast(tuple[Any, Any], prediction.predictions)
    found = found_boxes(logits, boxes)
    return average_precision(true_boxes(np.asarray(prediction.label_ids)), found)


def found_boxes(logits: NDArray[Any], boxes: NDArray[Any]) -> list[Boxes]:
    """Return the boxes that a model found in each image, in relative coordinates, best first."""
    scores = softmax(np.asarray(logits, np.float64), -1)[..., :-1]
    found = []
    for image, of_image in zip(scores, corners_of(boxes), strict=True):
        labels, best = image.argmax(-1), image.max(-1)
        order = [place for place in np.argsort(-best, kind="stable") if best[place] > 1e-4]
        found.append(Boxes(of_image[order], labels[order], best[order]))
    return found


def true_boxes(labels: NDArray[Any]) -> list[Boxes]:
    """Return the true boxes of each image, in relative coordinates, of `[images, boxes, 5]`."""
    real = [image[image[:, 0] >= 0] for image in labels]
    return [Boxes(corners_of(r[:, 1:]), r[:, 0].astype(np.int64), np.ones(len(r))) for r in real]


def corners_of(boxes: NDArray[Any]) -> NDArray[np.float64]:
    """Return the corners of boxes given by centre, width and height, `[..., 4]`."""
    centre, size = np.split(np.asarray(boxes, np.float64), 2, axis=-1)
    return np.concatenate([centre - size / 2, centre + size / 2], axis=-1)


def average_precision(true: Sequence[Boxes], found: Sequence[Boxes]) -> dict[str, float]:
    """Return the average precision of COCO (Lin et al. 2014), averaged over classes.

    Args:
        true: The true boxes of each image, in relative coordinates.
        found: The boxes found in it.

    Returns:
        `map`, over intersections over union (IoU) of 0.5, 0.55 and so on to 0.95; `map_50` and
        `map_75`, at one of them. All are 0 where nothing was found.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels = sorted({int(label) for boxes in true for label in boxes.labels})
    reference = COCO()
    reference.dataset = {
        "info": {},
        "images": [{"id": image, "width": _SIDE, "height": _SIDE} for image in range(len(true))],
        "categories": [{"id": label, "name": str(label)} for label in labels],
        "annotations": [
            {**entry, "id": number} for number, entry in enumerate(_entries(true), start=1)
        ],
    }
    results = _entries(found)
    if not results or not labels:
        return dict.fromkeys(METRICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints tables
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, map(float, evaluation.stats[:3]), strict=True))


def mean_box(images: Sequence[Boxes]) -> Boxes:
    """Return the mean box of some images, labelled with their most frequent class."""
    corners = np.concatenate([boxes.corners for boxes in images])
    labels = np.concatenate([boxes.labels for boxes in images])
    most = np.bincount(labels).argmax()
    return Boxes(corners.mean(0, keepdims=True), np.asarray([most]), np.ones(1))


def best_overlaps(true: Sequence[Boxes], found: Sequence[Boxes]) -> list[float]:
    """Return the IoU of the top-scoring box of each image with its nearest true box; 0 if none."""
    overlaps = []
    for wanted, boxes in zip(true, found, strict=True):
        if not len(wanted.corners) or not len(boxes.corners):
            overlaps.append(0.0)
            continue
        overlaps.append(
            float(box_iou(*map(torch.as_tensor, (boxes.corners[:1], wanted.corners))).max())
        )
    return overlaps


def _entries(images: Sequence[Boxes]) -> list[dict[str, Any]]:
    """Return boxes as entries of a COCO file."""
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": [*(_SIDE * corners[:2]), *(_SIDE * (corners[2:] - corners[:2]))],
            "area": float(_SIDE**2 * np.prod(corners[2:] - corners[:2])),
            "iscrowd": 0,
            "score": float(score),
        }
        for image, boxes in enumerate(images)
        for corners, label, score in zip(*boxes, strict=True)
    ]
