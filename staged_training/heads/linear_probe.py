"""The exact linear probe: the best linear head on stored features, its `C` chosen by grid.

With few labels and features that are computed once, logistic regression by L-BFGS ends at the
optimum that a head trained by steps only approaches, in milliseconds (linear classifier probes:
Alain and Bengio 2016). Several labels are as many logistic regressions; numbers, a ridge
regression.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from staged_training.experiment.target import MultiLabel, Regression, Target
from staged_training.heads.class_weights import ClassWeight, class_weights
from staged_training.heads.head_search import Trial, score_trial

CS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""The inverse Cs of the L2 penalty that are tried."""


class FeatureScale(NamedTuple):
    """What makes features comparable, whatever the base: mean 0 and, on average, length 1.

    So a penalty means the same for bases of any width.

    Attributes:
        mean: What is subtracted, `[width]`.
        unit: What they are divided by then, `[width]`.
    """

    mean: NDArray[np.float32]
    unit: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features `[examples, width]` on the scale."""
        scaled: NDArray[np.float32] = features - self.mean
        scaled /= self.unit
        return scaled


def scale_of(features: NDArray[np.float32], least: float = 0.0) -> FeatureScale:
    """Return the scale of features, `[examples, width]`.

    Args:
        features: The features.
        least: The least deviation that one is taken to have, as a share of their median. What is
            nearly constant gets weights else whose products are rounded off.

    Examples:
        >>> features = np.array([[1.0, 10.0], [3.0, 30.0]], np.float32)
        >>> scale_of(features)(features).tolist()  # doctest: +ELLIPSIS
        [[-0.7071..., -0.7071...], [0.7071..., 0.7071...]]
    """
    deviations = features.std(axis=0)
    deviations = np.maximum(deviations, max(1e-6, least * float(np.median(deviations))))
    return FeatureScale(features.mean(axis=0), deviations * np.float32(features.shape[1] ** 0.5))


@dataclass(frozen=True)
class Probe:
    """A fitted linear head.

    Attributes:
        weight: `float32 [outputs, width]`.
        bias: `float32 [outputs]`.
        C: The inverse strength of its penalty.
        grid: What every `C` scored on validation; empty if none was chosen.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> features, labels = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        >>> probe = fit_probe((features, labels), SingleLabel(["low", "high"]), C=1.0)
        >>> probe.weight.shape, probe.logits([[-1.0], [4.0]]).argmax(1).tolist()
        ((2, 1), [0, 1])
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    C: float
    grid: list[Trial] = field(default_factory=list)

    def logits(self, features: ArrayLike) -> NDArray[np.float32]:
        """Return logits `float32 [examples, outputs]` of features `[examples, width]`."""
        return np.asarray(features, np.float32) @ self.weight.T + self.bias

    def unscaled(self, scale: FeatureScale) -> "Probe":
        """Return the same head for features that are not on the scale it was fitted on."""
        weight = self.weight / scale.unit
        bias = self.bias - weight @ scale.mean
        return replace(self, weight=weight, bias=bias.astype(np.float32))

    def put_into(self, head: nn.Linear) -> None:
        """Set it as the head of a model, a linear layer of `width` inputs."""
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weight))
            head.bias.copy_(torch.from_numpy(self.bias))


def linear_probe(
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    target: Target,
    Cs: Sequence[float] = CS,
    class_weight: ClassWeight = None,
    *,
    by_loss: bool = False,
) -> Probe:
    """Fit a linear head for each `C`, and return the one that is best on validation.

    Args:
        train: Features `[examples, width]` and what is true of the examples, see `Target`.
        validation: The same, to choose by the metric of the target, and by loss among equals.
        target: What is predicted; of one label, those not seen in training never are.
        Cs: Inverse Cs of the L2 penalty to try.
        class_weight: What each label weighs in the loss.
        by_loss: Choose by loss alone, which says more where few examples validate.

    Raises:
        ValueError: All training examples have the same label; from scikit-learn.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> features, labels = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
        >>> target = SingleLabel(["low", "high"])
        >>> probe = linear_probe((features, labels), ([[0.5], [2.5]], [0, 1]), target)
        >>> probe.C, [trial.score for trial in probe.grid]
        (100.0, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """
    grid: list[Trial] = []
    best: Probe | None = None
    for C in Cs:
        probe = replace(fit_probe(train, target, C, class_weight), grid=grid)
        logits = probe.logits(validation[0])
        trial = score_trial({"C": C}, target, validation[1], logits)
        grid.append(trial)
        if trial is max(grid, key=lambda tried: -tried.loss if by_loss else tried.rank):
            best = probe
    assert best is not None
    return replace(best, grid=grid)


