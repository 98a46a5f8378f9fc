"""Train, validation and test parts that share no near-duplicates."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.parts import VALIDATION, folds_of_parts, parts_of
from staged_training.tables.texts import checked_texts
from staged_training.tables.words import lower_case, words_of

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
    (shared words / all words, see `words_of`) is at least `threshold`. The result is exact.

    Args:
        texts: one text per row.
        threshold: above 0, at most 1.

    Returns:
        int64 `[len(texts)]`, numbered from 0 in the order of first appearance.

    Examples:
        >>> near_duplicate_groups(["Call me.", "call me", "The report is done."]).tolist()
        [0, 0, 1]
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


def stratified_folds(
    labels: Sequence[str] | Sequence[int], groups: Sequence[int] | Indices, n: int = 5
) -> Indices:
    """Deal rows into folds with nearly the same shares of each label; keep groups together.

    Args:
        labels: the label of each row.
        groups: the group of each row, as from `near_duplicate_groups`.
        n: how many folds. With five, `fold_split` trains on 60 %, validates on 20 % and tests on
            20 % of the rows.

    Returns:
        The fold of each row, 0 to n - 1. The same rows give the same folds.

    Raises:
        InputError: a label cannot be in every fold, as it has fewer than n groups.

    Examples:
        >>> stratified_folds(["a", "a", "a", "b", "b", "b"], groups=range(6), n=3).tolist()
        [0, 1, 2, 0, 1, 2]
    """
    names, label_ids = np.unique(np.asarray(labels), return_inverse=True)
    _, group_ids = np.unique(np.asarray(groups), return_inverse=True)
    # One row per group: how many of its members have each label.
    counts = np.zeros((group_ids.max(initial=-1) + 1, len(names)))
    np.add.at(counts, (group_ids, label_ids), 1)
    fold_of = _fill_folds(counts, n)
    for label, name in enumerate(names):
        folds = len(np.unique(fold_of[counts[:, label] > 0]))
        if folds < n:
            raise InputError(
                f"Label '{name}' reaches {folds} of {n} folds: it has "
                f"{int(counts[:, label].sum())} examples, and near-duplicates stay together. Give "
                "more examples of it that differ."
            )
    return fold_of[group_ids]


def multilabel_folds(
    labels: Sequence[Collection[int]], groups: Sequence[int], n: int = 5
) -> Indices:
    """Deal rows that have any number of labels into folds, as `stratified_folds` does.

    Args:
        labels: the labels of each row, numbered from 0; a label that few rows have may reach few
            folds.
        groups: the group of each row.
        n: how many folds.

    Returns:
        The fold of each row, 0 to n - 1. The same rows give the same folds.
    """
    _, group_ids = np.unique(np.asarray(groups), return_inverse=True)
    width = 1 + max((label for of_row in labels for label in of_row), default=-1)
    counts = np.zeros((group_ids.max(initial=-1) + 1, width + 1))
    counts[:, width] = np.bincount(group_ids)  # so that folds are of one size
    for group, of_row in zip(group_ids, labels, strict=True):
        counts[group, list(of_row)] += 1
    return _fill_folds(counts, n)[group_ids]


def given_folds(
    source: Path,
    cells: Sequence[object],
    groups: Sequence[int] | Indices | None = None,
    labels: Sequence[str] | None = None,
) -> Indices:
    """Return the folds that came with the rows of a file, checked.

    Args:
        source: the file, for messages.
        cells: the column `fold` of its rows, or the part of a split that each is in, see
            `parts.folds_of_parts`.
        groups: the group of each row, which is not torn then; by default each is its own.
        labels: the label of each row, if it has one.

    Raises:
        InputError: a cell is no whole number, the folds are not numbered 0, 1, 2 and so on, or a
            row is of no part.
    """
    parts = parts_of(list(map(str, cells)))
    if any(parts):
        groups = range(len(cells)) if groups is None else groups
        return folds_of_parts(source, parts, groups, labels)
    try:
        folds = np.array([int(str(cell)) for cell in cells], np.int64)
        if folds.min(initial=0) < 0:
            raise ValueError
        fold_split(folds, 0)
    except (ValueError, OverflowError) as error:
        problem = (
            error if isinstance(error, InputError) else "a cell is not a whole number from 0 on."
        )
        raise InputError(
            f"{source}: the column 'fold' cannot be used: {problem} Correct it, or leave it out to "
            "have folds dealt."
        ) from error
    return folds


def torn_groups(source: Path, folds: Indices, groups: Sequence[int]) -> list[Problem]:
    """Return the problem of groups whose rows came in several folds, or parts of a split.

    Args:
        source: the file, for messages.
        folds: the fold of each row.
        groups: the group of each row; copies of an example share one.
    """
    together = Counter(group for group, _ in set(zip(groups, folds.tolist(), strict=True)))
    torn = sum(count > 1 for count in together.values())
    told = f"{torn} examples have copies in several parts: test examples may have been trained on"
    return [Problem(f"{source}:", told)] if torn else []


def fold_split(folds: Sequence[int] | Indices, test_fold: int) -> Split:
    """Return the parts of one round of cross-validation over given folds.

    Test on fold f, validate on the next one (after the last, the first), train on the rest. A split
    that came with the data, see `given_folds`, stays as it is.

    Args:
        folds: the fold of each row, 0 to n - 1 with n >= 3.
        test_fold: f.

    Raises:
        InputError: the folds are not numbered so, or there is no fold f.
    """
    numbers = np.asarray(folds)
    present = sorted(set(numbers.tolist()))
    came = VALIDATION in present
    n = len(present)
    if not came and (present != list(range(n)) or n < 3):
        raise InputError(
            f"Folds must be numbered 0, 1, 2 and so on, at least three; found {present}."
        )
    if test_fold not in fold_numbers(numbers):
        raise InputError(f"There is no fold {test_fold}; the folds are 0 to {max(present)}.")
    is_test = numbers == test_fold
    is_validation = numbers == (VALIDATION if came else (test_fold + 1) % n)
    return Split(
        np.flatnonzero(~is_test & ~is_validation),
        np.flatnonzero(is_validation),
        np.flatnonzero(is_test),
    )


def fold_numbers(folds: Indices) -> list[int]:
    """Return the numbers of the folds to test on, ascending."""
    return sorted(set(folds[folds >= 0].tolist()))


def chosen_folds(chosen: str, folds: Indices) -> list[int]:
    """Return the numbers of the folds to test on.

    Args:
        chosen: `all`, or one number.
        folds: the fold of each row.

    Raises:
        InputError: there is no such fold.
    """
    numbers = fold_numbers(folds)
    if chosen == "all":
        return numbers
    if chosen not in map(str, numbers):
        raise InputError(
            f"`folds` is {chosen!r}; give `all`, or one of {', '.join(map(str, numbers))}.",
            ["folds"],
        )
    return [int(chosen)]


def _distinct_word_sets(texts: Sequence[str]) -> tuple[sparse.csr_array, Indices]:
    """Return one 0/1 row per distinct set, columns from rare to frequent, and each text's row."""
    rows: dict[frozenset[str], int] = {}
    row_of_text = [
        rows.setdefault(frozenset(words_of(lower_case(text))), len(rows))
        for text in checked_texts(texts)
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
    joined: Indices = connected_components(graph, directed=False)[1]
    return joined[group]


def _fill_folds(counts: npt.NDArray[np.float64], n: int) -> Indices:
    """Return a fold for each group: the largest first, to the fold with the greatest need.

    What a fold has of a label is measured as a share of all examples of it, so that a fold without
    a rare label comes first. (scikit-learn's StratifiedGroupKFold may leave it out of some.)
    """
    total = counts.sum(axis=0)
    has = np.zeros((n, len(total)))
    fold_of = np.empty(len(counts), np.int64)
    for group in np.lexsort((-counts.sum(axis=1), -(counts / total).max(axis=1))):
        fold = ((has / total) @ (counts[group] / total)).argmin()
        fold_of[group] = fold
        has[fold] += counts[group]
    return fold_of
