"""The split that data come with: train, validation and test, by the names of their parts."""

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from staged_training.runtime.errors import InputError

TRAIN, VALIDATION = -1, -2
"""Their folds; the rows to test on are fold 0, the only one that is tested on."""

PARTS = {"train": TRAIN, "validation": VALIDATION, "test": 0}
"""The fold of each part."""

# What folders, files and cells of parts are called: val2017, training_set, devImages, Valid.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PART = re.compile(
    r"(?:(?P<train>train(?:ing|val)?|restval)|(?P<validation>val(?:id(?:ation)?)?|dev)"
    r"|(?P<test>test(?:ing)?|eval(?:uation)?|holdout))(?:data|images?|imgs?|set|split)*"
)
_SHARE = 5  # of the rows to train on, one in so many validates where no part does


def part_of(name: str) -> str | None:
    """Return the part of a split that a name stands for, one of `PARTS`, if it does.

    Examples:
        >>> from staged_training.tables.parts import part_of
        >>> part_of("annotations/instances_val2017.json"), part_of("contest.json")
        ('validation', None)
    """
    matches = (_PART.fullmatch(word.lower()) for word in _WORD.findall(name))
    return next((match.lastgroup for match in matches if match), None)


def parts_of(names: Sequence[str]) -> list[str | None]:
    """Return the part of a split that each name stands for.

    Args:
        names: paths, or cells of a column `split`.

    Returns:
        What `part_of` says of each; nothing at all where there is but one part, or where some are
        in none and no other trains.

    Examples:
        >>> from staged_training.tables.parts import parts_of
        >>> parts_of(["train/a.jpg", "Valid/b.jpg", "c.jpg", "annotations/test2017.json"])
        ['train', 'validation', None, 'test']
        >>> parts_of(["test/a.jpg", "test/b.jpg"])
        [None, None]
    """
    # A folder around all of them says nothing: my-test/train, my-test/val.
    paths = without_shared([name.split("/") for name in names])
    parts = [part_of("/".join(path)) for path in paths]
    kinds = {PARTS.get(part or "") for part in parts}
    # One called after a part among others that are none, such as test-bench, is none either.
    is_split = len(kinds) > 1 and (TRAIN in kinds or None not in kinds)
    return parts if is_split else [None] * len(parts)


def without_shared(paths: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return paths from where they begin to differ, by their parts."""
    shared = list(takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False)))
    return [path[len(shared) :] for path in paths]


def folds_of_parts(
    source: Path,
    parts: Sequence[str | None],
    groups: Sequence[int] | npt.NDArray[np.int64],
    labels: Sequence[str] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the folds of rows whose parts are given, for `splits.fold_split`.

    Without a part to test on, that to validate on is tested on; then, or without one to validate
    on, a fifth of the rows to train on validates, of each label if there are any.

    Args:
        source: the file, for messages.
        parts: that of each row, as `parts_of` has it.
        groups: the group of each row, which is not torn.
        labels: the label of each row, if it has one.

    Returns:
        int64 `[rows]`: `TRAIN`, `VALIDATION`, or 0 for the rows to test on.

    Raises:
        InputError: a row is in no part, or there is nothing to train on.
    """
    strange = [row for row, part in enumerate(parts, 1) if part is None]
    if strange:
        raise InputError(
            f"{source}: {len(strange)} of {len(parts)} rows, the first of them row {strange[0]}, "
            "are in no part of the split, and the others are. Put all of them into train, valid or "
            "test, or none."
        )
    folds = np.array([PARTS[part] for part in parts if part], np.int64)
    if not (folds == TRAIN).any():
        raise InputError(f"{source}: the split has no part to train on. Add one called train.")
    if not (folds == 0).any():
        folds[folds == VALIDATION] = 0
    if not (folds == VALIDATION).any():
        random = np.random.default_rng(0)
        kinds = np.asarray([""] * len(folds) if labels is None else labels)
        for kind in np.unique(kinds):
            numbers = np.unique(np.asarray(groups)[(folds == TRAIN) & (kinds == kind)])
            count = min(-(-len(numbers) // _SHARE), len(numbers) - 1)  # one is left to learn from
            chosen = random.permutation(numbers)[:count]
            folds[(folds == TRAIN) & np.isin(groups, chosen)] = VALIDATION
    if not (folds == VALIDATION).any():
        of_each = "" if labels is None else " of each label"
        raise InputError(f"{source}: the part to train on has one example{of_each}. Give it more.")
    return folds
