"""Saved models of every kind become classifiers that learn from photos and come back the same."""

from pathlib import Path

import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.models import save_for_hf
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPImageProcessor,
    LevitImageProcessor,
    ViTImageProcessor,
    default_data_collator,
    pipeline,
)

from staged_training import InputError
from staged_training.features.head import FeatureHead, base_features
from vision_transfer.backbones import bottleneck, load_backbone, save_classifier
from vision_transfer.image_task import ImageDataset

BEAGLE = Path(__file__).parents[1] / "data" / "beagle.jpg"

LAYERS = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16}
WIDE = LAYERS | {"intermediate_size": 16}
TEXT = {"vocab_size": 9} | WIDE
LEVIT = {"hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2], "depths": [1, 1, 1]}
LEVIT |= {"image_size": 64, "key_dim": [8, 8, 8]}


def square(side, **settings):
    return ViTImageProcessor(size={"height": side, "width": side}, **settings)


def clip(side):
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side)


def towers(side, patch):
    images = {"image_size": side, "patch_size": patch, "projection_dim": 8} | WIDE
    return {"vision_config": images, "text_config": TEXT | {"projection_dim": 8}}


SAVED = {
    "CLIP of 336 pixels": ("CLIPModel", "CLIPConfig", towers(336, 56), clip(336)),
    "CLIP without texts": (
        "CLIPVisionModel",
        "CLIPVisionConfig",
        WIDE | {"image_size": 48},
        clip(48),
    ),
    "SigLIP of 96 pixels": ("SiglipModel", "SiglipConfig", towers(96, 32), square(96)),
    "SigLIP without texts": (
        "SiglipVisionModel",
        "SiglipVisionConfig",
        WIDE | {"image_size": 48},
        square(48),
    ),
    "DeiT with a teacher": (
        "DeiTForImageClassificationWithTeacher",
        "DeiTConfig",
        WIDE | {"image_size": 48},
        square(48),
    ),
    "LeViT with a teacher": (
        "LevitForImageClassificationWithTeacher",
        "LevitConfig",
        LEVIT,
        LevitImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
    ),
    "ViT of one channel": (
        "ViTForImageClassification",
        "ViTConfig",
        WIDE | {"image_size": 48, "num_channels": 1},
        square(48, image_mean=[0.4], image_std=[0.3]),
    ),
    "DINOv2": ("Dinov2Model", "Dinov2Config", LAYERS | {"image_size": 42}, square(42)),
    "DINOv3": (
        "DINOv3ViTModel",
        "DINOv3ViTConfig",
        WIDE | {"image_size": 48, "patch_size": 16},
        square(48),
    ),
    "masked autoencoder": ("ViTMAEModel", "ViTMAEConfig", WIDE | {"image_size": 48}, square(48)),
}
SMALL = {"depth": 1, "embed_dim": 32, "num_heads": 2}
OF_TIMM = {
    "vit_small_patch14_dinov2": SMALL | {"img_size": 56},
    "eva02_tiny_patch14_224": SMALL | {"img_size": 56},
    "deit_tiny_distilled_patch16_224": SMALL | {"img_size": 48},
    "levit_128s": {"img_size": 64, "depth": (1, 1, 1), "embed_dim": (32, 32, 32)},
}


def save(name, folder):
    """Save a model as its makers do."""
    if name in SAVED:
        kind, config, settings, processor = SAVED[name]
        torch.manual_seed(0)
        made = getattr(transformers, kind)(getattr(transformers, config)(**settings))
        made.save_pretrained(folder)
        processor.save_pretrained(folder)
    else:
        heads = 5 if "levit" in name else 0
        model = timm.create_model(name, num_classes=heads, **OF_TIMM[name])
        save_for_hf(model, folder, safe_serialization=True)
    return folder


@pytest.fixture
def photos(tmp_path):
    """The files of two photos."""
    image = Image.open(BEAGLE).resize((90, 70))
    image.save(tmp_path / "0.png")
    image.rotate(90).save(tmp_path / "1.png")
    return [tmp_path / "0.png", tmp_path / "1.png"]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [*((name, []) for name in [*SAVED, *OF_TIMM]), ("CLIP without texts", [8]), ("DINOv2", [8])],
)
def test_a_saved_model_learns_and_comes_back_the_same(name, hidden, photos, tmp_path):
    model, processor = load_backbone(save(name, tmp_path / "base"), ["cat", "dog"], hidden=hidden)
    batch = default_data_collator(list(ImageDataset(photos, [0, 1], processor)))
    head = FeatureHead(model, batch)
    features = base_features(model.eval(), batch)
    assert features.shape[1] == bottleneck(model).width or features.ndim > 2
    step = torch.optim.SGD(head.parameters(), lr=0.01)
    before = head(features, labels=batch["labels"])["loss"]
    before.backward()
    step.step()
    with torch.no_grad():
        assert head(features, labels=batch["labels"])["loss"] < before
        logits = model(**batch).logits

    save_classifier(model, processor, tmp_path / "saved")
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "saved").eval()
    processor = AutoImageProcessor.from_pretrained(tmp_path / "saved")
    batch = default_data_collator(list(ImageDataset(photos, [0, 1], processor)))
    with torch.no_grad():
        assert torch.allclose(again(**batch).logits, logits, atol=1e-5)
    for result in pipeline("image-classification", model=str(tmp_path / "saved"))(str(photos[0])):
        expected = logits.softmax(-1)[0][again.config.label2id[result["label"]]]
        assert result["score"] == pytest.approx(float(expected), abs=1e-4)
    third, _ = load_backbone(tmp_path / "saved", ["a", "b", "c"])
    assert third(batch["pixel_values"]).logits.shape == (2, 3)


def test_a_model_of_gray_images_sees_the_brightness_of_colours(photos, tmp_path):
    folder = save("ViT of one channel", tmp_path / "gray")
    gray = AutoModelForImageClassification.from_pretrained(folder).eval()
    model, processor = load_backbone(folder, ["cat", "dog"])
    colours = processor(Image.open(photos[0]), return_tensors="pt")["pixel_values"]
    luma = (colours * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    with torch.no_grad():
        expected = gray.vit(luma).last_hidden_state
        assert torch.allclose(model.eval().vit(colours).last_hidden_state, expected, atol=1e-5)


def test_photos_are_not_shown_to_a_model_of_scans(photos, tmp_path):
    save_for_hf(timm.create_model("test_resnet", in_chans=1), tmp_path, safe_serialization=True)
    _, processor = load_backbone(tmp_path, ["cat", "dog"])
    with pytest.raises(InputError, match=r"sees images of 1 channel\(s\), and photos have 3"):
        ImageDataset(photos, [0, 1], processor)


def test_a_model_that_takes_more_than_pixels_is_refused_at_once(tmp_path):
    images = {"num_patches": 16, "patch_size": 16} | WIDE
    config = transformers.Siglip2Config(vision_config=images, text_config=TEXT)
    transformers.Siglip2Model(config).save_pretrained(tmp_path)
    transformers.Siglip2ImageProcessor(patch_size=16).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="no image model could be loaded from there that works on"):
        load_backbone(tmp_path, ["cat", "dog"])
