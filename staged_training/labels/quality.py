"""How good a model of the labels so far is, and what more of them would bring.

Labels that were chosen say nothing of it: they are the hard ones, or those of one kind. What is
drawn at random does (`random_sample`), with an interval as wide as it is small.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from staged_training.labels.selection import RARE, scores_of

MORE = 50
"""Further labels, of which it is said what they would bring."""

_SHARES = (0.4, 0.55, 0.7, 0.85, 1.0)  # of the labels, of which the curve is made
_FOLDS = 5
_DRAWS = 1_000
ENOUGH = 0.01
"""What `MORE` labels would add to a score, at most, where labelling may stop."""

_MOST = 3_000  # labels: of more the report of a recipe tells, and to measure takes minutes
_FEWEST = 10  # examples drawn at random, of which anything can be told
_FEWEST_OF_CURVES = 30  # of ten often the same ones are right by chance, however many were learnt
_FEWEST_IF_RARE = 50  # the same where one of two labels is rare, and then two of that


class Gain(NamedTuple):
    """What `MORE` labels would add to a score, with its 95 % interval."""

    expected: float
    low: float
    high: float


class Quality(NamedTuple):
    """How good a model is, measured on examples drawn at random that it did not learn from.

    Attributes:
        metric: `accuracy`, or `average precision` of a rare label.
        label: The rare label; empty if there is none.
        sizes: From how many labels models learnt, the first so many.
        scores: What each of them scored.
        interval: The 95 % interval of the last score: Wilson's of an accuracy, else by bootstrap.
        sample: How many examples were drawn at random.
        chance: What is scored without looking at an example.
        gain: What more labels would bring; None where the sample is too small to tell.
    """

    metric: str
    label: str
    sizes: list[int]
    scores: list[float]
    interval: tuple[float, float]
    sample: int
    chance: float
    gain: Gain | None

    @property
    def is_enough(self) -> bool:
        """Whether something was learnt, and more labels hardly pay."""
        is_learnt = self.scores[-1] > self.chance
        return is_learnt and self.gain is not None and self.gain.high < ENOUGH


def measure_quality(
    features: NDArray[np.float32], labels: Sequence[str], sample: ArrayLike
) -> Quality | None:
    """Measure a logistic regression on labels by those that were drawn at random.

    Each fifth of these is scored by a model that learnt from all labels but that fifth. The same
    with the first labels alone gives a curve, along which errors are taken to fall as a power of
    the number of labels (Hestness et al. 2017).

    Args:
        features: Of the labelled examples in the order in which they were labelled, `[examples,
            width]`, as `comparable` gives them.
        labels: The label of each.
        sample: Which of them are a random sample, see `random_sample`.

    Returns:
        None if there are no two labels, or more than 3,000 labelled examples, or the sample is too
        small: under 10, or under 50 and without two of a rare label, where one of two is rare. (To
        wait for more of these would tell the score only where there are many by chance, and it is
        too high.)

    Examples:
        >>> from staged_training.labels.quality import measure_quality
        >>> features = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
        >>> labels = ["left" if x < 0 else "right" for x, y in features]
        >>> quality = measure_quality(features, labels, np.arange(0, 60, 2))
        >>> quality.metric, quality.sizes, quality.scores[-1] > 0.9
        ('accuracy', [24, 33, 42, 51, 60], True)
    """
    names, values = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    sample = np.asarray(sample)
    counts = np.bincount(values[sample], minlength=len(names))
    is_rare = len(names) == 2 and counts.min() < RARE * len(sample)
    fewest = _FEWEST_IF_RARE if is_rare else _FEWEST
    if (
        len(names) < 2
        or len(labels) > _MOST
        or len(sample) < fewest
        or (is_rare and counts.min() < 2)
    ):
        return None
    sizes = [round(share * len(labels)) for share in _SHARES]
    scores = _scores_of_sample(coordinates(features), values, sample, sizes, len(names))
    true, rare = values[sample], int(counts.argmin())
    draws = _draws(len(sample))
    examples = int(counts.min()) if is_rare else len(sample)
    if is_rare:
        curves = np.stack([_average_precision(s[:, rare], true == rare, draws) for s in scores], 1)
        curves = curves[~np.isnan(curves[:, 0])]  # some draws have none of the rare label
        interval = np.quantile(curves[1:, -1], [0.025, 0.975])
    else:
        right = scores.argmax(axis=2) == true
        curves = draws @ right.T / len(sample)
        interval = binomtest(int(right[-1].sum()), len(sample)).proportion_ci(method="wilson")
    return Quality(
        metric="average precision" if is_rare else "accuracy",
        label=names[rare] if is_rare else "",
        sizes=sizes,
        scores=curves[0].tolist(),
        interval=(float(interval[0]), float(interval[1])),
        sample=len(sample),
        chance=float((counts.min() if is_rare else counts.max()) / len(sample)),
        gain=_gain(curves, sizes, examples) if len(sample) >= _FEWEST_OF_CURVES else None,
    )


def coordinates(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return examples in as many dimensions as they are; all distances stay, and so do models."""
    if features.shape[1] <= len(features):
        return features.astype(np.float64)
    products = features.astype(np.float64) @ features.T
    variances, directions = np.linalg.eigh(products)
    rotated: NDArray[np.float64] = directions * np.sqrt(np.maximum(variances, 0))
    return rotated


