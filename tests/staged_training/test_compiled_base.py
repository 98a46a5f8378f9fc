"""A base run by another library gives the features of PyTorch, or is run by PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import default_data_collator

from staged_training.features import compiled
from staged_training.features.compiled import Base, fastest
from staged_training.features.extraction import compute_features
from staged_training.features.head import upper_modules_from
from vision_transfer.backbones import load_backbone

LIBRARIES = {"openvino": "_by_openvino", "onnxruntime": "_by_onnx_runtime"}


@pytest.fixture
def images():
    pixels = torch.randn(11, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return [{"pixel_values": one, "labels": row % 2} for row, one in enumerate(pixels)]


@pytest.fixture
def always(monkeypatch):
    """Any library is taken whose features are the same, however few there are to compute."""
    monkeypatch.setattr(compiled, "_LEAST_OPERATIONS", 0)
    monkeypatch.setattr(compiled, "_LEAST_GAIN", 0)


def absent(graph):
    raise ImportError


def pixels(images):
    return {"pixel_values": torch.stack([image["pixel_values"] for image in images])}


def first_of(batch):
    """What makes a batch of the first examples of one, of so many."""
    return lambda count: {name: tensor[:count] for name, tensor in batch.items()}


def base_of(model):
    return Base(model, upper_modules_from(model, -1))


@pytest.mark.parametrize("library", LIBRARIES)
def test_features_by_each_library_are_those_of_pytorch(library, images, always, monkeypatch):
    pytest.importorskip(library)
    model = load_backbone("efficientnet-lite0", ["cat", "dog"])[0]
    for name in set(LIBRARIES.values()) - {LIBRARIES[library]}:
        monkeypatch.setattr(compiled, name, absent)
    chosen = []
    monkeypatch.setattr(
        "staged_training.features.extraction.fastest",
        lambda *given: chosen.append(fastest(*given)) or chosen[0],
    )
    found = compute_features(model, images, default_data_collator).columns["features"]
    assert not isinstance(chosen[0], Base)
    with torch.no_grad():
        expected = base_of(model.eval())(**default_data_collator(images))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_in_its_mode(images, always, training):
    model = load_backbone("efficientnet-lite0", ["cat", "dog"])[0].train(training)
    compute_features(model, images, default_data_collator)
    assert all(module.training is training for module in model.modules())


def test_few_images_are_run_by_pytorch(images):
    base = base_of(load_backbone("efficientnet-lite0", ["cat", "dog"])[0])
    assert isinstance(fastest(base, first_of(default_data_collator(images)), len(images)), Base)


def test_few_images_are_read_once(images):
    class Counted(list):
        read = 0

        def __getitem__(self, index):
            self.read += 1
            return super().__getitem__(index)

    counted = Counted(images)
    model = load_backbone("efficientnet-lite0", ["cat", "dog"])[0]
    features = compute_features(model, counted, default_data_collator).columns["features"]
    assert len(features) == len(images)
    assert counted.read == len(images) + 1  # the first shows what can be folded


def test_more_operations_than_a_trial_costs_are_many_images(images, monkeypatch):
    monkeypatch.setattr(compiled, "_LEAST_GAIN", 0)
    base = base_of(load_backbone("efficientnet-lite0", ["cat", "dog"])[0])
    batch = default_data_collator(images)
    # 62.7 million operations for an image of 64 by 64, a twelfth of those of 224 by 224.
    assert isinstance(fastest(base, first_of(batch), 3_100), Base)
    assert not isinstance(fastest(base, first_of(batch), 3_300), Base)


def test_images_of_another_size_are_run_by_pytorch(images, always):
    base = base_of(load_backbone("efficientnet-lite0", ["cat", "dog"])[0])
    other = fastest(base, first_of(default_data_collator(images)), 10**6)
    assert not isinstance(other, Base)
    wider = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert other(pixel_values=wider).equal(other.base(pixel_values=wider))


def test_an_image_that_is_no_number_is_run_by_pytorch(images, always):
    base = Base(Pooled(nn.ReLU()).eval(), ["head"])
    other = fastest(base, first_of(pixels(images)), 10**6)
    assert not isinstance(other, Base)
    broken = torch.full((2, 3, 64, 64), torch.nan)
    with torch.no_grad():
        assert other(pixel_values=broken).isnan().all()


def test_a_base_that_no_library_knows_is_run_by_pytorch_without_a_word(images, always, capfd):
    base = Base(Pooled(nn.AdaptiveAvgPool2d(5)).eval(), ["head"])
    assert isinstance(fastest(base, first_of(pixels(images)), 10**6), Base)
    assert capfd.readouterr() == ("", "")


class Pooled(nn.Module):
    """A convolution with another layer behind it, and a head."""

    def __init__(self, layer):
        super().__init__()
        self.base, self.head = nn.Sequential(nn.Conv2d(3, 4, 3), layer), nn.Linear(4, 2)

    def forward(self, pixel_values):
        return self.head(self.base(pixel_values).mean((2, 3)))


class Branching(nn.Module):
    """Takes another way through its layers for dark images."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, pixel_values):
        found = self.conv(pixel_values)
        if pixel_values.mean() < 0:
            found = -found
        return self.head(found.mean((2, 3)))


def test_a_base_that_decides_by_its_inputs_is_run_by_pytorch(images, always):
    base = Base(Branching().eval(), ["head"])
    assert isinstance(fastest(base, first_of(pixels(images)), 10**6), Base)


@pytest.mark.parametrize("damage", [lambda found: found * 1.001, lambda found: found * np.nan])
def test_a_library_that_computes_something_else_is_not_taken(images, always, monkeypatch, damage):
    right = compiled._by_onnx_runtime

    def wrong(graph):
        run = right(graph)
        return lambda batch: damage(run(batch))

    monkeypatch.setattr(compiled, "_by_openvino", wrong)
    monkeypatch.setattr(compiled, "_by_onnx_runtime", absent)
    base = base_of(load_backbone("efficientnet-lite0", ["cat", "dog"])[0])
    assert isinstance(fastest(base, first_of(default_data_collator(images)), 10**6), Base)


def test_a_library_that_is_no_faster_is_not_taken(images, monkeypatch):
    monkeypatch.setattr(compiled, "_LEAST_OPERATIONS", 0)
    monkeypatch.setattr(compiled, "_LEAST_GAIN", 1e6)
    base = base_of(load_backbone("efficientnet-lite0", ["cat", "dog"])[0])
    assert isinstance(fastest(base, first_of(default_data_collator(images)), 10**6), Base)


def test_weights_of_half_precision_are_run_by_pytorch(images, always):
    model = load_backbone("efficientnet-lite0", ["cat", "dog"])[0].to(torch.bfloat16)
    batch = {"pixel_values": torch.stack([i["pixel_values"] for i in images]).bfloat16()}
    assert isinstance(fastest(base_of(model), first_of(batch), 10**6), Base)
