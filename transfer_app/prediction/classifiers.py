"""Classifiers of texts and of photos, which may know what their training data are like."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, tee
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from staged_training import InputError
from staged_training.features.head import collected_features, collected_tokens
from staged_training.heads.conformal import LabelSets
from staged_training.heads.drift import Watch
from staged_training.heads.familiarity import FILE_NAME, Familiarity, load_familiarity
from staged_training.runtime.files import file_of_model
from transfer_app.prediction.answers import (
    Answer,
    Outputs,
    Prediction,
    answer_of,
    checked,
    scores_of_logits,
    table,
    with_set,
)
from transfer_app.prediction.checks import check_tokenizer
from transfer_app.prediction.inputs import Input, Unread
from transfer_app.prediction.photo_inputs import pictures, tell
from transfer_app.prediction.photos import SAMPLE, SIDE, PhotoPredictor
from transfer_app.prediction.predictor import Predictor
from transfer_app.prediction.scan_inputs import series


class Classifier(Predictor):
    """A model that gives each input the score of each label, or a number.

    Attributes:
        known: What it knows of its training data, if that was saved beside it.
        outputs: What its outputs are.
        sets: What gives each input the set of labels that cannot be excluded, if that was asked.
        watch: What compares the inputs as a whole with the training data, if that was asked.
    """

    def __init__(self, model: str) -> None:
        super().__init__(model)
        config = self.pipeline.model.config
        self.outputs = Outputs(
            [label for _, label in sorted((config.id2label or {}).items())],
            config.problem_type or "single_label_classification",
            getattr(config, "positive_label", None),
        )
        self.known = _known_to(model)
        self.sets: LabelSets | None = None
        self.watch: Watch | None = None

    def predict(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Answer]]:
        """Yield each input with what is predicted, and whether it is like the training data."""
        collecting: AbstractContextManager[list[torch.Tensor]] = nullcontext([])
        if self.known:
            collecting = collected_features(self.pipeline.model)
        elif self.watch and self.watch.is_of_texts:
            collecting = collected_tokens(self.pipeline.model)
        with collecting as collected:
            for item, scores in self._scored(inputs):
                answer = answer_of(scores, self.outputs)
                if self.sets:
                    answer = with_set(answer, self.sets, scores)
                if self.known:
                    answer = checked(answer, self.known, collected.pop(0))
                    if self.watch:
                        self.watch.see(answer.fields["similarity"])
                elif collected and self.watch:
                    self.watch.see_text(collected.pop(0))
                yield item, answer

    def describe(self, inputs: Iterable[Input]) -> Iterator[str]:
        """Yield a table of inputs, the highest score or the largest number first."""
        found = self.predict(inputs)
        yield table((answer.rank, answer.row(item.name, item.shown)) for item, answer in found)

    def index_of(self, label: str) -> int:
        """Return the index of a label among the logits."""
        return self.outputs.labels.index(label)

    def _scored(
        self, inputs: Iterable[Input], **options: Any
    ) -> Iterator[tuple[Input, dict[str, float]]]:
        total = len(inputs) if isinstance(inputs, Sized) else None
        inputs, ahead = tee(inputs)
        results = self._classified((item.load() for item in ahead), batch_size=32, **options)
        if self.shows_progress:
            results = tqdm(results, total=total, unit="input", delay=2, dynamic_ncols=True)
        for item, result in zip(inputs, results, strict=True):
            scores = {output["label"]: output["score"] for output in result}
            if not all(map(math.isfinite, scores.values())):
                raise InputError(f"The scores of {item.name} are no numbers: the model is damaged.")
            yield item, scores

    def _classified(self, contents: Iterable[Any], **options: Any) -> Any:
        self.pipeline.call_count = 0  # after ten it asks for streams, which it is given
        return self.pipeline(contents, top_k=len(self.outputs.labels), **options)


class TextClassifier(Classifier):
    """A classifier of texts."""

    task = "text-classification"
    rows_at_once = 4_096
    _model = AutoModelForSequenceClassification
    _processing = ("tokenizer", AutoTokenizer)

    def inputs(self, sources: Sequence[str], read_texts: Callable[[str], Unread]) -> Unread:
        """Return the texts of all sources."""
        return Unread.joined([read_texts(source) for source in sources])

    def _check_processing(self) -> None:
        check_tokenizer(self.pipeline)

    def _classified(
        self, contents: Iterable[str], batch_size: int = 1, **options: Any
    ) -> Iterator[Any]:
        """Yield what the pipeline does, which would tokenize each text alone and then pad them."""
        pipeline, contents = cast(Any, self.pipeline), iter(contents)
        options = {"top_k": None, "_legacy": False, **options}
        while batch := list(islice(contents, batch_size)):
            tokens = pipeline.tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            for logits in pipeline.forward(tokens)["logits"].split(1):
                yield pipeline.postprocess({"logits": logits}, **options)

    def _sample_scores(self) -> Any:
        sample = ["Subject: Lunch\n\nCall me before noon.", "Lunch"]  # of which one is padded
        return next(self._classified(sample, batch_size=2))


class PhotoClassifier(Classifier, PhotoPredictor):
    """A classifier of photos, or of slices of CT."""

    task = "image-classification"
    _model = AutoModelForImageClassification
    _processing = ("image_processor", AutoImageProcessor)

    def inputs(self, sources: Sequence[str], _: object) -> Unread:
        """Return the photos of all sources; of CT the series of a folder, the slices of a file.

        Raises:
            InputError: None can be read, or a model that knows its training data by slice is given
                series.
        """
        patients: dict[str, int] = {}
        return Unread.joined([self._of_source(Path(source), patients) for source in sources])

    def _of_source(self, source: Path, patients: dict[str, int]) -> Unread:
        if not (self.ct and source.is_dir()):
            return pictures(source, self.ct)
        if self.known or self.sets:
            raise InputError(
                f"{source}: what the model knows of its training data, and its sets of labels, are "
                "of slices, not of series. Give the files, not the folder."
            )
        inputs, problems = series(source, self.ct, patients)
        tell(problems)
        return Unread.of(inputs, len(inputs))

    def picture(self, item: Input, prediction: Prediction) -> Image.Image:
        """Return a photo and, beside it, the places that mattered, if it gives such maps."""
        from torchvision.transforms.functional import to_pil_image

        from vision_transfer.explanation import grad_cam, overlay

        given = item.load()
        image = given if isinstance(given, Image.Image) else to_pil_image(given).convert("RGB")
        processor = cast(Any, self.pipeline.image_processor)
        pixels = processor(given, return_tensors="pt")["pixel_values"]
        explained = self.index_of(cast(Answer, prediction).explained)
        heat = grad_cam(self.pipeline.model, pixels, explained)
        image.thumbnail((SIDE, SIDE))
        if heat is None:
            return image
        both = Image.new("RGB", (2 * image.width, image.height))
        both.paste(image)
        both.paste(overlay(image, heat), (image.width, 0))
        return both

    def _scored(
        self, inputs: Iterable[Input], **options: Any
    ) -> Iterator[tuple[Input, dict[str, float]]]:
        """Yield each input with its scores, of a series by the mean logits of its slices."""
        if not self.ct:
            yield from super()._scored(inputs, **options)
            return
        inputs = list(inputs)
        slices = [one for item in inputs for one in _slices(item)]
        logits = super()._scored(slices, function_to_apply="none")
        labels, kind = self.outputs.labels, self.outputs.problem_type
        for item in inputs:
            own = [
                [found[label] for label in labels]
                for _, found in islice(logits, len(_slices(item)))
            ]
            scores = scores_of_logits(np.mean(own, axis=0), kind)
            yield item, dict(zip(labels, scores, strict=True))

    def _sample_scores(self) -> Any:
        return self._classified([torch.full((1, 48, 64), 0.5) if self.ct else SAMPLE])[0]


def _slices(item: Input) -> list[Input]:
    """Return the slices of a series as inputs, under its name."""
    parts = item.content if isinstance(item.content, list) else [item.content]
    return [Input(item.name, part) for part in parts]


def _known_to(model: str) -> Familiarity | None:
    """Return what a model knows of its training data, if that was saved beside it."""
    file = file_of_model(model, FILE_NAME)
    return load_familiarity(file) if file else None
