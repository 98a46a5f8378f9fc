"""CT inpainting: an archive of scans without labels teaches a base, a few labels do the rest.

What it does:
  1. reads an archive of CT scans without labels, and a small labelled set;
  2. trains a base on the archive to fill holes that are cut into it (context encoder);
  3. on 25 to 600 labels, each drawn five times: trains a model from scratch, a linear probe on the
     frozen base, the base fine-tuned (the head on the frozen base first, then all layers), and a
     linear probe on a frozen ImageNet model; tests all on the same scans;
  4. says whether pretraining paid, and keeps the base and a classifier that was fine-tuned on it.

By default the lesions are SIMULATED, drawn into real CT slices: they show that the steps work, and
nothing about cancer. --data takes real scans with a table of their labels.

What it costs: some twenty minutes on two cores, and less than four with --quick, for a first look.
What it prints: the table of models, whether pretraining paid, and where the base and the report
are. It stops before any work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from staged_training.data_checks import check_images, check_table
from staged_training.recipe import (
    RunArguments,
    check_positive,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError

CARD = Path(__file__).parent / "cards" / "ct_inpainting.md"

SIZE, SPACING = 64, 0.7
"""Height and width of simulated scans in pixels, and of a pixel in mm."""

RATES = (5e-4, 2e-3)
"""Peak learning rates from scratch and of a base: each the best of those tried, at 100 labels, on
other simulated scans than the recipe makes."""


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    archive: str | None = option(
        None,
        "Scans without labels: a folder of DICOM or NIfTI files, at any depth. By default "
        "that of --data; without that, 6,000 simulated scans.",
    )
    data: str | None = option(
        None,
        "Labelled scans: a folder of DICOM or NIfTI files. By default 600 simulated scans, "
        "and 1,000 to test on.",
    )
    labels: str | None = option(
        None,
        "Table (.csv) of the labels of --data: a column `label` (two or more different ones), and "
        "one of `file` (a file or a folder within --data; with `index` a slice of a volume), "
        "`series` (UID) and `patient` (ID).",
    )
    size: int = option(SIZE, "Height and width of the model's input, in pixels.")
    spacing: float = option(SPACING, "Width of a pixel that slices are resampled to, in mm.")
    window: list[float] = option(
        [50.0, 250.0], "Centre and width of the window of the scans, in Hounsfield units."
    )
    architecture: str = option("test_resnet", "Model of timm to train from random weights.")
    output_stride: int = option(8, "Pixels for each of its last features; less keeps detail.")
    epochs: int = option(27, "Passes over the archive.")
    counts: list[int] = option(
        [25, 50, 100, 300, 600],
        "Numbers of labels to learn with, as far as the data have them.",
    )
    steps: int = option(300, "Training steps on labels, of 32 scans each.")
    seeds: int = option(5, "Number of draws for each number of labels.")
    quick: bool = option(
        False,
        "A first look: a quarter of the epochs, 150 steps, two draws of 25 and 100 labels.",
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "ct-inpainting", __doc__)
    check_arguments(arguments)
    if arguments.quick:
        epochs, steps = max(1, arguments.epochs // 4), min(150, arguments.steps)
        arguments = replace(arguments, epochs=epochs, steps=steps, counts=[25, 100], seeds=2)

    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.run_folder import start_run
    from staged_training.runtime.processes import is_main_process
    from vision_transfer.ct import pretraining as ct
    from vision_transfer.ct.pooling_report import compare_pooled_slices
    from vision_transfer.ct.simulated import LABELS, NOTICE
    from vision_transfer.pretext.bases import INPAINTING, describe_inpainting, learn_by_inpainting
    from vision_transfer.pretext.comparison import FewLabelComparison, available_counts
    from vision_transfer.pretext.report import describe_pretraining, publish_pretraining

    with start_run(arguments, "ct-inpainting") as run:
        centre, width = arguments.window
        slices = ct.SliceFormat(arguments.size, arguments.spacing, (centre, width))
        architecture, stride = arguments.architecture, arguments.output_stride
        seed, epochs, steps = arguments.seed, arguments.epochs, arguments.steps
        new_model = partial(
            ct.untrained_ct_model, architecture, slices=slices, output_stride=stride
        )
        new_model(LABELS)  # an architecture that cannot be used is refused here
        if arguments.data and arguments.labels:
            data = ct.read_ct_data(arguments.data, arguments.labels, arguments.archive, slices)
        else:
            data = ct.simulated_ct_data(slices.window, seed)
        counts = available_counts(arguments.counts, data.labelled.train)

        run.open()
        learn = partial(learn_by_inpainting, data, new_model, epochs=epochs, seed=seed)
        scores = run.run_cached("inpainting", partial(learn, report_to=arguments.report_to))
        pretrained = run.runs / "inpainting"
        comparison = FewLabelComparison(
            "inpainting base", data.labelled, new_model, asked=100, steps=steps, rates=RATES
        )
        efficiency = comparison.run(run, pretrained / "base", counts, arguments.seeds, seed)
        pooled = compare_pooled_slices(run, data, efficiency)
        if not is_main_process():
            return
        simulated = arguments.data is None
        publish_pretraining(
            run,
            "CT inpainting",
            data,
            efficiency,
            CARD,
            pretrained=pretrained,
            protocol=describe_pretraining(
                data, architecture, epochs, INPAINTING, quick=arguments.quick
            ),
            skill=describe_inpainting(scores),
            picture="held-out scans as they were, with holes, and filled",
            model_title="CT lesions" if simulated else "CT classifier",
            dataset=("CT scans", "ct-scans"),
            shipped=simulated,
            tags=["ct"],
            notice=NOTICE if simulated else "",
            values=slices._asdict(),
            pooled=pooled,
        )
        print_next("nlp-transfer", "predict", run.path, "YOUR_SCANS")


def check_arguments(arguments: Arguments) -> None:
    """Refuse values that nothing can be learnt with, and conflicts, before any work."""
    check_positive(arguments, "size", "spacing", "output_stride", "epochs", "steps", "seeds")
    if len(arguments.window) != 2 or not arguments.window[1] > 0:
        raise InputError(
            f"--window is {arguments.window}; give a centre and a positive width, such as 50 250."
        )
    if min(arguments.counts) < 10:
        raise InputError(f"--counts is {arguments.counts}; give numbers of 10 and more.")
    if (arguments.data is None) != (arguments.labels is None):
        raise InputError("--data and --labels go together: scans, and the table of their labels.")
    if arguments.archive and not arguments.data:
        raise InputError("--archive needs --data and --labels: real scans that are labelled.")
    if not arguments.data and (arguments.size, arguments.spacing) != (SIZE, SPACING):
        raise InputError("--size and --spacing are for scans of your own; give --data too.")
    check_images(arguments.data)
    check_images(arguments.archive)
    check_table(arguments.labels, "label")


if __name__ == "__main__":
    sys.exit(run_script(main))
