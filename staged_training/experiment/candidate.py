"""Candidate models: what each trains, and how it is scored and saved."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

from staged_training.experiment.outcome import Outcome
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.tracking import end_tracking
from staged_training.stages import Stage, StageResult
from staged_training.trainer import StagedTrainer

MODELS = "models"
"""The folder in that of a candidate's work in which its models are, by the names of their rows."""

REFIT_UP_TO = 1000
"""Up to so many rows, what was trained in stages is trained on all of them by default."""


class Round(NamedTuple):
    """One round of cross-validation: the fold to test on, a random seed, and the rows of it."""

    fold: int
    seed: int
    split: Split


class Candidate(ABC):
    """A candidate model, such as a pretrained base with the stages that tune it.

    Attributes:
        name: What people call it.
    """

    name: str

    @abstractmethod
    def row_names(self) -> list[str]:
        """Return the names of the models that it ends with, each a row of the table."""

    def prepare(self) -> None:  # noqa: B027  # most have nothing to do
        """Do once what all rounds need, such as to compute features."""

    @abstractmethod
    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Train and score its models in one round; save each to `folder/models/NAME OF ROW`.

        Args:
            round_: The rows to train, validate and test on.
            folder: For checkpoints and models; what was done there before is not done again.
        """

    def refits(self, row: str, size: int) -> bool:
        """Return whether a model, by its row's name, is trained on all rows by default.

        That costs time, and pays where labels are few.

        Args:
            row: The name of its row.
            size: How many rows there are.
        """
        return False

    def refit(self, rows: Indices, outcomes: Sequence[Outcome], seed: int, folder: Path) -> None:
        """Train the chosen model on all rows; save it to `folder/model`.

        Args:
            rows: All of them.
            outcomes: The scores of the chosen model in each round of cross-validation.
            seed: Random seed.
            folder: For checkpoints and the model.
        """
        raise NotImplementedError


class Built(NamedTuple):
    """A trainer of stages, and the results of stages that its model went through before."""

    trainer: StagedTrainer
    earlier: Sequence[StageResult] = ()


@dataclass(frozen=True, kw_only=True)
class StagedCandidate(Candidate):
    """A candidate that a `StagedTrainer` trains; each stage ends with a row of the table.

    Attributes:
        name: What people call it.
        stages: What is trained, in order.
    """

    name: str
    stages: list[Stage]

    @abstractmethod
    def build(self, train: Indices, validation: Indices | None, seed: int, folder: Path) -> Built:
        """Return a trainer of a new model.

        Args:
            train: The rows to train on.
            validation: The rows that choose the best epochs; `None` to run stages to their ends.
            seed: Random seed.
            folder: For checkpoints.
        """

    @abstractmethod
    def score(
        self, trainer: StagedTrainer, row: str, split: Split, about_training: Mapping[str, Any]
    ) -> Outcome:
        """Score the model as it is, on the validation and the test part of a split.

        Args:
            trainer: What trained it.
            row: The name of its row.
            split: The rows.
            about_training: The fields of `Outcome` from `seconds` on.
        """

    @abstractmethod
    def save(
        self, trainer: StagedTrainer, rows: Indices, outcomes: Sequence[Outcome], folder: Path
    ) -> None:
        """Save the model as it is.

        Args:
            trainer: What trained it.
            rows: The rows that it was trained on.
            outcomes: Its scores; of a model that was trained on all rows, those of every fold.
            folder: Where to save it.
        """

    def refits(self, row: str, size: int) -> bool:
        """Return whether there are so few rows that those it was tested on count."""
        return size <= REFIT_UP_TO

    def row_names(self) -> list[str]:
        """Return a name for each stage."""
        return [f"{self.name}, {stage.name}" for stage in self.stages]

    def with_epochs(self, epochs: Callable[[Stage], int]) -> Self:
        """Return the same with other numbers of epochs, without the stages that have none."""
        return replace(self, stages=stages_with_epochs(self.stages, epochs))

    def quick(self) -> Self:
        """Return the same with one epoch in each stage."""
        return self.with_epochs(lambda _: 1)

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Train all stages, then score and save the model as it was after each."""
        split = round_.split
        built = self.build(split.train, split.validation, round_.seed, folder)
        trainer = built.trainer
        trainer.train(resume_from_checkpoint=trainer.begun)
        log: list[dict[str, Any]] = trainer.state.log_history
        outcomes: list[Outcome] = []
        for number, (stage, row) in enumerate(
            zip(trainer.stages, self.row_names(), strict=True), start=1
        ):
            trainer.load_stage(stage.name)
            results = [*built.earlier, *trainer.results[:number]]
            done = {result.name for result in results}
            about_training: dict[str, Any] = {
                "seconds": sum(result.seconds for result in results),
                "trainable_parameters": results[-1].trainable_parameters,
                "stages": [asdict(result) for result in results],
                "log": [entry for entry in log if entry["stage"] in done],
            }
            if outcomes and results[-1].best_epoch == 0:  # the stage left the model as it was
                outcome = replace(outcomes[-1], model=row, **about_training)
            else:
                outcome = self.score(trainer, row, split, about_training)
            self.save(trainer, split.train, [outcome], folder / MODELS / row)
            outcomes.append(outcome)
        end_tracking(trainer.args.report_to)
        return outcomes

    def refit(self, rows: Indices, outcomes: Sequence[Outcome], seed: int, folder: Path) -> None:
        """Train on all rows, each stage for as many epochs as were best on validation.

        Stages that did not pay are left out.
        """
        best: dict[str, list[int]] = defaultdict(list)
        for stage in (stage for outcome in outcomes for stage in outcome.stages):
            best[stage["name"]].append(stage["best_epoch"])
        epochs = {name: round(median(found)) for name, found in best.items()}
        chosen = self.with_epochs(lambda stage: epochs.get(stage.name, 0))
        trainer = chosen.build(rows, None, seed, folder).trainer
        trainer.train(resume_from_checkpoint=trainer.begun)
        self.save(trainer, rows, outcomes, folder / "model")
        end_tracking(trainer.args.report_to)


def stages_with_epochs(stages: Sequence[Stage], epochs: Callable[[Stage], int]) -> list[Stage]:
    """Return stages that run other numbers of epochs to their ends, without those of none."""
    numbers = [(stage, epochs(stage)) for stage in stages]
    return [replace(stage, epochs=number, patience=None) for stage, number in numbers if number]
