"""Predictions of a trained classifier, as a table for people or JSON for programs."""

import errno
import importlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import chain, tee
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Pipeline,
    pipeline,
)
from transformers.utils import cached_file

from staged_training import InputError
from staged_training.features.head import collected_features
from staged_training.heads.familiarity import FILE_NAME, Familiarity, load_familiarity
from staged_training.pretrained import load_whole
from staged_training.runtime.errors import first_line
from staged_training.runtime.printable import one_line
from staged_training.runtime.seal import check_seal
from staged_training.tables.reading import table_suffix
from transfer_app import caption_prediction, detection_prediction
from transfer_app.inputs import Input, decoded, images, pictures, texts
from transfer_app.working import check_working, quiet_rust, quiet_transformers

_SHOWN = {
    caption_prediction.TASK: caption_prediction.print_captions,
    detection_prediction.TASK: detection_prediction.print_detections,
}
_OF_RUST = "PanicException"  # of the tokenizers; no `Exception`, and not to be imported
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Answer(NamedTuple):
    """What a model says of an input.

    Attributes:
        label: The most likely label.
        scores: The scores of all labels.
        score: That of the label that matters, or else of the most likely one.
        familiarity: How like the input is to what the model was trained on, if that is known.
        answered: Whether it is like enough.
    """

    label: str
    scores: dict[str, float]
    score: float
    familiarity: float | None = None
    answered: bool = True

    @property
    def shown_label(self) -> str:
        """What people are told."""
        return self.label if self.answered else "neither, look"


def predict(
    model: str, sources: Sequence[str], text_columns: Sequence[str] | None, *, as_json: bool
) -> None:
    """Classify texts or images; print a table, the best first, or one JSON object per input.

    A captioner says what the images show instead, and a detector what is where in them.

    A model that knows what it is familiar with, see `Familiarity`, marks what is not like it.

    Args:
        model: Folder or Hub name of the model, which tells what it classifies.
        sources: Files to read: for a text model as `read_texts`, or `-` for lines of standard
            input; for an image model images, scans of CT (DICOM or NIfTI, by slice) and folders of
            them.
        text_columns: Columns of a table to read as text.
        as_json: Print JSON, in the order of the inputs.

    Raises:
        InputError: An input cannot be read, or there is no model.
    """
    # A table is read first: what is wrong with its columns is told before a model is loaded.
    tables = {name: texts(name, text_columns) for name in sources if table_suffix(Path(name))}
    classifier = open_classifier(model)
    if show := _SHOWN.get(classifier.task):
        photos = [item for source in sources for item in images(Path(source))]
        show(classifier, photos, as_json=as_json)
        return
    inputs: Iterable[Input]
    if classifier.task == "image-classification":
        ct = getattr(classifier.model.config, "ct", None)
        inputs = [item for source in sources for item in pictures(Path(source), ct)]
    else:
        inputs = chain.from_iterable(
            [tables.pop(name) if name in tables else texts(name, text_columns) for name in sources]
        )
    known = known_to(model)
    rows = []
    for item, answer in answers(classifier, known, inputs):
        if as_json:
            fields: dict[str, Any] = {"input": item.name, "label": answer.label}
            fields |= {"scores": answer.scores}
            if answer.familiarity is not None:
                fields |= {"familiarity": answer.familiarity, "answered": answer.answered}
            print(json.dumps(fields))
        else:
            rows.append((answer.score, answer.shown_label, item.name, item.shown))
    if not as_json:
        print(prediction_table(sorted(rows, key=lambda row: -row[0])))


def open_classifier(model: str) -> Pipeline:
    """The pipeline of a classifier of texts or of images, of a captioner or a detector.

    Raises:
        InputError: There is no model that can be loaded and works.
    """
    if find_spec("timm"):  # the extra `vision`
        importlib.import_module("vision_transfer")  # makes its models known
    try:
        with quiet_transformers():
            check_seal(model)
            opened = _opened(model)
            with quiet_rust():
                check_working(opened)
        return opened
    except InputError:
        raise
    except BaseException as error:  # libraries raise almost anything on damage
        if not isinstance(error, Exception) and type(error).__name__ != _OF_RUST:
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise InputError(
                f"{model}: there is no room for it ({error}). Free some, or set HF_HOME to a "
                "folder on another disk. Nothing was left half downloaded."
            ) from error
        raise InputError(
            f"{model}: no model could be loaded from there ({first_line(error)}). Give "
            "the folder that a recipe wrote (its --output-dir), or a name on the Hub."
        ) from error


