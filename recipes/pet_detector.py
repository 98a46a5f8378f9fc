"""Pet detector: from a pretrained image model to one that finds heads of pets, in stages.

What it does:
  1. reads images with boxes and checks every box; by default the heads of 370 pets;
  2. on each fold, puts the head of Fast R-CNN, with a network that proposes regions, on the feature
     map of a pretrained image model; freezes the whole base, computes its maps of the training
     images and of some augmented views once, and trains the head on them; the epoch that validation
     likes best is kept;
  3. with --fine-tune, goes on from there: the top layers of the base train together with the head,
     each layer slower than the one above; what does not help on validation is undone;
  4. measures by COCO's average precision, beside a box that is always at the same place, and keeps
     the model of the first fold.

What it costs: about a minute and a half for each fold on two cores, and 0.4 GB of memory for its
maps.
What it prints: the table of models, and where the model and the report are. It stops before any
work where the input cannot be used.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import TrainingArguments, default_data_collator

from recipes.pet_classifier import DATA
from recipes.pet_classifier_ways import TOP_LAYERS
from recipes.pet_detector_report import Findings, print_findings, write_findings
from staged_training import InputError, Stage, StagedTrainer
from staged_training.experiment.outcome import Outcome, mean_rows
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import Split, chosen_folds
from staged_training.experiment.tracking import end_tracking
from staged_training.recipe import RunArguments, check_positive, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.processes import ONE_BATCH, is_main_process
from vision_transfer.backbones import PACKAGED, save_classifier
from vision_transfer.detection.evaluation import (
    METRICS,
    Boxes,
    average_precision,
    detection_metrics,
    found_boxes,
    mean_box,
    require_metrics,
)
from vision_transfer.detection.pretrained import fitted_anchors, load_detector
from vision_transfer.detection.task import DetectionTask, read_detection_task

MEAN, TRAINED, TUNED = "mean box", "head on the frozen base", "fine-tuned top layers"
RATE = 1e-3


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Images with boxes: a COCO file (.json); a data.yaml of YOLO; a folder in the format "
        "of COCO, Pascal VOC or YOLO, also as Roboflow exports it; a folder with a "
        "metadata.jsonl or such a table (.csv, .jsonl, .parquet), see --box-column. Without "
        "folds, or parts such as train, valid and test, they are dealt into five folds. By "
        "default the 370 photos that come with it.",
    )
    images: str | None = option(None, "Folder of the images, if it is not where the format has it.")
    box_column: str | None = option(
        None,
        "Of a table, the column of boxes: x1, y1, x2 and y2 in pixels, or lists `bbox` and "
        "`categories`. `objects` by default, and `head_box` of the shipped photos.",
    )
    label_column: str | None = option(
        None,
        "Of a table, the column of classes; by default there is one class.",
    )
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model of timm: efficientnet-lite0, -lite1 or -lite2 (from packages), a "
        "folder, or a name on the Hub such as timm/resnet50.a1_in1k.",
    )
    size: int = option(256, "Height and width of what the model sees, in pixels, by 32.")
    views: int = option(3, "Augmented views of each training image; their maps are kept.")
    epochs: int = option(5, "How often the head goes through images and views.")
    fine_tune: bool = option(False, "Fine-tune the top layers after the head.")
    folds: str = option(
        "all",
        "`all` for the whole protocol, or the number of the fold to test on.",
    )
    quick: bool = option(False, "A first look: one view, and two epochs of the head.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-detector", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    check_arguments(arguments)
    task = read_task(arguments)
    folds = chosen_folds(arguments.folds, task.folds)
    load_detector(arguments.backbone, task.names, arguments.size)  # or it is refused here
    destination = arguments.destination()

    run.open(task.paths, task.boxes, task.labels, task.names, task.folds)
    outcomes: list[list[Outcome]] = []
    found: dict[int, Boxes] = {}
    for fold in folds:
        print(f"Fold {fold}", flush=True)
        of_fold = run.run_cached(f"fold-{fold}", partial(train_fold, arguments, task, fold))
        outcomes.append([Outcome(**item) for item in of_fold["outcomes"]])
        boxes = map(Boxes.from_lists, of_fold["found"])
        found |= dict(zip(task.split(fold).test.tolist(), boxes, strict=True))
    run.publish(run.runs / f"fold-{folds[0]}" / "model")
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        task=task,
        licensed=arguments.data is None and arguments.backbone in PACKAGED,
        backbone=arguments.backbone,
        size=arguments.size,
        views=views_of(arguments),
        rows=mean_rows(outcomes),
        chosen=outcomes[0][-1],
        folds=folds,
        found=found,
        quick=arguments.quick,
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def check_arguments(arguments: Arguments) -> None:
    """Refuse numbers that nothing can be learnt with, and to begin without the scores."""
    require_metrics()
    check_positive(arguments, "epochs")
    if arguments.views < 0:
        raise InputError(f"--views is {arguments.views}; give how many views, 0 for none.")
    if arguments.size < 64 or arguments.size % 32:
        raise InputError(f"--size is {arguments.size}; give a multiple of 32 from 64 on.")


def read_task(arguments: Arguments) -> DetectionTask:
    """Read the images and their boxes; tell what is left out."""
    column = arguments.box_column or ("objects" if arguments.data else "head_box")
    task = read_detection_task(
        arguments.data or DATA, arguments.images, column, arguments.label_column
    )
    for item in task.skipped:
        print(f"Left out: {item}.")
    for problem in task.problems:
        print(f"{problem}.")
    return task


def views_of(arguments: Arguments) -> int:
    """Augmented views of each training image."""
    return min(1, arguments.views) if arguments.quick else arguments.views


def stages_of(arguments: Arguments) -> list[Stage]:
    """The head on the frozen base; then, if asked for, the top layers with it."""
    epochs = min(2, arguments.epochs) if arguments.quick else arguments.epochs
    head = Stage("head", train="head", epochs=epochs, learning_rate=RATE)
    top_epochs = 1 if arguments.quick else TOP_LAYERS.epochs
    top = replace(TOP_LAYERS, train="backbone[-2:], head", epochs=top_epochs)
    return [head, top] if arguments.fine_tune else [head]


def train_fold(
    arguments: Arguments, task: DetectionTask, fold: int, folder: Path
) -> dict[str, Any]:
    """Train and measure a detector on one fold, and save it.

    Returns:
        What came of each stage, and what is found in each test image in the end.
    """
    split = task.split(fold)
    anchors = fitted_anchors(task.true_boxes(split.train), arguments.size)
    model, processor = load_detector(
        arguments.backbone, task.names, arguments.size, seed=arguments.seed + fold, **anchors
    )
    stages = stages_of(arguments)
    trainer = StagedTrainer(
        model,
        training_arguments(arguments, folder),
        stages,
        reuse_features=True,
        train_dataset=task.dataset(split.train, processor, views_of(arguments)),
        eval_dataset=task.dataset(split.validation, processor),
        data_collator=default_data_collator,
        compute_metrics=detection_metrics,
    )
    trainer.train(resume_from_checkpoint=trainer.begun)
    end_tracking(arguments.report_to)
    outcomes = [mean_box_outcome(task, split)]
    found: list[Boxes] = []
    for number, name in enumerate([TRAINED, TUNED][: len(stages)]):
        trainer.load_stage(stages[number].name)
        done = trainer.results[: number + 1]
        parts = [task.dataset(rows, processor) for rows in (split.validation, split.test)]
        found, (validation, test) = measured(trainer, parts)
        outcomes.append(
            Outcome(
                model=name,
                metrics=test,
                validation=validation,
                probabilities=[],
                decision_bias=0.0,
                seconds=sum(result.seconds for result in done),
                trainable_parameters=done[-1].trainable_parameters,
                stages=[asdict(result) for result in done],
                log=trainer.state.log_history,
            )
        )
    save_classifier(model, processor, folder / "model")
    return {
        "outcomes": [asdict(item) for item in outcomes],
        "found": [[part.tolist() for part in boxes] for boxes in found],
    }


def training_arguments(arguments: Arguments, folder: Path) -> TrainingArguments:
    """How heads and layers are trained."""
    return TrainingArguments(
        str(folder),
        seed=arguments.seed,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=32,
        weight_decay=0.01,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        metric_for_best_model="map",
        accelerator_config=ONE_BATCH,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to=arguments.report_to,
        run_name="/".join(folder.parts[-2:]),
        project="nlp-transfer",
    )


def measured(
    trainer: StagedTrainer, parts: Sequence[Any]
) -> tuple[list[Boxes], list[dict[str, float]]]:
    """The metrics of a model on some data sets, and what it finds in the last."""
    found: list[Boxes] = []
    scores = []
    for part in parts:
        result = trainer.predict(part)
        found = found_boxes(*cast(tuple[np.ndarray, np.ndarray], result.predictions))
        metrics = cast(dict[str, float], result.metrics)
        scores.append({name: metrics[f"test_{name}"] for name in METRICS})
    return found, scores


def mean_box_outcome(task: DetectionTask, split: Split) -> Outcome:
    """What a box scores that is always at the same place: the mean of the training boxes."""
    train, validation, test = map(task.true_boxes, split)
    always = mean_box(train)
    scores = [average_precision(part, [always] * len(part)) for part in (validation, test)]
    return Outcome(MEAN, scores[1], scores[0], probabilities=[], decision_bias=0.0, seconds=0.0)


if __name__ == "__main__":
    main()
