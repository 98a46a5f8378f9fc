"""Train, validation and test parts that share no near-duplicates."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

from staged_training.errors import InputError

Indices = npt.NDArray[np.int64]

# Bounds on memory: rows that are compared with all at once, and pairs that are counted at once.
_BLOCK_ROWS = 256
_BLOCK_PAIRS = 20_000
# Absorbs the rounding of products such as 0.6 * 35.
_ROUNDING = 1e-9


class Split(NamedTuple):
    """Row numbers of the three parts, each ascending; together they hold every row once."""

    train: Indices
    validation: Indices
    test: Indices


def near_duplicate_groups(texts: Sequence[str], threshold: float = 0.6) -> Indices:
    """Return a group number for each text; near-duplicates, and theirs in turn, share one.

    Two texts are near-duplicates if the Jaccard similarity of their sets of lower-case words
    (shared words / all words) is at least `threshold`. The result is exact.

    Args:
        texts: one text per row.
        threshold: above 0, at most 1.

    Returns:
        int64 `[len(texts)]`, numbered from 0 in the order of first appearance.
    """
    words, row_of_text = _distinct_word_sets(texts)
    sizes = np.diff(words.indptr)
    # Similar sets share so many words that one of them is among the first, rarest few of both.
    beginnings = _first_words(words, sizes - np.ceil(threshold * sizes - _ROUNDING) + 1)
    group = np.arange(len(sizes))
    for start in range(0, len(sizes), _BLOCK_ROWS):
        block = beginnings[start : start + _BLOCK_ROWS]
        left, right = sparse.triu(block @ beginnings.T, k=start + 1).nonzero()
        left += start
        lengths_allow = sizes[left] <= sizes[right] / threshold + _ROUNDING
        lengths_allow &= sizes[right] <= sizes[left] / threshold + _ROUNDING
        pairs = np.stack([left, right])[:, lengths_allow]
        for first in range(0, pairs.shape[1], _BLOCK_PAIRS):
            group = _joined(group, pairs[:, first : first + _BLOCK_PAIRS], words, threshold)
    return group[row_of_text].astype(np.int64)


def stratified_split(
    labels: Sequence[str] | Sequence[int],
    groups: Sequence[int] | Indices,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 42,
) -> Split:
    """Return three parts with nearly the same shares of each label; no group is torn.

    Args:
        labels: the label of each row.
        groups: the group of each row, as from `near_duplicate_groups`.
        fractions: shares of train, validation and test; positive, with sum 1.
        seed: the same seed gives the same parts.

    Raises:
        InputError: `fractions` are no shares, or a label cannot be in every part, as it has fewer
            than three groups.
    """
    if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise InputError(f"Fractions must be positive and add up to 1, not {fractions}.")
    names, label_ids = np.unique(np.asarray(labels), return_inverse=True)
    _, group_ids = np.unique(np.asarray(groups), return_inverse=True)
    # One row per group: how many of its members have each label.
    counts = np.zeros((group_ids.max(initial=-1) + 1, len(names)))
    np.add.at(counts, (group_ids, label_ids), 1)
    _check_enough_groups(names, counts)

    part_of = _fill_parts(counts, np.asarray(fractions), np.random.default_rng(seed))
    for label, name in enumerate(names):
        if len(np.unique(part_of[counts[:, label] > 0])) < 3:
            raise InputError(
                f"Label '{name}' cannot be put into every part without tearing near-duplicates "
                "apart. Give more examples of it or try another seed."
            )
    return Split(*(np.flatnonzero(part_of[group_ids] == part) for part in range(3)))


def fold_split(folds: Sequence[int], test_fold: int) -> Split:
    """Return the parts of one round of cross-validation over given folds.

    Test on fold f, validate on the next one (after the last, the first), train on the rest.

    Args:
        folds: the fold of each row, 0 to n - 1 with n >= 3.
        test_fold: f.

    Raises:
        InputError: the folds are not numbered so, or there is no fold f.
    """
    numbers = np.asarray(folds)
    present = sorted(set(numbers.tolist()))
    n = len(present)
    if present != list(range(n)) or n < 3:
        raise InputError(
            f"Folds must be numbered 0, 1, 2 and so on, at least three; found {present}."
        )
    if test_fold not in present:
        raise InputError(f"There is no fold {test_fold}; the folds are 0 to {n - 1}.")
    is_test = numbers == test_fold
    is_validation = numbers == (test_fold + 1) % n
    return Split(
        np.flatnonzero(~is_test & ~is_validation),
        np.flatnonzero(is_validation),
        np.flatnonzero(is_test),
    )


def _distinct_word_sets(texts: Sequence[str]) -> tuple[sparse.csr_array, Indices]:
    """Return one 0/1 row per distinct set, columns from rare to frequent, and each text's row."""
    rows: dict[frozenset[str], int] = {}
    row_of_text = [
        rows.setdefault(frozenset(re.findall(r"\w+", text.lower())), len(rows)) for text in texts
    ]
    frequency = Counter(word for row in rows for word in row)
    column = {word: rank for rank, (word, _) in enumerate(reversed(frequency.most_common()))}
    indices = [rank for row in rows for rank in sorted(column[word] for word in row)]
    indptr = np.cumsum([0, *map(len, rows)])
    matrix = sparse.csr_array(
        (np.ones(len(indices), np.int64), indices, indptr), shape=(len(rows), len(column))
    )
    return matrix, np.array(row_of_text, np.int64)


