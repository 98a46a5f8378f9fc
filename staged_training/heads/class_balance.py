"""Rare classes: how they are scored on their own terms, and where a decision is best."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the probabilities `[examples, classes]` of logits of that shape."""
    logits = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = exponents / exponents.sum(axis=-1, keepdims=True)
    return probabilities


def majority_logits(labels: ArrayLike, num_labels: int, examples: int) -> NDArray[np.float64]:
    """Return logits `[examples, num_labels]` that know only how frequent each label is."""
    counts = np.bincount(np.asarray(labels), minlength=num_labels)
    return np.tile(np.log(counts / counts.sum()), (examples, 1))


def scores_on(
    labels: ArrayLike, probabilities: NDArray[np.float64], positive: int | None
) -> dict[str, float]:
    """Score how well probabilities fit the labels, also for a rare class.

    Args:
        labels: True label numbers, `[examples]`.
        probabilities: `[examples, classes]`; the largest of a row is the prediction.
        positive: Number of the class that matters; `None` if all matter alike.

    Returns:
        `average_precision` of the positive class, which no threshold enters, if there is one;
        `macro_f1` over all classes, and `accuracy`.
    """
    labels, predicted = np.asarray(labels), probabilities.argmax(-1)
    scores = {
        "macro_f1": _macro_f1(labels, predicted, np.full(probabilities.shape[1], True)),
        "accuracy": float((labels == predicted).mean()),
    }
    if positive is None:
        return scores
    precision = average_precision(labels == positive, probabilities[:, positive])
    return {"average_precision": precision, **scores}


def average_precision(applies: ArrayLike, scores: ArrayLike) -> float:
    """Compute average precision as scikit-learn does, without its millisecond for each call.

    Args:
        applies: Whether a label applies, `[examples]`; where it applies to none, this is 0.
        scores: Of the label, `[examples]`.

    Raises:
        ValueError: A score is not finite.
    """
    scores = np.asarray_chkfinite(scores)
    order = np.argsort(-scores)
    hits = np.cumsum(np.asarray(applies)[order], dtype=np.int64)
    thresholds = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last of equal scores
    gains = np.diff(hits[thresholds], prepend=0)
    return float(gains @ (hits[thresholds] / (thresholds + 1)) / max(1, hits[-1]))


def metrics_on(positive: int | None) -> Callable[[Any], dict[str, float]]:
    """Return `scores_on` in the form that a `Trainer` takes as `compute_metrics`.

    Examples:
        >>> from transformers import EvalPrediction
        >>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> metrics_on(1)(EvalPrediction(logits, np.array([0, 1, 1])))["average_precision"]
        1.0
    """
    return lambda prediction: scores_on(
        prediction.label_ids, softmax(prediction.predictions), positive
    )


def best_bias(
    labels: ArrayLike, logits: ArrayLike, positive: int, scored: Sequence[int] | None = None
) -> float:
    """Return the bias on the positive logit that gives the best macro-F1 on these examples.

    A loss with class weights, or a class that is rare, puts the best decision away from equal
    logits; a shift of the head's bias puts it back, so that every user of the model decides well.
    Among shifts that are equally good, the middle of the widest gap between examples is taken.

    Args:
        labels: True label numbers, `[examples]`, of validation data.
        logits: `[examples, classes]`.
        positive: Number of the class that matters.
        scored: The classes whose F1 counts, by default all.
    """
    labels, logits = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    classes = np.arange(logits.shape[1])
    counted = np.isin(classes, classes if scored is None else scored)
    rest = np.delete(logits, positive, axis=1)
    needed = np.sort(rest.max(axis=1) - logits[:, positive])  # shifts at which a decision turns
    shifts = np.concatenate([needed[:1] - 1, (needed[1:] + needed[:-1]) / 2, needed[-1:] + 1])
    gaps = np.concatenate([[0], np.diff(needed), [0]])
    others = np.where(classes == positive, -np.inf, logits).argmax(axis=1)

    def macro_f1(shift: float) -> float:
        chosen = np.where(logits[:, positive] + shift > rest.max(axis=1), positive, others)
        return _macro_f1(labels, chosen, counted)

    values = np.array([macro_f1(shift) for shift in shifts])
    best = np.flatnonzero(values == values.max())
    return float(shifts[best[gaps[best].argmax()]])


def rare_bias(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the shifts of logits, `[classes]`, that let rare classes be decided for more often.

    A head that was fitted to few examples of a class hardly ever decides for it, which macro-F1
    counts as much as what it does to a common one. This is half of the post-hoc logit adjustment of
    Menon et al. (ICLR 2021), with the mean probability of a class for its frequency: of 20 examples
    that validate none may have it. With 50 to 1,500 labels half gave linear heads of an encoder
    with an unweighted loss the best macro-F1, or one within 0.01 of it (`docs/few_labels.md`).

    Args:
        logits: `[examples, classes]`, of validation data.

    Examples:
        >>> logits = np.log([[0.8, 0.2], [0.8, 0.2]])
        >>> shifted = softmax(logits + rare_bias(logits))
        >>> shifted[0].round(3).tolist()  # 4 to 1 becomes 2 to 1
        [0.667, 0.333]
    """
    frequency = softmax(logits).mean(axis=0)
    # Of a class that was not seen in training this would be the logarithm of nothing.
    known: NDArray[np.float64] = np.maximum(frequency, 0.01 / len(frequency))
    return -0.5 * np.log(known)


def _macro_f1(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], counted: NDArray[np.bool]
) -> float:
    """Compute macro-F1 as scikit-learn does, without its milliseconds for each call."""
    classes = len(counted)
    pairs = np.bincount(labels * classes + predicted, minlength=classes**2)
    pairs = pairs.reshape(classes, classes)
    seen = pairs.sum(axis=0) + pairs.sum(axis=1)
    counted = counted & (seen > 0)
    return float((2 * pairs.diagonal()[counted] / seen[counted]).mean())
