"""What a model predicts of an example: one label, several labels, or a number."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from staged_training.experiment.scaling import Scaling
from staged_training.experiment.splits import (
    Indices,
    multilabel_folds,
    stratified_folds,
)
from staged_training.heads.class_balance import (
    average_precision,
    best_bias,
    majority_logits,
    rare_bias,
    scores_on,
    softmax,
)
from staged_training.runtime.errors import InputError
from staged_training.tables.labels import DECIDED, Labels, ProblemType

Floats = NDArray[np.float64]

_BINS = 10  # of numbers, each of which is dealt evenly into folds


@dataclass(frozen=True)
class Target(ABC):
    """What a model predicts.

    Values are what is true of the examples: `int64 [examples]` of one label, `float32 [examples,
    labels]` of several, 1 where a label applies, and `float32 [examples]` of a number.

    Attributes:
        names: The names of the labels, in the order of the outputs; of a number, its name.
        problem_type: As in a `PreTrainedConfig`.
        floor: What predicts without looking at an example.
    """

    problem_type: ClassVar[ProblemType]
    floor: ClassVar[str]

    names: Sequence[str] = ()

    @property
    @abstractmethod
    def titles(self) -> dict[str, str]:
        """The scores that are shown, and what they are called."""

    @property
    def metric(self) -> str:
        """The score by which models are chosen: the first that is shown."""
        return next(iter(self.titles))

    @property
    def title(self) -> str:
        """What that score is called."""
        return self.titles[self.metric]

    @abstractmethod
    def predictions(self, logits: ArrayLike) -> Floats:
        """Return probabilities `[examples, labels]` of logits, or numbers `[examples, 1]`."""

    @abstractmethod
    def scores(self, values: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
        """Score predictions against what is true."""

    @abstractmethod
    def floor_logits(self, train: ArrayLike, examples: int) -> Floats:
        """Return logits `[examples, outputs]` that know only the values to train on."""

    @abstractmethod
    def folds(self, values: ArrayLike, groups: Sequence[int] | Indices) -> Indices:
        """Deal examples into five folds that are alike; keep groups together."""

    def decision_bias(
        self, values: ArrayLike, logits: ArrayLike, *, weighted: bool = False
    ) -> Floats:
        """Return what to add to the logits for the best decisions on validation, `[outputs]`.

        Args:
            values: What is true of the validation examples.
            logits: `[examples, outputs]`.
            weighted: Whether the loss made up for rare labels.
        """
        return np.zeros(np.shape(logits)[1])

    def scaling(self, train: ArrayLike) -> Scaling:
        """Return how values are scaled to be learnt."""
        return Scaling()

    @abstractmethod
    def describe_value(self, value: Any) -> str:
        """Return what is true of one example in words."""

    @abstractmethod
    def describe_prediction(self, prediction: Floats) -> str:
        """Return what is predicted of one example, `[outputs]`, in words."""

    def compute_metrics(self) -> Callable[[Any], dict[str, float]]:
        """Return `scores` in the form that a `Trainer` takes."""
        return lambda found: self.scores(found.label_ids, self.predictions(found.predictions))


@dataclass(frozen=True)
class SingleLabel(Target):
    """One of several labels.

    Attributes:
        positive: Number of the label that matters; `None` if all matter alike.

    Examples:
        >>> target = SingleLabel(["bill", "order", "technical"])
        >>> target.metric, target.scores([0, 1, 2], np.eye(3))["macro_f1"]
        ('macro_f1', 1.0)
    """

    problem_type: ClassVar[ProblemType] = "single_label_classification"
    floor: ClassVar[str] = "majority class"

    positive: int | None = None

    @property
    def titles(self) -> dict[str, str]:
        """AP of the label that matters, if one does; then accuracy of two, macro-F1 of more."""
        if self.positive is not None:
            return {"average_precision": "AP", "macro_f1": "macro-F1"}
        titles = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
        return titles if len(self.names) <= 2 else dict(reversed(titles.items()))

    def predictions(self, logits: ArrayLike) -> Floats:
        """Return the softmax."""
        return softmax(logits)

    def scores(self, values: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
        """Score probabilities, see `scores_on`."""
        return scores_on(values, np.asarray(predictions), self.positive)

    def floor_logits(self, train: ArrayLike, examples: int) -> Floats:
        """Return how frequent each label is."""
        return majority_logits(train, len(self.names), examples)

    def folds(self, values: ArrayLike, groups: Sequence[int] | Indices) -> Indices:
        """Deal labels evenly, see `stratified_folds`."""
        return stratified_folds([self.names[number] for number in np.asarray(values)], groups)

    def decision_bias(
        self, values: ArrayLike, logits: ArrayLike, *, weighted: bool = False
    ) -> Floats:
        """Return the bias on the label that matters that gives the best macro-F1.

        Where all matter alike, and macro-F1 counts, rare ones get some, see `rare_bias`; of a head
        whose loss made up for them they do not, as both together are too much.
        """
        bias = super().decision_bias(values, logits)
        if self.metric == "macro_f1":
            return bias if weighted else rare_bias(logits)
        if self.positive is not None:
            bias[self.positive] = best_bias(values, logits, self.positive)
        return bias

    def describe_value(self, value: Any) -> str:
        """Return the name of a label."""
        return str(self.names[value])

    def describe_prediction(self, prediction: Floats) -> str:
        """Return the name of the most likely label."""
        return self.names[int(prediction.argmax())]


@dataclass(frozen=True)
class MultiLabel(Target):
    """Any number of labels, each of which applies or does not.

    Examples:
        >>> target = MultiLabel(["late", "broken"])
        >>> values = np.array([[1, 0], [1, 1], [0, 0]])
        >>> target.scores(values, target.predictions(8.0 * values - 4))["macro_average_precision"]
        1.0
    """

    problem_type: ClassVar[ProblemType] = "multi_label_classification"
    floor: ClassVar[str] = "frequency of each label"

    @property
    def titles(self) -> dict[str, str]:
        """AP and F1; macro is the mean over labels, micro counts all decisions alike."""
        return {
            "macro_average_precision": "macro AP",
            "macro_f1": "macro-F1",
            "micro_f1": "micro-F1",
        }

    def predictions(self, logits: ArrayLike) -> Floats:
        """Return the probability of each label."""
        return cast(Floats, expit(np.asarray(logits, np.float64)))

    def scores(self, values: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
        """Score probabilities; a label is predicted from `DECIDED` on.

        Macro scores are means over the labels that apply to some example.
        """
        true, predictions = np.asarray(values) > 0, np.asarray(predictions)
        decided = predictions >= DECIDED
        right, counted = (true & decided).sum(0), true.sum(0) + decided.sum(0)
        seen = np.flatnonzero(true.any(0))
        precision = [average_precision(true[:, label], predictions[:, label]) for label in seen]
        return {
            "macro_average_precision": sum(precision) / max(1, len(seen)),
            "macro_f1": float(sum(2 * right[seen] / counted[seen]) / max(1, len(seen))),
            "micro_f1": float(2 * right.sum() / max(1, counted.sum())),
        }

    def floor_logits(self, train: ArrayLike, examples: int) -> Floats:
        """Return how frequent each label is."""
        shares = np.clip(np.asarray(train, np.float64).mean(axis=0), 1e-6, 1 - 1e-6)
        return np.tile(cast(Floats, logit(shares)), (examples, 1))

    def folds(self, values: ArrayLike, groups: Sequence[int] | Indices) -> Indices:
        """Deal labels evenly, see `multilabel_folds`."""
        labels = [np.flatnonzero(row).tolist() for row in np.asarray(values)]
        return multilabel_folds(labels, list(groups))

    def decision_bias(
        self, values: ArrayLike, logits: ArrayLike, *, weighted: bool = False
    ) -> Floats:
        """Return for each label the bias that gives it the best F1."""
        values, logits = np.asarray(values, int), np.asarray(logits, np.float64)
        columns = zip(values.T, logits.T, strict=True)
        return np.array([_best_threshold_bias(*column) for column in columns])

    def describe_value(self, value: Any) -> str:
        """Return the names of the labels that apply."""
        applying = (name for name, applies in zip(self.names, value, strict=True) if applies)
        return ", ".join(applying) or "none"

    def describe_prediction(self, prediction: Floats) -> str:
        """Return the names of the labels that are predicted."""
        return self.describe_value(prediction >= DECIDED)


@dataclass(frozen=True)
class Regression(Target):
    """A number.

    Examples:
        >>> scores = Regression(["price"]).scores([1.0, 2.0, 3.0], [[1.0], [2.0], [4.0]])
        >>> {name: round(score, 2) for name, score in scores.items()}
        {'r2': 0.5, 'spearman': 1.0, 'mae': 0.33}
    """

    problem_type: ClassVar[ProblemType] = "regression"
    floor: ClassVar[str] = "mean"

    @property
    def titles(self) -> dict[str, str]:
        """The share of variance explained, the rank correlation, and the mean absolute error."""
        return {"r2": "R²", "spearman": "Spearman", "mae": "MAE"}

    def predictions(self, logits: ArrayLike) -> Floats:
        """Return the numbers themselves."""
        return np.asarray(logits, np.float64).reshape(-1, 1)

    def scores(self, values: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
        """Score numbers; the rank correlation of predictions that are all alike counts as 0."""
        values, predicted = np.asarray(values, np.float64), np.ravel(predictions)
        alike = np.ptp(predicted) == 0 or np.ptp(values) == 0
        return {
            "r2": float(r2_score(values, predicted)),
            "spearman": 0.0 if alike else float(spearmanr(values, predicted).statistic),
            "mae": float(mean_absolute_error(values, predicted)),
        }

    def floor_logits(self, train: ArrayLike, examples: int) -> Floats:
        """Return the mean."""
        return np.full([examples, 1], np.asarray(train, np.float64).mean())

    def folds(self, values: ArrayLike, groups: Sequence[int] | Indices) -> Indices:
        """Deal numbers evenly, by their tenths."""
        values = np.asarray(values)
        bins = np.searchsorted(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]), values)
        _, numbers = np.unique(bins, return_inverse=True)
        return multilabel_folds([[number] for number in numbers.tolist()], list(groups))

    def scaling(self, train: ArrayLike) -> Scaling:
        """Return the mean and the standard deviation."""
        values = np.asarray(train, np.float64)
        return Scaling(float(values.mean()), float(values.std()) or 1.0)

    def describe_value(self, value: Any) -> str:
        """Return a number in six digits."""
        return f"{value:.6g}"

    def describe_prediction(self, prediction: Floats) -> str:
        """Return a number in six digits."""
        return self.describe_value(prediction[0])


def _best_threshold_bias(applies: NDArray[np.int64], logits: Floats) -> float:
    """Return the bias of one label of several, `[examples]`.

    One that applies to none or to all says nothing of a threshold: it is lowered only as far as all
    need it.
    """
    if not applies.any():
        return 0.0
    if applies.all():
        return max(0.0, 1 - float(logits.min()))
    return best_bias(applies, np.stack([np.zeros_like(logits), logits], 1), 1, scored=[1])


def target_of(labels: Labels, positive: int | None = None) -> Target:
    """Return the target of labels that were read.

    Args:
        labels: The labels.
        positive: Number of the label that matters, of those that have one label each.
    """
    kinds = {kind.problem_type: kind for kind in (MultiLabel, Regression)}
    if kind := kinds.get(labels.problem_type):
        return kind(labels.names)
    return SingleLabel(labels.names, positive)


def label_matrix(target: Target, values: ArrayLike) -> NDArray[np.bool]:
    """Return which labels apply to which examples, `[examples, labels]`."""
    values = np.asarray(values)
    return values > 0 if values.ndim == 2 else values[:, None] == np.arange(len(target.names))


def positive_number(source: Path, labels: Labels, chosen: str | None) -> int | None:
    """Return the number of the label that matters: the chosen one, else the rarer of two.

    Raises:
        InputError: One is chosen that no example has, or of labels that all matter alike.
    """
    single = labels.problem_type == SingleLabel.problem_type
    if chosen is None:
        two = single and len(labels.names) == 2
        return int(np.argmin(np.bincount(labels.values))) if two else None
    if not single:
        raise InputError(
            f"{source}: `positive_label` is for examples that have one label each; leave it out.",
            ["positive_label"],
        )
    if chosen not in labels.names:
        raise InputError(
            f"{source}: no example has the label {chosen!r}, which `positive_label` asks for. "
            f"The labels are: {', '.join(labels.names)}.",
            ["positive_label"],
        )
    return labels.names.index(chosen)
