"""CT inpainting: an archive of scans without labels teaches a base, a few labels do the rest.

What it does:
  1. reads an archive of CT scans without labels, and a small labelled set;
  2. learns a base on the archive by filling holes that are cut into it (context encoder);
  3. on 25 to 600 labels, each drawn five times: trains a model from scratch, a linear probe on the
     frozen base, the base fine-tuned (the head on the frozen base first, then all layers), and a
     linear probe on a frozen model that ImageNet taught; measures all on the same test scans;
  4. says whether the archive paid, and keeps the base and a classifier that was fine-tuned on it.

By default the lesions are SIMULATED, drawn into real CT slices: they show that the steps work, and
nothing about cancer. --data takes real scans with a table of their labels.

What it costs: some twenty minutes on two cores, and less than four with --quick, for a first look.
What it prints: the table of models, whether the archive paid, and where the base and the report
are. It stops before any work where the input cannot be used.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import BaseImageProcessor, PreTrainedModel

from recipes.ct_inpainting_report import (
    BASE,
    Findings,
    print_findings,
    write_findings,
)
from recipes.data.ct_lesions import LABELS, SIDE, SPACING, simulated_scans
from recipes.few_label_comparison import Comparison, available_counts, check_counts
from staged_training import InputError
from staged_training.experiment.run_folder import RunFolder
from staged_training.experiment.tracking import end_tracking
from staged_training.recipe import RunArguments, check_positive, option, parse_arguments, run_config
from staged_training.reporting.hub import push
from staged_training.runtime.files import written_whole
from staged_training.runtime.processes import is_main_process
from vision_transfer.backbones import save_features, untrained_backbone
from vision_transfer.ct import WindowedSlices, read_ct
from vision_transfer.ct.dataset import extent
from vision_transfer.ct.labels import read_labels, split_by_patient
from vision_transfer.few_labels import LabelledImages
from vision_transfer.pretext.inpainting import (
    ContextEncoder,
    MaskedImages,
    filled,
    inpainting_scores,
)
from vision_transfer.pretext.training import train_pretext

if TYPE_CHECKING:
    from datasets import Dataset

ARCHIVE, LABELLED, TEST = 6000, 600, 1000
"""Scans that are simulated without labels, with labels, and to test on."""

HELD_OUT = 200  # scans of the archive that reconstruction is measured on, at the most
SHOWN = 8

SCRATCH_RATE, BASE_RATE = 5e-4, 2e-3
"""Peak learning rates from scratch and of a base: each the best of those tried, at 100 labels, on
other simulated scans than the recipe makes."""

SHIFT = 4  # pixels


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
        "Table (.csv) of the labels of --data: a column `label` (two or more different ones),"
        " and one of `file` (a file or a folder within --data; with `index` a slice of a "
        "volume), `series` (UID) and `patient` (ID).",
    )
    size: int = option(SIDE, "Height and width of what the model sees, in pixels.")
    spacing: float = option(SPACING, "Width of a pixel that slices are resampled to, in mm.")
    window: list[float] = option(
        [50.0, 250.0],
        "Centre and width of the window of the scans, in Hounsfield units.",
    )
    architecture: str = option(
        "test_resnet",
        "Model of timm that learns from the archive, from random weights.",
    )
    output_stride: int = option(8, "Pixels for each of its last features; less keeps detail.")
    epochs: int = option(27, "How often the archive is learnt from.")
    counts: list[int] = option(
        [25, 50, 100, 300, 600],
        "Numbers of labels to learn with; those that the data have are taken.",
    )
    steps: int = option(300, "Steps of training on labels, of 32 scans each.")
    seeds: int = option(5, "How often each number of labels is drawn.")
    quick: bool = option(
        False,
        "A first look: a quarter of the archive's epochs, 150 steps, two draws of 25 and 100 "
        "labels.",
    )


class Data(NamedTuple):
    """The scans, scaled to what a network takes.

    Attributes:
        archive: Without labels.
        train: With labels, to draw a few from.
        test: With labels.
        names: Of the labels.
        extents: How much there is of the three, in words.
        problems: What was left out in reading, and why.
    """

    archive: Sequence[torch.Tensor]
    train: LabelledImages
    test: LabelledImages
    names: Sequence[str]
    extents: tuple[str, str, str]
    problems: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the recipe.

    Raises:
        InputError: An argument or the data cannot be used; nothing has been written then.
    """
    arguments = parse_arguments(Arguments, argv, "ct-inpainting", __doc__)
    run = RunFolder(Path(arguments.output_dir), run_config(arguments), resume=arguments.resume)
    check_arguments(arguments)
    untrained(arguments, LABELS)
    data = read_data(arguments)
    destination = arguments.destination()
    counts = available_counts([25, 100] if arguments.quick else arguments.counts, data.train)

    run.open()
    scores = run.run_cached("inpainting", partial(learn_base, arguments, data))
    comparison = Comparison(
        base=BASE,
        train=data.train,
        test=data.test,
        names=data.names,
        augment=augmented,
        new_model=partial(untrained, arguments, data.names),
        as_photos=partial(as_photos, data),
        asked=100,
        steps=min(150, arguments.steps) if arguments.quick else arguments.steps,
        scratch_rate=SCRATCH_RATE,
        base_rate=BASE_RATE,
    )
    draws = 2 if arguments.quick else arguments.seeds
    efficiency = comparison.run(
        run, run.runs / "inpainting" / "base", counts, draws, arguments.seed
    )
    if not is_main_process():
        return
    findings = Findings(
        reference=destination.repo_id if destination else str(run.path),
        simulated=arguments.data is None,
        architecture=arguments.architecture,
        window=(arguments.window[0], arguments.window[1]),
        size=arguments.size,
        spacing=arguments.spacing,
        names=data.names,
        extents=data.extents,
        epochs=epochs_of(arguments),
        scores=scores,
        efficiency=efficiency,
        examples=load_file(run.runs / "inpainting" / "examples.safetensors"),
        problems=data.problems,
        quick=arguments.quick,
    )
    write_findings(run, findings, run_config(arguments))
    run.close()
    print_findings(run, findings)
    if destination:
        print(f"Uploaded to {push(run.path, destination)}")


