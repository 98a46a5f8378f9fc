"""The next examples to label: chosen by what a head that is fitted anew says of the others."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.target import SingleLabel
from staged_training.heads.class_balance import softmax
from staged_training.heads.linear_probe import fit_linear
from staged_training.labels.strategies import (
    Floats,
    Rows,
    best_spread,
    breaking_ties,
    likely,
    spread,
    typical,
)

C = 10.0
"""The inverse strength of the head's penalty, on features as `comparable` gives them."""

RANDOM_SHARE = 0.1
"""Of a batch: what is drawn at random tells honestly how good a model is."""

RARE = 0.2
"""A label of two that fewer examples have is looked for; else what is uncertain is asked for."""

RANDOM, TYPICAL, SPREAD, CHOSEN = "random", "typical", "spread", "chosen"
"""Why an example is to be labelled."""


class Batch(NamedTuple):
    """Examples to label.

    Attributes:
        rows: Their numbers.
        drawn: Why each of them, as `RANDOM`.
    """

    rows: Rows
    drawn: list[str]


def comparable(features: ArrayLike) -> NDArray[np.float32]:
    """Return features `[examples, width]` of mean 0, and of length 1 on average.

    So a penalty means the same for bases of any width.
    """
    values = np.asarray(features, dtype=np.float32)
    centred = values - values.mean(axis=0)
    deviations = np.maximum(centred.std(axis=0), 1e-6)
    scaled: NDArray[np.float32] = centred / deviations / np.float32(np.sqrt(values.shape[1]))
    return scaled


def next_batch(
    features: NDArray[np.float32],
    labels: Sequence[str | None],
    count: int,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> Batch:
    """Choose examples to label next.

    A tenth is drawn at random. Of the others the first are middles of clusters, so that what is
    frequent is known, and examples far from each other, so that rare kinds appear. From then on
    they are those which a logistic regression on the labels is least sure of; where one of two
    labels is rare, those that most probably have it. Near-duplicates of what is labelled are
    left out, and so are those of each other.

    Args:
        features: `[examples, width]`, as `comparable` gives them.
        labels: The label of each example, `None` for one that has none yet.
        count: How many to choose; fewer where there are no more.
        groups: The group of each example; near-duplicates share one.
        seed: Of random numbers.

    Examples:
        >>> from staged_training.labels.selection import comparable, next_batch
        >>> features = comparable(np.random.default_rng(0).normal(size=(100, 4)))
        >>> batch = next_batch(features, [None] * 100, 10)
        >>> len({*batch.rows.tolist()}), batch.drawn.count("random")
        (10, 1)
    """
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    known = np.array([label is not None for label in labels])
    rng = np.random.default_rng([seed, int(known.sum())])
    left = _one_of_each(groups, np.flatnonzero(~np.isin(groups, groups[known])), rng)
    drawn = rng.permutation(left)[: max(1, round(RANDOM_SHARE * count))]
    others = np.setdiff1d(left, drawn)
    wanted = min(count - len(drawn), len(others))
    parts = {RANDOM: drawn}
    names = sorted({label for label in labels if label is not None})
    if wanted and (len(names) < 2 or known.sum() < count):
        parts[TYPICAL] = others[typical(features[others], -(-wanted // 2), rng)]
        others = np.setdiff1d(others, parts[TYPICAL])
        parts[SPREAD] = others[spread(features[others], wanted // 2, rng)]
    elif wanted:
        rows = np.flatnonzero(known)
        values = np.array([names.index(label) for label in labels if label is not None])
        learnt_from = features[rows], values, names
        parts[CHOSEN] = others[_chosen(*learnt_from, features[others], wanted, rng)]
    chosen = np.concatenate([*parts.values()]).astype(np.int64)
    return Batch(chosen, [why for why, rows in parts.items() for _ in rows])


def scores_of(features: Floats, labelled: Floats, values: ArrayLike, names: list[str]) -> Floats:
    """Return the probability of each label, `[examples, labels]`, learnt from labelled examples."""
    weight, bias = fit_linear(labelled, values, SingleLabel(names), C)
    return softmax(features @ weight.T.astype(np.float32) + bias)


def _chosen(
    labelled: Floats,
    values: NDArray[np.int64],
    names: list[str],
    others: Floats,
    count: int,
    rng: np.random.Generator,
) -> Rows:
    scores = scores_of(others, labelled, values, names)
    rare = int(np.bincount(values).argmin())
    if len(names) == 2 and scores[:, rare].mean() < RARE:
        return np.argsort(-likely(rare)(scores, others), kind="stable")[:count]
    return best_spread(breaking_ties(scores, others), others, count, rng)


def _one_of_each(groups: NDArray[np.int64], rows: Rows, rng: np.random.Generator) -> Rows:
    """Return one row of each group, any one."""
    mixed = rng.permutation(rows)
    _, first = np.unique(groups[mixed], return_index=True)
    return np.sort(mixed[first])
