"""Small models with BatchNorm and dropout below their heads, and data that they can learn."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    TrainingArguments,
    set_seed,
)

from staged_training.features import reuse

AUDIO = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8, 8),
    "conv_stride": (2, 2),
    "conv_kernel": (3, 3),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 2,
    "classifier_proj_size": 8,
    "mask_time_prob": 0.5,
    "mask_time_length": 2,
    "layerdrop": 0.0,
}
"""Sizes of a small wav2vec2, and of the models like it."""


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class ConvNet(nn.Module):
    """A plain module: convolution, BatchNorm and dropout below a linear head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 2)

    def features(self, pixel_values):
        maps = self.blocks(self.norm(self.stem(pixel_values)))
        return self.dropout(maps.mean((2, 3)))

    def forward(self, pixel_values, labels=None):
        logits = self.head(self.features(pixel_values))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def collate(examples):
    pixels, labels = zip(*examples, strict=True)
    return {"pixel_values": torch.stack(pixels), "labels": torch.stack(labels)}


@pytest.fixture
def convnet():
    set_seed(0)
    return ConvNet()


@pytest.fixture
def resnet():
    set_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16], depths=[1, 1, 1], num_labels=2)
    return ResNetForImageClassification(config)


@pytest.fixture
def bert():
    set_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.3,
    )
    return BertForSequenceClassification(config)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 2
    pixels = torch.randn(24, 3, 16, 16, generator=generator) + labels.view(-1, 1, 1, 1)
    return TensorDataset(pixels, labels)


@pytest.fixture
def every_warning_is_told():
    """Tell once more what was told in the tests before."""
    reuse._warn_once.cache_clear()


@pytest.fixture
def arguments(tmp_path, pytestconfig):
    """Arguments of a `Trainer` on the processor or by --device, quiet, eight examples a batch."""

    def make(**options):
        return TrainingArguments(
            str(tmp_path / "out"),
            **{
                "per_device_train_batch_size": 8,
                "disable_tqdm": True,
                "report_to": "none",
                "use_cpu": pytestconfig.getoption("device") == "cpu",
                "save_strategy": "no",
                "num_train_epochs": 2,
                "learning_rate": 0.05,
            }
            | options,
        )

    return make
