"""The loss of predictions, which tells models apart by few examples where scores do not."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import log_loss, mean_squared_error

from staged_training.experiment.target import MultiLabel, Regression, Target


def mean_loss(target: Target, values: ArrayLike, predictions: ArrayLike) -> float:
    """Return the mean squared error of numbers, else the mean cross-entropy.

    Args:
        target: What is predicted.
        values: What is true of the examples, see `Target`.
        predictions: As `Target.predictions` gives them.

    Examples:
        >>> from staged_training.experiment.loss import mean_loss
        >>> from staged_training.experiment.target import SingleLabel
        >>> round(mean_loss(SingleLabel(["no", "yes"]), [0, 1], [[0.5, 0.5], [0.5, 0.5]]), 3)
        0.693
    """
    if isinstance(target, Regression):
        return float(mean_squared_error(values, np.ravel(predictions)))
    if isinstance(target, MultiLabel):
        return float(log_loss(np.ravel(values), np.ravel(predictions), labels=[0, 1]))
    return float(log_loss(values, predictions, labels=range(len(target.names))))
