"""The ways to a classifier of images: heads on stored features, and top layers tuned after them."""

import copy
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    TrainingArguments,
    default_data_collator,
)

from staged_training import Stage, StagedTrainer
from staged_training.experiment.outcome import Outcome, outcome
from staged_training.experiment.splits import Split
from staged_training.experiment.tracking import end_tracking
from staged_training.features.extraction import compute_features
from staged_training.features.head import FeatureHead
from staged_training.features.reuse import features_key
from staged_training.features.store import FeatureDataset
from staged_training.heads.class_balance import majority_logits, metrics_on
from staged_training.heads.familiarity import Familiarity, familiarity
from staged_training.heads.head_search import Trial, search_head
from staged_training.heads.linear_probe import fit_probe, linear_probe
from staged_training.runtime.processes import ONE_BATCH
from staged_training.runtime.seal import seal
from vision_transfer.backbones import head_layer, save_classifier
from vision_transfer.candidates import TOP_LAYERS as TOP_LAYERS
from vision_transfer.image_task import ImageTask

PROBE, TRAINED = "linear probe on the bottleneck", "head trained on the bottleneck"
TUNED = "fine-tuned top layers"


@dataclass(frozen=True)
class Problem:
    """What was read and checked before any work began.

    Attributes:
        task: The labelled images.
        model: The pretrained model with a new head.
        processor: The preprocessing of its pretraining.
        head: The head, as a part of the model.
        untrained: Its weights as they were at first.
        head_arguments: How heads are trained.
        stages: What follows when the head is trained.
        views: Augmented views of each training image.
    """

    task: ImageTask
    model: PreTrainedModel
    processor: BaseImageProcessor
    head: FeatureHead
    untrained: dict[str, torch.Tensor]
    head_arguments: TrainingArguments
    stages: list[Stage]
    views: int
    report_to: str


@dataclass(frozen=True)
class FittedHead:
    """A head that was fitted on one fold.

    Attributes:
        outcome: What came of it.
        weights: What `FeatureHead.load_state_dict` takes.
        grid: What every setting scored on validation.
    """

    outcome: Outcome
    weights: dict[str, torch.Tensor]
    grid: list[Trial]

    @property
    def best(self) -> Trial:
        """The setting that was kept."""
        return max(self.grid, key=lambda trial: trial.rank)


class Kept(NamedTuple):
    """The model that is kept, the features that it gives of all images, and what it is used to."""

    model: PreTrainedModel
    features: FeatureDataset
    known: Familiarity


def features_of(
    problem: Problem, model: PreTrainedModel, cache: Path | None = None
) -> FeatureDataset:
    """The features of all images and, behind them, of their views."""
    task = problem.task
    images = task.dataset(range(len(task.paths)), problem.processor, problem.views)
    file = cache / f"{features_key(model, images.fingerprint)}.safetensors" if cache else None
    return compute_features(model, images, default_data_collator, file)


def majority(task: ImageTask, split: Split) -> Outcome:
    """What always naming the most frequent label scores."""
    labels = np.asarray(task.labels)
    true = (labels[split.validation], labels[split.test])
    logits = [majority_logits(labels[split.train], len(task.names), len(part)) for part in true]
    return outcome("majority class", true, logits, None, seconds=0.0)


def fit_heads(
    problem: Problem, features: FeatureDataset, split: Split, seconds: float
) -> list[FittedHead]:
    """Fit heads to the features of one fold, their settings chosen on its validation part.

    Args:
        problem: The model whose heads they are.
        features: Features of all images, and of their views behind them.
        split: The rows of the fold.
        seconds: What computing the features took for this fold.
    """
    images = len(problem.task.paths)
    views = [np.asarray(split.train) + view * images for view in range(problem.views + 1)]
    train, validation, test = (
        features.rows(rows) for rows in (np.concatenate(views), split.validation, split.test)
    )

    def fitted(name: str, start: float, grid: list[Trial]) -> FittedHead:
        true = [part.columns["labels"].numpy() for part in (validation, test)]
        with torch.no_grad():
            logits = [problem.head(p.columns["features"])["logits"] for p in (validation, test)]
        result = outcome(
            name,
            true,
            [part.numpy() for part in logits],
            None,
            seconds=seconds + time.perf_counter() - start,
            trainable_parameters=sum(p.numel() for p in problem.head.parameters()),
        )
        return FittedHead(result, copy.deepcopy(problem.head.state_dict()), grid)

    heads = []
    if not getattr(problem.model.config, "hidden", None):  # layers of the head: it is linear
        start = time.perf_counter()
        probe = linear_probe(_arrays(train), _arrays(validation), len(problem.task.names))
        probe.put_into(head_layer(problem.model))
        heads.append(fitted(PROBE, start, probe.grid))
    start = time.perf_counter()
    problem.head.load_state_dict(problem.untrained)
    found = search_head(problem.head, train, validation, problem.head_arguments)
    heads.append(fitted(TRAINED, start, found.grid))
    return heads


