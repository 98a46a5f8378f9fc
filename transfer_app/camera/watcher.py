"""From what a camera shows to the visits of those who come before it."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from staged_training.runtime.errors import InputError, first_line
from transfer_app.camera.films import Frame
from transfer_app.camera.scene import WHOLE, Scene, small_image
from transfer_app.camera.sources import RATE, open_source
from transfer_app.camera.visits import Rules, Seen, Visit, Visits
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.onnx_classifier import OnnxClassifier

_QUALITY = 90  # of JPEG
_GRAY = Image.new("RGB", (64, 48), "gray")


class Watcher:
    """Watches a scene with an exported image classifier, and says who came.

    The scene at rest is learnt while nothing is recognised in it. What is new in it is cut out and
    classified; what is not similar to the training data counts as somebody who is not known.

    Args:
        model: Folder of the model, with `model.onnx` in it.
        rules: What counts as a visit.
        empty: The label that says that nobody is there, if the model has such a label.
        pictures: Keep the frame that shows a visit best.
        threads: How many threads compute a frame.

    Raises:
        InputError: There is no model, or it does not tell photos by one label of several.
    """

    def __init__(
        self,
        model: str,
        rules: Rules | None = None,
        *,
        empty: str | None = None,
        pictures: bool = False,
        threads: int = 1,
    ) -> None:
        self._rules, self._empty, self._pictures = rules or Rules(), empty, pictures
        self._threads = threads
        self._classifier = _photo_classifier(model, threads)
        labels = self._classifier.outputs.labels
        if empty is not None and empty not in labels:
            raise InputError(
                f"`empty` is {empty}; {model} has the labels {', '.join(labels)}.", ["empty"]
            )
        self._scene = Scene()
        self._last: tuple[Image.Image, Seen] | None = None

    def watch(self, source: str | Path | Iterable[Frame], rate: float = RATE) -> Iterator[Visit]:
        """Yield visits, until the film or the program ends; the last one when it is stopped, too.

        Args:
            source: What `open_source` opens, or opened.
            rate: How many frames to take of each second, if it is not open.

        Raises:
            InputError: It is not there or cannot be watched.
        """
        if isinstance(source, str | Path):
            source = open_source(str(source), rate, self._threads)
        self._scene, self._last = Scene(), None
        visits, film = Visits(self._rules), ""
        try:
            for frame in source:
                if frame.film != film:
                    yield from _of_film(film, visits.end())
                    visits, film = Visits(self._rules), frame.film
                    self._scene.restart()
                yield from _of_film(film, self._told(visits, frame))
        except KeyboardInterrupt:  # the visit is not lost
            yield from _of_film(film, visits.end())
            raise
        yield from _of_film(film, visits.end())

    def _told(self, visits: Visits, frame: Frame) -> list[Visit]:
        if frame.image is None:
            return visits.wait(frame.time)
        if self._last is None or self._last[0] is not frame.image:
            self._last = frame.image, self._seen(frame.image, frame.time)
        return visits.add(replace(self._last[1], time=frame.time))

    def _seen(self, image: Image.Image, time: float) -> Seen:
        """Return who is there."""
        small = small_image(image)
        boxes = self._scene.changes(small)
        if boxes == []:
            return Seen(time, None)
        looked_at = [WHOLE] if boxes is None else boxes
        answers = [self._scores(box.of(image), surely=boxes is not None) for box in looked_at]
        is_known = any(answers)
        self._scene.learn(small, time, recognised=is_known, new=boxes is None)
        there = [scores for scores in answers if scores is not None]
        if not there or (boxes is None and not is_known):
            return Seen(time, None)
        mean: Counter[str] = Counter()
        if all(there):  # beside what is not recognised, another label may hide
            for scores in there:
                mean.update({label: score / len(there) for label, score in scores.items()})
        return Seen(time, mean, sum(box.area for box in looked_at), self._kept(image))

    def _kept(self, image: Image.Image) -> bytes | None:
        """Return a frame as JPEG, if such are kept."""
        if not self._pictures:
            return None
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()

    def _scores(self, image: Image.Image, *, surely: bool) -> dict[str, float] | None:
        """Return the scores of a part of a frame.

        They are empty if it is unlike the training data; None if nobody is there.

        Args:
            image: The part.
            surely: Whether somebody is there, for a model that does not know its training data.
        """
        ((_, answer),) = self._classifier.predict([Input("The frame", image)])
        if answer.fields["label"] == self._empty:
            return None
        return answer.fields["scores"] if answer.fields.get("accepted", surely) else {}


def _photo_classifier(model: str, threads: int) -> OnnxClassifier:
    """Open a model that gives photos one label of several.

    Raises:
        InputError: There is none, or another one.
    """
    classifier = OnnxClassifier(model, threads)
    outputs = classifier.outputs
    if classifier.task != "image-classification" or (
        outputs.problem_type != "single_label_classification"
    ):
        raise InputError(f"{model}: does not give photos one label of several. Give one that does.")
    try:
        next(classifier.predict([Input("A gray photo", _GRAY)]))
    except Exception as error:  # ONNX Runtime raises errors of many kinds
        raise InputError(f"{model}: does not take photos ({first_line(error)}).") from error
    return classifier


def _of_film(film: str, visits: Iterable[Visit]) -> Iterator[Visit]:
    return (replace(visit, film=film) for visit in visits)
