"""Candidates for a detector: Fast R-CNN on the feature maps of a pretrained model, in stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    default_data_collator,
)

from staged_training.experiment.candidate import Built, Round, StagedCandidate
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.splits import Indices, Split
from staged_training.experiment.tracking import tracked_arguments
from staged_training.trainer import StagedTrainer
from vision_transfer.backbones import save_classifier
from vision_transfer.detection.evaluation import (
    METRICS,
    average_precision,
    detection_metrics,
    found_boxes,
    mean_box,
)
from vision_transfer.detection.pretrained import fitted_anchors, load_detector
from vision_transfer.detection.task import DetectionTask


@dataclass(frozen=True, kw_only=True)
class DetectorCandidate(StagedCandidate):
    """The head of Fast R-CNN on the feature maps of a pretrained model.

    Attributes:
        task: The images with their boxes.
        backbone: The pretrained model, as for `load_detector`.
        size: Height and width of the input of the model, in pixels.
        views: Augmented views of each training image.
        seed: Random seed of the order of the images; that of the new weights is the seed of the
            round plus its fold.
        report_to: Where training is watched, as for `TrainingArguments`.
    """

    name: str = "detector"
    task: DetectionTask
    backbone: str
    size: int = 256
    views: int = 0
    seed: int = 0
    report_to: str = "none"

    def row_names(self) -> list[str]:
        """Return the names of the stages."""
        return [stage.name for stage in self.stages]

    def evaluate(self, round_: Round, folder: Path) -> list[Outcome]:
        """Train all stages and score each, with new weights in every fold."""
        return super().evaluate(round_._replace(seed=round_.seed + round_.fold), folder)

    def build(self, train: Indices, validation: Indices | None, seed: int, folder: Path) -> Built:
        """Return a trainer of a detector whose anchors fit the training boxes."""
        task = self.task
        anchors = fitted_anchors(task.true_boxes(train), self.size)
        model, processor = load_detector(self.backbone, task.names, self.size, seed=seed, **anchors)
        arguments = tracked_arguments(
            folder,
            self.seed,
            self.report_to,
            per_device_train_batch_size=16,
            per_device_eval_batch_size=32,
            weight_decay=0.01,
            warmup_steps=0.1,
            lr_scheduler_type="cosine",
            metric_for_best_model="map",
            remove_unused_columns=False,
        )
        trainer = StagedTrainer(
            model,
            arguments,
            self.stages,
            reuse_features=True,
            processing_class=processor,
            train_dataset=task.dataset(train, processor, self.views),
            eval_dataset=None if validation is None else task.dataset(validation, processor),
            data_collator=default_data_collator,
            compute_metrics=detection_metrics,
        )
        return Built(trainer)

    def score(
        self, trainer: StagedTrainer, row: str, split: Split, about_training: Mapping[str, Any]
    ) -> Outcome:
        """Score the detector by COCO's average precision; its boxes are the predictions."""
        processor = cast(BaseImageProcessor, trainer.processing_class)
        parts = [self.task.dataset(rows, processor) for rows in (split.validation, split.test)]
        results = [trainer.predict(cast(Any, part)) for part in parts]
        metrics = [cast(dict[str, float], result.metrics) for result in results]
        validation, test = ({name: of[f"test_{name}"] for name in METRICS} for of in metrics)
        found = found_boxes(*cast(tuple[Any, Any], results[1].predictions))
        return Outcome(
            model=row,
            metrics=test,
            validation=validation,
            probabilities=[],
            decision_bias=[],
            predictions=[boxes.to_lists() for boxes in found],
            **about_training,
        )

    def save(
        self, trainer: StagedTrainer, rows: Indices, outcomes: Sequence[Outcome], folder: Path
    ) -> None:
        """Save the detector with its preprocessing."""
        processor = cast(BaseImageProcessor, trainer.processing_class)
        save_classifier(cast(PreTrainedModel, trainer.model), processor, folder)


def mean_box_baseline(task: DetectionTask, round_: Round) -> list[Outcome]:
    """Score the mean of the training boxes, predicted for every image."""
    train, validation, test = map(task.true_boxes, round_.split)
    box = mean_box(train)
    scores = [average_precision(part, [box] * len(part)) for part in (validation, test)]
    return [Outcome("mean box", scores[1], scores[0], [], decision_bias=[], seconds=0.0)]
