"""Rotation pretraining: photos without labels teach a base, a few labels do the rest.

What it does:
  1. reads labelled photos, and an archive of others without labels; by default the pets that come
     with it, whose training photos are the archive;
  2. learns a base from random weights by telling which way up each photo is (RotNet);
  3. on 25 to 200 labels, each drawn five times: trains a model from scratch, a linear probe on the
     frozen base, the base fine-tuned (the head on the frozen base first, then all layers), and a
     linear probe on a frozen model that ImageNet taught; measures all on the same photos, which
     nothing was learnt from;
  4. says whether the archive paid, and keeps the base and a classifier that was fine-tuned on it.

Where a model that ImageNet taught knows such images, as it does pets, it is by far the better base,
and the report says so: this is for images that are like none of ImageNet's.

What it prints: the table of models, whether the archive paid, and where the base and the report
are. It stops before any work where the input cannot be used.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BaseImageProcessor, PreTrainedModel

from recipes.few_label_comparison import Comparison, available_counts, check_counts
from recipes.pet_classifier import DATA
from recipes.rotation_pretraining_report import BASE, Findings, print_findings, write_findings
from staged_training import InputError
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.tracking import end_tracking
from staged_training.recipe import RunArguments, check_positive, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.files import written_whole
from staged_training.runtime.processes import is_main_process
from vision_transfer.backbones import save_classifier, untrained_backbone
from vision_transfer.few_labels import LabelledImages
from vision_transfer.image_task import ImageTask, Skipped, content, read_image_task, read_photos
from vision_transfer.images import Photos
from vision_transfer.pretext.rotation import TURNS, TurnedImages, middle_square, random_square
from vision_transfer.pretext.training import train_pretext

SHOWN = 8

SCRATCH_RATE, BASE_RATE = 3e-4, 3e-3
"""Peak learning rates from scratch and of a base: each the best of those tried, at 50 labels, on
another fold than is measured on."""

IN_MEMORY = 2**30  # bytes; more photos than fit are decoded whenever they are learnt from


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
        None,
        "Column of the labels; `label` by default, and `species` of the pets.",
    )
    archive: str | None = option(
        None,
        "Photos without labels: a folder, at any depth. By default the labelled ones, but for"
        " those that are measured on.",
    )
    architecture: str = option(
        "resnet10t",
        "Model of timm that learns from the archive, from random weights.",
    )
    size: int = option(64, "Height and width of what the model sees, in pixels.")
    epochs: int = option(100, "How often the archive is learnt from.")
    counts: list[int] = option(
        [25, 50, 100, 200],
        "Numbers of labels to learn with; those that the data have are taken.",
    )
    steps: int = option(300, "Steps of training on labels, of 32 photos each.")
    seeds: int = option(5, "How often each number of labels is drawn.")
    quick: bool = option(
        False,
        "A first look: a tenth of the epochs, 100 steps, and two draws of 50 labels.",
    )


class Data(NamedTuple):
    """The photos.

    Attributes:
        task: Those with labels.
        rows: Of the task, those to draw a few from, and those to measure on.
        archive: Those that the base learns from, without labels.
        side: Of what they are decoded to, in pixels.
        skipped: Photos that could not be decoded.
    """

    task: ImageTask
    rows: tuple[list[int], list[int]]
    archive: list[Path]
    side: int
    skipped: list[Skipped]

    def labelled(self, part: int, size: int) -> LabelledImages:
        """The photos to draw from (0), or those to measure on (1), their middle as it is."""
        rows = self.rows[part]
        photos = Photos([self.task.paths[row] for row in rows], self.side)
        return LabelledImages(photos, np.asarray(self.task.labels)[rows], middle_square(size))

    def seen_by(self, processor: BaseImageProcessor) -> tuple[Any, Any]:
        """Both parts as a pretrained model takes them."""
        train, test = (self.task.dataset(rows, processor) for rows in self.rows)
        return train, test


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "rotation-pretraining", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    check_arguments(arguments)
    untrained(arguments, TURNS)
    data = read_data(arguments)
    destination = arguments.destination()
    train, test = (data.labelled(part, arguments.size) for part in (0, 1))
    counts = available_counts([50] if arguments.quick else arguments.counts, train)

    labels = data.task.labels, data.task.names, data.task.folds
    run.open([*data.task.paths, *data.archive], *labels)
    scores = run.run_cached("rotation", partial(learn_base, arguments, data))
    comparison = Comparison(
        base=BASE,
        train=train,
        test=test,
        names=data.task.names,
        augment=random_square(arguments.size),
        new_model=partial(untrained, arguments, data.task.names),
        as_photos=data.seen_by,
        asked=50,
        steps=min(100, arguments.steps) if arguments.quick else arguments.steps,
        scratch_rate=SCRATCH_RATE,
        base_rate=BASE_RATE,
    )
    draws = 2 if arguments.quick else arguments.seeds
    efficiency = comparison.run(run, run.runs / "rotation" / "base", counts, draws, arguments.seed)
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        shipped=arguments.data is None and arguments.archive is None,
        architecture=arguments.architecture,
        size=arguments.size,
        names=data.task.names,
        source=data.task.source,
        sizes=(len(data.archive), len(train), len(test)),
        epochs=epochs_of(arguments),
        turns=scores["turns"],
        seconds=scores["seconds"],
        efficiency=efficiency,
        examples=load_file(run.runs / "rotation" / "examples.safetensors"),
        skipped=data.skipped,
        quick=arguments.quick,
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def check_arguments(arguments: Arguments) -> None:
    """Refuse numbers that nothing can be learnt with."""
    check_positive(arguments, "epochs", "steps", "seeds")
    if arguments.size < 16:
        raise InputError(f"--size is {arguments.size}; give 16 pixels or more.")
    check_counts(arguments.counts)


def epochs_of(arguments: Arguments) -> int:
    """How often the archive is learnt from."""
    return max(1, arguments.epochs // 10) if arguments.quick else arguments.epochs


def read_data(arguments: Arguments) -> Data:
    """Read the photos; the first fold is measured on."""
    column = arguments.label_column or ("label" if arguments.data else "species")
    task = read_image_task(arguments.data or DATA, column)
    if len(task.names) != 2:
        raise InputError(
            f"{task.source}: column '{column}' has {len(task.names)} labels, and this recipe "
            "compares by the area under the ROC curve, which takes two. Give another "
            "--label-column."
        )
    split = task.split(task.fold_numbers[0])
    train, test = sorted([*split.train, *split.validation]), sorted(split.test)
    archive, skipped = [task.paths[row] for row in train], list(task.skipped)
    if arguments.archive:
        found, broken = read_photos(arguments.archive)
        measured = {content(task.paths[row]) for row in test}
        archive = [file for file in found if content(file) not in measured]
        skipped += broken
    for item in skipped:
        print(f"Left out: {item}.")
    for note in task.notes:
        print(note)
    return Data(task, (train, test), archive, 2 * arguments.size, skipped)


def untrained(
    arguments: Arguments, names: Sequence[str], seed: int = 0
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A model with random weights, and its processor."""
    return untrained_backbone(arguments.architecture, names, arguments.size, seed=seed)


