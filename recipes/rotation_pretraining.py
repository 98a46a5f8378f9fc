"""Rotation pretraining: photos without labels teach a base, a few labels do the rest.

What it does:
  1. reads labelled photos, and an archive of others without labels; by default the pets that come
     with it, whose training photos are the archive;
  2. trains a base from random weights to predict how each photo was rotated (RotNet);
  3. on 25 to 200 labels, each drawn five times: trains a model from scratch, a linear probe on the
     frozen base, the base fine-tuned (the head on the frozen base first, then all layers), and a
     linear probe on a frozen ImageNet model; tests all on the same photos, which
     nothing was learnt from;
  4. says whether pretraining paid, and keeps the base and a classifier that was fine-tuned on it.

Where a model that ImageNet taught knows such images, as it does pets, it is by far the better base,
and the report says so: this is for images that are like none of ImageNet's.

What it prints: the table of models, whether pretraining paid, and where the base and the report
are. It stops before any work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from staged_training.data_checks import check_images
from staged_training.recipe import (
    RECIPES,
    RunArguments,
    check_positive,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError

DATA = RECIPES / "data" / "pets"
CARD = Path(__file__).parent / "cards" / "rotation_pretraining.md"

RATES = (3e-4, 3e-3)
"""Peak learning rates from scratch and of a base: each the best of those tried, at 50 labels, on
another fold than is tested on."""


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Photos of two labels: a folder with one sub-folder per label, or with a "
        "metadata.jsonl that has a column file_name; such a table (.csv, .jsonl, .parquet); "
        "or a data set of the Hub, USER/NAME. By default the 370 pets that come with it.",
    )
    label_column: str | None = option(
        None, "Column of the labels; `label` by default, and `species` of the pets."
    )
    archive: str | None = option(
        None,
        "Photos without labels: a folder, at any depth. By default the labelled ones, except "
        "those that are tested on.",
    )
    architecture: str = option("resnet10t", "Model of timm to train from random weights.")
    size: int = option(64, "Height and width of the model's input, in pixels.")
    epochs: int = option(100, "Passes over the archive.")
    counts: list[int] = option(
        [25, 50, 100, 200],
        "Numbers of labels to learn with, as far as the data have them.",
    )
    steps: int = option(300, "Training steps on labels, of 32 photos each.")
    seeds: int = option(5, "Number of draws for each number of labels.")
    quick: bool = option(
        False, "A first look: a tenth of the epochs, 100 steps, and two draws of 50 labels."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "rotation-pretraining", __doc__)
    check_arguments(arguments)
    if arguments.quick:
        epochs, steps = max(1, arguments.epochs // 10), min(100, arguments.steps)
        arguments = replace(arguments, epochs=epochs, steps=steps, counts=[50], seeds=2)

    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.run_folder import start_run
    from staged_training.runtime.printable import one_line
    from staged_training.runtime.processes import is_main_process
    from vision_transfer.backbones import untrained_backbone
    from vision_transfer.image_task import read_image_task
    from vision_transfer.pretext.bases import ROTATION, describe_rotation, learn_by_rotation
    from vision_transfer.pretext.comparison import FewLabelComparison, available_counts
    from vision_transfer.pretext.data import photo_data
    from vision_transfer.pretext.report import describe_pretraining, publish_pretraining
    from vision_transfer.pretext.rotation import ROTATIONS

    with start_run(arguments, "rotation-pretraining") as run:
        architecture, size = arguments.architecture, arguments.size
        seed, epochs, steps = arguments.seed, arguments.epochs, arguments.steps
        new_model = partial(untrained_backbone, architecture, size=size)
        new_model(ROTATIONS)  # an architecture that cannot be used is refused here
        task = read_image_task(arguments.data or DATA, label_column(arguments))
        data = photo_data(task, arguments.archive, size)
        for note in [*(f"Left out: {item}." for item in data.left_out), *task.notes]:
            print(one_line(note))
        counts = available_counts(arguments.counts, data.labelled.train)

        run.open(data.files, task.labels, task.names, task.folds)
        learn = partial(learn_by_rotation, data, new_model, size=size, epochs=epochs, seed=seed)
        scores = run.run_cached("rotation", partial(learn, report_to=arguments.report_to))
        pretrained = run.runs / "rotation"
        comparison = FewLabelComparison(
            "rotation base", data.labelled, new_model, asked=50, steps=steps, rates=RATES
        )
        efficiency = comparison.run(run, pretrained / "base", counts, arguments.seeds, seed)
        if not is_main_process():
            return
        publish_pretraining(
            run,
            "Rotation pretraining",
            data,
            efficiency,
            CARD,
            pretrained=pretrained,
            protocol=describe_pretraining(
                data, architecture, epochs, ROTATION, quick=arguments.quick
            ),
            skill=describe_rotation(scores),
            picture="photos as the base saw them",
            model_title="Classifier on a rotation base",
            dataset=("Labelled photos", task.source.stem),
            shipped=arguments.data is None and arguments.archive is None,
        )
        classify = "nlp-transfer", "run", "pet-classifier", "--data", "YOUR_PHOTOS"
        print_next(*classify, "--backbone", run.path / "base")


def check_arguments(arguments: Arguments) -> None:
    """Refuse values that nothing can be learnt with, before any work."""
    check_positive(arguments, "epochs", "steps", "seeds")
    if arguments.size < 16:
        raise InputError(f"--size is {arguments.size}; give 16 pixels or more.")
    if min(arguments.counts) < 10:
        raise InputError(f"--counts is {arguments.counts}; give numbers of 10 and more.")
    check_images(arguments.data, label_column=label_column(arguments))
    check_images(arguments.archive)


def label_column(arguments: Arguments) -> str:
    """Return the column of the labels."""
    return arguments.label_column or ("label" if arguments.data else "species")


if __name__ == "__main__":
    sys.exit(run_script(main))