def with_head(
    problem: Problem, head: FittedHead, features: FeatureDataset, fold: int, *, refit: bool
) -> Kept:
    """The model with a fitted head; with `refit` one that is fitted to all labelled images."""
    split = problem.task.split(fold)
    images = features.rows(range(len(problem.task.paths)))
    if not refit:
        problem.head.load_state_dict(head.weights)
        return Kept(problem.model, images, known_images(images, split))
    settings = head.best.settings
    if head.outcome.model == PROBE:
        probe = fit_probe(_arrays(features), len(problem.task.names), settings["strength"])
        probe.put_into(head_layer(problem.model))
    else:
        problem.head.load_state_dict(problem.untrained)
        rates, decays = [settings["rate"]], [settings["weight decay"]]
        search_head(problem.head, features, features, problem.head_arguments, rates, decays)
    return Kept(problem.model, images, familiarity(images.columns["features"]))


def fine_tuned(problem: Problem, folder: Path, fold: int) -> Kept:
    """The model of a fold that was fine-tuned, with the features that it gives now."""
    model = problem.model.from_pretrained(folder).eval()
    images = features_of(replace(problem, views=0), model)
    return Kept(model, images, known_images(images, problem.task.split(fold)))


def _arrays(part: FeatureDataset) -> tuple[np.ndarray, np.ndarray]:
    features, labels = part.columns["features"], part.columns["labels"]
    return features.flatten(1).numpy(), labels.numpy()


def fine_tune(
    problem: Problem, head: FittedHead, split: Split, seed: int, folder: Path
) -> dict[str, Any]:
    """Go on from a fitted head with the top layers of the base; what came of it."""
    problem.head.load_state_dict(head.weights)
    task, model = problem.task, copy.deepcopy(problem.model)
    arguments = TrainingArguments(
        str(folder),
        seed=seed,
        per_device_train_batch_size=16,
        metric_for_best_model="accuracy",
        accelerator_config=ONE_BATCH,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to=problem.report_to,
        run_name="/".join(folder.parts[-2:]),
        project="nlp-transfer",
    )
    train, validation, test = (task.dataset(rows, problem.processor) for rows in split)
    trainer = StagedTrainer(
        model,
        arguments,
        problem.stages,
        pretrained="all",  # the head is fitted already
        reuse_features=True,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=default_data_collator,
        compute_metrics=metrics_on(None),
    )
    trainer.train(resume_from_checkpoint=trainer.begun)
    save_classifier(model, problem.processor, folder / "model")
    (result,) = trainer.results
    logits = [trainer.predict(part).predictions for part in (validation, test)]
    end_tracking(problem.report_to)
    return asdict(
        outcome(
            TUNED,
            (validation.labels, test.labels),
            logits,
            None,
            seconds=head.outcome.seconds + result.seconds,
            trainable_parameters=result.trainable_parameters,
            stages=[asdict(result)],
            log=trainer.state.log_history,
        )
    )


def known_images(features: FeatureDataset, split: Split) -> Familiarity:
    """What a model that was trained on a fold is familiar with; validation sets the threshold."""
    train, validation = (features.rows(r).columns["features"] for r in (split[0], split[1]))
    return familiarity(train, validation)


def save(kept: Kept, processor: BaseImageProcessor, folder: Path) -> None:
    """Save a model, its preprocessing and what it is familiar with."""
    save_classifier(kept.model, processor, folder / "model")
    kept.known.save(folder / "model")
    seal(folder / "model")