def learn_base(arguments: Arguments, data: Data, folder: Path) -> dict[str, Any]:
    """Learn a base by telling turns; write it to `base/` and some examples beside it.

    Returns:
        How many photos of each turn are told right and how many there are, of those that are
        measured on, and the seconds that it took.
    """
    print("Learning from photos without labels which way up they are", flush=True)
    start = time.perf_counter()
    size = arguments.size
    model, processor = untrained(arguments, TURNS, arguments.seed)
    photos = Photos(data.archive, data.side)
    fit = len(photos) * 3 * data.side * (1.5 * data.side) < IN_MEMORY
    held_out = TurnedImages(data.labelled(1, size).images, size, augmented=False)
    trainer = train_pretext(
        model,
        TurnedImages(list(photos) if fit else photos, size, augmented=True),
        held_out,
        folder,
        epochs=epochs_of(arguments),
        seed=arguments.seed,
        report_to=arguments.report_to,
    )
    end_tracking(arguments.report_to)
    result = trainer.predict(held_out)
    told = np.argmax(result.predictions, -1)
    right = told == result.label_ids
    rows = {"told right": np.flatnonzero(right), "told wrong": np.flatnonzero(~right)}
    random = np.random.default_rng(arguments.seed)
    examples = {
        name: torch.stack([held_out[int(row)]["pixel_values"] for row in chosen])
        for name, found in rows.items()
        if len(chosen := random.permutation(found)[:SHOWN])
    }
    with written_whole(folder / "examples.safetensors") as path:
        save_file(examples, path)
    save_classifier(model, processor, folder / "base")
    turns = [right[result.label_ids == turn] for turn in range(len(TURNS))]
    return {
        "turns": [[int(of_turn.sum()), len(of_turn)] for of_turn in turns],
        "seconds": time.perf_counter() - start,
    }


if __name__ == "__main__":
    main()
