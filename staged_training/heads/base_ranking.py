"""How well a frozen base suits labelled data: by a cross-validated probe, and by LogME."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.splits import Indices, fold_numbers
from staged_training.experiment.target import Regression, Target, label_matrix
from staged_training.labels.out_of_fold import out_of_fold_scores

_ITERATIONS = 50
_CONVERGED = 1e-4  # relative change


class Suitability(NamedTuple):
    """How well features suit a target.

    Attributes:
        scores: The score of a linear head on each fold, see `Target.metric`.
        log_me: The logarithm of the maximum evidence for each example, see `log_me`.
    """

    scores: NDArray[np.float64]
    log_me: float


def suitability(
    features: NDArray[np.float32], values: ArrayLike, target: Target, folds: Indices
) -> Suitability:
    """Measure how well a linear head on features predicts what it did not learn from.

    Args:
        features: Those of a frozen base, `[examples, width]`.
        values: What is true of the examples, see `Target`.
        target: What is predicted.
        folds: The fold of each example.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> from staged_training.heads.base_ranking import suitability
        >>> features = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]], np.float32)
        >>> folds, target = np.array([0, 1, 2, 0, 1, 2]), SingleLabel(["low", "high"])
        >>> suitability(features, [0, 0, 0, 1, 1, 1], target, folds).scores.tolist()
        [1.0, 1.0, 1.0]
    """
    values = np.asarray(values)
    predicted = out_of_fold_scores(features, values, target, folds)
    tested = (folds == fold for fold in fold_numbers(folds))
    scores = [target.scores(values[rows], predicted[rows])[target.metric] for rows in tested]
    is_number = isinstance(target, Regression)
    columns = values[:, None] if is_number else label_matrix(target, values)
    return Suitability(np.array(scores), log_me(features, columns))


def log_me(features: ArrayLike, targets: ArrayLike) -> float:
    """Return the logarithm of the maximum evidence for each example (You et al., ICML 2021).

    It is that of a Bayesian linear regression whose prior and noise make it largest, found by
    fixed-point iteration; the mean over the columns. It takes no folds and no penalty to choose.

    Args:
        features: `[examples, width]`.
        targets: What is predicted, `[examples, outputs]`: of labels 1 where one applies, else 0.

    Examples:
        >>> from staged_training.heads.base_ranking import log_me
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(50, 3))
        >>> labels = (features[:, :1] > 0).astype(float)
        >>> log_me(features, labels) > log_me(rng.normal(size=(50, 3)), labels)
        True
    """
    features, targets = (np.asarray(part, dtype=np.float64) for part in (features, targets))
    directions, lengths, _ = np.linalg.svd(features, full_matrices=False)
    return float(
        np.mean([_evidence(directions.T @ y, lengths**2, y, features.shape) for y in targets.T])
    )


def _evidence(
    along: NDArray[np.float64],
    variances: NDArray[np.float64],
    y: NDArray[np.float64],
    shape: tuple[int, ...],
) -> float:
    """Return the logarithm of the maximum evidence of one column, for each example.

    Args:
        along: The column along the principal directions of the features.
        variances: The squared singular values of these.
        y: The column, `[examples]`.
        shape: `(examples, width)`.
    """
    examples, width = shape
    squares, beyond = along**2, max(float(y @ y - along @ along), 0.0)
    alpha = beta = 1.0  # the precisions of the weights and of the noise
    for _ in range(_ITERATIONS):
        ratio = alpha / beta
        shrunk = variances + ratio
        effective = (variances / shrunk).sum()
        weights = (variances * squares / shrunk**2).sum()  # the squared norm of the mean weights
        errors = (squares * (ratio / shrunk) ** 2).sum() + beyond
        alpha, beta = effective / (weights + 1e-12), (examples - effective) / (errors + 1e-12)
        if abs(alpha / beta - ratio) <= _CONVERGED * ratio:
            break
    shrunk = variances + alpha / beta
    weights = (variances * squares / shrunk**2).sum()
    errors = (squares * (alpha / beta / shrunk) ** 2).sum() + beyond
    evidence = (
        width * np.log(alpha)
        + examples * np.log(beta / (2 * np.pi))
        - np.log(alpha + beta * variances).sum()
        - (width - len(variances)) * np.log(alpha)
        - beta * errors
        - alpha * weights
    )
    return float(evidence / 2 / examples)
