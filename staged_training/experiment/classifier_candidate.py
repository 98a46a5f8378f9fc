"""A candidate of your own: a function that makes a `StagedTrainer`, and the data it learns from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from numpy.typing import ArrayLike
from torch.utils.data import Dataset, Subset

from staged_training.experiment.candidate import Built, StagedCandidate
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.target import SingleLabel, Target
from staged_training.stages import Stage
from staged_training.trainer import StagedTrainer

NewTrainer = Callable[[Sequence[Stage], Any, Any, int, Path], StagedTrainer]
"""Takes stages, the examples to train and to validate on (`None` for none), a random seed, and a
folder for checkpoints."""


@dataclass(frozen=True, kw_only=True)
class ClassifierCandidate(StagedCandidate):
    """A classifier that your function makes and a `StagedTrainer` trains.

    Attributes:
        dataset: All examples; a `datasets.Dataset`, or one of PyTorch.
        new_trainer: Makes a trainer of a new model. Its `metric_for_best_model` chooses epochs.
        target: What it predicts; by default one label, all of which matter alike.

    Examples:
        >>> import copy
        >>> from staged_training import RunFolder, Stage, StagedTrainer, Task
        >>> from staged_training import cross_validate, metrics_on, stratified_folds
        >>> def new_trainer(stages, train, validation, seed, folder):
        ...     args.output_dir, args.seed = str(folder), seed
        ...     return StagedTrainer(
        ...         copy.deepcopy(model), args, stages, train_dataset=train,
        ...         eval_dataset=validation, processing_class=tokenizer,
        ...         compute_metrics=metrics_on(None),
        ...     )
        >>> head = Stage("head", train="head", epochs=2, learning_rate=1e-2)
        >>> net = ClassifierCandidate(
        ...     name="recurrent net", stages=[head], dataset=train, new_trainer=new_trainer
        ... )
        >>> run = RunFolder("run")
        >>> run.open()
        >>> task = Task(folds=stratified_folds(train["labels"], range(len(train)), n=3))
        >>> result = cross_validate(run, task, [net], "accuracy", folds=[0, 1, 2])
        Fold 0, seed 0: recurrent net
        Fold 1, seed 0: recurrent net
        Fold 2, seed 0: recurrent net
        >>> result.chosen.name, "accuracy" in result.chosen.metrics
        ('recurrent net, head', True)
    """

    dataset: Any
    new_trainer: NewTrainer
    target: Target = field(default_factory=SingleLabel)

    def build(self, train: Indices, validation: Indices | None, seed: int, folder: Path) -> Built:
        """Return a trainer of a new model."""
        validates = None if validation is None else self._rows(validation)
        return Built(self.new_trainer(self.stages, self._rows(train), validates, seed, folder))

    def score(
        self, trainer: StagedTrainer, row: str, split: Split, about_training: Mapping[str, Any]
    ) -> Outcome:
        """Score the model on the validation and the test part of a split."""
        found = [trainer.predict(self._rows(rows)) for rows in (split.validation, split.test)]
        labels = [cast(ArrayLike, part.label_ids) for part in found]
        logits = [cast(ArrayLike, part.predictions) for part in found]
        return outcome(row, labels, logits, self.target, **about_training)

    def save(
        self, trainer: StagedTrainer, rows: Indices, outcomes: Sequence[Outcome], folder: Path
    ) -> None:
        """Save the model with its processor, as it was trained.

        The decision and the temperature of its `Outcome` are not in it, see `with_decision`.
        """
        trainer.save_model(str(folder))

    def _rows(self, rows: Indices) -> Any:
        select = getattr(self.dataset, "select", None)
        return select(rows) if select else Subset(cast(Dataset[Any], self.dataset), rows.tolist())
