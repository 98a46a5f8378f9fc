"""Plots of training and of the predictions of a classifier."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from staged_training.experiment.outcome import Row, half_interval
from staged_training.heads.calibration import score_bins
from staged_training.heads.learning_curve import CurvePoint

if TYPE_CHECKING:  # the extra `plots`
    from matplotlib.axes import Axes

_MANY_LABELS = 12


@contextmanager
def _axes(path: Path, width: float, height: float = 3.6) -> "Iterator[Axes]":
    """Yield axes of a new figure, `width` x `height` inches, which is written afterwards."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots()
        figure.savefig(path, dpi=130)


def plot_curves(path: Path, log: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> None:
    """Plot the losses and validation metrics of a `StagedTrainer` log, with its stages marked."""
    with _axes(path, width=7.5) as axes:
        for key, label in {"loss": "training loss", "eval_loss": "validation loss"}.items():
            _plot_entries(axes, log, key, label, style="--")
        for key, label in metrics.items():
            _plot_entries(axes, log, f"eval_{key}", f"validation {label}", style="-o")
        ends = [
            entry["epoch"] for entry, after in pairwise(log) if entry["stage"] != after["stage"]
        ]
        starts = [0.0, *ends]
        for end in ends:
            axes.axvline(end, color="0.6", linewidth=1)
        for start, stage in zip(starts, dict.fromkeys(e["stage"] for e in log), strict=True):
            name = axes.annotate(
                stage,
                (start, 1),
                xytext=(4, -10),
                textcoords="offset points",
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color="0.4",
            )
            name.set_in_layout(False)  # it lies inside the axes
        axes.set(xlabel="epoch", xlim=(0, None), ylim=(0, None))
        axes.legend(fontsize=8)


def plot_rows(path: Path, rows: Sequence[Row], metric: str, label: str) -> None:
    """Plot one metric of each model, with its standard deviation over folds if there is one."""
    with _axes(path, width=7.0, height=0.6 + 0.35 * len(rows)) as axes:
        values = [row.metrics[metric] for row in rows]
        spread = [row.std.get(metric, 0.0) for row in rows]
        axes.errorbar(values, range(len(rows)), xerr=spread, fmt="o", capsize=3)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        # Most scores are shares; CIDEr can be above one.
        axes.set(xlabel=f"test {label}", xlim=(0, max(1, *values)), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(axis="x", color="0.9")


def plot_label_efficiency(
    path: Path, rows: Mapping[int, Sequence[Row]], metric: str, label: str, runs: int = 1
) -> None:
    """Plot one metric of each model by the number of labels that it was trained on.

    Args:
        path: Where to write the picture.
        rows: The models, by the number of labels.
        metric: Its name in the rows; a score from 0 to 1.
        label: What to call it.
        runs: How many runs the rows are means of. Of several, a band shows the 95 % interval of
            the mean, by Student's t, as far as it lies between 0 and 1.
    """
    with _axes(path, width=9.0, height=4.8) as axes:
        for name in (row.name for row in next(iter(rows.values()))):
            values = [next(r.metrics[metric] for r in of if r.name == name) for of in rows.values()]
            (line,) = axes.plot(list(rows), values, "-o", markersize=4, label=name)
            if runs > 1:
                std = [next(r.std[metric] for r in of if r.name == name) for of in rows.values()]
                half = half_interval(std, runs)
                low, high = np.asarray(values) - half, np.asarray(values) + half
                axes.fill_between(list(rows), low, high, color=line.get_color(), alpha=0.15)
        _count_axis(axes, list(rows))
        bottom, top = axes.get_ylim()
        limits = 0 if runs == 1 else max(0, bottom), min(1, top)
        axes.set(xlabel="labels to train on", ylabel=f"test {label}", ylim=limits)
        axes.figure.legend(fontsize=8, loc="outside right center")


def _plot_entries(
    axes: "Axes", log: Sequence[Mapping[str, Any]], key: str, label: str, style: str
) -> None:
    points = [(entry["epoch"], entry[key]) for entry in log if key in entry]
    if points:
        axes.plot(*zip(*points, strict=True), style, label=label, markersize=3, linewidth=1.3)


def plot_confusion(
    path: Path, labels: ArrayLike, predicted: ArrayLike, names: Sequence[str]
) -> None:
    """Plot how often each true label got each prediction."""
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(1.6 + len(names), 9.0)
    with _axes(path, width=side, height=max(3.6, 0.9 * side)) as axes:
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count or len(names) <= _MANY_LABELS:
                color = "white" if share[row, column] > 0.6 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=color)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        if len(names) > _MANY_LABELS:
            axes.tick_params(labelsize=7)
            axes.tick_params(axis="x", labelrotation=90)


def plot_reliability(
    path: Path, right: ArrayLike, scores: Mapping[str, NDArray[np.float64]], name: str
) -> None:
    """Plot how often a class is true against the score that it was given (ten bins).

    Args:
        path: Where to write the picture.
        right: Whether each example is of the class, `bool [examples]`.
        scores: The scores of the class for each example, `[examples]`, a line for each way to
            score; beside the points of the last is of how many examples they are.
        name: The name of the class.
    """
    right = np.asarray(right, dtype=float)
    with _axes(path, width=4.2) as axes:
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for way, given in scores.items():
            bins = score_bins(given)
            used = np.unique(bins)
            mean = [given[bins == b].mean() for b in used]
            share = [right[bins == b].mean() for b in used]
            is_last = way == list(scores)[-1]
            axes.plot(mean, share, "-o" if is_last else "--", markersize=4, label=way)
        for b, x, y in zip(used, mean, share, strict=True):
            axes.annotate(
                f"{(bins == b).sum()}",
                (x, y),
                xytext=(4, 4),
                fontsize=7,
                textcoords="offset points",
                color="0.4",
            )
        axes.set(
            xlabel=f"score of {name}", ylabel=f"share that is {name}", xlim=(0, 1), ylim=(0, 1)
        )
        axes.legend(fontsize=8)


def plot_numbers(path: Path, values: ArrayLike, predicted: ArrayLike, name: str) -> None:
    """Plot predicted numbers against true ones, each `[examples]`."""
    values, predicted = np.asarray(values), np.asarray(predicted)
    ends = [min(values.min(), predicted.min()), max(values.max(), predicted.max())]
    with _axes(path, width=4.6, height=4.2) as axes:
        axes.plot(ends, ends, color="0.7", linewidth=1)
        axes.plot(values, predicted, "o", markersize=3, alpha=0.5)
        axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")


def plot_learning_curve(path: Path, curve: Sequence[CurvePoint]) -> None:
    """Plot accuracy on validation by the number of training examples."""
    with _axes(path, width=5.5) as axes:
        examples = [point.examples for point in curve]
        axes.errorbar(
            examples,
            [point.accuracy for point in curve],
            yerr=[point.std for point in curve],
            fmt="-o",
            capsize=3,
            markersize=4,
        )
        _count_axis(axes, examples)
        axes.set(xlabel="training examples", ylabel="validation accuracy", ylim=(None, 1))


def _count_axis(axes: "Axes", counts: Sequence[int]) -> None:
    """Label an axis with numbers of examples, on a logarithmic scale."""
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.grid(axis="y", color="0.9")
