"""Sets of labels of the chosen model: what they are calibrated on, and what they hold on test."""

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.target import MultiLabel, Regression, label_matrix
from staged_training.experiment.task import LabelledTask
from staged_training.heads.conformal import FILE_NAME, Calibration, calibrated
from staged_training.runtime.processes import on_main_process
from staged_training.runtime.seal import add_sealed
from staged_training.tables.labels import DECIDED

ASKED = 0.9


class Coverage(NamedTuple):
    """What sets of labels held on test.

    Attributes:
        calibration: On how many examples each label was calibrated, `[labels]`, in the fold with
            the fewest.
        examples: Test examples of each label, `[labels]`.
        covered: Those of them whose sets held the label, `[labels]`.
        decided: Which test examples had a set of exactly what is predicted, `bool [examples]`.
        right: Of which test examples what is predicted is true, `bool [examples]`.
    """

    calibration: NDArray[np.int64]
    examples: NDArray[np.int64]
    covered: NDArray[np.int64]
    decided: NDArray[np.bool]
    right: NDArray[np.bool]


def publish_chosen(run: RunFolder, result: CrossValidation, refit: bool | None) -> bool:
    """Put the chosen model into the folder of a run, with what calibrates its sets of labels.

    Args:
        run: The run.
        result: The results of the candidates.
        refit: As for `CrossValidation.final_model`.

    Returns:
        Whether it was trained on all rows.
    """
    folder, refitted = result.final_model(run, refit)
    run.publish(folder)
    calibration = calibration_of(result, refitted=refitted)
    if calibration is not None:
        on_main_process(partial(add_sealed, calibration, run.path, FILE_NAME))
    return refitted


def calibration_of(result: CrossValidation, *, refitted: bool) -> Calibration | None:
    """Return the calibration of the chosen model; `None` if it predicts no labels.

    That is by the validation part of the fold it was trained in. A model that was trained on all
    rows has none; the models of the folds were not trained on the parts that they were validated
    on, and stand in for it (cross-conformal prediction: Vovk 2015).

    Args:
        result: The results of the candidates.
        refitted: Whether the model was trained on all rows.
    """
    task = result.task
    if not isinstance(task, LabelledTask) or isinstance(task.target, Regression):
        return None
    rows, predictions = result.pooled_validation()
    if not refitted:
        own = len(task.split(result.folds[0]).validation)
        rows, predictions = rows[:own], predictions[:own]
    applies = label_matrix(task.target, task.values[rows])
    return calibrated(task.names, applies, predictions)


def measured_coverage(
    result: CrossValidation, *, refitted: bool, coverage: float = ASKED
) -> Coverage:
    """Measure what sets of labels hold on the test part of each fold.

    Each fold is calibrated as the model is, without its own test part: on the validation part, or,
    if the model was trained on all rows, on those of the other folds, too.

    Args:
        result: The results of the candidates, of labels.
        refitted: Whether the model was trained on all rows.
        coverage: What is asked for.
    """
    task = result.task
    assert isinstance(task, LabelledTask)
    rows, scores = result.pooled_validation()
    applies = label_matrix(task.target, task.values)
    counts, sets = [], []
    for fold in result.folds:
        _, validation, test = task.split(fold)
        used = ~np.isin(rows, test) if refitted else np.isin(rows, validation)
        calibration = calibrated(task.names, applies[rows[used]], scores[used])
        counts.append(np.bincount(calibration.labels, minlength=len(task.names)))
        predictions = np.asarray(result.first_outcome(fold).probabilities)
        sets.append(~(predictions < calibration.thresholds(coverage)))  # all, without a threshold
    tested, predictions = result.pooled()
    true, found = applies[tested], np.concatenate(sets)
    several = isinstance(task.target, MultiLabel)
    decided = predictions >= DECIDED if several else predictions.argmax(axis=1)
    predicted = label_matrix(task.target, decided)
    return Coverage(
        np.min(counts, axis=0),
        true.sum(axis=0),
        (true & found).sum(axis=0),
        (found == predicted).all(axis=1),
        (predicted == true).all(axis=1),
    )
