"""How many labels a base saves, and whether it does: scores by number of labels, and an answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.outcome import Row, half_interval
from staged_training.reporting.report import Report, markdown_table

SCRATCH = "from scratch"
IMAGENET = "ImageNet (EfficientNet-Lite0), frozen"


class Score(NamedTuple):
    """What a way of learning scored: AUC on test, and the seconds that it took."""

    auc: float
    seconds: float


def timed(learn: Callable[[], float]) -> Score:
    """The score of a way of learning, which returns its AUC."""
    start = time.perf_counter()
    auc = learn()
    return Score(auc, time.perf_counter() - start)


@dataclass(frozen=True)
class LabelEfficiency:
    """What each way of learning scored with few labels.

    Attributes:
        base: The name of the base that is asked about.
        draws: By the number of labels, in ascending order, and for each time that they were drawn,
            the score of each way.
        asked: The number of labels that the answer is about, or else the nearest.
    """

    base: str
    draws: Mapping[int, Sequence[Mapping[str, Score]]]
    asked: int = 100

    @property
    def frozen(self) -> str:
        """The name of a linear probe on the frozen base."""
        return f"{self.base}, frozen"

    @property
    def tuned(self) -> str:
        """The name of the base fine-tuned."""
        return f"{self.base}, fine-tuned"

    def areas(self, count: int, way: str) -> NDArray[np.float64]:
        """The AUC of a way of learning in each draw of so many labels."""
        return np.array([draw[way].auc for draw in self.draws[count]])

    def rows(self) -> dict[int, list[Row]]:
        """A row for each way of learning, by the number of labels."""
        order = (SCRATCH, self.frozen, self.tuned, IMAGENET)
        found: dict[int, list[Row]] = {}
        for count, draws in self.draws.items():
            areas = {way: self.areas(count, way) for way in order if way in draws[0]}
            found[count] = [
                Row(
                    name=way,
                    metrics={"auc": float(values.mean())},
                    std={"auc": float(values.std(ddof=1))} if len(values) > 1 else {},
                    seconds=float(np.mean([draw[way].seconds for draw in draws])),
                )
                for way, values in areas.items()
            ]
        return found

    def named_rows(self) -> list[Row]:
        """The rows one after another, each with its number of labels in its name."""
        return [
            replace(row, name=f"{row.name}, {count} labels")
            for count, of_count in self.rows().items()
            for row in of_count
        ]

    def kept_row(self) -> Row:
        """The row of the model that a recipe keeps: the base, tuned on the first draw of most."""
        return Row(self.tuned, {"auc": self.draws[max(self.draws)][0][self.tuned].auc})

    def what_was_kept(self) -> str:
        """What that model is, and its AUC."""
        return (
            f"The model here is the base, fine-tuned on {max(self.draws)} labels; its AUC is "
            f"{self.kept_row().metrics['auc']:.3f}."
        )

    def table(self) -> str:
        """Mean AUC and its standard deviation over draws, as a Markdown table."""
        rows = self.rows()
        cells = []
        for of_way in zip(*rows.values(), strict=True):
            told = [_with_std(row) for row in of_way]
            cells.append([of_way[0].name, *told, f"{np.mean([r.seconds for r in of_way]):.0f}"])
        header = ["learning", *(f"{count} labels" for count in rows), "seconds"]
        return markdown_table(header, cells)

    def answer(self) -> str:
        """Whether the base paid, in one sentence."""
        count = min(self.draws, key=lambda number: abs(number - self.asked))
        tuned, scratch = self.areas(count, self.tuned), self.areas(count, SCRATCH)
        gains = 100 * (tuned - scratch)
        said, interval = "One draw cannot tell whether it paid", ""
        if len(gains) > 1:
            low, high = mean_interval(gains)
            said = "It paid" if low > 0 else "It did harm" if high < 0 else "It is not clear"
            interval = f" (95 % interval {low:+.1f} to {high:+.1f}, {len(gains)} draws)"
        return (
            f"**{said}**: with {count} labels, the {self.base} fine-tuned scores an AUC of "
            f"{tuned.mean():.3f} and learning from scratch {scratch.mean():.3f}, a difference of "
            f"{gains.mean():+.1f} points{interval}."
        )

    def add_to(self, report: Report) -> None:
        """Add the plot and the table to a report."""
        draws = len(next(iter(self.draws.values())))
        report.picture(
            "label_efficiency",
            "AUC by the number of labels; bands: 95 % interval of the mean over draws",
            "plot_label_efficiency",
            self.rows(),
            "auc",
            "AUC",
            runs=draws,
        )
        report.section(
            "Learning with few labels",
            self.table(),
            f"Mean ± standard deviation of the AUC over {draws} draws of the labels; seconds are "
            "of one, after the base was learnt. Frozen: a linear probe on features that were "
            "computed once. Fine-tuned: the head on the frozen base first, then all layers.",
        )


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of the mean of a few runs, by Student's t."""
    numbers = np.asarray(values, float)
    half = half_interval(numbers.std(ddof=1), len(numbers), confidence)
    return float(numbers.mean() - half), float(numbers.mean() + half)


def _with_std(row: Row) -> str:
    spread = f" ± {row.std['auc']:.3f}" if row.std else ""
    return f"{row.metrics['auc']:.3f}{spread}"
