"""What is kept of a classifier of images, so that `predict` can tell that its photos are others."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.drift import add_drift, known_and_held_out
from staged_training.heads.familiarity import similarity_to


def add_image_drift(
    folder: Path, features: ArrayLike, result: CrossValidation, *, refitted: bool
) -> None:
    """Store beside a saved classifier how similar new images usually are to its training images.

    Args:
        folder: The folder of the model.
        features: What its bottleneck gives of all images, `[images, ...]`.
        result: The results of the candidates.
        refitted: Whether it was trained on all images.
    """
    rows = np.asarray(features)
    similarities = [
        similarity_to(rows[known], rows[held])
        for known, held in known_and_held_out(result, refitted=refitted)
    ]
    add_drift(folder, np.concatenate(similarities))
