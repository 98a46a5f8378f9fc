"""What to label next: strategies, which are functions of scores and features.

They have the names of small-text and scikit-learn. A strategy gives each example a number, the
largest to be labelled first, or chooses examples that are unlike each other.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]
Strategy = Callable[[Floats, Floats], Floats]
"""Of probabilities `[examples, labels]` and features `[examples, width]`: a number for each."""

_ITERATIONS = 50  # of k-means, whose clusters need not be the best
_CANDIDATES = 4  # times as many as are chosen, of which those are taken that are spread out


def least_confidence(scores: Floats, features: Floats) -> Floats:
    """Prefer examples whose likeliest label is least likely (Lewis and Gale 1994).

    Examples:
        >>> least_confidence(np.array([[0.9, 0.1], [0.5, 0.5]]), np.zeros((2, 3))).tolist()
        [-0.9, -0.5]
    """
    return np.asarray(-scores.max(axis=1))


def breaking_ties(scores: Floats, features: Floats) -> Floats:
    """Prefer examples whose two likeliest labels are nearly as likely (Luo et al. 2005)."""
    two = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(two[:, 0] - two[:, 1])


def prediction_entropy(scores: Floats, features: Floats) -> Floats:
    """Prefer examples whose labels are all nearly as likely (Holub et al. 2008)."""
    return np.asarray(-(scores * np.log(np.maximum(scores, 1e-12))).sum(axis=1))


def likely(label: int) -> Strategy:
    """Return a strategy that prefers examples which probably have a label, one that is rare."""
    return lambda scores, features: scores[:, label]


def spread(features: Floats, count: int, rng: np.random.Generator) -> Rows:
    """Choose examples far from each other, odd ones among them (k-means++, Arthur 2007)."""
    if not count:
        return np.array([], dtype=np.int64)
    chosen = kmeans_plusplus(features, count, random_state=int(rng.integers(2**31)))[1]
    return _as_many(chosen, len(features), count, rng)


def typical(features: Floats, count: int, rng: np.random.Generator) -> Rows:
    """Choose the middles of clusters, the largest cluster first (TypiClust, Hacohen 2022)."""
    seed = int(rng.integers(2**31))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer kinds than clusters
        means = KMeans(count, n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(features)
    distances = means.transform(features)
    largest_first = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    return _as_many(distances.argmin(axis=0)[largest_first], len(features), count, rng)


def _as_many(chosen: Rows, examples: int, count: int, rng: np.random.Generator) -> Rows:
    """Return so many rows, each once: where examples are equal, others are drawn at random."""
    once = np.array([*dict.fromkeys(chosen.tolist())], dtype=np.int64)
    rest = rng.permutation(np.setdiff1d(np.arange(examples), once))
    return np.concatenate([once, rest[: count - len(once)]])


def best_spread(wanted: Floats, features: Floats, count: int, rng: np.random.Generator) -> Rows:
    """Choose examples of the most wanted that are far from each other.

    The most wanted alone are often alike: one answer would do for all.

    Args:
        wanted: A number for each example, `[examples]`, as a strategy gives it.
        features: `[examples, width]`.
        count: How many to choose.
        rng: Of random numbers.
    """
    best = np.argsort(-wanted, kind="stable")[: _CANDIDATES * count]
    return best if len(best) <= count else best[spread(features[best], count, rng)]
