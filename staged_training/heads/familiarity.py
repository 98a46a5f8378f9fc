"""Out-of-distribution detection: an example far from all training examples is not classified.

A classifier of cats and dogs gives one of the two to a fox as well, and with a high score: its
scores compare its labels with each other, not with the rest of the world. How similar the
features of an example are to those of the nearest training example says more (deep nearest
neighbours: Sun et al., ICML 2022).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole

FILE_NAME = "familiarity.safetensors"
ACCEPTED = 0.95
_ROUNDING = 0.01  # of lengths, in half precision


@dataclass(frozen=True)
class Familiarity:
    """Features of the training examples, and how near an example has to come to one of them.

    Attributes:
        references: Features of length one, `float32 [training examples, width]`.
        threshold: The smallest cosine similarity to the nearest reference that is accepted.
    """

    references: torch.Tensor
    threshold: float

    def similarity(self, features: torch.Tensor) -> torch.Tensor:
        """Return the cosine similarity of features `[examples, width]` to the nearest reference."""
        return (_normal(features) @ self.references.T).max(dim=1).values

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""
        tensors = {"references": self.references.half()}
        with written_whole(folder / FILE_NAME) as path:
            save_file(tensors, path, {"threshold": str(self.threshold)})


def familiarity(
    train: torch.Tensor, validation: torch.Tensor | None = None, accepted: float = ACCEPTED
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
        nearest = (references @ references.T).fill_diagonal_(-1).max(dim=1).values
    else:
        nearest = Familiarity(references, 0.0).similarity(validation)
    return Familiarity(references, float(nearest.quantile(1 - accepted)))


def load_familiarity(file: Path) -> Familiarity:
    """Read what `Familiarity.save` wrote.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            references = opened.get_tensor("references").float()
            threshold = float(opened.metadata()["threshold"])
        lengths = references.norm(dim=1)
        is_whole = bool((lengths - 1).abs().max() < _ROUNDING) and -1 <= threshold <= 1 + _ROUNDING
    except Exception:  # safetensors raises errors of its own, of several kinds
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{file} is damaged: it does not hold what the model is familiar with. Copy the model "
            "anew, or delete this file to do without."
        )
    return Familiarity(references, threshold)


def _normal(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features.flatten(1).float(), dim=1)
