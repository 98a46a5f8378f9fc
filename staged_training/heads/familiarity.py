"""Out-of-distribution detection: an example unlike the training examples is not classified.

A classifier of cats and dogs gives one of the two to a fox as well, and with a high score: its
scores compare its labels with each other, not with the rest of the world. The features of training
examples say more: most of their length lies in few directions, and that of other things does not
(the residual of ViM: Wang et al., CVPR 2022).

Where to draw the line is a matter of cost. An example as near as the held-out ones is taken to be
in distribution for sure, one as far as features without any structure to be out of it, and in
between the chance rises evenly. An example is declined where the expected cost of a wrong answer
is above that of declining a right one.
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
WRONG = 5  # the cost of a wrong answer, in answers that are declined and would have been right
TAIL = 0.05  # of held-out and of structureless examples, which is left out of account
RIDGE = 0.001  # the share of the squared length of all at which a direction counts half
_FOLDS = 10
_ROUNDING = 0.01  # of lengths, in half precision
_DIRECTIONS, _EXAMPLES = "directions", "references"  # names of tensors
_LEAST_LENGTH = 1e-12  # that is divided by


@dataclass(frozen=True)
class Familiarity:
    """The directions of the training features, and how near to them an example has to be.

    Attributes:
        directions: Orthogonal, each as long as it counts, at most one, `float32 [directions,
            width]`.
        threshold: The smallest similarity that is accepted.
        examples: Whether these are single training examples, as in models of older versions; the
            similarity is then that to the nearest one.
    """

    directions: NDArray[np.float32]
    threshold: float
    examples: bool = False

    def similarity(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return how much of the length of features `[examples, width]` is in the directions."""
        cosines = _normal(features) @ self.directions.T
        found: NDArray[np.float32] = (
            cosines.max(axis=1) if self.examples else np.linalg.norm(cosines, axis=1)
        )
        return found

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""
        tensors = {_EXAMPLES if self.examples else _DIRECTIONS: self.directions.astype(np.float16)}
        with written_whole(folder / FILE_NAME) as path:
            save_file(tensors, path, {"threshold": str(self.threshold)})


def familiarity(train: ArrayLike, validation: ArrayLike | None = None) -> Familiarity:
    """Find the directions of training features, and the threshold that costs the least.

    Args:
        train: Features of the training examples, `[examples, width]`.
        validation: Features of examples that were not trained on; without them each tenth of the
            training examples is compared with the others.
    """
    rows = _normal(train)
    known = Familiarity(_directions(rows), 0.0)
    held_out = _out_of_fold(rows) if validation is None else known.similarity(validation)
    mixed = np.random.default_rng(0).permuted(rows, axis=0)  # each number of another example
    inside = float(np.quantile(held_out, TAIL))
    outside = float(np.quantile(known.similarity(mixed), 1 - TAIL))
    # Few examples span less than mixed ones: then there is no "in between".
    threshold = inside - max(inside - outside, 0) / (1 + WRONG)
    return Familiarity(known.directions, threshold)


def similarity_to(train: ArrayLike, features: ArrayLike) -> NDArray[np.float32]:
    """Return how similar features are to those of training examples, see `Familiarity`.

    Args:
        train: Features of the training examples, `[examples, width]`.
        features: Other features, `[others, width]`.
    """
    return Familiarity(_directions(_normal(train)), 0.0).similarity(features)


def load_familiarity(file: Path) -> Familiarity:
    """Read what `Familiarity.save` wrote.

    Raises:
        InputError: It is damaged.
    """
    try:
        with safe_open(file, "np") as opened:
            examples = _EXAMPLES in opened.keys()  # noqa: SIM118  (it is no dictionary)
            directions = opened.get_tensor(_EXAMPLES if examples else _DIRECTIONS)
            threshold = float(opened.metadata()["threshold"])
        directions = directions.astype(np.float32)
        lengths = np.linalg.norm(directions, axis=1)
        is_whole = bool(lengths.max() < 1 + _ROUNDING) and -1 <= threshold <= 1 + _ROUNDING
    except Exception:  # safetensors raises errors of its own, of several kinds
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{file} is damaged: it does not hold what the model is familiar with. Copy the model "
            "anew, or delete this file to do without."
        )
    return Familiarity(directions, threshold, examples)


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the principal directions of rows, each as long as it counts."""
    _, lengths, directions = np.linalg.svd(rows, full_matrices=False)
    shares = lengths**2 / len(rows)
    scaled: NDArray[np.float32] = directions * np.sqrt(shares / (shares + RIDGE))[:, None]
    return scaled


def _out_of_fold(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the similarity of each row to rows of other folds."""
    found = np.empty(len(rows), np.float32)
    order = np.random.default_rng(0).permutation(len(rows))
    for part in np.array_split(order, min(_FOLDS, len(rows))):
        others = Familiarity(_directions(np.delete(rows, part, axis=0)), 0.0)
        found[part] = others.similarity(rows[part])
    return found


def _normal(features: ArrayLike) -> NDArray[np.float32]:
    rows = np.asarray(features, dtype=np.float32)
    rows = rows.reshape(len(rows), -1)
    normal: NDArray[np.float32] = rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), _LEAST_LENGTH
    )
    return normal
