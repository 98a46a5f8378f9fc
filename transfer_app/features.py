"""Features of a frozen base, kept in the cache of Hugging Face: they take longer than all else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import constants
from numpy.typing import NDArray

from nlp_transfer.defaults import chosen_base
from nlp_transfer.text_features import encoder_features, topic_features


def features_of_texts(texts: Sequence[str], base: str | None) -> NDArray[np.float32]:
    """Return features of texts by an encoder or, without one, of their words.

    Args:
        texts: The texts.
        base: As for `chosen_base`.

    Returns:
        `[texts, width]`.

    Raises:
        InputError: There is no such encoder.
    """
    encoder = chosen_base(base)
    return encoder_features(texts, encoder, _kept()) if encoder else topic_features(texts)


def features_of_images(paths: Sequence[Path], backbone: str) -> NDArray[np.float32]:
    """Return features of images by a pretrained model, see `image_features`."""
    from vision_transfer.image_features import image_features

    return image_features(paths, backbone, _kept())


def _kept() -> Path:
    return Path(constants.HF_HOME, "nlp-transfer", "features")
