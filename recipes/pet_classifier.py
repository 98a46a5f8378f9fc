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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import TrainingArguments, default_data_collator

from recipes.pet_classifier_report import Findings, print_findings, write_findings
from recipes.pet_classifier_ways import (
    TOP_LAYERS,
    TUNED,
    Problem,
    features_of,
    fine_tune,
    fine_tuned,
    fit_heads,
    majority,
    save,
    with_head,
)
from staged_training import InputError, Stage
from staged_training.experiment.outcome import Outcome, mean_rows
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.splits import chosen_folds
from staged_training.features.head import FeatureHead
from staged_training.layers import select_parameters
from staged_training.recipe import RunArguments, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.processes import ONE_BATCH, is_main_process
from vision_transfer.backbones import PACKAGED, bottleneck, load_backbone
from vision_transfer.image_task import read_image_task

DATA = Path(__file__).parent / "data" / "pets"
HEAD_EPOCHS = 20


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled images: a folder with one sub-folder per label, or with a metadata.jsonl "
        "that has a column file_name; such a table (.csv, .jsonl, .parquet); or a data set of"
        " the Hub, USER/NAME. Without a column `fold` or `split`, or folders such as train "
        "and test, they are dealt into five folds. By default the 370 photos that come with "
        "it.",
    )
    label_column: str | None = option(
        None,
        "Column of the labels; `label` by default, and `species` of the shipped photos, which"
        " have `breed` too.",
    )
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model: efficientnet-lite0, -lite1 or -lite2 (from packages), a folder, or"
        " a name on the Hub such as timm/resnet50.a1_in1k.",
    )
    hidden: list[int] = option([], "Widths of hidden layers of the head; by default it is linear.")
    views: int = option(
        0,
        "Augmented views of each training image, which the heads learn from too.",
    )
    fine_tune: bool = option(False, "Fine-tune the top layers after the head.")
    train: str = option(
        TOP_LAYERS.train,
        "What --fine-tune trains: a selector such as 'backbone[-3:], head', or 'all'.",
    )
    learning_rate: float = option(
        TOP_LAYERS.learning_rate,
        "Its peak rate, of the head; each layer below has half the rate.",
    )
    folds: str = option(
        "all",
        "`all` for the whole protocol, or the number of the fold to test on.",
    )
    refit: bool = option(False, "Save a head that is fitted once more, to all labelled images.")
    quick: bool = option(False, "One epoch where there are several.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-classifier", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    problem = read_problem(arguments)
    task = problem.task
    folds = chosen_folds(arguments.folds, task.folds)
    destination = arguments.destination()
    layer = bottleneck(problem.model)
    print(f"The bottleneck of {arguments.backbone} is {layer.name}, {layer.width} numbers wide.")

    run.open(task.paths, task.labels, task.names, task.folds)
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
            of_fold.append(Outcome(**run.run_cached(f"fold-{fold}", work)))
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
    run.run_cached("kept", partial(save, kept, problem.processor))
    run.publish(run.runs / "kept" / "model")
    if not is_main_process():
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
    write_findings(run, findings, run_config(arguments))
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
    top_layers = top_layers_of(arguments)
    column = arguments.label_column or ("label" if arguments.data else "species")
    task = read_image_task(arguments.data or DATA, column)
    for sentence in task.told:
        print(sentence)
    model, processor = load_backbone(
        arguments.backbone, task.names, arguments.seed, arguments.hidden
    )
    model.eval()
    select_parameters(model, top_layers.train)  # are there such layers?
    head = FeatureHead(model, default_data_collator([task.dataset([0, 1], processor)[0]]))
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
        stages=[top_layers] if arguments.fine_tune else [],
        views=arguments.views,
        report_to=arguments.report_to,
    )


def top_layers_of(arguments: Arguments) -> Stage:
    """The stage that follows the head, as it was asked for."""
    stage = replace(TOP_LAYERS, train=arguments.train, learning_rate=arguments.learning_rate)
    if stage != TOP_LAYERS and not arguments.fine_tune:
        raise InputError("--train and --learning-rate are of --fine-tune; give that too.")
    return replace(stage, epochs=1) if arguments.quick else stage


if __name__ == "__main__":
    main()
