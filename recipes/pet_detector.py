"""Pet detector: from a pretrained image model to one that detects the heads of pets, in stages.

What it does, on each fold:
  1. puts the head of Fast R-CNN, with a network that proposes regions, on the feature maps of a
     pretrained image model;
  2. freezes the whole base, computes its maps of the training images and of some augmented views
     once, and trains the head on them; the epoch with the best validation score is kept;
  3. with --fine-tune, trains the top layers of the base together with the head, each layer at a
     smaller rate than the one above, and keeps the result only where validation improves;
  4. measures COCO's average precision, also of a box that is the same in every image.
The model of the first fold is kept. By default the data are the heads of 370 pets.

What it costs: about a minute and a half for each fold on two cores, and 0.4 GB of memory for maps.
What it prints: the table of models, and where the model and the report are. It stops before any
work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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
from staged_training.runtime.printable import one_line

if TYPE_CHECKING:
    from vision_transfer.detection.task import DetectionTask

DATA = RECIPES / "data" / "pets"
CARD = Path(__file__).parent / "cards" / "pet_detector.md"


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    data: str | None = option(
        None,
        "Images with boxes: COCO (.json), YOLO (data.yaml), a folder of COCO, Pascal VOC or YOLO, "
        "also as Roboflow exports it, or a table (.csv, .jsonl, .parquet; metadata.jsonl in a "
        "folder), see --box-column. Without folds, or parts such as train, valid and test, they "
        "are dealt into five folds. By default the 370 photos that come with it.",
    )
    images: str | None = option(None, "Folder of the images, if it is not where the format has it.")
    box_column: str | None = option(
        None,
        "Of a table, the column of boxes: x1, y1, x2 and y2 in pixels, or lists `bbox` and "
        "`categories`. `objects` by default, and `head_box` of the shipped photos.",
    )
    label_column: str | None = option(
        None, "Of a table, the column of classes; by default there is one class."
    )
    backbone: str = option(
        "efficientnet-lite0",
        "Pretrained model of timm: efficientnet-lite0, -lite1 or -lite2 (from packages), a "
        "folder, or a name on the Hub such as timm/resnet50.a1_in1k.",
    )
    size: int = option(256, "Height and width of the model's input in pixels, by 32.")
    views: int = option(3, "Augmented views of each training image; their maps are kept.")
    epochs: int = option(5, "Epochs of the head, over images and views.")
    fine_tune: bool = option(False, "Fine-tune the top layers after the head.")
    folds: str = option("all", "`all`, or the number of the fold to test on.")
    quick: bool = option(False, "A first look: one view, and two epochs of the head.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "pet-detector", __doc__)
    check_arguments(arguments)
    if arguments.quick:
        epochs, views = min(2, arguments.epochs), min(1, arguments.views)
        arguments = replace(arguments, epochs=epochs, views=views)

    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.cross_validation import cross_validate
    from staged_training.experiment.run_folder import start_run
    from staged_training.experiment.splits import chosen_folds
    from staged_training.runtime.processes import is_main_process
    from staged_training.stages import Stage
    from vision_transfer.backbones import PACKAGED
    from vision_transfer.candidates import TOP_LAYERS
    from vision_transfer.detection.candidates import DetectorCandidate, mean_box_baseline
    from vision_transfer.detection.evaluation import require_metrics
    from vision_transfer.detection.pretrained import load_detector
    from vision_transfer.detection.report import publish_detector

    with start_run(arguments, "pet-detector") as run:
        require_metrics()
        task = read_task(arguments)
        folds = chosen_folds(arguments.folds, task.folds)
        load_detector(arguments.backbone, task.names, arguments.size)  # or it is refused here

        epochs, top = arguments.epochs, "backbone[-2:], head"
        stages = [Stage("head on the frozen base", "head", epochs=epochs, learning_rate=1e-3)]
        if arguments.fine_tune:
            epochs = 1 if arguments.quick else TOP_LAYERS.epochs
            name = "fine-tuned top layers"
            stages.append(replace(TOP_LAYERS, name=name, train=top, epochs=epochs))
        candidate = DetectorCandidate(
            task=task,
            stages=stages,
            backbone=arguments.backbone,
            size=arguments.size,
            views=arguments.views,
            seed=arguments.seed,
            report_to=arguments.report_to,
        )
        run.open(task.paths, task.contents)
        baselines = partial(mean_box_baseline, task)
        seeds = [arguments.seed]
        result = cross_validate(run, task, [candidate], "map", folds, seeds, baselines)
        run.publish(result.chosen_model)
        if not is_main_process():
            return
        publish_detector(
            run,
            "Pet detector",
            candidate,
            result,
            CARD,
            dataset="Pets, few labels",
            licensed=arguments.data is None and arguments.backbone in PACKAGED,
        )
        print_next("nlp-transfer", "predict", run.path, "YOUR_PHOTOS")


def check_arguments(arguments: Arguments) -> None:
    """Refuse unusable arguments, before any work."""
    check_positive(arguments, "epochs")
    if arguments.views < 0:
        raise InputError(f"--views is {arguments.views}; give how many views, 0 for none.")
    if arguments.size < 64 or arguments.size % 32:
        raise InputError(f"--size is {arguments.size}; give a multiple of 32 from 64 on.")
    columns = {"box_column": arguments.box_column or "objects"}
    if arguments.label_column:
        columns["label_column"] = arguments.label_column
    check_images(arguments.data, **columns)


def read_task(arguments: Arguments) -> "DetectionTask":
    """Read the images with their boxes; print what is left out."""
    from vision_transfer.detection.task import read_detection_task

    column = arguments.box_column or ("objects" if arguments.data else "head_box")
    source = arguments.data or DATA
    task = read_detection_task(source, arguments.images, column, arguments.label_column)
    for item in task.skipped:
        print(one_line(f"Left out: {item}."))
    for problem in task.problems:
        print(one_line(f"{problem}."))
    return task


if __name__ == "__main__":
    sys.exit(run_script(main))
