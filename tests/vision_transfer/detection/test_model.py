"""A detector finds, learns on stored maps as on images, and is saved and loaded like any model."""

import copy

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    TrainingArguments,
    default_data_collator,
    pipeline,
)

from staged_training import InputError, Stage, StagedTrainer, layer_groups
from staged_training.features.head import FeatureHead, base_features
from vision_transfer.backbones import load_backbone, save_classifier, untrained_backbone
from vision_transfer.detection.evaluation import Boxes, detection_metrics
from vision_transfer.detection.pretrained import fitted_anchors, load_detector
from vision_transfer.detection.task import read_detection_task
from vision_transfer.preprocessing import preprocessing

from .conftest import PETS

LABELS = torch.tensor([[[0, 0.5, 0.5, 0.4, 0.4], [-1, 0, 0, 0, 0]]]).repeat(2, 1, 1)


@pytest.fixture(scope="module")
def detector():
    model, processor = load_detector("efficientnet-lite0", ["cat", "dog"], size=128)
    return model.eval(), processor


@pytest.fixture
def pixels(detector):
    _, processor = detector
    images = [Image.open(PETS / "images" / f"{name}.jpg") for name in ("Persian_128", "pug_142")]
    return processor(images, return_tensors="pt")["pixel_values"]


def test_the_base_is_the_pretrained_one_to_the_bit_and_its_preprocessing_too(detector):
    model, processor = detector
    base, expected = load_backbone("efficientnet-lite0", ["a", "b"])
    whole = base.timm_model.state_dict()
    for name, tensor in model.backbone._backbone.state_dict().items():
        assert torch.equal(tensor, whole[name]), name
    found, wanted = preprocessing(processor), preprocessing(expected)
    assert found | {"size": wanted["size"]} == wanted
    assert [group.name for group in layer_groups(model)][-2:] == ["_backbone.blocks.6", "head"]


def test_what_it_finds_has_the_shape_of_detr(detector, pixels):
    model, processor = detector
    with torch.no_grad():
        output = model(pixels)
    assert output.loss is None
    assert output.logits.shape == (2, 20, 3)
    assert output.pred_boxes.shape == (2, 20, 4)
    results = processor.post_process_object_detection(output, 0.01, [(100, 200), (300, 300)])
    for result, (height, width) in zip(results, [(100, 200), (300, 300)], strict=True):
        assert len(result["boxes"])
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"][:, 0::2] <= width + 1e-3).all()
        assert (result["boxes"][:, 1::2] <= height + 1e-3).all()


def test_a_loss_is_the_same_each_time_it_is_evaluated_and_for_both_kinds_of_labels(
    detector, pixels
):
    model, _ = detector
    listed = [{"class_labels": torch.tensor([0]), "boxes": LABELS[0, :1, 1:]}] * 2
    with torch.no_grad():
        losses = [model(pixels, labels=labels).loss for labels in (LABELS, LABELS, listed)]
    assert losses[0] == losses[1] == losses[2]
    state = torch.get_rng_state()
    model(pixels, labels=LABELS)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("proposals", ["network", "grid", "given"])
def test_wherever_regions_come_from_the_head_learns_to_find(proposals, pixels):
    model, _ = load_detector("efficientnet-lite0", ["head"], 128, proposals=proposals)
    given = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.4, 0.5, 0.3, 0.4], [0, 0, 0, 0]]])
    inputs = {"proposals": given.repeat(2, 1, 1)} if proposals == "given" else {}
    features = base_features(model.eval(), {"pixel_values": pixels, **inputs})
    head = model.head.train()
    optimizer = torch.optim.AdamW(head.parameters(), 1e-3)
    for _ in range(40):
        head(features, LABELS, **inputs).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        found = model.eval()(pixels, **inputs)
    best = found.logits.softmax(-1)[..., 0].argmax(-1)
    for image, place in enumerate(best):
        assert (found.pred_boxes[image, place] - LABELS[image, 0, 1:]).abs().max() < 0.1


def test_regions_that_are_to_be_given_are_asked_for(pixels):
    model, _ = load_detector("efficientnet-lite0", ["head"], 128, proposals="given")
    with pytest.raises(ValueError, match="pass `proposals`"):
        model.eval()(pixels)


def test_an_image_without_objects_is_background(detector, pixels):
    model, _ = copy.deepcopy(detector)
    nothing = LABELS.clone()
    nothing[..., 0] = -1
    loss = model.train()(pixels, labels=nothing).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert model.head.roi_heads.box_predictor.bbox_pred.weight.grad.abs().sum() == 0


