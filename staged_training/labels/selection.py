"""The next examples to label: chosen by what a head that is fitted anew says of the others."""

import warnings
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.target import SingleLabel
from staged_training.heads.class_balance import softmax
from staged_training.heads.linear_probe import fit_linear, scale_of
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

RANDOM_SHARE = 0.2
"""Of a batch: what is drawn at random tells honestly how good a model is, see `random_sample`."""

RARE = 0.2
"""A label of two that fewer examples have is looked for; else what is uncertain is asked for."""

_LARGE, _NARROW = 2 * 10**7, 256  # numbers in features that are narrowed, and their width then

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
    """Return features `[examples, width]` of mean 0, and of length 1 on average."""
    values = np.asarray(features, dtype=np.float32)
    return scale_of(values)(values)


def next_batch(
    features: NDArray[np.float32],
    labels: Sequence[str | None],
    count: int,
    groups: ArrayLike | None = None,
    seed: int = 0,
    order: ArrayLike | None = None,
    undecided: Collection[int] = (),
) -> Batch:
    """Choose examples to label next.

    A fifth is drawn at random. Of the others the first are middles of clusters, so that what is
    frequent is known, and examples far from each other, so that rare kinds appear. From then on
    they are those which a logistic regression on the labels is least sure of; where one of two
    labels is rare, those that most probably have it. What was drawn at random is learnt from here
    only to find a rare label, of which each example counts: else it is to tell how good a model is
    of labels that do not depend on it. Near-duplicates of what was asked are left out, and so are
    those of each other.

    Args:
        features: `[examples, width]`, as `comparable` gives them.
        labels: The label of each example, `None` for one that has none yet.
        count: How many to choose; fewer where there are no more.
        groups: The group of each example; near-duplicates share one.
        seed: Of random numbers.
        order: That in which examples are drawn at random, by default `random_order` of the seed.
        undecided: Examples that have no label though they were asked, not to be asked again.

    Examples:
        >>> from staged_training.labels.selection import comparable, next_batch
        >>> features = comparable(np.random.default_rng(0).normal(size=(100, 4)))
        >>> batch = next_batch(features, [None] * 100, 10)
        >>> len({*batch.rows.tolist()}), batch.drawn.count("random")
        (10, 2)
    """
    order = random_order(len(labels), seed) if order is None else np.asarray(order)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    known = np.array([label is not None for label in labels])
    asked = known.copy()
    asked[[*undecided]] = True
    left = _first_of_each(groups, order[~np.isin(groups[order], groups[asked])])
    random = min(len(left), max(1, round(RANDOM_SHARE * count)))
    drawn, others = left[:random], np.sort(left[random:])
    wanted = min(count - random, len(others))
    rng = np.random.default_rng([seed, int(asked.sum())])
    parts = {RANDOM: drawn}
    learnt: Rows = np.flatnonzero(known)
    sample = random_sample(labels, groups, order, undecided)
    if not _has_rare(labels, learnt, sample):
        learnt = np.setdiff1d(learnt, sample)
    given = [str(labels[row]) for row in learnt]
    names = sorted({*given})
    if wanted and (len(names) < 2 or known.sum() < count):
        near = _narrow(features)
        parts[TYPICAL] = others[typical(near[others], -(-wanted // 2), rng)]
        others = np.setdiff1d(others, parts[TYPICAL])
        parts[SPREAD] = others[spread(near[others], wanted // 2, rng)]
    elif wanted:
        values = np.array([names.index(label) for label in given])
        learnt_from = features[learnt], values, names
        parts[CHOSEN] = others[_chosen(*learnt_from, features[others], wanted, rng)]
    chosen = np.concatenate([*parts.values()]).astype(np.int64)
    return Batch(chosen, [why for why, rows in parts.items() for _ in rows])


def random_order(count: int, seed: int = 0) -> Rows:
    """Return the order in which `next_batch` draws examples at random."""
    return np.random.default_rng(seed).permutation(count)


def random_sample(
    labels: Sequence[str | None],
    groups: ArrayLike,
    order: ArrayLike,
    undecided: Collection[int] = (),
) -> Rows:
    """Return labelled examples that are a random sample of all, whyever they were labelled.

    They are the first in a random order, up to the first that was not asked yet. So one that was
    chosen counts where its turn came, and none because it was chosen: what remains after choices
    is no random sample.

    Args:
        labels: As for `next_batch`, and the following three.
        groups: Of each group one example counts, as all of them would get the same label.
        order: The random order.
        undecided: They are passed over.

    Examples:
        >>> from staged_training.labels.selection import random_sample
        >>> labels = ["a", None, "b", "b", None]
        >>> random_sample(labels, groups=[0, 1, 2, 3, 4], order=[3, 0, 1, 2, 4]).tolist()
        [3, 0]
    """
    order, groups = np.asarray(order), np.asarray(groups)
    known = np.array([label is not None for label in labels])
    labelled = order[known[order]]
    row_of = dict(zip(groups[labelled[::-1]].tolist(), labelled[::-1].tolist(), strict=True))
    passed_over = {*groups[[*undecided]].tolist()} - {*row_of}
    turns = (group for group in dict.fromkeys(groups[order].tolist()) if group not in passed_over)
    return np.array([row_of[group] for group in takewhile(row_of.__contains__, turns)], np.int64)


def scores_of(features: Floats, labelled: Floats, values: ArrayLike, names: list[str]) -> Floats:
    """Return the probability of each label, `[examples, labels]`, learnt from labelled examples."""
    weight, bias = linear_head(labelled, values, names)
    return softmax(features @ weight.T.astype(np.float32) + bias)


def linear_head(labelled: Floats, values: ArrayLike, names: list[str]) -> tuple[Floats, Floats]:
    """Return the weights `[labels, width]` and biases `[labels]` learnt from labelled examples."""
    with warnings.catch_warnings():  # of many labels with few examples each, as there are at first
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return fit_linear(labelled, values, SingleLabel(names), C)


def _narrow(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features of which clusters are found in a second, of about the same distances.

    Those of many examples are projected at random (Johnson and Lindenstrauss 1984).
    """
    if features.size <= _LARGE or features.shape[1] <= _NARROW:
        return features
    directions = np.random.default_rng(0).normal(size=(features.shape[1], _NARROW))
    narrow: NDArray[np.float32] = features @ (directions / np.sqrt(_NARROW)).astype(np.float32)
    return narrow


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


def _has_rare(labels: Sequence[str | None], known: Rows, sample: Rows) -> bool:
    """Return whether there are two labels, one of which few have that were drawn at random."""
    drawn = [labels[row] for row in sample]
    names = {labels[row] for row in known}
    return len(names) == 2 and min(map(drawn.count, names)) < RARE * len(drawn)


def _first_of_each(groups: NDArray[np.int64], rows: Rows) -> Rows:
    """Return the first row of each group, in the order of the rows."""
    _, first = np.unique(groups[rows], return_index=True)
    return rows[np.sort(first)]
