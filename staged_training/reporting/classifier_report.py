"""The part of a report that is about one trained classifier: its stages, curves and errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_fscore_support

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.target import (
    MultiLabel,
    Regression,
    SingleLabel,
    Target,
    label_matrix,
)
from staged_training.experiment.task import LabelledTask
from staged_training.heads.learning_curve import learning_curve, what_more_would_bring
from staged_training.labels.label_errors import check_cleanlab, find_label_errors
from staged_training.model_card import FROZEN, stage_table
from staged_training.reporting import plots
from staged_training.reporting.report import Report
from staged_training.runtime.errors import InputError
from staged_training.runtime.markdown import as_markdown, markdown_table
from staged_training.stages import StageResult
from staged_training.tables.labels import DECIDED


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
    of_folds = "of all folds" if len(result.folds) > 1 else "of the test part"
    report.section(f"Predictions {of_folds}", f"{len(rows):,} examples.")
    if isinstance(target, Regression):
        name = target.names[0]
        description = f"predicted {name} against the true one; on the line they are equal"
        numbers = values, predictions[:, 0], name
        report.picture("numbers", description, plots.plot_numbers, *numbers)
    elif isinstance(target, MultiLabel) or len(target.names) > 2:
        report.section("Each label", label_table(target, values, predictions))
    if isinstance(target, SingleLabel):
        _add_classes(report, target, values, predictions)
    examples = [describe(row) for row in rows.tolist()]
    _add_errors(report, target, values, predictions, examples)
    if not isinstance(target, Regression):
        report.section("Labels to check", label_errors_table(target, values, predictions, examples))


def describe_choice(result: CrossValidation) -> str:
    """Describe which model was chosen, and how little a single fold decides."""
    told = result.describe_choice()
    if len(result.folds) == 1 and len(result.task.fold_numbers) > 1:
        test = len(result.task.split(result.folds[0]).test)
        told += f" One fold, of {test:,} examples, decides little: test on all folds."
    return told


def difference_table(result: CrossValidation) -> str:
    """Return how much more the chosen model scores than each other as a Markdown table."""
    test = {row.name: row.metrics[result.metric] for row in result.rows}
    title = result.metric.replace("_", " ")
    if isinstance(result.task, LabelledTask):
        title = result.task.target.titles[result.metric]
    rows = [
        [name, f"{mean:+.3f}", f"{mean - half:+.3f} to {mean + half:+.3f}", f"{more:+.3f}"]
        for name, (mean, half) in result.differences().items()
        if name != result.chosen.name
        for more in [test[result.chosen.name] - test[name]]
    ]
    heads = [f"{title} on validation", "95 % interval", "on test"]
    return markdown_table([f"{result.chosen.name} beside", *heads], rows)


def _add_classes(
    report: Report,
    target: SingleLabel,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> None:
    """Add which labels were taken for which."""
    names, predicted = target.names, probabilities.argmax(axis=1)
    report.picture(
        "confusion", "true and predicted labels", plots.plot_confusion, labels, predicted, names
    )


def _add_errors(
    report: Report,
    target: Target,
    values: NDArray[Any],
    predictions: NDArray[np.float64],
    examples: Sequence[str],
) -> None:
    """Add the ten predictions that are most wrong."""
    numbers = isinstance(target, Regression)
    heading, measure = ("Largest", "error") if numbers else ("Most confident", "score")
    errors = [
        [
            f"{error.size:.4g}" if numbers else f"{error.size:.2f}",
            error.predicted,
            error.true,
            examples[error.row],
        ]
        for error in largest_errors(target, values, predictions, 10)
    ]
    table = markdown_table([measure, "predicted", "true", "example"], errors)
    report.section(f"{heading} errors", table if errors else "There are none.")


def label_errors_table(
    target: Target,
    values: NDArray[Any],
    probabilities: NDArray[np.float64],
    examples: Sequence[str],
) -> str:
    """Return the ten most suspicious labels as a Markdown table, and how they were found.

    Args:
        target: What is predicted: one label, or several.
        values: The labels.
        probabilities: What a model says that did not learn from them, `[examples, labels]`.
        examples: What to call each example, in Markdown.
    """
    try:
        check_cleanlab()
    except InputError as error:
        return str(error)
    found = find_label_errors(target, values, probabilities)
    rows = [
        [
            f"{found.suspicion[row]:.2f}",
            as_markdown(target.describe_value(values[row])),
            as_markdown(target.describe_value(found.predicted[row])),
            examples[row],
        ]
        for row in found.order[:10].tolist()
        if found.doubted[row]
    ]
    told = (
        "The most suspicious labels of these examples, by confident learning (Northcutt et al. "
        "2021). `nlp-transfer review` looks at all of your labels, and says why."
    )
    table = markdown_table(["suspicion", "label", "predicted", "example"], rows)
    return f"{told}\n\n{table if rows else 'There are none.'}"


class Error(NamedTuple):
    """A wrong prediction.

    Attributes:
        row: Of which example.
        size: How far it is off, of a number; else the probability of the wrong decision.
        predicted: What was predicted, in words.
        true: What is true, in words.
    """

    row: int
    size: float
    predicted: str
    true: str


def largest_errors(
    target: Target, values: NDArray[Any], predictions: NDArray[np.float64], count: int
) -> list[Error]:
    """Return the predictions that are most wrong, at most so many, the worst first.

    Args:
        target: What is predicted.
        values: What is true of the examples.
        predictions: `[examples, outputs]`.
        count: How many.
    """
    if isinstance(target, Regression):
        sizes = np.abs(values - predictions[:, 0])
    elif isinstance(target, MultiLabel):
        wrong = (predictions >= DECIDED) != (values > 0)
        sizes = np.where(wrong, np.maximum(predictions, 1 - predictions), 0).max(axis=1)
    else:
        sizes = np.where(predictions.argmax(axis=1) != values, predictions.max(axis=1), 0)
    return [
        Error(
            row,
            float(sizes[row]),
            target.describe_prediction(predictions[row]),
            target.describe_value(values[row]),
        )
        for row in np.argsort(-sizes, kind="stable")[:count].tolist()
        if sizes[row] > 0
    ]


def label_table(target: Target, values: ArrayLike, probabilities: NDArray[np.float64]) -> str:
    """Return precision, recall and F1 of each label as a Markdown table, and the largest share."""
    several = isinstance(target, MultiLabel)
    decided = probabilities >= DECIDED if several else probabilities.argmax(axis=1)
    true, predicted = label_matrix(target, values), label_matrix(target, decided)
    scores = precision_recall_fscore_support(true, predicted, zero_division=0)
    rows = [
        [as_markdown(name), f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", f"{n:,}"]
        for name, p, r, f, n in zip(target.names, *scores, strict=True)
    ]
    shares = true.mean(axis=0)
    largest = f"The largest label, {as_markdown(target.names[int(shares.argmax())])}, is "
    table = markdown_table(["label", "precision", "recall", "F1", "examples"], rows)
    return f"{table}\n\n{largest}{shares.max():.1%} of the examples."


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