def _scores_of_sample(
    features: NDArray[np.float64],
    values: NDArray[np.int64],
    sample: NDArray[np.int64],
    sizes: Sequence[int],
    num_labels: int,
) -> NDArray[np.float64]:
    """Return what models of the first labels say of a sample, `[sizes, sample, labels]`."""
    scores = np.empty((len(sizes), len(sample), num_labels))
    names = [str(number) for number in range(num_labels)]
    for step, size in enumerate(sizes):
        for fold in range(_FOLDS):
            rows = sample[fold::_FOLDS]
            train = np.setdiff1d(np.arange(size), rows)
            known = np.unique(values[train])
            if len(known) > 1:
                said = scores_of(features[rows], features[train], values[train], names)
            else:
                said = np.eye(num_labels)[np.repeat(known[0], len(rows))]
            scores[step, fold::_FOLDS] = said
    return scores


def _draws(count: int) -> NDArray[np.int64]:
    """Return how often each example is in each bootstrap sample; in the first of them once."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _DRAWS)
    return np.vstack([np.ones(count, np.int64), drawn])


def _average_precision(
    scores: NDArray[np.float64], true: NDArray[np.bool], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the average precision on each bootstrap sample; NaN where none is true."""
    order = np.argsort(-scores, kind="stable")
    counts, true = draws[:, order], true[order]
    found = np.cumsum(counts * true, axis=1)
    precisions = found / np.maximum(np.cumsum(counts, axis=1), 1)
    with np.errstate(invalid="ignore"):
        averages: NDArray[np.float64] = (counts * true * precisions).sum(1) / found[:, -1]
    return averages


def _gain(curves: NDArray[np.float64], sizes: Sequence[int], examples: int) -> Gain:
    """Return what more labels would add to the score.

    Args:
        curves: That of all examples and of each bootstrap sample, `[1 + draws, sizes]`, which say
            how fast errors fall.
        sizes: Numbers of labels.
        examples: Of how many the score is; few may have no error by chance (Jeffreys' interval).
    """
    errors = np.maximum(1 - curves, 0.5 / examples)
    slopes = np.minimum(np.polyfit(np.log(sizes), np.log(errors).T, 1)[0], 0)
    wrong = examples * (1 - curves[0, -1])
    levels = np.random.default_rng(0).beta(wrong + 0.5, examples - wrong + 0.5, len(slopes) - 1)
    gains = np.array([errors[0, -1], *levels]) * (1 - (1 + MORE / sizes[-1]) ** slopes)
    low, high = np.quantile(gains[1:], [0.025, 0.975])
    return Gain(float(gains[0]), float(low), float(high))
