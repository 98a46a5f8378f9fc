"""Detectors on pretrained backbones, and the processor that goes with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import DetrImageProcessor, set_seed
from transformers.image_utils import PILImageResampling

from staged_training.runtime.errors import InputError
from vision_transfer.backbones import load_backbone
from vision_transfer.detection.configuration import FastRCNNConfig
from vision_transfer.detection.evaluation import Boxes
from vision_transfer.detection.model import FastRCNNForObjectDetection
from vision_transfer.preprocessing import preprocessing

STRIDES = (16, 32)
"""Pixels for each cell of the maps, along a side: where something is can be seen from
the first, what it is from the second."""


def fitted_anchors(images: Sequence[Boxes], size: int) -> dict[str, Any]:
    """Fit anchors to boxes: four sizes and three ratios at quantiles of theirs.

    This follows the clusters of YOLOv2 (Redmon and Farhadi 2017).

    Args:
        images: The boxes of the training images, as shares of them.
        size: Height and width of the model's input, in pixels.

    Returns:
        `anchor_sizes` and `aspect_ratios` for `FastRCNNConfig`.
    """
    corners = np.concatenate([boxes.corners for boxes in images])
    width, height = (corners[:, 2:] - corners[:, :2]).T
    sides = size * np.quantile(np.sqrt(width * height), [0.1, 0.35, 0.65, 0.9])
    ratios = np.quantile(height / width, [0.15, 0.5, 0.85])
    return {
        "anchor_sizes": sides.round(1).tolist(),
        "aspect_ratios": ratios.round(3).tolist(),
    }


def load_detector(
    name_or_path: str | Path,
    labels: Sequence[str],
    size: int = 256,
    strides: Sequence[int] = STRIDES,
    seed: int = 0,
    **settings: Any,
) -> tuple[FastRCNNForObjectDetection, DetrImageProcessor]:
    """Put a new head for detection on a pretrained timm model, whose own head is left out.

    Args:
        name_or_path: As for `load_backbone`: a packaged model, a folder, a name on the Hub.
        labels: The names of the classes.
        size: Height and width of what the model sees, in pixels; images are stretched to it.
        strides: Of the maps that are seen side by side, in pixels for each cell along a side.
        seed: Of the random weights of the new head.
        **settings: What else `FastRCNNConfig` takes.

    Returns:
        The detector, and the processor with the preprocessing of the pretraining but for the size.

    Raises:
        InputError: There is no such model, it is none of timm, or it has no maps of these strides.
    """
    base, processor = load_backbone(name_or_path, ["object"])
    timm_model = getattr(base, "timm_model", None)
    if timm_model is None:
        raise InputError(
            f"{name_or_path} is not a timm model, which detectors are built on. Give one, such as "
            "timm/resnet50.a1_in1k."
        )
    known = [stage["reduction"] for stage in timm_model.feature_info]
    missing = [stride for stride in strides if stride not in known]
    if missing:
        raise InputError(f"{name_or_path} has no map of stride {missing[0]}; it has {known}.")
    made_with = getattr(base.config, "model_args", None) or {}
    config = FastRCNNConfig(
        backbone_config={
            "backbone": base.config.architecture,
            "out_indices": [known.index(stride) for stride in sorted(strides)],
            "num_channels": made_with.get("in_chans", 3),
        },
        **{"anchor_sizes": [size // 8, size // 4, size // 2], **settings},
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    set_seed(seed)
    model = FastRCNNForObjectDetection(config)
    _copy_weights(timm_model, model.backbone._backbone, str(name_or_path))
    torch.nn.Module.to(model, memory_format=torch.channels_last)
    return model, _processor(preprocessing(processor), size)


def _copy_weights(whole: nn.Module, lower: nn.Module, name: str) -> None:
    """Copy into a model the weights of its own lower layers.

    timm names some of them otherwise where it leaves the head out, but keeps their order.
    """
    own = lower.state_dict()
    learnt = dict(zip(own, whole.state_dict().items(), strict=False))
    for path, tensor in own.items():
        source, value = learnt.get(path, ("", torch.empty(0)))
        if source.rpartition(".")[2] != path.rpartition(".")[2] or value.shape != tensor.shape:
            raise InputError(
                f"{name}: timm cannot give the maps of this architecture with the weights of the "
                f"whole model ({path} is not where it is expected). Give another one."
            )
    lower.load_state_dict({path: value for path, (_, value) in learnt.items()})


def _processor(pretraining: dict[str, Any], size: int) -> DetrImageProcessor:
    return DetrImageProcessor(
        size={"height": size, "width": size},
        resample=cast(Any, PILImageResampling)[pretraining["interpolation"].upper()],
        image_mean=list(pretraining["mean"]),
        image_std=list(pretraining["std"]),
        do_pad=False,
    )
