"""What a trained classifier scored on one split, and the means over splits."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from staged_training.experiment.target import Target
from staged_training.heads.calibration import temperatures


def half_interval(std: ArrayLike, runs: int, confidence: float = 0.95) -> NDArray[np.float64]:
    """Return half the confidence interval of the mean of a few runs, by Student's t.

    Args:
        std: Standard deviation over the runs, of any shape.
        runs: How many there are.
        confidence: How sure the mean is to lie in the interval.
    """
    quantile = stats.t.ppf((1 + confidence) / 2, runs - 1)
    half: NDArray[np.float64] = np.asarray(std) / runs**0.5 * quantile
    return half


@dataclass(frozen=True)
class Outcome:
    """What one model scored on one split, in values that JSON can hold.

    Attributes:
        model: What the model is.
        metrics: Its scores on the test part, see `Target.scores`.
        validation: Its scores on the validation part.
        probabilities: Of each class for each test example, `[examples][classes]`; of a number, the
            number, `[examples][1]`.
        decision_bias: What was added to the logits, `[classes]`, see `Target.decision_bias`.
        seconds: Wall time of its training.
        trainable_parameters: Numbers that its last stage trained.
        stages: The `StageResult` of each of its stages, as dictionaries.
        log: The log of its training.
        predictions: Of each test example, what else than probabilities is predicted: a caption,
            boxes.
        grid: The `Trial` of each setting that was tried, as dictionaries.
        validation_probabilities: As `probabilities`, of the validation part.
        temperature: What the logits were divided by then, `[classes]`, see `temperatures`.
    """

    model: str
    metrics: dict[str, float]
    validation: dict[str, float]
    probabilities: list[list[float]]
    decision_bias: list[float]
    seconds: float
    trainable_parameters: int = 0
    stages: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    grid: list[dict[str, Any]] = field(default_factory=list)
    validation_probabilities: list[list[float]] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)

    @property
    def undone(self) -> bool:
        """Whether its last stage was undone: no epoch scored better than the start."""
        return bool(self.stages) and self.stages[-1]["best_epoch"] == 0


def outcome(
    model: str,
    values: Sequence[ArrayLike],
    logits: Sequence[ArrayLike],
    target: Target,
    *,
    weighted: bool = False,
    **about_training: Any,
) -> Outcome:
    """Score a model, with the decisions and the temperature that are best on validation.

    Args:
        model: What the model is.
        values: What is true of the validation and of the test part, see `Target`.
        logits: `[examples, outputs]` for each of these parts.
        target: What is predicted.
        weighted: Whether the loss made up for rare labels, see `Target.decision_bias`.
        **about_training: The fields of `Outcome` from `seconds` on.
    """
    decision_bias = target.decision_bias(values[0], logits[0], weighted=weighted)
    moved = [np.asarray(part, np.float64) + decision_bias for part in logits]
    temperature = temperatures(target, values[0], moved[0])
    found = [target.predictions(part / temperature) for part in moved]
    validation, test = map(target.scores, values, found)
    return Outcome(
        model=model,
        metrics=test,
        validation=validation,
        probabilities=found[1].tolist(),
        validation_probabilities=found[0].tolist(),
        decision_bias=decision_bias.tolist(),
        temperature=temperature.tolist(),
        **about_training,
    )


class Decision(NamedTuple):
    """How the logits of a model become its scores: `(logits + bias) / temperature`.

    Attributes:
        bias: What is added to each logit, `[outputs]`, see `Target.decision_bias`.
        temperature: What each is divided by then, `[outputs]`, see `temperatures`.
    """

    bias: NDArray[np.float64]
    temperature: NDArray[np.float64]


def mean_decision(outcomes: Sequence[Outcome]) -> Decision:
    """Return the mean decision of a model over the rounds that it was scored in.

    The mean of temperatures is the geometric one: they are factors.
    """
    bias = np.mean([found.decision_bias for found in outcomes], axis=0)
    logs = np.log([found.temperature for found in outcomes])
    return Decision(bias, np.exp(logs.mean(axis=0)))


@dataclass
class Row:
    """One model in the table of a report.

    Attributes:
        name: What the model is.
        metrics: Its metrics; of several folds and seeds, their means.
        std: The standard deviations of the metrics over folds; empty for a single fold.
        seconds: Mean wall time of one training run.
        trainable_parameters: Numbers that its last stage trained.
        undone: Whether that stage was undone in every run, and the scores are those before it.
    """

    name: str
    metrics: dict[str, float]
    std: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    trainable_parameters: int = 0
    undone: bool = False


def mean_rows(outcomes_of_folds: Sequence[Sequence[Outcome]]) -> list[Row]:
    """Return a row for each model: the mean over folds of its means over seeds.

    Args:
        outcomes_of_folds: For each fold, the outcomes of all models, of every seed.

    Returns:
        Rows in the order in which the models appear, each with its test metrics and, under names
        that begin with `validation_`, the scores that choices may be based on. The standard
        deviation is that over folds.
    """
    scores: dict[str, list[dict[str, float]]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    parameters: dict[str, int] = {}
    undone: dict[str, bool] = {}
    for fold in outcomes_of_folds:
        of_fold: dict[str, list[dict[str, float]]] = defaultdict(list)
        for item in fold:
            validation = {f"validation_{name}": score for name, score in item.validation.items()}
            of_fold[item.model].append(item.metrics | validation)
            seconds[item.model].append(item.seconds)
            parameters[item.model] = item.trainable_parameters
            undone[item.model] = item.undone and undone.get(item.model, True)
        for model, runs in of_fold.items():
            scores[model].append({m: float(np.mean([r[m] for r in runs])) for m in runs[0]})
    return [
        Row(
            name=model,
            metrics={m: float(np.mean([fold[m] for fold in folds])) for m in folds[0]},
            std={m: float(np.std([fold[m] for fold in folds], ddof=1)) for m in folds[0]}
            if len(folds) > 1
            else {},
            seconds=float(np.mean(seconds[model])),
            trainable_parameters=parameters[model],
            undone=undone[model],
        )
        for model, folds in scores.items()
    ]
