"""The split that comes with a data set: parts to train on, to validate on and to test on."""

from collections.abc import Sequence

import numpy as np

from staged_training.parts import PARTS
from staged_training.splits import Split, stratified_folds


def given_split(
    parts: Sequence[str], labels: Sequence[str], groups: Sequence[int]
) -> tuple[Split | None, str]:
    """Use the parts that came with examples.

    Without a part to test on, that to validate on takes its place; then, and where there never was
    one, a fifth of the part to train on validates.

    Args:
        parts: The part of each example, of `PARTS`; two of them at least.
        labels: Its label.
        groups: Its group; copies of an example share one.

    Returns:
        The split, if it can be used, and a sentence that tells what came of the parts.

    Raises:
        InputError: A label is too rare to validate on a fifth of its examples.
    """
    numbers, names = np.asarray(parts), np.asarray(labels)
    train, validation, test = (np.flatnonzero(numbers == part) for part in PARTS)
    unlearnt = sorted(set(names.tolist()) - set(names[train].tolist()))
    if unlearnt:
        return None, (
            f"The parts that came with the images are not used: no image to train on has the label "
            f"'{unlearnt[0]}'. They were dealt anew."
        )
    if not len(test):
        validation, test = test, validation
    if not len(validation):
        validates = stratified_folds(names[train].tolist(), np.asarray(groups)[train]) == 0
        train, validation = train[~validates], train[validates]
    is_copy = np.isin(np.delete(groups, train), np.asarray(groups)[train])
    copies = f" {is_copy.sum():,} of the others are copies of images to train on."
    return Split(train, validation, test), (
        f"The parts that came with the images are used: {len(train):,} images to train on, "
        f"{len(validation):,} to validate on, {len(test):,} to test on."
        f"{copies if is_copy.any() else ''}"
    )
