"""The part of a report, and of a card, on how far the scores of a classifier can be trusted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from staged_training.experiment.coverage import ASKED, Coverage, measured_coverage
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.target import Regression, SingleLabel
from staged_training.experiment.task import LabelledTask
from staged_training.heads.calibration import calibration_error
from staged_training.heads.class_balance import softmax
from staged_training.heads.conformal import fewest
from staged_training.reporting import plots
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import as_markdown, markdown_table

_LEAST = 1e-300  # whose logarithm there is


class Reliability(NamedTuple):
    """How reliable the scores of one label each are on test.

    Attributes:
        scored: Whose scores: the label that matters, or what is predicted.
        right: Which examples have that label, `bool [examples]`.
        scores: Its scores `[examples]`, `as trained` and `stored`, with the temperature.
        error: The expected calibration error of each.
    """

    scored: str
    right: NDArray[np.bool]
    scores: dict[str, NDArray[np.float64]]
    error: dict[str, float]


def add_trust(report: Report, result: CrossValidation, *, refitted: bool) -> None:
    """Add how reliable scores are, and what sets of labels hold; nothing of numbers.

    Args:
        report: The report.
        result: The results of the candidates.
        refitted: Whether the model was trained on all rows.
    """
    told = describe_trust(result, refitted=refitted)
    if not told:
        return
    report.section("How far scores can be trusted", told)
    if isinstance(result.task, LabelledTask) and isinstance(result.task.target, SingleLabel):
        found = measured_reliability(result, result.task.target)
        description = (
            f"how often a score of {found.scored} is right, as trained and as stored; beside each "
            "point, of how many examples"
        )
        picture = plots.plot_reliability, found.right, found.scores, found.scored
        report.picture("reliability", description, *picture)


def describe_trust(result: CrossValidation, *, refitted: bool) -> str:
    """Describe in Markdown what scores and sets of labels are worth on test; nothing of numbers.

    Args:
        result: The results of the candidates.
        refitted: Whether the model was trained on all rows.
    """
    task = result.task
    assert isinstance(task, LabelledTask)
    if isinstance(task.target, Regression):
        return ""
    coverage = measured_coverage(result, refitted=refitted)
    told = _describe_coverage(coverage, task)
    if isinstance(task.target, SingleLabel):
        told = f"{_describe_reliability(result, task.target)}\n\n{told}"
    return told


def measured_reliability(result: CrossValidation, target: SingleLabel) -> Reliability:
    """Measure how reliable the scores of the chosen model are on all test parts."""
    rows, stored = result.pooled()
    assert isinstance(result.task, LabelledTask)
    values = result.task.values[rows]
    outcomes = [result.first_outcome(fold) for fold in result.folds]
    trained = np.concatenate([_as_trained(found) for found in outcomes])
    label = stored.argmax(axis=1) if target.positive is None else target.positive
    right = values == label
    every = np.arange(len(rows))
    scores = {"as trained": trained[every, label], "stored": stored[every, label]}
    error = {way: calibration_error(right, given) for way, given in scores.items()}
    scored = "the prediction" if target.positive is None else target.names[target.positive]
    return Reliability(scored, right, scores, error)


def _as_trained(found: Outcome) -> NDArray[np.float64]:
    """Return the probabilities `[examples, labels]` of a model without its temperature."""
    logs = np.log(np.maximum(found.probabilities, _LEAST))
    return softmax(logs * found.temperature)


def _describe_reliability(result: CrossValidation, target: SingleLabel) -> str:
    found = measured_reliability(result, target)
    temperatures = [result.first_outcome(fold).temperature[0] for fold in result.folds]
    before, after = found.error.values()
    return (
        f"Scores: the logits are divided by a temperature ({np.mean(temperatures):.2f}), by which "
        "the labels of validation are likeliest; it changes no prediction. On test the scores of "
        f"{as_markdown(found.scored)} are {before:.3f} off on average as trained, and {after:.3f} "
        "with it (expected calibration error)."
    )


def _describe_coverage(found: Coverage, task: LabelledTask) -> str:
    """Describe what sets of labels hold, and how many inputs they leave open."""
    asks = f"Sets of labels (`nlp-transfer predict`, with a coverage of {ASKED:g})"
    short = found.calibration < fewest(ASKED)
    if short.all():
        return (
            f"{asks} cannot be measured: they take {fewest(ASKED)} examples of each label to "
            f"calibrate on, and of no label there are more than {found.calibration.max()} apart "
            "from those that are tested."
        )
    rows = [
        [as_markdown(name), f"{count:,}", f"{examples:,}", _share(covered, examples)]
        for name, count, examples, covered, too_few in zip(
            task.names, found.calibration, found.examples, found.covered, short, strict=True
        )
        if not too_few
    ]
    table = markdown_table(["label", "calibrated on", "tested on", "in its set"], rows)
    told = f"{asks} should hold each label in {ASKED:.0%} of its examples. On test:\n\n{table}"
    if short.any():
        return f"{told}\n\nLabels with too few examples to calibrate on: {short.sum()}."
    if isinstance(task.target, SingleLabel):
        right = f", of which {found.right[found.decided].mean():.1%} are right"
        told += (
            f"\n\n{found.decided.mean():.1%} of the test examples have a set of exactly what is "
            f"predicted{right if found.decided.any() else ''}; the others, "
            f"{1 - found.decided.mean():.1%}, are marked `not sure`."
        )
    return told


def _share(covered: int, examples: int) -> str:
    """Return a share with its 95 % interval (Wilson)."""
    if not examples:
        return ""
    interval = binomtest(int(covered), int(examples)).proportion_ci(method="wilson")
    return f"{covered / examples:.3f} ({interval.low:.2f} to {interval.high:.2f})"