def _opened(model: str) -> Pipeline:
    (kind,) = AutoConfig.from_pretrained(model, trust_remote_code=False).architectures or [""]
    # Loaded one by one: `pipeline` does not say why it could not load a model.
    if "ImageTextToText" in kind:
        return caption_prediction.open_captioner(model)
    if "ObjectDetection" in kind:
        return detection_prediction.open_detector(model)
    if "ImageClass" in kind:
        return pipeline(
            "image-classification",
            load_whole(AutoModelForImageClassification, model),
            image_processor=AutoImageProcessor.from_pretrained(model, trust_remote_code=False),
            top_k=None,
        )
    return pipeline(
        "text-classification",
        load_whole(AutoModelForSequenceClassification, model),
        tokenizer=AutoTokenizer.from_pretrained(model, trust_remote_code=False),
        top_k=None,
    )


def known_to(model: str) -> Familiarity | None:
    """What a model is familiar with, if that was saved beside it."""
    file = Path(model, FILE_NAME)
    if not os.path.lexists(file):  # where it is, but as a broken link, it is damaged
        found = cached_file(model, FILE_NAME, _raise_exceptions_for_missing_entries=False)
        if found is None:
            return None
        file = Path(found)
    return load_familiarity(file)


def answers(
    classifier: Pipeline, known: Familiarity | None, inputs: Iterable[Input]
) -> Iterator[tuple[Input, Answer]]:
    """Yield each input with what the model says of it, in order; a batch is held in memory."""
    positive = getattr(classifier.model.config, "positive_label", "")
    collecting: AbstractContextManager[list[torch.Tensor]] = nullcontext([])
    if known:
        collecting = collected_features(classifier.model)
    with collecting as features:
        for item, scores in classify(classifier, inputs):
            label = max(scores, key=scores.__getitem__)
            answer = Answer(label, scores, scores.get(positive, scores[label]))
            if known:
                similarity = known.similarity(features.pop(0)[None]).item()
                answered = similarity >= known.threshold
                answer = answer._replace(familiarity=round(similarity, 4), answered=answered)
            yield item, answer


def classify(
    classifier: Pipeline, inputs: Iterable[Input]
) -> Iterator[tuple[Input, dict[str, float]]]:
    """Yield each input with its scores by label, in order.

    Raises:
        InputError: The scores of an input are no numbers.
    """
    of_images = {"top_k": classifier.model.config.num_labels}
    is_image = classifier.task == "image-classification"
    options: dict[str, Any] = of_images if is_image else {"truncation": True}
    total = len(inputs) if isinstance(inputs, Sized) else None
    inputs, ahead = tee(inputs)
    contents = (decoded(item.content) if is_image else item.content for item in ahead)
    results = classifier(contents, batch_size=32, **options)
    bar = tqdm(results, total=total, unit="input", delay=2, dynamic_ncols=True)
    for item, labels in zip(inputs, bar, strict=True):
        scores = {label["label"]: round(label["score"], 4) for label in labels}
        if any(math.isnan(score) for score in scores.values()):
            raise InputError(f"The scores of {item.name} are no numbers: the model is damaged.")
        yield item, scores


def prediction_table(rows: Sequence[tuple[float, str, str, str]], width: int = 100) -> str:
    """Score, label, name and beginning of each input, one line each."""
    columns = [(f"{score:.2f}", one_line(label), one_line(name)) for score, label, name, _ in rows]
    widths = [max(len(cells[i]) for cells in columns) for i in range(3)] if columns else []
    lines = []
    for cells, (_, _, _, shown) in zip(columns, rows, strict=True):
        fixed = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
        lines.append(f"{fixed}  {' '.join(shown.split())}"[:width].rstrip())
    return "\n".join(lines)
