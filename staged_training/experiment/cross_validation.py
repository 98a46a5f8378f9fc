"""Cross-validation: candidates are trained and scored on each fold, validation chooses one."""

import shutil
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from staged_training.experiment.outcome import Outcome, Row, mean_rows
from staged_training.experiment.parallel import run_parallel, run_serial
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.task import Task
from staged_training.experiment.tracking import end_tracking
from staged_training.runtime.errors import InputError
from staged_training.runtime.processes import on_main_process
from staged_training.stages import Stage, StageResult
from staged_training.trainer import StagedTrainer

MODELS = "models"
"""The folder in that of a candidate's work in which its models are, by the names of their rows."""


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

    @abstractmethod
    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Train and score its models in one round; save each to `folder/models/NAME OF ROW`.

        Args:
            round_: The rows to train, validate and test on.
            folder: For checkpoints and models; what was done there before is not done again.
        """

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
    def save(self, trainer: StagedTrainer, outcomes: Sequence[Outcome], folder: Path) -> None:
        """Save the model as it is.

        Args:
            trainer: What trained it.
            outcomes: Its scores; of a model that was trained on all rows, those of every fold.
            folder: Where to save it.
        """

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
        outcomes = []
        for number, (stage, row) in enumerate(
            zip(trainer.stages, self.row_names(), strict=True), start=1
        ):
            trainer.load_stage(stage.name)
            results = [*built.earlier, *trainer.results[:number]]
            done = {result.name for result in results}
            about_training = {
                "seconds": sum(result.seconds for result in results),
                "trainable_parameters": results[-1].trainable_parameters,
                "stages": [asdict(result) for result in results],
                "log": [entry for entry in log if entry["stage"] in done],
            }
            outcome = self.score(trainer, row, split, about_training)
            self.save(trainer, [outcome], folder / MODELS / row)
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
        self.save(trainer, outcomes, folder / "model")
        end_tracking(trainer.args.report_to)


def stages_with_epochs(stages: Sequence[Stage], epochs: Callable[[Stage], int]) -> list[Stage]:
    """Return stages with other numbers of epochs, without those that have none."""
    return [replace(stage, epochs=number) for stage in stages if (number := epochs(stage))]


@dataclass(frozen=True)
class CrossValidation:
    """The results of the candidates.

    Attributes:
        candidates: The candidates that validation chose among.
        outcomes: For each fold, the outcomes of baselines and candidates, of every seed.
        folds: The folds that were tested on.
        seeds: The random seeds.
        metric: The score on validation by which a model is chosen.
    """

    candidates: Sequence[Candidate]
    outcomes: list[list[Outcome]]
    folds: Sequence[int]
    seeds: Sequence[int]
    metric: str
    _folders: Mapping[str, Path] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[Row]:
        """The table of models: a row for each, with its means over folds and seeds."""
        return mean_rows(self.outcomes)

    def best_of(self, *candidates: Candidate) -> Row:
        """Return the row of some candidates that scored best on validation."""
        names = {name for candidate in candidates for name in candidate.row_names()}
        rows = [row for row in self.rows if row.name in names]
        return max(rows, key=lambda row: row.metrics[f"validation_{self.metric}"])

    @cached_property
    def chosen(self) -> Row:
        """The row that validation chose."""
        return self.best_of(*self.candidates)

    @property
    def chosen_candidate(self) -> Candidate:
        """The candidate that the chosen row is of."""
        return next(c for c in self.candidates if self.chosen.name in c.row_names())

    @property
    def chosen_outcomes(self) -> list[Outcome]:
        """The outcomes of the chosen model, by fold and seed."""
        return [o for of_fold in self.outcomes for o in of_fold if o.model == self.chosen.name]

    @property
    def chosen_model(self) -> Path:
        """The folder of the chosen model, as it was trained on the first fold and seed."""
        return self._folders[self.chosen_candidate.name] / MODELS / self.chosen.name

    def describe_gain(self, what: str, new: Candidate, old: Candidate) -> str:
        """Describe whether something paid on validation.

        Args:
            what: What it is.
            new: The candidate with it.
            old: That without it.
        """
        with_it, without = self.best_of(new), self.best_of(old)
        metric = f"validation_{self.metric}"
        paid = "paid" if with_it.metrics[metric] > without.metrics[metric] else "did not pay"
        return (
            f"{what} {paid}: {self.describe_scores(with_it)} with it, "
            f"{self.describe_scores(without)} without it."
        )

    def describe_scores(self, row: Row) -> str:
        """Describe the scores of a row on validation and on test."""
        name, metrics = self.metric.replace("_", " "), row.metrics
        validation, test = metrics[f"validation_{self.metric}"], metrics[self.metric]
        return f"{name} {validation:.3f} on validation, {test:.3f} on test"

    def refit(self, run: RunFolder, task: Task) -> Path:
        """Train the chosen candidate on all rows; return the folder of the model.

        See `Candidate.refit`.
        """
        candidate = self.chosen_candidate
        print(f"On all rows: {self.chosen.name}", flush=True)
        rows = np.arange(len(task.folds))
        work = partial(candidate.refit, rows, self.chosen_outcomes, self.seeds[0])
        run.run_cached("refit", work)
        return run.runs / "refit" / "model"


def cross_validate(
    run: RunFolder,
    task: Task,
    candidates: Sequence[Candidate],
    metric: str,
    folds: Sequence[int],
    seeds: Sequence[int] = (0,),
    baselines: Callable[[Round], list[Outcome]] = lambda _: [],
    *,
    controls: Sequence[Candidate] = (),
    draw: Callable[[Round], Round] = lambda round_: round_,
    prefix: str = "",
    scores_only: bool = False,
) -> CrossValidation:
    """Train and score candidates on each fold, with every seed.

    Args:
        run: Where what is done is kept, to go on after an interruption.
        task: What they learn from and are measured on.
        candidates: The candidates; validation chooses among them.
        metric: By which score.
        folds: The folds to test on.
        seeds: Random seeds.
        baselines: What a candidate has to beat, scored in each round of the first seed.
        controls: Candidates that are measured beside the others, and never chosen.
        draw: Draws fewer rows to train on.
        prefix: Of the names of the pieces of work.
        scores_only: Whether no model is kept. Without an accelerator several candidates are trained
            at a time then.

    Raises:
        InputError: A name cannot be that of a folder, or several candidates share it.

    Examples:
        >>> from staged_training import RunFolder, Task, cross_validate
        >>> from staged_training.experiment.outcome import Outcome
        >>> class Constant(Candidate):  # most train something: see `ClassifierCandidate`
        ...     name = "constant"
        ...     def row_names(self):
        ...         return ["constant"]
        ...     def evaluate(self, round_, folder):
        ...         return [Outcome("constant", {"accuracy": 0.5}, {"accuracy": 0.6}, [], 0.0, 0.1)]
        >>> run = RunFolder("run")
        >>> run.open()
        >>> task = Task(folds=np.array([0, 1, 2]))
        >>> result = cross_validate(run, task, [Constant()], "accuracy", folds=[0, 1, 2])
        Fold 0, seed 0: constant
        Fold 1, seed 0: constant
        Fold 2, seed 0: constant
        >>> result.chosen.metrics
        {'accuracy': 0.5, 'validation_accuracy': 0.6}
    """
    rounds = {(f, s): draw(Round(f, s, task.split(f))) for f in folds for s in seeds}
    everyone = [*controls, *candidates]
    _check_names(everyone)
    names, pieces = [], {}
    for (fold, seed), round_ in rounds.items():
        keep = not scores_only and (fold, seed) == (folds[0], seeds[0])
        for candidate in everyone:
            names.append(f"{prefix}fold-{fold}/seed-{seed}/{candidate.name}")
            work = partial(run.run_cached, names[-1], partial(_evaluate, candidate, round_, keep))
            pieces[f"{prefix}Fold {fold}, seed {seed}: {candidate.name}"] = work
    if scores_only and not torch.accelerator.is_available():
        results = iter(run_parallel(pieces, f"{prefix}models"))
    else:
        results = iter(run_serial(pieces))
    outcomes = []
    for fold in folds:
        of_fold = baselines(rounds[fold, seeds[0]])
        for found in islice(results, len(seeds) * len(everyone)):
            of_fold += [Outcome(**outcome) for outcome in found]
        outcomes.append(of_fold)
    of_first = zip(everyone, names, strict=False)
    folders = {candidate.name: run.runs / name for candidate, name in of_first}
    return CrossValidation(candidates, outcomes, folds, seeds, metric, folders)


def _check_names(candidates: Sequence[Candidate]) -> None:
    """Refuse names that cannot be folders, or that several candidates or models share."""
    rows = [name for candidate in candidates for name in candidate.row_names()]
    for names in ([candidate.name for candidate in candidates], rows):
        for name, count in Counter(names).items():
            if count > 1 or not name.strip(". ") or set(name) & {"/", "\0"}:
                why = f"{count} candidates share it" if count > 1 else "it cannot name a folder"
                raise InputError(f"A candidate is called {name!r}, but {why}. Choose another name.")


def _evaluate(
    candidate: Candidate, round_: Round, keep: bool, folder: Path
) -> list[dict[str, Any]]:
    """Evaluate a candidate; without `keep`, delete its models, as many would fill a disk."""
    outcomes = candidate.evaluate(round_, folder)
    if not keep:
        on_main_process(partial(shutil.rmtree, folder / MODELS, ignore_errors=True))
    return [asdict(outcome) for outcome in outcomes]
