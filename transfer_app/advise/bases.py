"""Bases ranked on labelled texts or images: how well a head on each does, and what it costs."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nlp_transfer.defaults import NONE
from nlp_transfer.text_features import encoder_features, topic_features
from nlp_transfer.text_task import read_task
from staged_training.experiment.task import LabelledTask
from staged_training.heads.base_ranking import Suitability, suitability
from staged_training.runtime.markdown import markdown_table

MOST = 1_000
"""Examples that bases are tried on."""


class Trial(NamedTuple):
    """A base that was tried.

    Attributes:
        name: Its name.
        found: How well its features suit the labels.
        width: Of its features.
        seconds: What the features took for each example.
    """

    name: str
    found: Suitability
    width: int
    seconds: float


class Ranking(NamedTuple):
    """Bases that were tried on the same examples.

    Attributes:
        task: The labelled examples.
        kinds: What they are called.
        tried: How many of them the bases were tried on.
        trials: The bases, the best first.
    """

    task: LabelledTask
    kinds: str
    tried: int
    trials: list[Trial]

    def __str__(self) -> str:
        best, *others = self.trials
        cost = f"seconds for 1,000 {self.kinds}"
        header = ["base", self.task.target.title, "LogME", "width", cost]
        rows = [
            [
                trial.name,
                f"{trial.found.scores.mean():.3f} ± {trial.found.scores.std():.3f}",
                f"{trial.found.log_me:.3f}",
                f"{trial.width:,}",
                f"{1000 * trial.seconds:.1f}",
            ]
            for trial in self.trials
        ]
        return "\n\n".join(
            [
                f"A linear head on the frozen features of each base, on {self.tried:,} of "
                f"{len(self.task.values):,} {self.kinds}: mean and standard deviation over the "
                "folds. LogME is the evidence for a linear model, the larger, the better.",
                markdown_table(header, rows),
                *([_verdict(best, others[0])] if others else []),
            ]
        )


def _verdict(best: Trial, second: Trial) -> str:
    ahead = best.found.scores - second.found.scores
    error = ahead.std(ddof=1) / np.sqrt(len(ahead))
    told = (
        f"{best.name} is ahead of {second.name} by {ahead.mean():.3f} ± {error:.3f} (mean over "
        "the folds, and its standard error)"
    )
    if ahead.mean() > 2 * error:
        return f"{told}."
    return f"{told}: that may be chance, so take what costs less."


def rank_text_bases(
    data: str, label_column: str, text_columns: Sequence[str] | None, bases: Sequence[str]
) -> Ranking:
    """Rank encoders of texts, see `encoder_features`; `none` is the words alone.

    Raises:
        InputError: The texts cannot be read, or there is no such encoder.
    """
    task = read_task(data, text_columns, label_column)
    rows = _sample(len(task.values))
    texts = [task.all.texts[row] for row in rows]

    def features_of(base: str, folder: Path) -> NDArray[np.float32]:
        return topic_features(texts) if base == NONE else encoder_features(texts, base, folder)

    return _ranked(task, "texts", rows, bases, features_of)


def rank_image_bases(data: str, label_column: str, bases: Sequence[str]) -> Ranking:
    """Rank models of images, see `image_features`.

    Raises:
        InputError: The images cannot be read, or there is no such model.
    """
    from vision_transfer.image_features import image_features
    from vision_transfer.image_task import read_image_task

    task = read_image_task(data, label_column)
    rows = _sample(len(task.values))
    paths = [task.paths[row] for row in rows]
    return _ranked(
        task, "images", rows, bases, lambda base, folder: image_features(paths, base, folder)
    )


def _sample(count: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST])


def _ranked(
    task: LabelledTask,
    kinds: str,
    rows: NDArray[np.int64],
    bases: Sequence[str],
    features_of: Callable[[str, Path], NDArray[np.float32]],
) -> Ranking:
    trials = []
    for base in dict.fromkeys(bases):
        with tempfile.TemporaryDirectory() as folder:  # kept features would cost nothing
            begin = time.perf_counter()
            features = features_of(base, Path(folder))
            seconds = (time.perf_counter() - begin) / len(rows)
        found = suitability(features, task.values[rows], task.target, task.folds[rows])
        trials.append(Trial(base, found, features.shape[1], seconds))
    trials.sort(key=lambda trial: -trial.found.scores.mean())
    return Ranking(task, kinds, len(rows), trials)