def fit_probe(
    examples: tuple[ArrayLike, ArrayLike],
    target: Target,
    C: float,
    class_weight: ClassWeight = None,
) -> Probe:
    """Fit a linear head with a given `C`.

    Args:
        examples: Features `[examples, width]` and what is true of the examples, see `Target`.
        target: What is predicted; of one label, those not seen never are. Of several, one that all
            or none of the examples have is predicted as often.
        C: Inverse strength of the L2 penalty.
        class_weight: What each label weighs in the loss.

    Raises:
        ValueError: All examples have the same label; from scikit-learn.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> target = SingleLabel(["a", "b", "c", "d"])
        >>> probe = fit_probe(([[0.0], [1.0], [2.0]], [0, 1, 2]), target, C=1.0)
        >>> probe.weight.shape, float(probe.bias[3])  # the last label is never predicted
        ((4, 1), -10000.0)
    """
    weight, bias = fit_linear(*examples, target, C, class_weight)
    return Probe(weight.astype(np.float32), bias.astype(np.float32), C)


def fit_linear(
    features: Any,
    values: ArrayLike,
    target: Target,
    C: float,
    class_weight: ClassWeight = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a logistic regression, one for each of several labels, or a ridge regression of numbers.

    Args:
        features: `[examples, width]`, dense or sparse.
        values: What is true of the examples, see `Target`.
        target: What is predicted; see `fit_probe`.
        C: Inverse strength of the L2 penalty.
        class_weight: What each label weighs in the loss.

    Returns:
        Weights `[outputs, width]` and biases `[outputs]`; their softmax or sigmoid gives the
        probabilities of scikit-learn.

    Examples:
        >>> from sklearn.linear_model import LogisticRegression
        >>> from staged_training.experiment.target import SingleLabel
        >>> features, labels = np.array([[0.0], [1.0], [2.0]]), [0, 1, 1]
        >>> weight, bias = fit_linear(features, labels, SingleLabel(["low", "high"]), C=1.0)
        >>> logits = torch.from_numpy(features @ weight.T + bias)
        >>> model = LogisticRegression().fit(features, labels)
        >>> np.allclose(logits.softmax(1), model.predict_proba(features), atol=1e-5)
        True
    """
    features = features if issparse(features) else np.asarray(features)
    values = np.asarray(values)

    def fitted(labels: NDArray[Any], weigh: Mapping[int, float] | None) -> LogisticRegression:
        regression = LogisticRegression(C=C, max_iter=1000, class_weight=weigh)
        return regression.fit(features, labels)

    if isinstance(target, Regression):
        ridge = Ridge(alpha=1 / C).fit(features.astype(np.float64), values)
        return ridge.coef_.reshape(1, -1), np.atleast_1d(ridge.intercept_)
    weights = class_weights(values, target.names, class_weight)
    if isinstance(target, MultiLabel):
        bias = target.floor_logits(values, 1)[0]
        weight = np.zeros((len(bias), features.shape[1]))
        for label in np.flatnonzero(np.ptp(values, axis=0)):
            weigh = None if weights is None else {0: 1.0, 1: weights[label]}
            model = fitted(values[:, label], weigh)
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
        return weight, bias
    weigh = None if weights is None else {label: weights[label] for label in np.unique(values)}
    return _one_label(fitted(values, weigh), len(target.names))


def _one_label(
    model: LogisticRegression, num_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights and biases of all labels, of which a model may have seen some."""
    weight = np.zeros((num_labels, model.coef_.shape[1]))
    bias = np.full(num_labels, -1e4)  # of labels that were not seen
    if len(model.coef_) == 1:  # two labels: scikit-learn keeps the difference of their logits
        weight[model.classes_] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
        bias[model.classes_] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return weight, bias
