"""How far two readers agree on labels beyond chance: Cohen's kappa, and the table of both."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from staged_training.runtime.markdown import markdown_table

_DRAWS = 10_000


class Agreement(NamedTuple):
    """What two readers said of the same examples.

    Attributes:
        names: The labels.
        table: How often the first said the label of the row and the second that of the column.
        kappa: Cohen's kappa.
        interval: Its 95 % interval, from 10,000 bootstrap samples.
    """

    names: list[str]
    table: NDArray[np.int64]
    kappa: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        same, total = int(self.table.trace()), int(self.table.sum())
        heads = ["", *(f"second: {name}" for name in self.names)]
        rows = [
            [f"first: {name}", *(f"{count:,}" for count in counts)]
            for name, counts in zip(self.names, self.table.tolist(), strict=True)
        ]
        return (
            f"The readers agree on {same:,} of {total:,} ({same / total:.1%}); Cohen's kappa is "
            f"{self.kappa:.3f} (95 % interval {low:.3f} to {high:.3f}).\n\n"
            f"{markdown_table(heads, rows)}"
        )


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Compare the labels of two readers.

    Args:
        first: What one said of each example.
        second: What the other said.

    Raises:
        ValueError: Both gave every example the same label, of which kappa says nothing.

    Examples:
        >>> from staged_training.labels.agreement import agreement
        >>> found = agreement(["a", "a", "b", "b"], ["a", "a", "b", "a"])
        >>> found.kappa, found.table.tolist()
        (0.5, [[2, 0], [1, 1]])
    """
    names = sorted({*first, *second})
    if len(names) < 2:
        raise ValueError("Every example has the same label.")
    table = confusion_matrix(first, second, labels=names)
    rng, total = np.random.default_rng(0), int(table.sum())
    draws = (rng.multinomial(total, table.ravel() / total) for _ in range(_DRAWS))
    kappas = [_kappa(draw.reshape(table.shape)) for draw in draws]
    low, high = np.nanquantile(kappas, [0.025, 0.975])
    kappa = float(cohen_kappa_score(first, second, labels=names))
    return Agreement(names, table, kappa, (float(low), float(high)))


def _kappa(table: NDArray[np.int64]) -> float:
    """Return kappa of a table; NaN where both gave all the same label."""
    total = table.sum()
    chance = float(table.sum(axis=0) @ table.sum(axis=1)) / total**2
    return (float(table.trace()) / total - chance) / (1 - chance) if chance < 1 else float("nan")
