"""The exact linear probe: the best linear head on stored features, its `C` chosen by grid.

With few labels and features that are computed once, logistic regression by L-BFGS ends at the
optimum that a head trained by steps only approaches, in milliseconds (linear classifier probes:
Alain and Bengio 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from staged_training.heads.head_search import Trial, score_trial

CS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""The inverse strengths of the L2 penalty that are tried."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear head.

    Attributes:
        weight: `float32 [labels, width]`.
        bias: `float32 [labels]`.
        C: The inverse strength of its L2 penalty, as in scikit-learn.
        grid: What every `C` scored on validation; empty if it was fitted by `fit_probe`.

    Examples:
        >>> features, labels = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        >>> probe = fit_probe((features, labels), num_labels=2, C=1.0)
        >>> probe.weight.shape, probe.logits([[-1.0], [4.0]]).argmax(1).tolist()
        ((2, 1), [0, 1])
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    C: float
    grid: list[Trial]

    def logits(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return logits `float32 [examples, labels]` of features `[examples, width]`."""
        return np.asarray(features, np.float32) @ self.weight.T + self.bias

    def put_into(self, head: nn.Linear) -> None:
        """Set it as the head of a model, a linear layer of `width` inputs and `labels` outputs."""
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weight))
            head.bias.copy_(torch.from_numpy(self.bias))


def linear_probe(
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    num_labels: int,
    Cs: Sequence[float] = CS,
) -> Probe:
    """Fit a linear head for each `C`, and return the one that is best on validation.

    Args:
        train: Features `[examples, width]` and label numbers `[examples]`.
        validation: The same, to choose by accuracy, and by loss among equals.
        num_labels: How many labels there are; those not seen in training are never predicted.
        Cs: Inverse strengths of the L2 penalty to try.

    Raises:
        ValueError: The training labels are all the same; from scikit-learn.

    Examples:
        >>> features, labels = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        >>> probe = linear_probe((features, labels), ([[0.5], [2.5]], [0, 1]), num_labels=2)
        >>> probe.C, [trial.accuracy for trial in probe.grid]
        (100.0, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """
    grid: list[Trial] = []
    best: Probe | None = None
    for C in Cs:
        probe = _probe(_fitted(*train, C), num_labels, grid)
        trial = score_trial({"C": C}, validation[1], probe.logits(validation[0]))
        if not grid or trial.rank > max(other.rank for other in grid):
            best = probe
        grid.append(trial)
    assert best is not None
    return best


def fit_probe(examples: tuple[ArrayLike, ArrayLike], num_labels: int, C: float) -> Probe:
    """Fit a linear head with a given `C`.

    Args:
        examples: Features `[examples, width]` and label numbers `[examples]`.
        num_labels: How many labels there are; those not seen are never predicted.
        C: Inverse strength of the L2 penalty.

    Raises:
        ValueError: The labels are all the same; from scikit-learn.

    Examples:
        >>> probe = fit_probe(([[0.0], [1.0], [2.0]], [0, 1, 2]), num_labels=4, C=1.0)
        >>> probe.weight.shape, float(probe.bias[3])  # the last label is never predicted
        ((4, 1), -10000.0)
    """
    return _probe(_fitted(*examples, C), num_labels, [])


def _fitted(features: ArrayLike, labels: ArrayLike, C: float) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=1000).fit(features, labels)


def _probe(model: LogisticRegression, num_labels: int, grid: list[Trial]) -> Probe:
    weight = np.zeros((num_labels, model.coef_.shape[1]), np.float32)
    bias = np.full(num_labels, -1e4, np.float32)  # of labels that were not seen
    if len(model.coef_) == 1:  # two labels: scikit-learn keeps the difference of their logits
        weight[model.classes_] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
        bias[model.classes_] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return Probe(weight, bias, float(model.C), grid)
