"""Vectors of images: what a pretrained model's bottleneck says of each, once for all labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import default_data_collator

from staged_training.features.extraction import compute_features
from staged_training.features.reuse import features_key
from vision_transfer.backbones import load_backbone
from vision_transfer.image_task import ImageDataset


def image_features(paths: Sequence[Path], backbone: str, folder: Path) -> NDArray[np.float32]:
    """Return the bottleneck of a pretrained model for each image.

    They are computed once and kept; other files, another order and another model have others.

    Args:
        paths: The files.
        backbone: As for `load_backbone`.
        folder: Where they are kept.

    Returns:
        `[images, width]`.

    Raises:
        InputError: There is no such model, or the folder cannot be written to.

    Examples:
        >>> from vision_transfer.image_features import image_features
        >>> image_features([Path("dog.jpg")], "efficientnet-lite0", Path("features")).shape
        (1, 1280)
    """
    model, processor = load_backbone(backbone, ["no", "yes"])
    images = ImageDataset(paths, [0] * len(paths), processor)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{features_key(model, images.fingerprint)}.safetensors"
    features = compute_features(model.eval(), images, default_data_collator, file)
    return np.asarray(features.columns["features"].flatten(1))
