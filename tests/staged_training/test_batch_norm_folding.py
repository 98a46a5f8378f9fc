"""A model with folded BatchNorm computes what it computed before; what cannot be folded stays."""

import pytest
import torch
from torch import nn

from staged_training.features.folding import folded
from vision_transfer.backbones import load_backbone


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def moved(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A BatchNorm with statistics as training leaves them, so that to skip it would show."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return norm


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def test_a_timm_backbone_is_folded_whole_and_stays_as_it_was(pixels):
    model = load_backbone("efficientnet-lite0", ["cat", "dog"])[0].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faster = folded(model, lambda some: some(pixel_values=pixels).logits)
    assert len(norms_of(model)) == 49
    assert not norms_of(faster)
    torch.testing.assert_close(
        faster(pixel_values=pixels).logits, model(pixel_values=pixels).logits, atol=1e-5, rtol=0
    )
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_a_convolution_is_kept_whose_output_also_goes_elsewhere(pixels):
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), moved(nn.BatchNorm2d(4))

        def forward(self, inputs):
            found = self.conv(inputs)
            return found + self.norm(found)

    model = Forked().eval()
    assert folded(model, lambda some: some(pixels)) is model


@torch.no_grad()
def test_a_convolution_is_kept_that_runs_twice(pixels):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3), moved(nn.BatchNorm2d(3))

        def forward(self, inputs):
            return self.norm(self.conv(self.conv(inputs)))

    model = Shared().eval()
    assert folded(model, lambda some: some(pixels)) is model


@torch.no_grad()
def test_a_model_without_batch_norm_is_not_even_run():
    model = nn.Linear(2, 2)
    assert folded(model, lambda some: pytest.fail("it ran")) is model
