"""Drift: whether inputs as a whole are like the examples that a model was trained on.

How like them an input is, its likeness, is one number: of a text the share of its tokens that some
training text has, of an image its similarity to the training images, see `Familiarity`.
Inputs are compared with examples that the model was not trained on, by Welch's t-test; what is
kept of either is a mean and a deviation, so that any number of inputs can be read.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import file_of_model, written_whole

FILE_NAME = "drift.safetensors"
FEWEST = 30
"""Inputs below which nothing is said."""

_CHANCE = 0.01  # that an inbox like the training data is taken for another one
_EFFECT = 0.5  # deviations between the means, Cohen's "medium": else many inputs reveal a trifle
_FINEST = 0.01  # deviation of likeness, where hardly any example differs from the next
_UNCOUNTED, _KNOWN, _NEW = range(3)

Kinds = NDArray[np.uint8]
"""Of each token whether it counts, and whether some training text has it, see `token_kinds`."""


@dataclass(frozen=True)
class Likeness:
    """How like the training data examples are that a model was not trained on.

    Attributes:
        mean: Of their likeness.
        deviation: Of their likeness.
        count: How many they are.
        tokens: Of a model of texts, which tokens are new to it, see `token_kinds`.
    """

    mean: float
    deviation: float
    count: int
    tokens: Kinds | None = None

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""
        tensors = {"held_out": np.array([self.mean, self.deviation, self.count])}
        if self.tokens is not None:
            tensors["tokens"] = self.tokens
        with written_whole(folder / FILE_NAME) as path:
            save_file(tensors, path)


class Watch:
    """Compares the likeness of inputs, as they come, with that of held-out examples.

    Args:
        usual: That of the held-out examples.

    Examples:
        >>> watch = Watch(likeness([0.8, 0.9, 0.9, 1.0] * 50))
        >>> for _ in range(100):
        ...     watch.see(0.3)
        >>> print(watch.described())
        These 100 images are unlike those that the model was trained on: ...
    """

    def __init__(self, usual: Likeness) -> None:
        self._usual = usual
        self._count, self._sum, self._squares = 0, 0.0, 0.0

    @property
    def is_of_texts(self) -> bool:
        """Whether texts are compared; else images are."""
        return self._usual.tokens is not None

    def see_text(self, ids: ArrayLike) -> None:
        """Note a text by its token numbers, `[tokens]`; padding among them does not count."""
        assert self._usual.tokens is not None
        self.see(known_share(self._usual.tokens, ids))

    def see(self, like: float) -> None:
        """Note the likeness of an input."""
        self._count += 1
        self._sum += like
        self._squares += like**2

    def taken(self) -> tuple[int, float, float]:
        """Return what was seen, for `add`, and forget it."""
        seen = self._count, self._sum, self._squares
        self._count, self._sum, self._squares = 0, 0.0, 0.0
        return seen

    def add(self, count: float, total: float, squares: float) -> None:
        """Note what another watch of the same model has taken."""
        self._count += int(count)
        self._sum += total
        self._squares += squares

    def described(self) -> str | None:
        """Return what people are told where the inputs are others as a whole, else `None`."""
        if self._count < FEWEST:
            return None
        from scipy.stats import ttest_ind_from_stats  # takes half a second

        usual, mean = self._usual, self._sum / self._count
        variance = max(0.0, self._squares - self._count * mean**2) / (self._count - 1)
        test = ttest_ind_from_stats(
            *(mean, math.sqrt(variance), self._count),
            *(usual.mean, usual.deviation, usual.count),
            equal_var=False,
            alternative="less",
        )
        effect = (usual.mean - mean) / math.sqrt((variance + usual.deviation**2) / 2)
        if effect < _EFFECT or test.pvalue > _CHANCE:
            return None
        return (
            f"These {self._count:,} {_compared(mean, usual)}; before you rely on what is "
            "predicted, label some of them and train again."
        )


def _compared(mean: float, usual: Likeness) -> str:
    """Return in words how unlike the training data inputs are, by their mean likeness."""
    told = "are unlike those that the model was trained on"
    if usual.tokens is None:
        near = f"{mean:.2f} is their mean similarity to those"
        return f"images {told}: {near}, where {usual.mean:.2f} is usual"
    new = f"{1 - mean:.0%} of their words or word pieces are in none of those"
    return f"texts {told}: {new}, where {1 - usual.mean:.0%} are usual"


def likeness(held_out: ArrayLike, tokens: Kinds | None = None) -> Likeness:
    """Return what is kept of the likeness of examples that a model was not trained on.

    Args:
        held_out: Their likeness, `[examples]`, of two examples or more.
        tokens: As for `Likeness`.
    """
    found = np.asarray(held_out, dtype=np.float64)
    deviation = max(float(found.std(ddof=1)), _FINEST)
    return Likeness(float(found.mean()), deviation, len(found), tokens)


def token_kinds(train: Iterable[ArrayLike], size: int, uncounted: Sequence[int]) -> Kinds:
    """Return which tokens count, and which of them no training text has: `uint8 [size]`.

    Args:
        train: The token numbers of each training text, `[tokens]`.
        size: How many tokens there are.
        uncounted: The numbers of those that are no part of a text, such as padding.
    """
    kinds = np.full(size, _NEW, dtype=np.uint8)
    for ids in train:
        kinds[np.asarray(ids, dtype=np.int64)] = _KNOWN
    kinds[list(uncounted)] = _UNCOUNTED
    return kinds


def known_share(kinds: Kinds, ids: ArrayLike) -> float:
    """Return the share of the tokens of a text that some training text has, 1 if it has none.

    Args:
        kinds: From `token_kinds`.
        ids: The token numbers of the text, `[tokens]`.

    Examples:
        >>> kinds = token_kinds([[2, 3], [3]], size=5, uncounted=[0])
        >>> known_share(kinds, [3, 3, 2, 4, 0, 0])
        0.75
    """
    # No number is too large but in a file of another model, which its checksum gives away.
    found = kinds.take(np.asarray(ids, dtype=np.int64), mode="clip")
    counted = int(np.count_nonzero(found != _UNCOUNTED))
    return int(np.count_nonzero(found == _KNOWN)) / counted if counted else 1.0


def watch_of(model: str) -> Watch | None:
    """Return what watches the inputs of a model, if what it takes was saved beside it.

    Args:
        model: Folder or Hub name of the model.

    Raises:
        InputError: What was saved is damaged.
    """
    file = file_of_model(model, FILE_NAME)
    return Watch(load_likeness(file)) if file else None


def load_likeness(file: Path) -> Likeness:
    """Read what `Likeness.save` wrote.

    Raises:
        InputError: It is damaged.
    """
    try:
        stored = load_file(file)
        mean, deviation, count = stored["held_out"].tolist()
        tokens = stored.get("tokens")
        is_whole = -1 <= mean <= 1 + _FINEST and _FINEST <= deviation <= 1 and count >= FEWEST
        if tokens is not None:
            is_whole &= tokens.dtype == np.uint8 and tokens.ndim == 1 and tokens.max() <= _NEW
    except Exception:  # safetensors raises errors of its own, of several kinds
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{file} is damaged: it does not hold how like its training data inputs usually are. "
            "Copy the model anew, or delete this file to do without."
        )
    return Likeness(mean, deviation, int(count), tokens)
