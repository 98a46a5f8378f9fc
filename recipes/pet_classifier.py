"""Pet classifier: from a pretrained image model to one that tells cats from dogs, in stages.

What it does:
  1. loads a pretrained image model with the preprocessing of its pretraining, finds its bottleneck
     (the layer before the classifier) and puts a new head on it;
  2. freezes the whole base and computes its features of every image once; no fold, seed or head
     needs them again;
  3. on each fold, fits heads to the features: the exact linear probe, and heads trained by steps;
     validation chooses the strength, the rate and the weight decay;
  4. with --fine-tune, goes on from there: the top layers of the base train together with the head,
     each layer slower than the one above; what does not help on validation is undone;
  5. keeps the model that validation likes best, and what it is familiar with, so that it can tell
     an image that shows none of its labels.

What it costs: about half a minute on two cores for 370 photos and all folds; with --fine-tune a
quarter of a minute more for each fold.
What it prints: the table of models, and where the model and the report are. It stops before any
work where the input cannot be used.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
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

from recipes.arguments import TRACKING, Tracker, end_tracking, parse_arguments, what_was_asked
from recipes.pet_classifier_report import Findings, print_findings, write_findings
from staged_training import InputError, Stage, StagedTrainer
from staged_training.class_balance import majority_logits, metrics_on
from staged_training.familiarity import Familiarity, familiarity
from staged_training.feature_head import FeatureHead
from staged_training.feature_reuse import compute_features, features_key
from staged_training.feature_store import FeatureDataset
from staged_training.head_search import Trial, search_head
from staged_training.hub import push
from staged_training.linear_probe import fit_probe, linear_probe
from staged_training.outcome import Outcome, mean_rows, outcome
from staged_training.processes import ONE_BATCH, is_first
from staged_training.run_folder import RunFolder
from staged_training.splits import Split, chosen_folds
from vision_transfer.backbones import (
    PACKAGED,
    bottleneck,
    head_layer,
    load_backbone,
    save_classifier,
)
from vision_transfer.classification import MlpHeadForImageClassification
from vision_transfer.image_task import ImageTask, read_image_task

DATA = Path(__file__).parent / "data" / "pets"
PROBE, TRAINED = "linear probe on the bottleneck", "head trained on the bottleneck"
TUNED = "fine-tuned top layers"

HEAD_EPOCHS = 20
TOP_LAYERS = Stage(
    "top layers",
    train="backbone[-2:], head",
    epochs=3,
    learning_rate=2e-4,
    layer_decay=0.5,
    keep_statistics=True,
)


@dataclass
class Arguments:
    """What can be asked of the recipe; each field is a flag."""

    data: str | None = field(
        default=None,
        metadata={
            "help": "Labelled images: a folder with one sub-folder per label, or with a "
            "metadata.jsonl that has a column file_name; such a table (.csv, .jsonl, .parquet); or "
            "a data set of the Hub, USER/NAME. Without a column `fold` they are dealt into five "
            "folds. By default the 370 photos that come with it."
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
    hidden: list[int] = field(
        default_factory=list,
        metadata={"help": "Widths of hidden layers of the head; by default it is linear."},
    )
    views: int = field(
        default=0,
        metadata={
            "help": "Augmented views of each training image, which the heads learn from too."
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
        metadata={"help": "Save a head that is fitted once more, to all labelled images."},
    )
    quick: bool = field(default=False, metadata={"help": "One epoch where there are several."})
    report_to: Tracker = field(default="none", metadata={"help": TRACKING})


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


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments, hub = parse_arguments(Arguments, argv, "nlp-transfer run pet-classifier", __doc__)
    run = RunFolder(Path(arguments.output_dir), what_was_asked(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    task = problem.task
    folds = chosen_folds(arguments.folds, task.folds)
    destination = hub.destination()
    layer = bottleneck(problem.model)
    print(f"The bottleneck of {arguments.backbone} is {layer.name}, {layer.width} numbers wide.")

    run.open()
    start = time.perf_counter()
    features = features_of(problem, problem.model, run.runs)
    seconds = (time.perf_counter() - start) / len(folds)
    outcomes, heads = [], []
    for fold in folds:
        split = task.split(fold)
        fitted = fit_heads(problem, features, split, seconds)
        of_fold = [majority(task, split), *(head.outcome for head in fitted)]
        if problem.stages:
            print(f"Fold {fold}: {TUNED}", flush=True)
            best = max(fitted, key=lambda head: head.best.rank)
            work = partial(fine_tune, problem, best, split, arguments.seed)
            of_fold.append(Outcome(**run.once(f"fold-{fold}", work)))
        outcomes.append(of_fold)
        heads.append(fitted)

    rows = mean_rows(outcomes)
    candidates = [
        row
        for row in rows
        if row.trainable_parameters and not (arguments.refit and row.name == TUNED)
    ]
    chosen = max(candidates, key=lambda row: row.metrics["validation_accuracy"]).name
    fitted_heads = {head.outcome.model: head for head in heads[0]}
    if chosen in fitted_heads:
        kept = with_head(problem, fitted_heads[chosen], features, folds[0], refit=arguments.refit)
    else:
        kept = fine_tuned(problem, run.runs / f"fold-{folds[0]}" / "model", folds[0])
    run.once("kept", partial(save, kept, problem.processor))
    run.keep(run.runs / "kept" / "model")
    if not is_first():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        task=task,
        licensed=arguments.data is None and arguments.backbone in PACKAGED,
        backbone=arguments.backbone,
        bottleneck=layer,
        rows=rows,
        grids={head.outcome.model: head.grid for head in heads[0]},
        chosen=next(item for item in outcomes[0] if item.model == chosen),
        folds=folds,
        refit=arguments.refit,
        model=kept.model,
        processor=problem.processor,
        features=kept.features,
        known=kept.known,
    )
    write_findings(run, findings, what_was_asked(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def read_problem(arguments: Arguments) -> Problem:
    """Read and check what the recipe works on."""
    if arguments.views < 0:
        raise InputError(f"--views is {arguments.views}; give how many views, 0 for none.")
    if any(width < 1 for width in arguments.hidden):
        raise InputError(f"--hidden is {arguments.hidden}; give widths of 1 and more.")
    column = arguments.label_column or ("label" if arguments.data else "species")
    task = read_image_task(arguments.data or DATA, column)
    for item in task.skipped:
        print(f"Left out: {item}.")
    model, processor = load_backbone(
        arguments.backbone, task.names, arguments.seed, arguments.hidden
    )
    model.eval()
    head = FeatureHead(model, default_data_collator([task.dataset([0, 1], processor)[0]]))
    stage = replace(TOP_LAYERS, epochs=1) if arguments.quick else TOP_LAYERS
    return Problem(
        task=task,
        model=model,
        processor=processor,
        head=head,
        untrained=copy.deepcopy(head.state_dict()),
        head_arguments=TrainingArguments(
            seed=arguments.seed,
            num_train_epochs=1 if arguments.quick else HEAD_EPOCHS,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=256,
            accelerator_config=ONE_BATCH,
            dataloader_pin_memory=torch.accelerator.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
        ),
        stages=[stage] if arguments.fine_tune else [],
        views=arguments.views,
        report_to=arguments.report_to,
    )


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
    if not isinstance(problem.model, MlpHeadForImageClassification):  # whose head is not linear
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
    trainer.train(resume_from_checkpoint=True)
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


if __name__ == "__main__":
    main()
