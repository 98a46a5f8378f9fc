"""What a linear head says of each example, where it learnt from others."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.splits import Indices, fold_numbers, fold_split
from staged_training.experiment.target import Floats, Target
from staged_training.heads.linear_probe import fit_probe, linear_probe


def out_of_fold_scores(
    features: NDArray[np.float32], values: ArrayLike, target: Target, folds: Indices
) -> Floats:
    """Return the probabilities of each example by a linear head that was fitted to other folds.

    Features are scaled to one deviation, so that a penalty means the same whatever the base. That
    with the smallest loss on one of the other folds is chosen, as scores are compared and not
    decisions, and the head then fitted to all of them. Rare labels weigh as much as frequent ones.

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
    scaled = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    scores = np.empty((len(values), len(target.names)))
    for fold in fold_numbers(folds):
        split = fold_split(folds, fold)
        train, validation = ((scaled[rows], values[rows]) for rows in split[:2])
        C = linear_probe(train, validation, target, class_weight="balanced", by_loss=True).C
        others = np.flatnonzero(folds != fold)
        probe = fit_probe((scaled[others], values[others]), target, C, "balanced")
        scores[split.test] = target.predictions(probe.logits(scaled[split.test]))
    return scores
