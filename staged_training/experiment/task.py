"""A task: what a model learns from and is measured on, dealt into folds."""

from dataclasses import dataclass
from pathlib import Path

from staged_training.experiment.splits import Indices, Split, fold_numbers, fold_split


@dataclass(frozen=True, kw_only=True)
class Task:
    """Examples in folds; subclasses hold the examples.

    Attributes:
        folds: The fold of each example.
        source: The file or folder of the examples.
        own_folds: Whether the folds came with the examples; else they were dealt here.

    Examples:
        >>> task = Task(folds=np.array([0, 1, 2, 0, 1, 2]))
        >>> [part.tolist() for part in task.split(0)]
        [[2, 5], [1, 4], [0, 3]]
    """

    folds: Indices
    source: Path = Path()
    own_folds: bool = True

    def split(self, fold: int) -> Split:
        """Return the rows to train, validate and test on, where a fold is the test part."""
        return fold_split(self.folds, fold)

    @property
    def fold_numbers(self) -> list[int]:
        """The numbers of the folds to test on."""
        return fold_numbers(self.folds)
