"""Learning curve: accuracy by the number of examples, and its extrapolation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from staged_training.experiment.target import SingleLabel
from staged_training.heads.linear_probe import fit_probe

SHARES = (0.125, 0.25, 0.5, 1.0)
DRAWS = 3
_FARTHEST = 100  # times the examples that there are, of which their curve may tell


@dataclass(frozen=True)
class CurvePoint:
    """A point of a learning curve.

    Attributes:
        examples: Labelled examples to train on.
        accuracy: Mean accuracy on validation over several draws of so many examples.
        std: Standard deviation over the draws.
    """

    examples: int
    accuracy: float
    std: float


def learning_curve(
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    num_labels: int,
    C: float = 1.0,
    seed: int = 0,
) -> list[CurvePoint]:
    """Fit linear probes to more and more of the training examples.

    Args:
        train: Features `[examples, width]` and label numbers `[examples]`.
        validation: The same, to measure on.
        num_labels: How many labels there are.
        C: Inverse strength of the L2 penalty.
        seed: Of the draws.
    """
    rng, target = np.random.default_rng(seed), SingleLabel([str(n) for n in range(num_labels)])
    features, labels = map(np.asarray, train)
    true = np.asarray(validation[1])
    points = []
    for share in SHARES:
        size = max(2, round(share * len(labels)))
        scores = []
        for _ in range(DRAWS if size < len(labels) else 1):
            rows = _draw(rng, labels, size)
            probe = fit_probe((features[rows], labels[rows]), target, C)
            scores.append((probe.logits(validation[0]).argmax(1) == true).mean())
        points.append(CurvePoint(size, float(np.mean(scores)), float(np.std(scores))))
    return points


def examples_needed(curve: list[CurvePoint], error: float) -> int | None:
    """Extrapolate how many examples would reduce the error to a value.

    Errors fall as a power of the number of examples (Hestness et al. 2017); the power is fitted to
    the curve.

    Returns:
        The number; `None` where the curve hardly falls, so that it says nothing.
    """
    examples = np.log([point.examples for point in curve])
    errors = np.log([max(1 - point.accuracy, 1e-3) for point in curve])
    slope, intercept = np.polyfit(examples, errors, 1)
    if slope > -0.05:
        return None
    needed = np.exp((np.log(error) - intercept) / slope)
    most = curve[-1].examples
    return None if needed > _FARTHEST * most else int(np.ceil(max(needed, most)))


def what_more_would_bring(curve: list[CurvePoint]) -> str:
    """Describe in a sentence how many examples would halve the errors."""
    error = 1 - curve[-1].accuracy
    if not error:
        return "No errors are left that more examples could avoid."
    needed = examples_needed(curve, error / 2)
    if needed is None:
        return "The curve does not show how many examples would halve the errors."
    more = needed - curve[-1].examples
    return (
        f"If errors continue to fall at this rate, about {more:,} more examples would halve them."
    )


def _draw(rng: np.random.Generator, labels: np.ndarray, size: int) -> np.ndarray:
    """Draw rows at random, of two labels at least: there is nothing to learn from one."""
    rows = rng.permutation(len(labels))
    other = rows[(labels[rows] != labels[rows[0]]).argmax()]
    rest = rows[1:][rows[1:] != other]
    return np.array([rows[0], other, *rest[: size - 2]])
