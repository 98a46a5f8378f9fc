"""Models of photos: what shows them to people; captioners and detectors."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any, cast

from PIL import Image, ImageDraw
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoModelForObjectDetection,
    AutoProcessor,
    ObjectDetectionPipeline,
)

from staged_training.recipe import RECIPES
from staged_training.runtime.errors import InputError
from staged_training.runtime.films import SUFFIXES
from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.checks import check_ct, check_processor
from transfer_app.prediction.inputs import Input, Unread
from transfer_app.prediction.photo_inputs import images
from transfer_app.prediction.predictor import Predictor

SAMPLE = Image.new("RGB", (64, 48), "gray")
PHOTOS = RECIPES / "data" / "pets" / "images"
SAMPLES = ("Persian_128.jpg", "beagle_117.jpg", "Siamese_108.jpg", "pug_142.jpg")
SIDE = 360  # of a picture to show, in pixels
_LEAST = 0.5  # score of a box that is shown
_BATCH = 32
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class PhotoPredictor(Predictor):
    """A model of photos."""

    rows_at_once = 256

    def inputs(self, sources: Sequence[str], _: object) -> Unread:
        """Return the photos of all sources."""
        return Unread.joined([images(Path(source)) for source in sources])

    def picture(self, item: Input, prediction: Prediction) -> Image.Image:
        """Return a photo, with what the model found in it, to show it to people."""
        image: Image.Image = item.load()
        self._mark(image, prediction)
        image.thumbnail((SIDE, SIDE))
        return image

    def _mark(self, image: Image.Image, prediction: Prediction) -> None:
        """Mark in a photo what was found."""

    def _check_processing(self) -> None:
        check_processor(self.pipeline)
        check_ct(self.pipeline)


class Captioner(PhotoPredictor):
    """A model that says what photos show."""

    task = "image-text-to-text"
    _model = AutoModelForImageTextToText
    _processing = ("processor", AutoProcessor)

    def inputs(self, sources: Sequence[str], _: object) -> Unread:
        """Return the photos of all sources.

        Raises:
            InputError: One cannot be read, or is a film.
        """
        for source in map(Path, sources):
            if source.suffix.lower() in SUFFIXES and source.is_file():
                raise InputError(
                    f"{source}: is a film, whose captions are subtitles. Write them by `output`, "
                    "to a file that ends in .vtt.",
                    ["output"],
                )
        return super().inputs(sources, _)

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """Yield each photo with its caption."""
        inputs = iter(inputs)
        while batch := list(islice(inputs, _BATCH)):
            contents = [item.load() for item in batch]
            results = self.pipeline(contents, text=[""] * len(batch))
            for item, result in zip(batch, results, strict=True):
                caption = result["generated_text"]
                fields = {"caption": caption}
                yield item, Prediction(fields, [caption], annotations=[fields])

    def _sample_scores(self) -> list[dict[str, Any]]:
        self.pipeline([SAMPLE], text=[""])
        return []


class _ExactPipeline(ObjectDetectionPipeline):
    """The pipeline of `transformers`, without its cutting of coordinates to whole pixels."""

    def postprocess(self, model_outputs: Any, threshold: float = 0.5) -> Any:  # type: ignore[override]
        """Return the boxes of an image, their corners in pixels of it."""
        (found,) = cast(Any, self.image_processor).post_process_object_detection(
            model_outputs, threshold, model_outputs["target_size"]
        )
        labels = cast(Any, self.model.config).id2label
        parts = (found[name].tolist() for name in ("scores", "labels", "boxes"))
        return [
            {"score": score, "label": labels[number], "box": dict(zip(_SIDES, box, strict=True))}
            for score, number, box in zip(*parts, strict=True)
        ]


class Detector(PhotoPredictor):
    """A model that finds things in photos."""

    task = "object-detection"
    _model = AutoModelForObjectDetection
    _processing = ("image_processor", AutoImageProcessor)
    _pipeline = _ExactPipeline

    @property
    def categories(self) -> list[dict[str, Any]]:
        """What it finds, as COCO's categories, which are numbered from 1."""
        labels: dict[Any, str] = self.pipeline.model.config.id2label or {}
        return [
            {"id": id + 1, "name": name, "supercategory": ""} for id, name in sorted(labels.items())
        ]

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """Yield each photo with its boxes."""
        inputs, ahead = tee(inputs)
        results = self.pipeline((item.load() for item in ahead), threshold=_LEAST)
        numbers = {category["name"]: category["id"] for category in self.categories}
        for item, exact in zip(inputs, results, strict=True):
            boxes = [
                one | {"box": {side: int(x) for side, x in one["box"].items()}} for one in exact
            ]
            annotations = [_annotation(numbers[one["label"]], one) for one in exact]
            lines = [*map(_line_of, boxes)] or ["nothing"]
            yield item, Prediction({"boxes": boxes}, lines, annotations=annotations)

    def _mark(self, image: Image.Image, prediction: Prediction) -> None:
        draw = ImageDraw.Draw(image)
        for box in prediction.fields["boxes"]:
            draw.rectangle(_corners(box), outline="red", width=max(2, min(image.size) // 100))

    def _sample_scores(self) -> Any:
        return self.pipeline([SAMPLE], threshold=0.0)[0]


def _annotation(category: int, found: dict[str, Any]) -> dict[str, Any]:
    """Return a box as an annotation of COCO: its left upper corner, width and height."""
    x1, y1, x2, y2 = (round(x, 2) for x in _corners(found))
    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
    return {
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": round(width * height, 2),
        "segmentation": [],  # which some readers look for
        "iscrowd": 0,
        "score": round(found["score"], 4),
    }


def _line_of(box: dict[str, Any]) -> str:
    return f"{box['label']} {box['score']:.2f} at {' '.join(map(str, _corners(box)))}"


def _corners(box: dict[str, Any]) -> list[Any]:
    return [box["box"][side] for side in _SIDES]
