"""Train a base on the order of video frames, and measure it on videos that were held out."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from staged_training.experiment.outcome import Row
from staged_training.experiment.parallel import run_parallel
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.tracking import end_tracking
from staged_training.runtime.files import written_whole
from staged_training.runtime.markdown import markdown_table
from vision_transfer.backbones import save_features, untrained_backbone
from vision_transfer.pretext.temporal_order import ORDERS, FrameTriplets, TemporalOrder, Window
from vision_transfer.pretext.training import train_pretext

if TYPE_CHECKING:
    from datasets import Dataset

EXAMPLES = "examples.safetensors"

_REPEATS = 10  # pairs of examples of each window, in an epoch and to measure on
_SHOWN = 8  # examples of each order in the report; no more than `_REPEATS`


@dataclass(frozen=True)
class FoldScores:
    """Accuracy of a model on the windows of one fold, which it was not trained on.

    Attributes:
        files: The video of each window.
        accuracies: The share of the examples of each window that were classified correctly.
        seconds: Time of training and scoring.
    """

    files: Sequence[str]
    accuracies: Sequence[float]
    seconds: float


@dataclass(frozen=True)
class OrderResult:
    """The scores of all folds, and the base that was trained on all windows.

    Attributes:
        folds: The scores.
        base: The folder of the base.
        examples: A file with three frames of each of some test examples, by their order.
    """

    folds: Sequence[FoldScores]
    base: Path
    examples: Path

    @cached_property
    def accuracies(self) -> NDArray[np.float64]:
        """The accuracy on each test window of all folds."""
        return np.array([accuracy for fold in self.folds for accuracy in fold.accuracies])

    @cached_property
    def row(self) -> Row:
        """The mean accuracy over all test windows, and its standard error."""
        found = self.accuracies
        error = float(found.std(ddof=1) / len(found) ** 0.5) if len(found) > 1 else float("nan")
        return Row(
            name="order of three frames",
            metrics={"accuracy": float(found.mean())},
            std={"accuracy": error},
            seconds=float(np.mean([fold.seconds for fold in self.folds])),
        )

    def describe(self) -> str:
        """Describe in Markdown whether the order of frames was learnt."""
        accuracy, error = self.row.metrics["accuracy"], self.row.std["accuracy"]
        above = (accuracy - 0.5) / error if error > 0 else 0.0
        distance = f"{above:+.1f}" if error > 0 else "an unknown number of"
        learnt = "The base learnt" if above >= 3 else "It is not clear that the base learnt"
        if accuracy <= 0.5 + 2 * error:
            learnt = "No better than chance: the base did not learn"
        return (
            f"**{learnt} the order of frames**: on held-out videos it classifies "
            f"{100 * accuracy:.1f} % of the examples correctly, and chance is 50 %; that is "
            f"{distance} standard errors from it ({100 * error:.1f} points, over "
            f"{len(self.accuracies)} windows that do not overlap)."
        )

    def by_video(self) -> str:
        """Return the accuracy on each video, as a Markdown table."""
        by_file: dict[str, list[float]] = {}
        for fold in self.folds:
            for file, accuracy in zip(fold.files, fold.accuracies, strict=True):
                by_file.setdefault(file, []).append(accuracy)
        rows = [[file, len(own), f"{np.mean(own):.3f}"] for file, own in sorted(by_file.items())]
        return markdown_table(["video", "windows", "accuracy"], rows)


@dataclass(frozen=True, kw_only=True)
class OrderLearning:
    """Training of a base to predict whether three frames are in order, from random weights.

    Attributes:
        architecture: A model of timm.
        size: Height and width of the model's input, in pixels.
        channels: 3 for RGB, 1 for grayscale.
        epochs: Passes over all windows.
        seed: Random seed.
        report_to: Where training is watched, as for `TrainingArguments`.
    """

    architecture: str
    size: int
    channels: int = 3
    epochs: int = 20
    seed: int = 0
    report_to: str = "none"

    def new_encoder(self) -> Any:
        """Return a backbone with random weights, and its processor.

        Raises:
            InputError: timm has no such architecture, or not one for these channels.
        """
        return untrained_backbone(
            self.architecture, ORDERS, self.size, self.channels, seed=self.seed
        )

    def cross_validate(
        self,
        run: RunFolder,
        videos: "Dataset",
        windows: Sequence[Window],
        folds: Sequence[tuple[list[Window], list[Window]]],
    ) -> OrderResult:
        """Train and score a model for each fold, then train the base on all windows.

        Args:
            run: Where finished work is kept, to go on after an interruption.
            videos: The frames, from `read_videos`.
            windows: All windows, from `high_motion_windows`.
            folds: The windows to train and to test on, from `held_out_folds`.
        """
        works = {
            f"fold-{number}": partial(self.train, videos, train, test)
            for number, (train, test) in enumerate(folds)
        }
        works["base"] = partial(self.train, videos, windows, [])
        pieces = {name: partial(run.run_cached, name, work) for name, work in works.items()}
        *scores, _ = run_parallel(pieces, "Training on the order of frames")
        return OrderResult(
            [FoldScores(**of_fold) for of_fold in scores],
            run.runs / "base" / "model",
            run.runs / "fold-0" / EXAMPLES,
        )

    def train(
        self, videos: "Dataset", windows: Sequence[Window], test: Sequence[Window], folder: Path
    ) -> dict[str, Any]:
        """Train a model on some windows, save its base to `folder/model`, and score it on others.

        Args:
            videos: The frames.
            windows: The windows to train on.
            test: The windows to score on; there may be none.
            folder: For checkpoints, the base and some test examples.

        Returns:
            The fields of `FoldScores`.
        """
        start = time.perf_counter()
        encoder, processor = self.new_encoder()
        triplets = partial(FrameTriplets, videos, size=self.size, repeats=_REPEATS)
        examples = triplets(test, seed=self.seed)
        trainer = train_pretext(
            TemporalOrder.around(encoder, seed=self.seed),
            triplets(windows),
            examples,
            folder,
            epochs=self.epochs,
            seed=self.seed,
            report_to=self.report_to,
        )
        end_tracking(self.report_to)
        save_features(encoder, processor, folder / "model")
        accuracies: list[float] = []
        if test:
            result = trainer.predict(examples)
            correct = np.argmax(result.predictions, -1) == result.label_ids
            # Examples go through all windows before they come to the first one again.
            accuracies = correct.reshape(_REPEATS, len(test), 2).mean((0, 2)).tolist()
            _save_examples(examples, folder / EXAMPLES)
        files = [videos[window.start]["file"] for window in test]
        return asdict(FoldScores(files, accuracies, time.perf_counter() - start))


def _save_examples(examples: FrameTriplets, file: Path) -> None:
    """Save the first examples of each order, `float32 [examples, 3, channels, size, size]`."""
    pairs = range(0, 2 * _SHOWN, 2)  # each is one in order and one out of order
    tensors = {
        ORDERS[1 - place]: torch.stack([examples[row + place]["pixel_values"] for row in pairs])
        for place in (0, 1)
    }
    with written_whole(file) as path:
        save_file(tensors, path)
