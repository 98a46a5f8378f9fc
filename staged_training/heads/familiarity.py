"""Out-of-distribution detection: an example far from all training examples is not classified.

A classifier of cats and dogs gives one of the two to a fox as well, and with a high score: its
scores compare its labels with each other, not with the rest of the world. How similar the
features of an example are to those of the nearest training example says more (deep nearest
neighbours: Sun et al., ICML 2022).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole

FILE_NAME = "familiarity.safetensors"
ACCEPTED = 0.95
_ROUNDING = 0.01  # of lengths, in half precision
_LEAST_LENGTH = 1e-12  # that is divided by


@dataclass(frozen=True)
class Familiarity:
    """Features of the training examples, and how near an example has to come to one of them.

    Attributes:
        references: Features of length one, `float32 [training examples, width]`.
        threshold: The smallest cosine similarity to the nearest reference that is accepted.
    """

    references: NDArray[np.float32]
    threshold: float

    def similarity(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return the cosine similarity of features `[examples, width]` to the nearest reference."""
        similarities: NDArray[np.float32] = (_normal(features) @ self.references.T).max(axis=1)
        return similarities

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""
        tensors = {"references": self.references.astype(np.float16)}
        with written_whole(folder / FILE_NAME) as path:
            save_file(tensors, path, {"threshold": str(self.threshold)})


def familiarity(
    train: ArrayLike, validation: ArrayLike | None = None, accepted: float = ACCEPTED
) -> Familiarity:
    """Choose the threshold at which a share of in-distribution examples is still accepted.

    Args:
        train: Features of the training examples, `[examples, width]`.
        validation: Features of examples that were not trained on; without them each training
            example is compared with the others.
        accepted: The share.
    """
    references = _normal(train)
    if validation is None:
        similarities = references @ references.T
        np.fill_diagonal(similarities, -1)
        nearest = similarities.max(axis=1)
    else:
        nearest = Familiarity(references, 0.0).similarity(validation)
    return Familiarity(references, float(np.quantile(nearest, 1 - accepted)))


def load_familiarity(file: Path) -> Familiarity:
    """Read what `Familiarity.save` wrote.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(file, "np") as opened:
            references = opened.get_tensor("references").astype(np.float32)
            threshold = float(opened.metadata()["threshold"])
        lengths = np.linalg.norm(references, axis=1)
        is_whole = bool(np.abs(lengths - 1).max() < _ROUNDING) and -1 <= threshold <= 1 + _ROUNDING
    except Exception:  # safetensors raises errors of its own, of several kinds
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{file} is damaged: it does not hold what the model is familiar with. Copy the model "
            "anew, or delete this file to do without."
        )
    return Familiarity(references, threshold)


def _normal(features: ArrayLike) -> NDArray[np.float32]:
    rows = np.asarray(features, dtype=np.float32)
    rows = rows.reshape(len(rows), -1)
    normal: NDArray[np.float32] = rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), _LEAST_LENGTH
    )
    return normal
