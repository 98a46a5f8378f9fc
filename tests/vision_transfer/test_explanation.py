"""Where an image spoke for a label: on a model whose answer is known, and on a real one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)

from vision_transfer.backbones import load_backbone
from vision_transfer.explanation import grad_cam, overlay

PHOTO = Path(__file__).parents[2] / "recipes" / "data" / "pets" / "images" / "Persian_128.jpg"


@pytest.fixture
def brightness():
    """A convolutional model whose one label is the more likely the brighter the image is."""
    set_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=2)
    model = ResNetForImageClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.abs_()
            if name.endswith("bias"):
                parameter.zero_()
        model.classifier[-1].weight[0] *= -1
    return model


def test_the_place_that_speaks_for_a_label_is_found(brightness):
    pixels = torch.zeros(1, 3, 64, 64)
    pixels[..., 40:56, 8:24] = 1
    heat = grad_cam(brightness, pixels, label=1)
    assert heat.shape == (64, 64)
    assert heat.max() == pytest.approx(1)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 36 <= row < 60 and 4 <= column < 28
    assert heat[:24, 40:].max() < 0.3
    assert not grad_cam(brightness, pixels, label=0).any()


def test_a_photo_gets_an_overlay_of_its_own_size():
    model, processor = load_backbone("efficientnet-lite0", ["cat", "dog"])
    image = Image.open(PHOTO).convert("RGB")
    pixels = processor([image], return_tensors="pt")["pixel_values"]
    heat = grad_cam(model.eval(), pixels, label=0)
    assert heat.shape == pixels.shape[2:]
    assert np.ptp(heat) > 0.5
    laid_over = overlay(image, heat)
    assert laid_over.size == image.size
    assert not np.array_equal(np.asarray(laid_over), np.asarray(image))
    assert np.array_equal(np.asarray(overlay(image, 0 * heat)), np.asarray(image))


def test_a_model_without_maps_has_none():
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
    )
    model = ViTForImageClassification(config).eval()
    assert grad_cam(model, torch.zeros(1, 3, 32, 32), label=0) is None
