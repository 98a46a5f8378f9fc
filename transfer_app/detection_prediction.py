"""Boxes that a trained detector finds in images, as a table for people or JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from transformers import AutoImageProcessor, AutoModelForObjectDetection, Pipeline, pipeline

from staged_training.pretrained import load_whole
from staged_training.runtime.printable import one_line
from transfer_app.inputs import Input

TASK = "object-detection"
LEAST = 0.5  # score of a box that is shown


def open_detector(model: str) -> Pipeline:
    """The pipeline of a detector, from its folder or its name on the Hub."""
    return pipeline(
        "object-detection",
        load_whole(AutoModelForObjectDetection, model),
        image_processor=AutoImageProcessor.from_pretrained(model, trust_remote_code=False),
    )


def detections(
    detector: Pipeline, inputs: Sequence[Input]
) -> Iterator[tuple[Input, list[dict[str, Any]]]]:
    """Yield each image with its boxes as `pipeline` gives them, the best first, in order."""
    from vision_transfer.images import load_rgb  # needs the extra `vision`

    images = (load_rgb(item.content) for item in inputs)
    yield from zip(inputs, detector(images, threshold=LEAST), strict=True)


def line_of(box: dict[str, Any]) -> str:
    """A box in words."""
    corners = " ".join(str(box["box"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    return f"{box['label']} {box['score']:.2f} at {corners}"


def print_detections(detector: Pipeline, inputs: Sequence[Input], *, as_json: bool) -> None:
    """Print a line for each box, or for an image without any; or one JSON object for an image."""
    width = max(len(one_line(item.name)) for item in inputs)
    for item, boxes in detections(detector, inputs):
        if as_json:
            print(json.dumps({"input": item.name, "boxes": boxes}))
        else:
            for line in map(line_of, boxes) if boxes else ["nothing"]:
                print(f"{one_line(item.name).ljust(width)}  {one_line(line)}")
