"""What a linear head says of each example, where it learnt from others."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.splits import Indices, fold_numbers, fold_split
from staged_training.experiment.target import Floats, Target
from staged_training.heads.head_search import Trial, score_trial
from staged_training.heads.linear_probe import CS, fit_probe

Examples = tuple[NDArray[np.float32], ArrayLike]


def out_of_fold_scores(
    features: NDArray[np.float32], values: ArrayLike, target: Target, folds: Indices
) -> Floats:
    """Return the probabilities of each example by a linear head that was fitted to other folds.

    Args:
        features: `[examples, width]`.
        values: What is said of the examples, see `Target`.
        target: What is predicted.
        folds: The fold of each example, see `fold_split`; near-duplicates share one.

    Returns:
        `[examples, labels]`.

    Examples:
        >>> from staged_training.experiment.target import SingleLabel
        >>> from staged_training.labels.out_of_fold import out_of_fold_scores
        >>> features = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]], np.float32)
        >>> labels, folds = [0, 0, 0, 1, 1, 1], np.array([0, 1, 2, 0, 1, 2])
        >>> target = SingleLabel(["low", "high"])
        >>> out_of_fold_scores(features, labels, target, folds).argmax(axis=1).tolist()
        [0, 0, 0, 1, 1, 1]
    """
    values = np.asarray(values)
    scores = np.empty((len(values), len(target.names)))
    for fold in fold_numbers(folds):
        split = fold_split(folds, fold)
        train, validation = ((features[rows], values[rows]) for rows in split[:2])
        C = _likeliest(train, validation, target)
        others = np.flatnonzero(folds != fold)
        probe = fit_probe((features[others], values[others]), target, C)
        scores[split.test] = target.predictions(probe.logits(features[split.test]))
    return scores


def _likeliest(train: Examples, validation: Examples, target: Target) -> float:
    """Return the `C` of the smallest loss on validation: scores are compared, not decisions.

    The weaker the penalty, the longer the fit, so that none is tried beyond the best.
    """
    best: Trial | None = None
    for C in CS:
        logits = fit_probe(train, target, C).logits(validation[0])
        trial = score_trial({"C": C}, target, validation[1], logits)
        if best and trial.loss > best.loss:
            break
        best = trial
    assert best
    return best.settings["C"]
