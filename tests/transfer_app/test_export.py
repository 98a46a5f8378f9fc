"""An exported model predicts the same without PyTorch, by the lines that its card shows."""

import json
import re
import shutil

import pytest
from transformers import pipeline

from staged_training.reporting.onnx_usage import image_usage, text_usage, word_usage
from staged_training.runtime.seal import digest
from tests.fuzz.model_folders import MODELS
from tests.fuzz.targets import PHOTO
from tests.processes import printed_without_torch
from tests.small_models import NAMES, TEXTS, save_image_model, save_text_model
from transfer_app.command_line import main
from transfer_app.prediction.opening import open_predictor


@pytest.fixture(params=NAMES)
def kind(request):
    return request.param


def code_of(usage):
    (code,) = re.findall("```python\n(.*?)```", usage, re.DOTALL)
    return code


def facts_of(file):
    import onnxruntime

    stored = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    facts = {name: json.loads(value) for name, value in stored.items()}
    assert facts.pop("weights") == digest(file.parent / "model" / "model.safetensors")
    return facts


def as_scores(outputs):
    return pytest.approx({output["label"]: output["score"] for output in outputs}, rel=1e-4)


def test_texts_are_predicted_without_pytorch(kind, tmp_path):
    folder = tmp_path / "model"
    save_text_model(folder, kind, bias=[250_000] if kind == "regression" else [])
    assert main(["export", str(folder)]) == 0
    classify = pipeline("text-classification", model=str(folder), top_k=None)
    (wanted,) = classify([TEXTS[0]])
    assert printed_without_torch(code_of(text_usage(kind, repr(TEXTS[0]))), folder) == as_scores(
        wanted
    )


def test_texts_are_predicted_without_pytorch_by_a_model_on_tfidf(tmp_path):
    folder = tmp_path / "model"
    MODELS["tfidf"](folder)
    assert main(["export", str(folder)]) == 0
    (wanted,) = open_predictor(str(folder)).pipeline([TEXTS[0]], top_k=2)
    code = code_of(word_usage("single_label_classification", repr(TEXTS[0])))
    assert printed_without_torch(code, folder) == as_scores(wanted)


def test_images_are_predicted_without_pytorch(kind, tmp_path):
    folder = tmp_path / "model"
    save_image_model(folder, kind)
    assert main(["export", str(folder)]) == 0
    shutil.copy(PHOTO, folder / "photo.jpg")
    wanted = pipeline("image-classification", model=str(folder), top_k=3)(str(PHOTO))
    assert printed_without_torch(code_of(image_usage(kind, '"photo.jpg"')), folder) == as_scores(
        wanted
    )


def test_a_file_says_what_it_predicts_and_takes(tmp_path):
    save_text_model(tmp_path / "model", "single_label_classification", positive_label="bill")
    assert main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "net.onnx")]) == 0
    assert facts_of(tmp_path / "net.onnx") == {
        "task": "text-classification",
        "labels": NAMES["single_label_classification"],
        "problem_type": "single_label_classification",
        "positive_label": "bill",
        "max_length": 512,
    }


def test_a_file_for_images_says_how_they_are_prepared(tmp_path):
    save_image_model(tmp_path / "model", "regression")
    assert main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "net.onnx")]) == 0
    assert facts_of(tmp_path / "net.onnx") == {
        "task": "image-classification",
        "labels": ["minutes"],
        "problem_type": "regression",
        "size": [32, 32],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "channel_order": "RGB",
        "resized_side": 36,
    }


def test_a_model_of_scans_takes_one_channel_and_says_how_they_are_read(tmp_path):
    ct = {"size": 32, "spacing": None, "window": "soft tissue"}
    save_image_model(tmp_path / "model", "single_label_classification", channels=1, ct=ct)
    assert main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "net.onnx")]) == 0
    facts = facts_of(tmp_path / "net.onnx")
    assert facts["mean"] == [0.5]
    assert facts["ct"] == ct