def test_stored_maps_give_the_loss_and_boxes_of_the_whole_model(detector, pixels):
    model, _ = detector
    batch = {"pixel_values": pixels, "labels": LABELS}
    head = FeatureHead(model, batch)
    with torch.no_grad():
        whole, alone = model(**batch), head(base_features(model, batch), LABELS)
    for name in ("loss", "logits", "pred_boxes"):
        torch.testing.assert_close(alone[name], whole[name], rtol=0, atol=1e-5)


@pytest.fixture
def data(detector):
    """Four photos of pets with their heads."""
    _, processor = detector
    return read_detection_task(PETS, box_column="head_box").dataset(range(4), processor)


def trained(data, folder, *, reuse, epochs=2):
    model, _ = load_detector("efficientnet-lite0", ["head"], size=128)
    args = TrainingArguments(
        str(folder),
        per_device_train_batch_size=2,
        metric_for_best_model="map_50",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )
    stages = [
        Stage("head", train="head", epochs=epochs, learning_rate=1e-3),
        Stage("top", train="backbone[-1:], head", epochs=1, learning_rate=1e-4),
    ]
    trainer = StagedTrainer(
        model,
        args,
        stages,
        reuse_features=reuse,
        train_dataset=data,
        eval_dataset=data,
        data_collator=default_data_collator,
        compute_metrics=detection_metrics,
    )
    trainer.train()
    return trainer


def test_the_head_that_trains_on_stored_maps_is_that_of_the_whole_model(data, tmp_path):
    whole, reused = (trained(data, tmp_path / str(r), reuse=r) for r in (False, True))
    pretrained, _ = load_backbone("efficientnet-lite0", ["a", "b"])
    for trainer in (whole, reused):
        trainer.load_stage("head")
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(reused.model.state_dict()[name], tensor, rtol=0, atol=1e-4)
        if name.startswith("backbone"):
            frozen = pretrained.timm_model.state_dict()[name.removeprefix("backbone._backbone.")]
            assert torch.equal(tensor, frozen), name
    for entry, other in zip(whole.state.log_history, reused.state.log_history, strict=True):
        if "eval_loss" in entry and entry["stage"] == "head":
            assert other["eval_loss"] == pytest.approx(entry["eval_loss"], abs=1e-3)


def test_saved_and_loaded_it_finds_the_same(detector, pixels, tmp_path, caplog):
    model, processor = detector
    save_classifier(model, processor, tmp_path / "saved")
    loaded = AutoModelForObjectDetection.from_pretrained(tmp_path / "saved")
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    with torch.no_grad():  # laid out otherwise in memory, it rounds otherwise
        found, expected = (some(pixels).pred_boxes for some in (loaded.eval(), model))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert type(AutoImageProcessor.from_pretrained(tmp_path / "saved")) is type(processor)
    photo = PETS / "images" / "Persian_128.jpg"
    detect = pipeline("object-detection", str(tmp_path / "saved"), threshold=0.01)
    results = detect(str(photo))
    assert {result["label"] for result in results} <= {"cat", "dog"}
    assert set(results[0]["box"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert "not supported" not in caplog.text
    assert {file.name for file in (tmp_path / "saved").iterdir()} == {
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "configuration.py",
        "head.py",
        "model.py",
    }
    assert "head.neck.0.weight" in load_file(tmp_path / "saved" / "model.safetensors")


def test_other_architectures_and_saved_bases_carry_a_detector(tmp_path):
    base, processor = untrained_backbone("resnet10t", ["a", "b"], 64)
    save_classifier(base, processor, tmp_path / "base")
    model, _ = load_detector(tmp_path / "base", ["head"], size=64, strides=[8, 16])
    assert torch.equal(
        model.backbone._backbone.state_dict()["conv1.0.weight"],
        base.timm_model.state_dict()["conv1.0.weight"],
    )
    assert model.feature_map(torch.zeros(1, 3, 64, 64)).shape == (1, 128 + 256, 8, 8)
    with pytest.raises(InputError, match=r"has no map of stride 64; it has \[2, 4, 8, 16, 32\]"):
        load_detector(tmp_path / "base", ["head"], strides=[64])


def test_anchors_are_as_large_as_the_boxes_to_be_found():
    wide = Boxes(torch.tensor([[0.1, 0.1, 0.5, 0.2]]).numpy(), [0], [1.0])
    anchors = fitted_anchors([wide, wide], size=100)
    assert anchors["anchor_sizes"] == pytest.approx([20] * 4, abs=0.1)
    assert anchors["aspect_ratios"] == pytest.approx([0.25] * 3)
