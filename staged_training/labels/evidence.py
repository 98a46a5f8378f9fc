"""What speaks against a label besides a score: copies and similar examples with another one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 5


def contradicting(groups: ArrayLike, labels: Sequence[str]) -> dict[int, list[int]]:
    """Return for each example those of its group that have another label, if there are such.

    Args:
        groups: The group of each example; copies share one.
        labels: The label of each, in words.

    Examples:
        >>> from staged_training.labels.evidence import contradicting
        >>> contradicting([0, 1, 0, 1, 2], ["a", "b", "b", "b", "a"])
        {0: [2], 2: [0]}
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(np.asarray(groups).tolist()):
        members.setdefault(group, []).append(row)
    return {
        row: others
        for group in members.values()
        if len({labels[row] for row in group}) > 1
        for row in group
        if (others := [other for other in group if labels[other] != labels[row]])
    }


def nearest(
    features: NDArray[np.float32], groups: ArrayLike, rows: NDArray[np.int64]
) -> list[list[int]]:
    """Return the most similar examples of some, nearest first: one of each other group.

    Args:
        features: Of all examples, `[examples, width]`; the angle between them counts.
        groups: The group of each example; near-duplicates share one.
        rows: The examples.

    Returns:
        At most `NEIGHBOURS` for each.

    Examples:
        >>> from staged_training.labels.evidence import nearest
        >>> features = np.array([[1, 0], [1, 0], [1, 0.1], [0, 1]], np.float32)
        >>> nearest(features, [0, 0, 1, 2], np.array([0]))
        [[2, 3]]
    """
    if not len(rows):
        return []
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    count = min(NEIGHBOURS + 1, len(first))
    found = NearestNeighbors(n_neighbors=count, metric="cosine").fit(features[first])
    near = found.kneighbors(features[rows], return_distance=False)
    return [
        first[[other for other in others if other != group[row]][:NEIGHBOURS]].tolist()
        for row, others in zip(rows.tolist(), near.tolist(), strict=True)
    ]
