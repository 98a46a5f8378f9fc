"""What is kept of a published model, so that `predict` can tell that its inputs are others."""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.splits import Indices
from staged_training.heads.drift import FEWEST, FILE_NAME, Kinds, likeness
from staged_training.runtime.processes import on_main_process
from staged_training.runtime.seal import add_sealed


def known_and_held_out(result: CrossValidation, *, refitted: bool) -> list[tuple[Indices, Indices]]:
    """Return rows that stand for what the chosen model knows, each with rows to hold against them.

    These are the training and the validation part of the fold that it was trained in. A model of
    all rows knows them all: the validation part of each fold is held against all others.

    Args:
        result: The results of the candidates.
        refitted: Whether the model was trained on all rows.
    """
    if not refitted:
        train, validation, _ = result.task.split(result.folds[0])
        return [(train, validation)]
    rows = np.arange(len(result.task.folds))
    parts = [result.task.split(fold).validation for fold in result.folds]
    return [(np.setdiff1d(rows, part), part) for part in parts]


def add_drift(folder: Path, held_out: ArrayLike, tokens: Kinds | None = None) -> None:
    """Store beside a saved model what inputs are compared with; not if it is of too few examples.

    Args:
        folder: The folder of the model.
        held_out: The likeness of examples that the model was not trained on, see `Likeness`.
        tokens: As for `Likeness`.
    """
    if len(np.asarray(held_out)) >= FEWEST:
        on_main_process(partial(add_sealed, likeness(held_out, tokens), folder, FILE_NAME))
