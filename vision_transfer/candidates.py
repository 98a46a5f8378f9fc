"""Candidates for a classifier of images: heads on stored features, and top layers tuned after."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    TrainingArguments,
    default_data_collator,
)

from staged_training.experiment.candidate import MODELS, Candidate, Round
from staged_training.experiment.coverage import publish_chosen
from staged_training.experiment.cross_validation import CrossValidation, cross_validate
from staged_training.experiment.outcome import Outcome, mean_decision, outcome
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.splits import Indices, Split, chosen_folds
from staged_training.experiment.tracking import end_tracking, tracked_arguments
from staged_training.features.extraction import compute_features
from staged_training.features.head import FeatureHead
from staged_training.features.reuse import features_key
from staged_training.features.store import FeatureDataset
from staged_training.heads.class_weights import ClassWeight, loss_of
from staged_training.heads.decision import with_decision
from staged_training.heads.familiarity import FILE_NAME, Familiarity, familiarity
from staged_training.heads.head_search import Trial, search_head
from staged_training.heads.linear_probe import fit_probe, linear_probe
from staged_training.layers import select_parameters
from staged_training.runtime.processes import ONE_BATCH, on_main_process
from staged_training.runtime.seal import add_sealed
from staged_training.stages import Stage
from staged_training.trainer import StagedTrainer
from vision_transfer.backbones import head_layer, load_backbone, save_classifier
from vision_transfer.drift import add_image_drift
from vision_transfer.image_task import ImageTask

PROBE, TRAINED = "linear probe on the bottleneck", "head trained on the bottleneck"
FINE_TUNED = "fine-tuned top layers"

HEAD_EPOCHS = 20
TOP_LAYERS = Stage(
    "top layers",
    train="backbone[-1:], head",
    epochs=3,
    learning_rate=2e-4,
    layer_decay=0.5,
    keep_statistics=True,
)


class SavedClassifier(NamedTuple):
    """A classifier that was saved.

    Attributes:
        model: The model.
        features: What its bottleneck gives of all images.
        known: Features of the images that it was trained on, to find those that are unlike them.
        split: The rows that it was trained on, and those that its threshold was chosen on; `None`
            if it was trained on all.
    """

    model: PreTrainedModel
    features: FeatureDataset
    known: Familiarity
    split: Split | None


@dataclass(frozen=True, kw_only=True)
class BackboneCandidate(Candidate):
    """A pretrained image model with new heads on its bottleneck, and top layers tuned after them.

    The frozen base computes its features of every image once. On each fold heads are fitted to
    them, the exact linear probe and one that is trained by steps, with the settings that are best
    on validation. The better of the two is what fine-tuning goes on from.

    Attributes:
        name: What people call it.
        task: The labelled images.
        backbone: The pretrained model, as for `load_backbone`.
        cache: The folder that the features are stored in.
        hidden: Widths of hidden layers of the head; by default it is linear.
        views: Augmented views of each training image, which the heads learn from too.
        head_epochs: Epochs of the head that is trained by steps.
        top_layers: What is fine-tuned after the head, if anything is.
        report_to: Where training is watched, as for `TrainingArguments`.
        class_weight: What each label weighs in the loss.
    """

    name: str
    task: ImageTask
    backbone: str
    cache: Path
    hidden: Sequence[int] = ()
    views: int = 0
    head_epochs: int = HEAD_EPOCHS
    top_layers: Stage | None = None
    report_to: str = "none"
    class_weight: ClassWeight = None

    def quick(self) -> Self:
        """Return the same with one epoch of each training."""
        top_layers = self.top_layers and replace(self.top_layers, epochs=1)
        return replace(self, head_epochs=1, top_layers=top_layers)

    def row_names(self) -> list[str]:
        """Return a name for each head, and one for what is fine-tuned."""
        return [*self._heads, *([FINE_TUNED] if self.top_layers else [])]

    @property
    def _heads(self) -> list[str]:
        return [TRAINED] if self.hidden else [PROBE, TRAINED]

    @cached_property
    def base(self) -> tuple[PreTrainedModel, BaseImageProcessor]:
        """The pretrained model, and the preprocessing of its pretraining."""
        return self._load(seed=0)

    @cached_property
    def features(self) -> FeatureDataset:
        """What the bottleneck gives of all images and, behind them, of their views."""
        return self._features_of(self.base[0], self.views)

    def check(self) -> None:
        """Load the base, and check before any work that it can be trained like this.

        Raises:
            InputError: There is no such model, its head needs more than features, or it has no
                layers like those to be fine-tuned.
        """
        model, _ = self.base
        select_parameters(model, (self.top_layers or TOP_LAYERS).train)
        self._head_of(model)

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Fit the heads, fine-tune from the better one, and score and save each model."""
        start = time.perf_counter()
        scaling = self._scaling(round_.split.train)
        train = _scaled(self._training_features(round_.split.train), scaling)
        validation, test = (_scaled(self.features.rows(rows), scaling) for rows in round_.split[1:])
        seconds = time.perf_counter() - start  # the first round computes the features
        models: list[PreTrainedModel] = []
        outcomes: list[Outcome] = []
        for row in self._heads:
            model, _ = self._load(round_.seed)
            outcomes.append(self._fit(row, model, (train, validation, test), round_, seconds))
            models.append(model)
            self._save(model, round_.split.train, outcomes[-1:], folder / MODELS / row)
        if self.top_layers:
            best = max(outcomes, key=lambda found: best_trial(found).rank)
            model = models[outcomes.index(best)]
            outcomes.append(self._fine_tune(model, self.top_layers, round_, folder, best.seconds))
            self._save(model, round_.split.train, outcomes[-1:], folder / MODELS / FINE_TUNED)
        return outcomes

    def _fit(
        self,
        row: str,
        model: PreTrainedModel,
        parts: tuple[FeatureDataset, FeatureDataset, FeatureDataset],
        round_: Round,
        seconds: float,
    ) -> Outcome:
        """Fit the head of a model to its features, whose computation took some seconds."""
        (train, validation, test), target = parts, self.task.target
        head = self._head_of(model)
        start = time.perf_counter()
        if row == PROBE:
            probe = linear_probe(
                _arrays(train), _arrays(validation), target, class_weight=self.class_weight
            )
            probe.put_into(head_layer(model))
            grid = probe.grid
        else:
            arguments = self._arguments(round_.seed)
            loss = self._loss(round_.split.train)
            grid = search_head(head, train, validation, target, arguments, loss=loss).grid
        return self._outcome(
            row,
            round_,
            [_logits(head, part) for part in (validation, test)],
            seconds=seconds + time.perf_counter() - start,
            trainable_parameters=sum(p.numel() for p in head.parameters()),
            grid=[asdict(trial) for trial in grid],
        )

    def _fine_tune(
        self, model: PreTrainedModel, stage: Stage, round_: Round, folder: Path, seconds: float
    ) -> Outcome:
        """Train the top layers of a model with its head, after some seconds of earlier training."""
        task, processor = self.task.scaled(self._scaling(round_.split.train)), self.base[1]
        train, validation, test = (task.dataset(rows, processor) for rows in round_.split)
        arguments = tracked_arguments(
            folder,
            round_.seed,
            self.report_to,
            per_device_train_batch_size=16,
            metric_for_best_model=task.target.metric,
            remove_unused_columns=False,
        )
        trainer = StagedTrainer(
            model,
            arguments,
            [stage],
            pretrained="all",  # the head is fitted already
            reuse_features=True,
            train_dataset=train,
            eval_dataset=validation,
            data_collator=default_data_collator,
            compute_metrics=task.target.compute_metrics(),
            compute_loss_func=self._loss(round_.split.train),
        )
        trainer.train(resume_from_checkpoint=trainer.begun)
        (result,) = trainer.results
        logits = [np.asarray(trainer.predict(part).predictions) for part in (validation, test)]
        end_tracking(self.report_to)
        return self._outcome(
            FINE_TUNED,
            round_,
            logits,
            seconds=seconds + result.seconds,
            trainable_parameters=result.trainable_parameters,
            stages=[asdict(result)],
            log=trainer.state.log_history,
        )

    def _outcome(
        self, row: str, round_: Round, logits: Sequence[NDArray[Any]], **about_training: Any
    ) -> Outcome:
        """Score a model by its logits on the validation and the test part, as it learnt them."""
        scaling = self._scaling(round_.split.train)
        values = [self.task.values[rows] for rows in round_.split[1:]]
        logits = [scaling.unscale(part) for part in logits]
        return outcome(row, values, logits, self.task.target, **about_training)

    def refits(self, row: str, size: int) -> bool:
        """Return whether a model is a head on the frozen base, whose features are known."""
        return row != FINE_TUNED

    def refit(self, rows: Indices, outcomes: Sequence[Outcome], seed: int, folder: Path) -> None:
        """Fit the chosen head to all images, with the settings that were best on the first fold."""
        train = _scaled(self._training_features(rows), self._scaling(rows))
        settings, target = best_trial(outcomes[0]).settings, self.task.target
        model, _ = self._load(seed)
        if outcomes[0].model == PROBE:
            probe = fit_probe(_arrays(train), target, settings["C"], self.class_weight)
            probe.put_into(head_layer(model))
        else:
            rates, decays = [settings["rate"]], [settings["weight decay"]]
            head, arguments = self._head_of(model), self._arguments(seed)
            search_head(head, train, train, target, arguments, rates, decays, loss=self._loss(rows))
        self._save(model, rows, outcomes, folder / "model")

    def _save(
        self, model: PreTrainedModel, rows: Indices, outcomes: Sequence[Outcome], folder: Path
    ) -> None:
        """Save a model that was trained on some rows, with the decision in its head."""
        decision = mean_decision(outcomes)
        decided = with_decision(model, self.task.target, self._scaling(rows), decision)
        save_classifier(decided, self.base[1], folder)

    def add_familiarity(self, row: str, folder: Path, split: Split | None) -> SavedClassifier:
        """Store beside a saved model what detects images unlike its training images.

        Args:
            row: The name of its row.
            folder: The folder of the model.
            split: The rows that it was trained on, and those that the threshold is chosen on;
                `None` if it was trained on all.
        """
        model = self.base[0].from_pretrained(folder).eval()
        if row == FINE_TUNED:
            features = self._features_of(model)
        else:
            features = self.features.rows(range(len(self.task.paths)))
        vectors = features.columns["features"]
        if split is None:
            known = familiarity(vectors)
        else:
            known = familiarity(vectors[split.train], vectors[split.validation])
        on_main_process(partial(add_sealed, known, folder, FILE_NAME))
        return SavedClassifier(model, features, known, split)

    def _load(self, seed: int) -> tuple[PreTrainedModel, BaseImageProcessor]:
        names, problem_type = self.task.names, self.task.target.problem_type
        model, processor = load_backbone(self.backbone, names, seed, self.hidden, problem_type)
        return model.eval(), processor

    def _head_of(self, model: PreTrainedModel) -> FeatureHead:
        image = self.task.dataset([0], self.base[1])[0]
        return FeatureHead(model, default_data_collator([image]))

    def _features_of(self, model: PreTrainedModel, views: int = 0) -> FeatureDataset:
        images = self.task.dataset(range(len(self.task.paths)), self.base[1], views)
        file = self.cache / f"{features_key(model, images.fingerprint)}.safetensors"
        return compute_features(model, images, default_data_collator, file)

    def _training_features(self, rows: Indices) -> FeatureDataset:
        """Return the features of some images and of their views."""
        images = len(self.task.paths)
        views = [np.asarray(rows) + view * images for view in range(self.views + 1)]
        return self.features.rows(np.concatenate(views))

    def _scaling(self, rows: Indices) -> Scaling:
        """Return how numbers are scaled where a model learns from some rows."""
        return self.task.target.scaling(self.task.values[rows])

    def _loss(self, rows: Indices) -> Callable[..., torch.Tensor] | None:
        """Return the loss with class weights of some rows, if there are such weights."""
        return loss_of(self.task.values[rows], self.task.target, self.class_weight)

    def _arguments(self, seed: int) -> TrainingArguments:
        return TrainingArguments(
            seed=seed,
            num_train_epochs=self.head_epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=256,
            accelerator_config=ONE_BATCH,
            dataloader_pin_memory=torch.accelerator.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
        )


