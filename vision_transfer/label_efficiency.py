"""How many labels a base saves, and whether it does: scores by number of labels, and an answer."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.outcome import Row, half_interval
from staged_training.reporting import plots
from staged_training.reporting.report import Report
from staged_training.runtime.markdown import markdown_table

SCRATCH = "from scratch"
IMAGENET = "ImageNet (EfficientNet-Lite0), frozen"


class Score(NamedTuple):
    """The AUC of a candidate on test, and the seconds that it took."""

    auc: float
    seconds: float


def timed(learn: Callable[[], float]) -> Score:
    """Return the score of a candidate; `learn` trains it and returns its AUC."""
    start = time.perf_counter()
    auc = learn()
    return Score(auc, time.perf_counter() - start)


@dataclass(frozen=True)
class LabelEfficiency:
    """The scores of candidates with few labels.

    Attributes:
        base: The name of the base that is asked about.
        draws: By the number of labels, in ascending order, and for each time that they were drawn,
            the score of each candidate.
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

    def aucs(self, count: int, candidate: str) -> NDArray[np.float64]:
        """Return the AUC of a candidate in each draw of so many labels."""
        return np.array([draw[candidate].auc for draw in self.draws[count]])

    def rows(self) -> dict[int, list[Row]]:
        """Return a row for each candidate, by the number of labels."""
        order = (SCRATCH, self.frozen, self.tuned, IMAGENET)
        found: dict[int, list[Row]] = {}
        for count, draws in self.draws.items():
            aucs = {name: self.aucs(count, name) for name in order if name in draws[0]}
            found[count] = [
                Row(
                    name=name,
                    metrics={"auc": float(values.mean())},
                    std={"auc": float(values.std(ddof=1))} if len(values) > 1 else {},
                    seconds=float(np.mean([draw[name].seconds for draw in draws])),
                )
                for name, values in aucs.items()
            ]
        return found

    def named_rows(self) -> list[Row]:
        """Return the rows one after another, each with its number of labels in its name."""
        return [
            replace(row, name=f"{row.name}, {count} labels")
            for count, of_count in self.rows().items()
            for row in of_count
        ]

    def kept_row(self) -> Row:
        """Return the row of the model that is kept: the base, tuned on the first draw of most."""
        return Row(self.tuned, {"auc": self.draws[max(self.draws)][0][self.tuned].auc})

    def describe_kept(self) -> str:
        """Describe which model is kept, and its AUC."""
        return (
            f"The model here is the base, fine-tuned on {max(self.draws)} labels; its AUC is "
            f"{self.kept_row().metrics['auc']:.3f}."
        )

    def table(self) -> str:
        """Return mean AUC and its standard deviation over draws, as a Markdown table."""
        rows = self.rows()
        cells = []
        for of_candidate in zip(*rows.values(), strict=True):
            seconds = np.mean([row.seconds for row in of_candidate])
            cells.append([of_candidate[0].name, *map(_with_std, of_candidate), f"{seconds:.0f}"])
        return markdown_table(["model", *(f"{count} labels" for count in rows), "seconds"], cells)

    def answer(self) -> str:
        """Answer in one sentence whether the base paid."""
        count = min(self.draws, key=lambda number: abs(number - self.asked))
        tuned, scratch = self.aucs(count, self.tuned), self.aucs(count, SCRATCH)
        gains = 100 * (tuned - scratch)
        verdict, interval = "One draw cannot tell whether it paid", ""
        if len(gains) > 1:
            low, high = mean_interval(gains)
            verdict = "It paid" if low > 0 else "It did harm" if high < 0 else "It is not clear"
            interval = f" (95 % interval {low:+.1f} to {high:+.1f}, {len(gains)} draws)"
        return (
            f"**{verdict}**: with {count} labels, the fine-tuned {self.base} has an AUC of "
            f"{tuned.mean():.3f} and the model from scratch {scratch.mean():.3f}, a difference of "
            f"{gains.mean():+.1f} points{interval}."
        )

    def add_to(self, report: Report) -> None:
        """Add the plot and the table to a report."""
        draws = len(next(iter(self.draws.values())))
        report.picture(
            "label_efficiency",
            "AUC by the number of labels; bands: 95 % interval of the mean over draws",
            plots.plot_label_efficiency,
            self.rows(),
            "auc",
            "AUC",
            runs=draws,
        )
        report.section(
            "Learning with few labels",
            self.table(),
            f"Mean ± standard deviation of the AUC over {draws} draws of the labels; seconds are "
            "of one draw, without pretraining. Frozen: a linear probe on features that were "
            "computed once. Fine-tuned: the head on the frozen base first, then all layers.",
        )


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of the mean of a few runs, by Student's t."""
    numbers = np.asarray(values, float)
    half = half_interval(numbers.std(ddof=1), len(numbers), confidence)
    return float(numbers.mean() - half), float(numbers.mean() + half)


def _with_std(row: Row) -> str:
    spread = f" ± {row.std['auc']:.3f}" if row.std else ""
    return f"{row.metrics['auc']:.3f}{spread}"
