"""Export of a trained classifier for use without PyTorch: the command `nlp-transfer export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Pipeline

from staged_training import InputError
from staged_training.reporting.onnx_export import Exported, export_onnx
from staged_training.runtime.files import file_of_model
from staged_training.runtime.seal import digest
from staged_training.tables.word_tokenizer import WordTokenizer
from transfer_app.prediction.classifiers import Classifier
from transfer_app.prediction.onnx_classifier import ONNX, WEIGHTS
from transfer_app.prediction.opening import open_predictor

MAIL = (
    "Subject: Gas nominations for Tuesday\n\nJohn,\n\nthe pipeline has cut our nominations for "
    "tomorrow and we are short 20,000 at the city gate. Please call me before 9 so that we can buy "
    "the rest before the market closes. If you cannot, let Mary know whom to call; she is at her "
    "desk until noon.\n\nThanks,\nPaul"
)
_ODD = "  ÜBER Straße\t不看會後悔\u200b पानी 🐈 e\u0301 <mask> [MASK]\n\n"


def export(model: str, output: str | None) -> str:
    """Write a classifier as ONNX; what was written and how fast it is, in words.

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
    if not isinstance(predictor, Classifier):
        raise InputError(f"{model} is no classifier; only classifiers are written as ONNX.")
    classifier, is_image = predictor.pipeline, predictor.task == "image-classification"
    batches = _images(classifier) if is_image else _texts(classifier)
    facts = _facts(predictor, model) | (_of_images if is_image else _of_texts)(classifier)
    with_features = predictor.known is not None
    exported = export_onnx(classifier.model, batches, file, facts, with_features=with_features)
    return _described(exported, file, "photo" if is_image else "mail")


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
    weights = file_of_model(model, WEIGHTS)
    facts = {"task": predictor.task, "ct": predictor.ct} | predictor.outputs._asdict()
    facts["weights"] = None if weights is None else digest(weights)
    return {name: value for name, value in facts.items() if value is not None}


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
        f"{file}: {file.stat().st_size / 1e6:.1f} MB. Its logits are those of the model within "
        f"{exported.difference:.1g}.\nOne {what}: {times}."
    )
