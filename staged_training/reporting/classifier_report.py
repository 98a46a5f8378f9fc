"""The part of a report that is about one trained classifier: its stages, curves and errors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from staged_training.experiment.outcome import Outcome
from staged_training.heads.learning_curve import learning_curve, what_more_would_bring
from staged_training.model_card import FROZEN, stage_table
from staged_training.reporting import plots
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import markdown_table
from staged_training.stages import StageResult


def add_classifier_sections(
    report: Report,
    outcome: Outcome,
    labels: ArrayLike,
    names: Sequence[str],
    positive: int | None,
    examples: Sequence[str],
    metric: tuple[str, str] = ("average_precision", "AP"),
) -> None:
    """Add how a classifier was trained, and its right and wrong predictions on the test part.

    Args:
        report: The report.
        outcome: The result of the training.
        labels: True label numbers of the test part, `[examples]`.
        names: The names of the labels.
        positive: Number of the label that matters; `None` if all matter alike.
        examples: What to call each example of the test part, in Markdown.
        metric: The score that was followed on validation, and its title.
    """
    labels = np.asarray(labels)
    probabilities = np.asarray(outcome.probabilities)
    predicted = probabilities.argmax(axis=1)
    add_training(report, outcome, metric)
    report.section("Predictions on the test part")
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
    report.section("Most confident errors", _errors(labels, probabilities, names, examples))


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


def _errors(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], examples: Sequence[str]
) -> str:
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        return "There are none."
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:10]
    return markdown_table(
        ["score", "predicted", "true", "example"],
        [
            [f"{confidence[i]:.2f}", names[predicted[i]], names[labels[i]], examples[i]]
            for i in worst
        ],
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
