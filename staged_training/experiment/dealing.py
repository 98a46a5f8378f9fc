"""The folds of examples: those that came with them, or dealt here; and whether they can be used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.splits import Indices, fold_numbers, fold_split, given_folds
from staged_training.experiment.target import (
    MultiLabel,
    Regression,
    SingleLabel,
    Target,
    label_matrix,
)
from staged_training.runtime.errors import InputError
from staged_training.tables.parts import parts_of


def deal_folds(
    source: Path, target: Target, values: NDArray[Any], groups: Sequence[int] | Indices
) -> Indices:
    """Deal examples into folds, see `Target.folds`; errors name the source."""
    try:
        return target.folds(values, groups)
    except InputError as error:
        raise InputError(f"{source}: {error}", error.arguments) from error


def given_parts(
    source: Path,
    cells: Sequence[object],
    target: Target,
    values: NDArray[Any],
    groups: Sequence[int] | Indices,
    what: str,
) -> tuple[Indices | None, str]:
    """Return the folds of the parts that came with examples, if they can be learnt from.

    Args:
        source: The file, for messages.
        cells: The part of each example, see `parts_of`.
        target: What is predicted.
        values: What is true of the examples.
        groups: The group of each example, which is not torn.
        what: What an example is, for messages.

    Returns:
        The folds, or None if no example to train on has some label; and what to tell of it.

    Raises:
        InputError: An example is of no part.
    """
    numbers = isinstance(target, Regression)
    labels = None if numbers else [target.describe_value(value) for value in values]
    if not numbers:
        trains = np.array([part == "train" for part in parts_of(list(map(str, cells)))])
        has = label_matrix(target, values)
        unlearnt = has.any(axis=0) & ~has[trains].any(axis=0)
        if unlearnt.any():
            return None, (
                f"The parts that came with the {what}s are not used: no {what} to train on has the "
                f"label '{target.names[unlearnt.argmax()]}'. They were dealt anew."
            )
    folds = given_folds(source, cells, groups, labels)
    train, validation, test = map(len, fold_split(folds, 0))
    return folds, (
        f"The parts that came with the {what}s are used: {train:,} {what}s to train on, "
        f"{validation:,} to validate on, {test:,} to test on."
    )


def check_folds(source: Path, target: Target, values: NDArray[Any], folds: Indices) -> None:
    """Refuse folds on which nothing can be measured.

    Raises:
        InputError: A fold has one label only, no example of the label that matters, a label is in
            fewer than three folds (to train, to validate and to test), or all numbers are equal.
    """
    numbers = fold_numbers(folds)
    positive = target.positive if isinstance(target, SingleLabel) else None
    for fold in numbers:
        inside = values[folds == fold]
        found = "nothing but one number"
        if positive is not None:
            inside = inside == positive
            which = "nothing but examples" if inside[0] else "no example"
            found = f"{which} of the label {target.names[positive]!r}"
        elif not isinstance(target, Regression):
            found = "nothing but examples of one label"
        if len(np.unique(inside, axis=0)) < 2:
            raise InputError(
                f"{source}: fold {fold} has {found}, so that nothing can be measured on it. Deal "
                "the examples anew, or leave the column 'fold' out."
            )
    if isinstance(target, SingleLabel):
        for fold in numbers:
            train = values[fold_split(folds, fold).train]
            for number in np.setdiff1d(values, train):
                raise InputError(
                    f"{source}: all examples of the label {target.names[number]!r} are in the "
                    f"parts to validate and to test on where fold {fold} is tested, so that it "
                    "cannot be learnt. Deal the examples anew, or leave the column 'fold' out."
                )
    if isinstance(target, MultiLabel) and len(numbers) > 1:
        for name, column in zip(target.names, values.T, strict=True):
            if len(np.unique(folds[column > 0])) < 3:
                raise InputError(
                    f"{source}: the label '{name}' reaches fewer than three folds: it has "
                    f"{int(column.sum())} examples, and near-duplicates stay together. Give more "
                    "examples of it that differ, or leave it out."
                )
