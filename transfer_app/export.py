"""Export of a trained model for use without PyTorch: the command `nlp-transfer export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import Pipeline

from staged_training import InputError
from staged_training.reporting.onnx_export import Exported, export_onnx
from staged_training.runtime.files import file_of_model
from staged_training.runtime.photos import load_rgb
from staged_training.runtime.seal import digest
from staged_training.tables.word_tokenizer import WordTokenizer
from transfer_app.prediction.classifiers import Classifier
from transfer_app.prediction.onnx_classifier import ONNX, WEIGHTS
from transfer_app.prediction.opening import open_predictor
from transfer_app.prediction.photos import PHOTOS, SAMPLES, Detector

MAIL = (
    "Subject: Gas nominations for Tuesday\n\nJohn,\n\nthe pipeline has cut our nominations for "
    "tomorrow and we are short 20,000 at the city gate. Please call me before 9 so that we can buy "
    "the rest before the market closes. If you cannot, let Mary know whom to call; she is at her "
    "desk until noon.\n\nThanks,\nPaul"
)
_FOUND = 0.01  # score from which on a detector gives a box
_ODD = "  ÜBER Straße\t不看會後悔\u200b पानी 🐈 e\u0301 <mask> [MASK]\n\n"


def export(model: str, output: str | None) -> str:
    """Write a classifier or a detector as ONNX; what was written and how fast it is, in words.

    Args:
        model: Folder or Hub name of the model.
        output: The file; `model.onnx` in the folder of the model by default.

    Raises:
        InputError: There is no model, or it cannot be exported.
    """
    if output is None and not Path(model).is_dir():
        raise InputError(f"{model} is no folder here; say by --output where to write the file.")
    file = Path(output) if output else Path(model) / ONNX
    predictor = open_predictor(model)
    if isinstance(predictor, Detector):
        return _described(_exported_detector(predictor, model, file), file, "photo")
    if not isinstance(predictor, Classifier):
        raise InputError(
            f"{model} is a captioner; only classifiers and detectors are written as ONNX. A "
            "caption is searched for word by word, in many passes, and a file holds one. Use it by "
            "nlp-transfer predict or serve, or by the pipeline of transformers."
        )
    classifier, is_image = predictor.pipeline, predictor.task == "image-classification"
    batches = _images(classifier) if is_image else _texts(classifier)
    facts = _facts(predictor, model) | (_of_images if is_image else _of_texts)(classifier)
    with_features = predictor.known is not None
    exported = export_onnx(classifier.model, batches, file, facts, with_features=with_features)
    return _described(exported, file, "photo" if is_image else "mail")


def _exported_detector(detector: Detector, model: str, file: Path) -> Exported:
    """Write a detector, for one photo at a time: torchvision makes a graph of each of a batch.

    Raises:
        InputError: It was not made here, or finds nothing in what it would be compared on.
    """
    from vision_transfer.detection import FastRCNNForObjectDetection
    from vision_transfer.preprocessing import preprocessing

    opened = detector.pipeline
    network, processor = cast(Any, opened.model), cast(Any, opened.image_processor)
    if not isinstance(network, FastRCNNForObjectDetection):
        raise InputError(
            f"{model} is a {type(network).__name__}; of detectors, only those that nlp-transfer "
            "trains are written as ONNX. Optimum of Hugging Face exports others."
        )
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    images = [Image.fromarray(pixels), *(load_rgb(PHOTOS / name) for name in SAMPLES)]
    inputs = [processor([image], return_tensors="pt")["pixel_values"] for image in images]
    with torch.no_grad():
        surest = max(network(one).logits.softmax(-1)[..., :-1].max() for one in inputs)
    if surest < _FOUND:
        raise InputError(
            f"{file} was not written: {model} finds nothing in the photos of cats and dogs that "
            "both would be compared on. Give photos of yours to `export_onnx` of "
            "staged_training.reporting.onnx_export."
        )
    facts = {"task": detector.task, "labels": [one["name"] for one in detector.categories]}
    facts |= preprocessing(processor) | _sum_of_weights(model)
    batches = [{"pixel_values": one} for one in inputs]
    return export_onnx(network, batches, file, facts, detects=True)


def _texts(classifier: Pipeline) -> list[Mapping[str, torch.Tensor]]:
    """Three mails, one of them longer than an encoder reads at once; and one."""
    tokenizer = cast(Any, classifier.tokenizer)
    names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return [
        {name: tokens[name] for name in names}
        for texts in ([MAIL, "Lunch?", 12 * MAIL], [MAIL])
        for tokens in [tokenizer(texts, return_tensors="pt", padding=True, truncation=True)]
    ]


def _images(classifier: Pipeline) -> list[Mapping[str, torch.Tensor]]:
    """Three images of noise, and one."""
    processor = cast(Any, classifier.image_processor)
    size = 3, 300, 400, 1 if getattr(classifier.model.config, "ct", None) else 3
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    values = processor([*torch.from_numpy(pixels).permute(0, 3, 1, 2)], return_tensors="pt")
    return [{"pixel_values": part} for part in (values["pixel_values"], values["pixel_values"][:1])]


def _facts(predictor: Classifier, model: str) -> dict[str, Any]:
    """Return what a user of the file has to know of the model and its outputs."""
    facts = {"task": predictor.task, "ct": predictor.ct} | predictor.outputs._asdict()
    known = {name: value for name, value in facts.items() if value is not None}
    return known | _sum_of_weights(model)


def _sum_of_weights(model: str) -> dict[str, str]:
    weights = file_of_model(model, WEIGHTS)
    return {} if weights is None else {"weights": digest(weights)}


def _of_texts(classifier: Pipeline) -> dict[str, Any]:
    """Return how texts are prepared by `tokenizer.json` or words; nothing if not by these alone."""
    tokenizer = cast(Any, classifier.tokenizer)
    max_length = min(int(tokenizer.model_max_length), 2**31 - 1)
    if isinstance(tokenizer, WordTokenizer):
        return {"max_length": max_length}
    if not tokenizer.is_fast:
        return {}
    alone = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    alone.no_padding()
    alone.enable_truncation(max_length)
    for text in (MAIL, 12 * MAIL, _ODD):
        if alone.encode(text).ids != tokenizer(text, truncation=True)["input_ids"]:
            return {}
    return {"max_length": max_length}


def _of_images(classifier: Pipeline) -> dict[str, Any]:
    """Return how images are prepared."""
    from vision_transfer.preprocessing import preprocessing, resized_side

    processor = cast(Any, classifier.image_processor)
    side = resized_side(processor)
    return preprocessing(processor) | ({} if side is None else {"resized_side": side})


def _described(exported: Exported, file: Path, what: str) -> str:
    times = ", ".join(f"{name} {time:.1f} ms" for name, time in exported.milliseconds.items())
    return (
        f"{file}: {file.stat().st_size / 1e6:.1f} MB. Its outputs are those of the model within "
        f"{exported.difference:.1g}.\nOne {what}: {times}."
    )