def _first_words(words: sparse.csr_array, lengths: npt.NDArray[np.float64]) -> sparse.csr_array:
    """Return `words` with the first `lengths[i]` entries of each row i only."""
    row = np.repeat(np.arange(words.shape[0]), np.diff(words.indptr))
    kept = np.arange(words.nnz) - words.indptr[row] < lengths[row]
    entries = (words.data[kept], (row[kept], words.indices[kept]))
    return sparse.csr_array(entries, shape=words.shape)


def _joined(group: Indices, pairs: Indices, words: sparse.csr_array, threshold: float) -> Indices:
    """Return the groups after joining those of the `pairs` [2, n] of rows that are similar."""
    left, right = pairs[:, group[pairs[0]] != group[pairs[1]]]
    if not len(left):
        return group
    sizes = np.diff(words.indptr)
    shared = words[left].multiply(words[right]).sum(axis=1)
    union = sizes[left] + sizes[right] - shared
    similar = shared >= threshold * union - _ROUNDING
    ends = (group[left[similar]], group[right[similar]])
    n = len(group)
    graph = sparse.coo_array((np.ones(similar.sum()), ends), shape=(n, n))
    return connected_components(graph, directed=False)[1][group]


def _check_enough_groups(names: npt.NDArray[Any], counts: npt.NDArray[np.float64]) -> None:
    for name, groups in zip(names, (counts > 0).sum(axis=0), strict=True):
        if groups < 3:
            raise InputError(
                f"Label '{name}' has examples in {groups} group(s) of near-duplicates; train, "
                "validation and test need one each. Give more examples that differ."
            )


def _fill_parts(
    counts: npt.NDArray[np.float64], fractions: npt.NDArray[np.float64], rng: np.random.Generator
) -> Indices:
    """Return a part for each group: large groups first, each to the part that lacks it most.

    What a part lacks of a label is measured as a share of what it should have, so that a part
    without the label comes first. (scikit-learn's StratifiedGroupKFold makes equal parts only, and
    may leave a rare label out of some.)
    """
    wanted = np.outer(fractions, counts.sum(axis=0))
    lacking = wanted.copy()
    # A rare label weighs as much as a frequent one; of equal parts, the larger is filled first.
    weights = counts / counts.sum(axis=0)
    part_of = np.empty(len(counts), np.int64)
    order = rng.permutation(len(counts))
    for group in order[np.argsort(-counts[order].sum(axis=1), kind="stable")]:
        need = (lacking / wanted) @ weights[group]
        part_of[group] = np.lexsort((fractions, need))[-1]
        lacking[part_of[group]] -= counts[group]
    return part_of
