"""Scores that mean what they say: a temperature that is fitted on validation, and its error.

A score of 0.9 should be right nine times in ten. Nets trained to the end are surer than that,
models with a strong penalty are less sure. Dividing all logits by one number, the temperature,
mends most of it and leaves the order of the labels as it was (Guo et al., ICML 2017).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from staged_training.experiment.target import MultiLabel, SingleLabel, Target

BINS = 10
_LEAST, _MOST = 1e-2, 1e2  # temperatures


def temperatures(target: Target, values: ArrayLike, logits: ArrayLike) -> NDArray[np.float64]:
    """Return what to divide each logit by, decision included: `[outputs]`, all above 0.

    Of one label it is the same number for all logits, of several labels each has its own, and a
    number stays as it is. So no decision changes.

    Args:
        target: What is predicted.
        values: What is true of the validation examples.
        logits: `[examples, outputs]`, moved to where the decision is best.
    """
    logits = np.asarray(logits, np.float64)
    outputs = logits.shape[1]
    if isinstance(target, SingleLabel) and outputs > 1:
        return np.full(outputs, _temperature(np.asarray(values), logits))
    if isinstance(target, MultiLabel):
        columns = zip(np.asarray(values, int).T, logits.T, strict=True)
        pairs = ((applies, np.stack([np.zeros_like(z), z], axis=1)) for applies, z in columns)
        return np.array([_temperature(*pair) for pair in pairs])
    return np.ones(outputs)


def calibration_error(right: ArrayLike, scores: ArrayLike) -> float:
    """Return how far scores are from the share that is right: the expected calibration error.

    Args:
        right: Whether each example is what its score is of, `[examples]`.
        scores: `[examples]`, from 0 to 1.

    Examples:
        >>> round(calibration_error([1, 1, 1, 0], [0.95, 0.95, 0.95, 0.95]), 2)
        0.2
    """
    scores = np.asarray(scores, np.float64)
    gaps = np.bincount(score_bins(scores), weights=np.asarray(right) - scores, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scores))


def score_bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return in which of `BINS` equal bins each score lies, `[examples]`."""
    bins: NDArray[np.int64] = np.clip((scores * BINS).astype(np.int64), 0, BINS - 1)
    return bins


def _temperature(labels: NDArray[np.int64], logits: NDArray[np.float64]) -> float:
    """Return the likeliest temperature by labels `[examples]`.

    Before any example its logarithm is around 0, with a deviation of 1: few examples change little,
    and a model that is always right on validation is not made infinitely sure.
    """
    own = np.arange(logits.shape[1]) == labels[:, None]

    def loss(log_temperature: float) -> float:
        scaled = np.exp(-log_temperature) * logits
        return float((logsumexp(scaled, axis=1) - scaled[own]).sum() + log_temperature**2 / 2)

    bounds = (np.log(_LEAST), np.log(_MOST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))
