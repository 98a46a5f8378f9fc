"""Pet classifier: from a pretrained image model to one that tells cats from dogs, in stages.

What it does:
  1. loads a pretrained image model with the preprocessing of its pretraining, finds its bottleneck
     (the layer before the classifier) and puts a new head on it;
  2. freezes the whole base and computes its features of every image once; no fold, seed or head
     needs them again;
  3. on each fold, fits the best linear head on the features, of a strength that validation chooses;
  4. with --fine-tune, goes on from there: the top layers of the base train together with the head,
     each layer slower than the one above.

What it costs: about half a minute on two cores for 370 photos and all folds; with --fine-tune half
a minute more for each fold.
What it prints: the table of models, and where the model and the report are. It stops before any
work where the input cannot be used.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    TrainingArguments,
    default_data_collator,
)

from recipes.arguments import parse_arguments, what_was_asked
from recipes.pet_classifier_report import Findings, print_findings, write_findings
from staged_training import Stage, StagedTrainer
from staged_training.class_balance import majority_logits, metrics_on
from staged_training.feature_reuse import FeatureDataset, compute_features, features_key
from staged_training.hub import check_push, push
from staged_training.linear_probe import Probe, linear_probe, refit_probe
from staged_training.outcome import Outcome, mean_rows, outcome
from staged_training.run_folder import RunFolder
from staged_training.splits import Split, chosen_folds
from vision_transfer.backbones import bottleneck, head_layer, load_backbone, save_classifier
from vision_transfer.image_task import ImageTask, read_image_task

DATA = Path(__file__).parent / "data" / "pets"
PROBE, TUNED = "linear probe on the bottleneck", "fine-tuned top layers"

TOP_LAYERS = Stage(
    "top layers", train="backbone[-3:], head", epochs=3, learning_rate=2e-4, layer_decay=0.5
)


@dataclass
class Arguments:
    """What can be asked of the recipe; each field is a flag."""

    data: str | None = field(
        default=None,
        metadata={
            "help": "Labelled images: a folder with one sub-folder per label, or with a "
            "metadata.jsonl that has a column file_name; or such a table (.csv, .jsonl, .parquet). "
            "Without a column `fold` they are dealt into five folds. By default the 370 photos "
            "that come with it."
        },
    )
    label_column: str | None = field(
        default=None,
        metadata={
            "help": "Column of the labels; `label` by default, and `species` of the shipped "
            "photos, which have `breed` too."
        },
    )
    backbone: str = field(
        default="efficientnet-lite0",
        metadata={
            "help": "Pretrained model: efficientnet-lite0, -lite1 or -lite2 (from packages), a "
            "folder, or a name on the Hub such as timm/resnet50.a1_in1k."
        },
    )
    fine_tune: bool = field(
        default=False, metadata={"help": "Fine-tune the top layers after the head."}
    )
    folds: str = field(
        default="all",
        metadata={"help": "`all` for the whole protocol, or the number of the fold to test on."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of all that is random."})
    output_dir: str = field(
        default="outputs/pet-classifier", metadata={"help": "Folder of the model and the report."}
    )
    resume: bool = field(
        default=False, metadata={"help": "Go on with a run that was cut off, in --output-dir."}
    )
    refit: bool = field(
        default=False,
        metadata={"help": "Save a linear probe that is fitted once more, to all labelled images."},
    )
    quick: bool = field(default=False, metadata={"help": "One epoch where there are several."})
    push_to_hub: str | None = field(
        default=None, metadata={"help": "Name on the Hub to upload the model to, USER/NAME."}
    )


@dataclass(frozen=True)
class Problem:
    """What was read and checked before any work began."""

    task: ImageTask
    model: PreTrainedModel
    processor: BaseImageProcessor
    stages: list[Stage]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "nlp-transfer run pet-classifier", __doc__)
    run = RunFolder(Path(arguments.output_dir), what_was_asked(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    task = problem.task
    folds = chosen_folds(arguments.folds, task.folds)
    if arguments.push_to_hub:
        check_push(arguments.push_to_hub)
    layer = bottleneck(problem.model)
    print(f"The bottleneck of {arguments.backbone} is {layer.name}, {layer.width} numbers wide.")

    run.open()
    images = task.dataset(range(len(task.paths)), problem.processor)
    start = time.perf_counter()
    key = features_key(problem.model, images.fingerprint)
    features = compute_features(
        problem.model, images, default_data_collator, run.runs / f"{key}.safetensors"
    )
    seconds = (time.perf_counter() - start) / len(folds)
    outcomes, probes = [], []
    for fold in folds:
        split = task.split(fold)
        probe, of_fold = evaluate_probe(task, features, split, seconds)
        if problem.stages:
            print(f"Fold {fold}: {TUNED}", flush=True)
            work = partial(fine_tune, problem, probe, split, arguments.seed)
            of_fold.append(Outcome(**run.once(f"fold-{fold}", work)))
        outcomes.append(of_fold)
        probes.append(probe)

    rows = mean_rows(outcomes)
    trained = [row for row in rows if row.trainable_parameters]
    chosen = max(trained, key=lambda row: row.metrics["validation_accuracy"]).name
    if arguments.refit or chosen == PROBE:
        probe = probes[0]
        if arguments.refit:
            everything = (features.columns["features"], task.labels)
            probe = refit_probe(everything, len(task.names), probe)
        run.once("probe", partial(save_probe, problem, probe))
        run.keep(run.runs / "probe" / "model")
    else:
        run.keep(run.runs / f"fold-{folds[0]}" / "model")
    findings = Findings(
        task=task,
        backbone=arguments.backbone,
        bottleneck=layer,
        rows=rows,
        grid=probes[0].grid,
        chosen=next(item for item in outcomes[0] if item.model == chosen),
        folds=folds,
        refit=arguments.refit,
    )
    write_findings(run, findings, what_was_asked(arguments))
    run.close()
    print_findings(run, findings)
    if arguments.push_to_hub:
        print(f"Uploaded to {push(run.path, arguments.push_to_hub)}")


def read_problem(arguments: Arguments) -> Problem:
    """Read and check what the recipe works on."""
    column = arguments.label_column or ("label" if arguments.data else "species")
    task = read_image_task(arguments.data or DATA, column)
    for item in task.skipped:
        print(f"Left out: {item.path.name} {item.reason}.")
    model, processor = load_backbone(arguments.backbone, task.names, arguments.seed)
    stage = replace(TOP_LAYERS, epochs=1) if arguments.quick else TOP_LAYERS
    return Problem(task, model.eval(), processor, [stage] if arguments.fine_tune else [])


def evaluate_probe(
    task: ImageTask, features: FeatureDataset, split: Split, seconds: float
) -> tuple[Probe, list[Outcome]]:
    """Fit the linear head of one fold; it and what came of it, beside the majority class."""
    start = time.perf_counter()
    vectors, labels = features.columns["features"].numpy(), np.asarray(task.labels)
    true = (labels[split.validation], labels[split.test])
    parts = [(vectors[rows], labels[rows]) for rows in split]
    probe = linear_probe(parts[0], parts[1], len(task.names))
    logits = [probe.logits(part) for part, _ in parts[1:]]
    seconds += time.perf_counter() - start
    frequent = [majority_logits(parts[0][1], len(task.names), len(part)) for part in true]
    size = probe.weight.size + probe.bias.size
    return probe, [
        outcome("majority class", true, frequent, None, seconds=0.0),
        outcome(PROBE, true, logits, None, seconds=seconds, trainable_parameters=size),
    ]


def fine_tune(
    problem: Problem, probe: Probe, split: Split, seed: int, folder: Path
) -> dict[str, Any]:
    """Go on from a linear probe with the top layers of the base; what came of it."""
    task, model = problem.task, copy.deepcopy(problem.model)
    probe.put_into(head_layer(model))
    arguments = TrainingArguments(
        str(folder),
        seed=seed,
        per_device_train_batch_size=16,
        metric_for_best_model="accuracy",
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to="none",
    )
    train, validation, test = (task.dataset(rows, problem.processor) for rows in split)
    trainer = StagedTrainer(
        model,
        arguments,
        problem.stages,
        pretrained="all",  # the head is the linear probe's
        reuse_features=True,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=default_data_collator,
        compute_metrics=metrics_on(None),
    )
    trainer.train(resume_from_checkpoint=True)
    save_classifier(model, problem.processor, folder / "model")
    (result,) = trainer.results
    return asdict(
        outcome(
            TUNED,
            (validation.labels, test.labels),
            [trainer.predict(part).predictions for part in (validation, test)],
            None,
            seconds=result.seconds,
            trainable_parameters=result.trainable_parameters,
            stages=[asdict(result)],
            log=trainer.state.log_history,
        )
    )


def save_probe(problem: Problem, probe: Probe, folder: Path) -> None:
    """Save the model with the linear probe as its head."""
    probe.put_into(head_layer(problem.model))
    save_classifier(problem.model, problem.processor, folder / "model")


if __name__ == "__main__":
    main()
