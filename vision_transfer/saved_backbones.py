"""Saved image models of every kind, as classifiers that can learn from photos."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    BaseImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

from vision_transfer.classification import MlpHeadConfig, MlpHeadForImageClassification, pooled

# How gray a colour is, as Pillow has it.
_LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def load_saved(
    name_or_path: str | Path, labels: Sequence[str]
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Load a saved image model as a classifier, with its preprocessing.

    A base without a head, of `transformers` or timm, is given one on what it pools. Of a model with
    a teacher, which cannot be trained, the model without it is taken. A model of gray images sees
    the brightness of colours.

    Args:
        name_or_path: A folder, or a name on the Hub.
        labels: The names of the labels, for a model that has none.

    Raises:
        Exception: Of any kind: it cannot be loaded, or does not work on a photo.
    """
    processor = AutoImageProcessor.from_pretrained(name_or_path)
    config = AutoConfig.from_pretrained(name_or_path)
    known = [name.removesuffix("WithTeacher") for name in config.architectures or []]
    config.architectures = known or None
    if isinstance(config, TimmWrapperConfig):
        config.num_labels = config.num_labels or len(labels)
        (config.model_args or {}).pop("num_classes", None)  # which timm writes there once more
    if hasattr(config, "mask_ratio"):  # of a masked autoencoder, which is shown the whole image
        config.mask_ratio = 0.0
    has_head = type(config) in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    kind = AutoModelForImageClassification if has_head else AutoModel
    model = kind.from_pretrained(name_or_path, config=config, use_safetensors=True)
    if isinstance(config, TimmWrapperConfig) and isinstance(_timm_head(model), tuple):
        has_head = False  # but two, on different tokens
        model = AutoModel.from_pretrained(name_or_path, config=config, use_safetensors=True)
    if getattr(part_for_images(config), "num_channels", 3) == 1:
        model = _in_colour(model)
        for name in ("image_mean", "image_std"):
            if len(setting := getattr(processor, name)) == 1:
                setattr(processor, name, [*setting] * 3)
    if isinstance(config, TimmWrapperConfig) and has_head:
        return model, processor  # which may be of any number of channels
    with torch.no_grad():
        pixels = processor(Image.new("RGB", (64, 64)), return_tensors="pt")["pixel_values"]
        outputs = model.eval()(pixels)
    if not has_head:
        settings = MlpHeadConfig(config.to_dict(), "", pooled(outputs).shape[1], hidden=())
        model = MlpHeadForImageClassification(settings, model)
    return model, processor


def _timm_head(model: PreTrainedModel) -> Any:
    return cast(Any, model).timm_model.get_classifier()


def part_for_images(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the image part of a configuration, also of a model of images and texts."""
    return getattr(config, "vision_config", config)


def _in_colour(model: PreTrainedModel) -> PreTrainedModel:
    """Return a colour model that computes from brightness what a grayscale model computes."""
    config = copy.deepcopy(model.config)
    cast(Any, part_for_images(config)).num_channels = 3
    coloured = type(model)(config)
    wanted = coloured.state_dict()
    coloured.load_state_dict(
        {
            name: tensor if tensor.shape == wanted[name].shape else tensor * _LUMA
            for name, tensor in model.state_dict().items()
        }
    )
    return coloured