def cross_validate_heads(
    run: RunFolder, candidate: BackboneCandidate, folds: str, seed: int
) -> CrossValidation:
    """Train and score the models of a candidate, beside what looks at no image.

    Args:
        run: The run.
        candidate: What is trained.
        folds: The folds to test on, see `chosen_folds`.
        seed: Random seed.

    Raises:
        InputError: There is no such fold, or the candidate cannot be trained, see its `check`.
    """
    task = candidate.task
    candidate.check()
    chosen = chosen_folds(folds, task.folds)
    run.open(task.paths, task.contents)
    return cross_validate(run, task, [candidate], task.target.metric, chosen, [seed])


def save_chosen(run: RunFolder, result: CrossValidation, *, refit: bool) -> SavedClassifier:
    """Save the chosen model in the folder of a run, with what it knows of its scores and features.

    Args:
        run: The run.
        result: The scores of a `BackboneCandidate`.
        refit: Whether the model is fitted to all images; else it is that of the first fold.
    """
    candidate = result.chosen_candidate
    assert isinstance(candidate, BackboneCandidate)
    publish_chosen(run, result, refit)
    split = None if refit else candidate.task.split(result.folds[0])
    saved = candidate.add_familiarity(result.chosen.name, run.path, split)
    add_image_drift(run.path, saved.features.columns["features"], result, refitted=refit)
    return saved


def best_trial(found: Outcome) -> Trial:
    """Return the setting of a head that was best on validation."""
    return max((Trial(**trial) for trial in found.grid), key=lambda trial: trial.rank)


def _scaled(part: FeatureDataset, scaling: Scaling) -> FeatureDataset:
    """Return features with numbers as they are learnt."""
    return FeatureDataset({**part.columns, "labels": scaling.scale(part.columns["labels"])})


def _arrays(part: FeatureDataset) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return features `[examples, width]` and what is to be learnt of the examples."""
    features, labels = part.columns["features"], part.columns["labels"]
    return features.flatten(1).numpy(), labels.numpy()


def _logits(head: FeatureHead, part: FeatureDataset) -> NDArray[np.float32]:
    """Return the logits `[examples, outputs]` of a head."""
    device = next(head.parameters()).device
    with torch.no_grad():
        logits = head(part.columns["features"].to(device))["logits"]
    return np.asarray(logits.cpu())
