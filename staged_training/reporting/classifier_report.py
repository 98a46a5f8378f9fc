"""The part of a report that is about one trained classifier: its stages, curves and errors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_fscore_support

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel, Target
from staged_training.experiment.task import LabelledTask
from staged_training.heads.decision import DECIDED
from staged_training.heads.learning_curve import learning_curve, what_more_would_bring
from staged_training.model_card import FROZEN, stage_table
from staged_training.reporting import plots
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import as_markdown, markdown_table
from staged_training.stages import StageResult


def add_classifier_sections(
    report: Report, task: LabelledTask, result: CrossValidation, describe: Callable[[int], str]
) -> None:
    """Add how the chosen model was trained, and its right and wrong predictions.

    Of several folds the predictions for all test parts are pooled.

    Args:
        report: The report.
        task: What it was measured on.
        result: The scores of all models.
        describe: What to call an example, by its row, in Markdown.
    """
    target = task.target
    add_training(report, result.chosen_outcomes[0], (target.metric, target.title))
    rows, predictions = result.pooled()
    values = task.values[rows]
    examples = [describe(row) for row in rows.tolist()]
    of_folds = "of all folds" if len(result.folds) > 1 else "of the test part"
    report.section(f"Predictions {of_folds}", f"{len(rows):,} examples.")
    if isinstance(target, Regression):
        _add_numbers(report, target, values, predictions[:, 0], examples)
    elif isinstance(target, MultiLabel):
        _add_labels(report, target, values, predictions, examples)
    else:
        assert isinstance(target, SingleLabel)
        _add_classes(report, target, values, predictions, examples)


def _add_classes(
    report: Report,
    target: SingleLabel,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    examples: Sequence[str],
) -> None:
    """Add predictions of one label: by label, confusions, reliability and errors."""
    names, positive, predicted = target.names, target.positive, probabilities.argmax(axis=1)
    if len(names) > 2:
        report.section("Each label", label_table(target, labels, probabilities))
    report.picture(
        "confusion", "true and predicted labels", plots.plot_confusion, labels, predicted, names
    )
    if positive is None:
        right, scores, scored = labels == predicted, probabilities.max(axis=1), "the prediction"
    else:
        right, scores, scored = labels == positive, probabilities[:, positive], names[positive]
    report.picture(
        "reliability",
        f"how often a score of {scored} is right; beside each point, of how many examples",
        plots.plot_reliability,
        right,
        scores,
        scored,
    )
    wrong = np.where(predicted != labels, probabilities.max(axis=1), -1)
    errors = [
        [f"{wrong[i]:.2f}", names[predicted[i]], names[labels[i]], examples[i]]
        for i in _largest(wrong)
    ]
    _add_errors(report, "Most confident errors", "score", errors)


def _add_labels(
    report: Report,
    target: MultiLabel,
    values: NDArray[np.float32],
    probabilities: NDArray[np.float64],
    examples: Sequence[str],
) -> None:
    """Add predictions of several labels: by label, and the decisions that are most wrong."""
    report.section("Each label", label_table(target, values, probabilities))
    decided = probabilities >= DECIDED
    distances = np.where(decided != (values > 0), np.abs(probabilities - DECIDED), -1).max(axis=1)

    errors = [
        [
            f"{DECIDED + distances[i]:.2f}",
            target.describe_prediction(probabilities[i]),
            target.describe_value(values[i]),
            examples[i],
        ]
        for i in _largest(distances)
    ]
    _add_errors(report, "Most confident errors", "score", errors)


def _add_numbers(
    report: Report,
    target: Regression,
    values: NDArray[np.float32],
    predicted: NDArray[np.float64],
    examples: Sequence[str],
) -> None:
    """Add predictions of numbers: beside the true ones, and those that are farthest off."""
    name = target.names[0]
    description = f"predicted {name} against the true one; on the line they are equal"
    report.picture("numbers", description, plots.plot_numbers, values, predicted, name)
    distances = np.abs(values - predicted)
    errors = [
        [f"{distances[i]:.4g}", f"{predicted[i]:.4g}", f"{values[i]:.4g}", examples[i]]
        for i in _largest(distances)
    ]
    _add_errors(report, "Largest errors", "error", errors)


def label_table(target: Target, values: ArrayLike, probabilities: NDArray[np.float64]) -> str:
    """Return precision, recall and F1 of each label as a Markdown table, and the largest share."""
    if isinstance(target, MultiLabel):
        true, predicted = np.asarray(values) > 0, probabilities >= DECIDED
    else:
        numbers = np.arange(len(target.names))
        true = np.asarray(values)[:, None] == numbers
        predicted = probabilities.argmax(axis=1)[:, None] == numbers
    scores = precision_recall_fscore_support(true, predicted, zero_division=0)
    rows = [
        [as_markdown(name), f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", f"{n:,}"]
        for name, p, r, f, n in zip(target.names, *scores, strict=True)
    ]
    shares = true.mean(axis=0)
    largest = f"The largest label, {as_markdown(target.names[int(shares.argmax())])}, is "
    table = markdown_table(["label", "precision", "recall", "F1", "examples"], rows)
    return f"{table}\n\n{largest}{shares.max():.1%} of the examples."


def _largest(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return where the ten largest values above 0 are, the largest first."""
    found = np.argsort(-values, kind="stable")[:10]
    return found[values[found] > 0]


def _add_errors(report: Report, heading: str, measure: str, errors: Sequence[list[str]]) -> None:
    table = markdown_table([measure, "predicted", "true", "example"], errors)
    report.section(heading, table if errors else "There are none.")


def add_training(report: Report, outcome: Outcome, metric: tuple[str, str]) -> None:
    """Add the stages of a model and its training curves, where there are any.

    Args:
        report: The report.
        outcome: The result of the training.
        metric: The score that was followed on validation, and its title.
    """
    stages = [StageResult(**stage) for stage in outcome.stages]
    if stages:
        report.section("Training", f"{outcome.model}.", stage_table(stages), FROZEN)
    if outcome.log:
        report.picture(
            "curves",
            "losses and validation score, epoch by epoch; a line marks where a stage ends",
            plots.plot_curves,
            outcome.log,
            dict([metric]),
        )


def add_learning_curve(
    report: Report,
    train: tuple[ArrayLike, ArrayLike],
    validation: tuple[ArrayLike, ArrayLike],
    num_labels: int,
) -> None:
    """Add a learning curve of linear probes, and what more labels would bring.

    Args:
        report: The report.
        train: Features `[examples, width]` and label numbers `[examples]`.
        validation: The same, to measure on.
        num_labels: How many labels there are.
    """
    curve = learning_curve(train, validation, num_labels)
    report.section(
        "Learning curve",
        "Linear probes on parts of the training examples of the first fold tested, mean and "
        f"standard deviation over three draws of each size. {what_more_would_bring(curve)}",
    )
    description = "accuracy by the number of training examples"
    report.picture("learning_curve", description, plots.plot_learning_curve, curve)
