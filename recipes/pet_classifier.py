"""Pet classifier: from a pretrained image model to a classifier of cats and dogs, in stages.

What it does:
  1. loads a pretrained image model with the preprocessing of its pretraining, finds its bottleneck
     (the layer before the classifier) and puts a new head on it;
  2. freezes the whole base and computes its features of every image once; no fold or head needs
     them again;
  3. on each fold, fits heads to the features: the exact linear probe, and heads trained by steps;
     validation chooses the penalty, the rate and the weight decay;
  4. with --fine-tune, goes on from there: the top layers of the base train together with the head,
     each layer slower than the one above; what does not help on validation is undone;
  5. saves the model that scores best on validation, and the features of its training images, by
     which it recognises an image that shows none of its labels.

What it costs: about half a minute on two cores for 370 photos and all folds; with --fine-tune a
quarter of a minute more for each fold.
What it prints: the table of models, and where the model and the report are. It stops before any
work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from staged_training.data_checks import check_images
from staged_training.recipe import (
    RECIPES,
    RunArguments,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError

DATA = RECIPES / "data" / "pets"
CARD = Path(__file__).parent / "cards" / "pet_classifier.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Labelled images in place of the 370 photos that come with it, as `run image-classifier` "
        "takes them.",
    )
    label_column: str | None = option(
        None, "Column of the labels; `label`, or `species` of the shipped photos (or `breed`)."
    )
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model: efficientnet-lite0, -lite1 or -lite2 (from packages), a folder, or a "
        "name on the Hub such as timm/resnet50.a1_in1k.",
    )
    hidden: list[int] = option([], "Widths of hidden layers of the head; by default it is linear.")
    views: int = option(
        0, "Augmented views of each training image, which the heads learn from too."
    )
    fine_tune: bool = option(False, "Fine-tune the top layers after the head.")
    train: str = option(
        "backbone[-1:], head",
        "What --fine-tune trains: a selector such as 'backbone[-3:], head', or 'all'.",
    )
    learning_rate: float = option(
        2e-4, "Peak rate of the head in --fine-tune; each layer below has half the rate."
    )
    folds: str = option("all", "`all` for the whole protocol, or the number of one test fold.")
    refit: bool = option(False, "Save the chosen head, fitted once more to all labelled images.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-classifier", __doc__)
    column = arguments.label_column or ("label" if arguments.data else "species")
    check_images(arguments.data, label_column=column)
    check_arguments(arguments)
    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.run_folder import start_run
    from staged_training.runtime.printable import one_line
    from staged_training.runtime.processes import is_main_process
    from vision_transfer import candidates as images
    from vision_transfer.backbones import PACKAGED
    from vision_transfer.classifier_report import publish_image_classifier
    from vision_transfer.image_task import read_image_task

    with start_run(arguments, "pet-classifier") as run:
        task = read_image_task(arguments.data or DATA, column)
        for sentence in task.remarks:
            print(one_line(sentence))
        top_layers = replace(
            images.TOP_LAYERS, train=arguments.train, learning_rate=arguments.learning_rate
        )
        candidate = images.BackboneCandidate(
            name=Path(arguments.backbone).absolute().name,
            task=task,
            backbone=arguments.backbone,
            cache=run.runs,
            hidden=arguments.hidden,
            views=arguments.views,
            top_layers=top_layers if arguments.fine_tune else None,
            report_to=arguments.report_to,
        )
        candidate = candidate.quick() if arguments.quick else candidate
        result = images.cross_validate_heads(run, candidate, arguments.folds, arguments.seed)
        if arguments.refit:  # a head only: fine-tuning needs validation to choose its epoch
            result = replace(result, candidates=[replace(candidate, top_layers=None)])
        saved = images.save_chosen(run, result, refit=arguments.refit)
        if is_main_process():
            licensed = arguments.data is None and arguments.backbone in PACKAGED
            publish_image_classifier(run, "Pet classifier", CARD, result, saved, licensed=licensed)
            print_next("nlp-transfer", "predict", run.path, "YOUR_PHOTOS")


def check_arguments(arguments: Arguments) -> None:
    """Refuse unusable arguments, before any work."""
    if arguments.views < 0:
        raise InputError(f"--views is {arguments.views}; give how many views, 0 for none.")
    if any(width < 1 for width in arguments.hidden):
        raise InputError(f"--hidden is {arguments.hidden}; give widths of 1 and more.")
    stage = arguments.train, arguments.learning_rate
    if stage != (Arguments.train, Arguments.learning_rate) and not arguments.fine_tune:
        raise InputError("--train and --learning-rate are of --fine-tune; give that too.")


if __name__ == "__main__":
    sys.exit(run_script(main))
