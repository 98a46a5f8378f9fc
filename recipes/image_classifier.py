"""Image classifier: from a pretrained image model to a classifier of your images, in stages.

What it does: computes the features of a frozen base once; on each fold, fits heads to them (the
exact linear probe, and heads trained by steps), then, where there are 120 images or more to train
on (200 in five folds), trains the top layers of the base together with the head, at smaller rates;
validation chooses among all. An image has one label, several (--label-separator, or a column of
lists) or a number (--task regression). A head on the frozen base is fitted once more to all
labelled images, and that is the model; --no-refit leaves it.

What it costs: about two minutes on two cores for 370 images and all folds. It prints the table of
models, which was chosen and whether a simpler one is as good, and where model and report are.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from staged_training.data_checks import check_image_labels
from staged_training.recipe import (
    RunArguments,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from staged_training.tables.labels import LabelFormat

CARD = Path(__file__).parent / "cards" / "image_classifier.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled images: a folder with one sub-folder per label, or with a metadata.jsonl that "
        "has a column file_name; such a table (.csv, .jsonl, .parquet); or a data set of the Hub. "
        "Without folds or parts of their own they are dealt into five folds.",
    )
    label_column: str = option("label", "Column of the labels, or of the numbers.")
    label_separator: str | None = option(
        None,
        "What parts the labels of an image that has several, such as ';'.",
        may_be_blank=True,
    )
    task: Literal["classification", "regression"] = option(
        "classification", "Whether labels are names, or numbers to predict."
    )
    positive_label: str | None = option(
        None, "The label that matters, if one does more than the others."
    )
    class_weight: list[str] | None = option(
        None, "Weights in the loss: `balanced`, or LABEL=WEIGHT ...; by default all weigh alike."
    )
    backbone: str = option(
        "efficientnet-lite0", "Pretrained model: a packaged one, a folder, or a name on the Hub."
    )
    fine_tune: bool | None = option(
        None, "Fine-tune the top layers after the head; by default of 120 training images or more."
    )
    folds: str = option("all", "`all`, or the number of the fold to test on.")
    refit: bool = option(True, "Fit a chosen head once more, to all labelled images.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe; unusable input raises an `InputError` before anything is written."""
    arguments = parse_arguments(Arguments, argv, "image-classifier", __doc__)
    if not arguments.data:
        raise InputError("--data is missing. Give a folder with a sub-folder of images per label.")
    if arguments.task == "regression" and arguments.class_weight:
        raise InputError("--class-weight is for labels, not for numbers; leave it out.")
    written = LabelFormat(arguments.label_column, arguments.label_separator, arguments.task)
    check_image_labels(arguments.data, written, arguments.positive_label, arguments.class_weight)
    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.task import FEW
    from staged_training.heads.class_weights import read_class_weight
    from staged_training.runtime.printable import one_line
    from staged_training.runtime.processes import is_main_process
    from vision_transfer import candidates as images
    from vision_transfer.classifier_report import publish_image_classifier
    from vision_transfer.image_task import read_image_task

    with start_run(arguments, "image-classifier") as run:
        task = read_image_task(
            arguments.data,
            arguments.label_column,
            arguments.positive_label,
            label_separator=arguments.label_separator,
            task=arguments.task,
        )
        for sentence in task.remarks:
            print(one_line(sentence))
        tunes = task.train_size >= FEW if arguments.fine_tune is None else arguments.fine_tune
        candidate = images.BackboneCandidate(
            name=Path(arguments.backbone).absolute().name,
            task=task,
            backbone=arguments.backbone,
            cache=run.runs,
            top_layers=images.TOP_LAYERS if tunes else None,
            report_to=arguments.report_to,
            class_weight=read_class_weight(arguments.class_weight, task.names),
        )
        candidate = candidate.quick() if arguments.quick else candidate
        result = images.cross_validate_heads(run, candidate, arguments.folds, arguments.seed)
        saved = images.save_chosen(run, result, refit=arguments.refit and result.refits)
        if is_main_process():
            publish_image_classifier(run, "Image classifier", CARD, result, saved)
            print_next("nlp-transfer", "predict", run.path, "YOUR_IMAGES")


if __name__ == "__main__":
    sys.exit(run_script(main))
