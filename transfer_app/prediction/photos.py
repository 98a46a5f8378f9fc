"""Models of photos: what shows them to people; captioners and detectors."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoModelForObjectDetection,
    AutoProcessor,
)

from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.checks import check_ct, check_processor
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.photo_inputs import images
from transfer_app.prediction.predictor import Predictor

SAMPLE = Image.new("RGB", (64, 48), "gray")
SIDE = 360  # of a picture to show, in pixels
_LEAST = 0.5  # score of a box that is shown
_BATCH = 32


class PhotoPredictor(Predictor):
    """A model of photos."""

    def inputs(self, sources: Sequence[str], _: object) -> list[Input]:
        """Read the photos of all sources."""
        return [item for source in sources for item in images(Path(source))]

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

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """Yield each photo with its caption."""
        inputs = iter(inputs)
        while batch := list(islice(inputs, _BATCH)):
            contents = [item.load() for item in batch]
            results = self.pipeline(contents, text=[""] * len(batch))
            for item, result in zip(batch, results, strict=True):
                caption = result["generated_text"]
                yield item, Prediction({"caption": caption}, [caption])

    def _sample_scores(self) -> list[dict[str, Any]]:
        self.pipeline([SAMPLE], text=[""])
        return []


class Detector(PhotoPredictor):
    """A model that finds things in photos."""

    task = "object-detection"
    _model = AutoModelForObjectDetection
    _processing = ("image_processor", AutoImageProcessor)

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Prediction]]:
        """Yield each photo with its boxes."""
        inputs, ahead = tee(inputs)
        results = self.pipeline((item.load() for item in ahead), threshold=_LEAST)
        for item, boxes in zip(inputs, results, strict=True):
            yield item, Prediction({"boxes": boxes}, [*map(_line_of, boxes)] or ["nothing"])

    def _mark(self, image: Image.Image, prediction: Prediction) -> None:
        draw = ImageDraw.Draw(image)
        for box in prediction.fields["boxes"]:
            draw.rectangle(_corners(box), outline="red", width=max(2, min(image.size) // 100))

    def _sample_scores(self) -> Any:
        return self.pipeline([SAMPLE], threshold=0.0)[0]


def _line_of(box: dict[str, Any]) -> str:
    return f"{box['label']} {box['score']:.2f} at {' '.join(map(str, _corners(box)))}"


def _corners(box: dict[str, Any]) -> list[int]:
    return [box["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")]