def check_arguments(arguments: Arguments) -> None:
    """Refuse numbers and combinations that nothing can be learnt with."""
    check_positive(arguments, "size", "spacing", "output_stride", "epochs", "steps", "seeds")
    if len(arguments.window) != 2 or not arguments.window[1] > 0:
        raise InputError(
            f"--window is {arguments.window}; give a centre and a positive width, such as 50 250."
        )
    check_counts(arguments.counts)
    if (arguments.data is None) != (arguments.labels is None):
        raise InputError("--data and --labels go together: scans, and the table of their labels.")
    if arguments.archive and not arguments.data:
        raise InputError("--archive needs --data and --labels: real scans that are labelled.")
    if not arguments.data and (arguments.size, arguments.spacing) != (SIDE, SPACING):
        raise InputError("--size and --spacing are for scans of your own; give --data too.")


def epochs_of(arguments: Arguments) -> int:
    """How often the archive is learnt from."""
    return max(1, arguments.epochs // 4) if arguments.quick else arguments.epochs


def read_data(arguments: Arguments) -> Data:
    """Simulate scans, or read those that were given."""
    window = (arguments.window[0], arguments.window[1])
    if not arguments.data or not arguments.labels:
        seeds, simulated = 3 * arguments.seed + 1000, "simulated slices"
        archive, train, test = (
            simulated_scans(count, seeds + number)
            for number, count in enumerate((ARCHIVE, LABELLED, TEST))
        )
        return Data(
            WindowedSlices(archive.hounsfield, window),
            LabelledImages(WindowedSlices(train.hounsfield, window), train.labels),
            LabelledImages(WindowedSlices(test.hounsfield, window), test.labels),
            LABELS,
            (f"{ARCHIVE:,} {simulated}", f"{LABELLED:,} {simulated}", f"{TEST:,} {simulated}"),
            [],
        )
    reading = read_ct(arguments.data, arguments.size, arguments.spacing)
    problems = list(map(str, reading.problems))
    rows, labels, names = read_labels(Path(arguments.labels), reading.dataset, Path(arguments.data))
    chosen = reading.dataset.select(rows)
    patients = np.asarray(chosen["patient"])
    split = split_by_patient(labels, patients, names)
    learnt = np.sort(np.concatenate([split.train, split.validation]))
    if arguments.archive:
        unlabelled = read_ct(arguments.archive, arguments.size, arguments.spacing)
        problems += map(str, unlabelled.problems)
        archive = unlabelled.dataset
    else:  # all but the scans of the patients that are tested on
        tested = set(patients[split.test].tolist())
        kept = [n for n, p in enumerate(reading.dataset["patient"]) if p not in tested]
        archive = reading.dataset.select(kept)
    train, test = chosen.select(learnt), chosen.select(split.test)

    def scaled(part: "Dataset") -> WindowedSlices:
        return WindowedSlices(part.with_format("numpy")["hounsfield"], window)

    return Data(
        scaled(archive),
        LabelledImages(scaled(train), labels[learnt]),
        LabelledImages(scaled(test), labels[split.test]),
        names,
        (extent(archive), extent(train), extent(test)),
        problems,
    )


def augmented(pixels: torch.Tensor) -> torch.Tensor:
    """A scan mirrored, turned by quarters and moved by a few pixels, as it could have lain."""
    if torch.rand(()) < 0.5:
        pixels = pixels.flip(-1)
    pixels = pixels.rot90(int(torch.randint(4, ())), (-2, -1))
    moves = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    height, width = pixels.shape[-2:]
    rows, columns = (
        (torch.arange(side) + move).clamp(0, side - 1)
        for side, move in zip((height, width), moves, strict=True)
    )
    return pixels[:, rows][:, :, columns].contiguous()


def untrained(
    arguments: Arguments, names: Sequence[str], seed: int = 0
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """A model with random weights that knows how its scans are read, and its processor."""
    model, processor = untrained_backbone(
        arguments.architecture, names, arguments.size, 1, arguments.output_stride, seed
    )
    read = {name: getattr(arguments, name) for name in ("size", "spacing", "window")}
    cast(Any, model.config).ct = read
    return model, processor


def learn_base(arguments: Arguments, data: Data, folder: Path) -> dict[str, float]:
    """Learn a base by inpainting; write it to `base/` and some examples beside it.

    Returns:
        PSNR and SSIM on scans of the archive that were held out, and the seconds that it took.
    """
    print("Learning from the archive by filling holes", flush=True)
    start = time.perf_counter()
    order = np.random.default_rng(arguments.seed).permutation(len(data.archive)).tolist()
    held_out = min(HELD_OUT, max(1, len(order) // 10))
    images: Any = torch.utils.data.Subset(cast(Any, data.archive), order[held_out:])
    shown = MaskedImages([data.archive[row] for row in order[:held_out]], seed=arguments.seed)
    encoder, processor = untrained(arguments, data.names, arguments.seed)
    model = ContextEncoder.around(encoder, seed=arguments.seed)
    trainer = train_pretext(
        model,
        MaskedImages(images, augment=augmented),
        shown,
        folder,
        epochs=epochs_of(arguments),
        seed=arguments.seed,
        label="mask",
        report_to=arguments.report_to,
    )
    end_tracking(arguments.report_to)
    result = trainer.predict(shown)
    mask = torch.as_tensor(result.label_ids)
    whole = torch.stack(list(shown.images))
    made = torch.as_tensor(result.predictions)
    scores = inpainting_scores(whole, made, mask)
    blank = inpainting_scores(whole, _mean_around(whole, mask), mask)
    examples = {
        "original": whole,
        "masked": whole.masked_fill(mask, -1.0),
        "reconstructed": filled(whole, made, mask),
    }
    with written_whole(folder / "examples.safetensors") as path:
        save_file({k: v[:SHOWN].contiguous() for k, v in examples.items()}, path)
    save_features(model.encoder, processor, folder / "base")
    seconds = time.perf_counter() - start
    return {
        **scores._asdict(),
        **{f"mean_{name}": value for name, value in blank._asdict().items()},
        "seconds": seconds,
        "held_out": held_out,
    }


def _mean_around(images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Images of one value each, the mean outside of the holes: what a reconstruction must beat."""
    outside = ~mask
    mean = (images * outside).sum((1, 2, 3)) / (outside.sum((1, 2, 3)) * images.shape[1])
    return mean[:, None, None, None].expand_as(images)


def as_photos(data: Data, _: BaseImageProcessor) -> tuple[LabelledImages, LabelledImages]:
    """The labelled scans as a model of photos takes them."""
    train, test = data.train, data.test
    return (
        LabelledImages(train.images, train.labels, _as_photo),
        LabelledImages(test.images, test.labels, _as_photo),
    )


def _as_photo(pixels: torch.Tensor) -> torch.Tensor:
    """A scan as a model of photos takes it: three channels, twice as large."""
    larger = torch.nn.functional.interpolate(
        pixels[None], scale_factor=2, mode="bilinear", antialias=True
    )
    return larger[0].expand(3, -1, -1)


if __name__ == "__main__":
    main()
