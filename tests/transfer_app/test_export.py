"""An exported model predicts the same without PyTorch, by the lines that its card shows."""

import json
import math
import re
import shutil

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection, pipeline

from staged_training.reporting.onnx_export import export_onnx
from staged_training.reporting.onnx_usage import image_usage, text_usage, word_usage
from staged_training.runtime.errors import InputError
from staged_training.runtime.photos import load_rgb
from staged_training.runtime.seal import digest
from tests.fuzz.model_folders import MODELS
from tests.fuzz.targets import PHOTO
from tests.processes import printed_without_torch
from tests.small_models import NAMES, TEXTS, save_detector, save_image_model, save_text_model
from transfer_app.command_line import main
from transfer_app.prediction.onnx_classifier import OnnxClassifier
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


def outputs_of(file, given):
    """The logits and the boxes that a file gives of a photo."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file)
    assert [output.name for output in session.get_outputs()] == ["logits", "pred_boxes"]
    found = session.run(None, {name: tensor.numpy() for name, tensor in given.items()})
    return [torch.from_numpy(part) for part in found]


def photos_for(processor):
    """Photos of three shapes, as a detector sees them."""
    photo = load_rgb(PHOTO)
    shapes = photo, photo.rotate(90, expand=True), photo.crop((100, 0, 180, 200))
    return [processor([one], return_tensors="pt")["pixel_values"] for one in shapes]


@torch.no_grad()
def check_finds_the_same(model, file, inputs):
    counts = set()
    for given in inputs:
        wanted = model(**given)
        rows = torch.cat([wanted.logits, wanted.pred_boxes], dim=-1)[0]
        same = (torch.cat(outputs_of(file, given), dim=-1)[0][None] - rows[:, None]).abs().amax(-1)
        assert same.amin(0).max() < 1e-3 and same.amin(1).max() < 1e-3  # the order may be another
        counts.add(int((wanted.logits[0, :, -1] < math.log(0.99)).sum()))
    assert len(counts) > 1 and max(counts) > 1  # of boxes


def test_a_detector_finds_the_same_without_pytorch(tmp_path, capsys):
    save_detector(tmp_path / "model", background=4, num_detections=100)
    assert main(["export", str(tmp_path / "model"), "--output", str(tmp_path / "net.onnx")]) == 0
    assert "Its outputs are those of the model within" in capsys.readouterr().out
    opened = open_predictor(str(tmp_path / "model")).pipeline
    inputs = [{"pixel_values": pixels} for pixels in photos_for(opened.image_processor)]
    check_finds_the_same(opened.model, tmp_path / "net.onnx", inputs)
    facts = facts_of(tmp_path / "net.onnx")
    assert facts.pop("mean") == facts.pop("std") == [0.5, 0.5, 0.5]
    assert facts == {
        "task": "object-detection",
        "labels": ["cat", "dog"],
        "size": [64, 64],
        "interpolation": "bicubic",
        "channel_order": "RGB",
    }
    shutil.copy(tmp_path / "net.onnx", tmp_path / "model" / "model.onnx")
    with pytest.raises(InputError, match="is no classifier"):
        OnnxClassifier(str(tmp_path / "model"))


def test_a_detector_may_look_at_regions_that_it_is_given(tmp_path):
    save_detector(tmp_path / "model", background=4, num_detections=100, proposals="given")
    model = AutoModelForObjectDetection.from_pretrained(tmp_path / "model").eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path / "model")
    regions = 0.2 + 0.5 * torch.rand(30, 4, generator=torch.manual_seed(0))
    regions[5, 2:] = 0  # is none
    inputs = [
        {"pixel_values": pixels, "proposals": regions[None, : 10 * number]}
        for number, pixels in enumerate(photos_for(processor), start=1)
    ]
    export_onnx(model, inputs[:2], tmp_path / "net.onnx", detects=True)
    check_finds_the_same(model, tmp_path / "net.onnx", inputs)


def test_a_detector_that_finds_nothing_to_compare_is_not_exported(tmp_path, capsys):
    save_detector(tmp_path / "model", background=30)
    assert main(["export", str(tmp_path / "model")]) == 2
    assert "finds nothing in the photos" in capsys.readouterr().err
    assert not (tmp_path / "model" / "model.onnx").exists()
