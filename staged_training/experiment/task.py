"""A task: what a model learns from and is measured on, dealt into folds."""

from dataclasses import dataclass
from pathlib import Path

from staged_training.experiment.splits import Indices, Split, fold_numbers, fold_split


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples in folds; subclasses hold the examples.

    Attributes:
        source: The file or folder of the examples.
        folds: The fold of each example.
        own_folds: Whether the folds came with the examples; else they were dealt here.
    """

    source: Path
    folds: Indices
    own_folds: bool

    def split(self, fold: int) -> Split:
        """Return the rows to train, validate and test on, where a fold is the test part."""
        return fold_split(self.folds, fold)

    @property
    def fold_numbers(self) -> list[int]:
        """The numbers of the folds to test on."""
        return fold_numbers(self.folds)
