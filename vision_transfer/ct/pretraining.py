"""CT scans as data of pretraining: simulated, or read with the table of their labels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.runtime.errors import InputError, Problem
from vision_transfer.backbones import untrained_backbone
from vision_transfer.ct.dataset import extent, read_ct
from vision_transfer.ct.labels import patients_of, read_labels, split_by_patient
from vision_transfer.ct.simulated import LABELS, simulated_scans
from vision_transfer.ct.windows import WindowedSlices
from vision_transfer.few_labels import LabelledImages
from vision_transfer.pretext.data import LabelledBags, LabelledSplit, PretrainingData

if TYPE_CHECKING:
    from datasets import Dataset

ARCHIVE, LABELLED, TEST = 6000, 600, 1000
"""Scans that are simulated without labels, with labels, and to test on."""

_SHIFT = 4  # pixels


class SliceFormat(NamedTuple):
    """How slices are laid out for a model.

    Attributes:
        size: Height and width, in pixels.
        spacing: Height and width of a pixel, in mm.
        window: Centre and width, in Hounsfield units.
    """

    size: int
    spacing: float
    window: tuple[float, float]


def simulated_ct_data(window: tuple[float, float], seed: int) -> PretrainingData:
    """Simulate scans, half of them with benign lesions.

    Args:
        window: Centre and width in Hounsfield units.
        seed: Random seed; other seeds give other scans.

    Raises:
        InputError: The real slices that scans are made of are not installed.
    """
    counts = (ARCHIVE, LABELLED, TEST)
    archive, train, test = (
        simulated_scans(count, 3 * seed + 1000 + number) for number, count in enumerate(counts)
    )
    sizes = [f"{count:,} simulated slices" for count in counts]
    return _data(
        [scans.hounsfield for scans in (archive, train, test)],
        (train.labels, test.labels),
        LABELS,
        window,
        (sizes[0], sizes[1], sizes[2]),
    )


def read_ct_data(
    source: str, labels: str, archive: str | None, slices: SliceFormat
) -> PretrainingData:
    """Read labelled scans, split by patient, and an archive of others.

    Args:
        source: A folder of DICOM or NIfTI files.
        labels: The table of their labels, see `read_labels`.
        archive: A folder of scans without labels; by default all of `source`. Those of patients
            who are tested on are left out.
        slices: How slices are laid out.

    Raises:
        InputError: Scans or labels cannot be read, or a label is of too few patients.
    """
    reading = read_ct(source, slices.size, slices.spacing)
    rows, numbers, names, by = read_labels(Path(labels), reading.dataset, Path(source))
    labelled = reading.dataset.select(rows)
    patients = np.asarray(labelled["patient"])
    split = split_by_patient(numbers, patients, names)
    learnt = np.sort(np.concatenate([split.train, split.validation]))
    problems = list(reading.problems)
    known = patients_of(labelled.select(split.test), Path(source))
    if archive:
        other = read_ct(archive, slices.size, slices.spacing)
        problems += other.problems
        unlabelled = _of_others(other.dataset, Path(archive), {*known.values()})
        if left_out := len(other.dataset) - len(unlabelled):
            told = f"has {left_out:,} slices of patients who are tested on, which are left out"
            problems.append(Problem(archive, told))
    else:
        kept = [n for n, p in enumerate(reading.dataset["patient"]) if p not in known]
        unlabelled = reading.dataset.select(kept)
    parts = [unlabelled, labelled.select(learnt), labelled.select(split.test)]
    sizes = [extent(part) for part in parts]
    data = _data(
        [part.with_format("numpy")["hounsfield"] for part in parts],
        (numbers[learnt], numbers[split.test]),
        names,
        slices.window,
        (sizes[0], sizes[1], f"{sizes[2]}, of other patients: the split is by patient"),
        problems,
    )
    if by == "file":
        return data
    bags = np.asarray(labelled[by])
    train, test = ((bags[part], patients[part]) for part in (learnt, split.test))
    return replace(data, bags=LabelledBags(by, train, test)) if _has_several(bags) else data


def _of_others(dataset: "Dataset", source: Path, tested: set[str]) -> "Dataset":
    """Return the slices of a data set that are of no patient who is tested on."""
    known = patients_of(dataset, source)
    kept = [row for row, number in enumerate(dataset["patient"]) if known[number] not in tested]
    if not kept:
        raise InputError(
            f"{source}: all of its scans are of patients who are tested on. Give an archive of "
            "others, or none."
        )
    return dataset.select(kept)


def _has_several(bags: NDArray[np.int64]) -> bool:
    return len(np.unique(bags)) < len(bags)


def _data(
    hounsfield: Sequence[Any],
    labels: tuple[Any, Any],
    names: Sequence[str],
    window: tuple[float, float],
    sizes: tuple[str, str, str],
    left_out: Sequence[object] = (),
) -> PretrainingData:
    """Scale the archive, train and test as a network takes them."""
    archive, train, test = (WindowedSlices(units, window) for units in hounsfield)
    labelled = LabelledSplit(
        LabelledImages(train, labels[0]),
        LabelledImages(test, labels[1]),
        names,
        augment_slice,
        _as_photos,
    )
    return PretrainingData(archive, labelled, sizes, left_out)


def augment_slice(pixels: torch.Tensor) -> torch.Tensor:
    """Mirror a slice, rotate it by quarters and move it by a few pixels, at random.

    Args:
        pixels: `[channels, height, width]`, as high as wide.

    Returns:
        The same shape, with no values but those of the slice.
    """
    if torch.rand(()) < 0.5:
        pixels = pixels.flip(-1)
    pixels = pixels.rot90(int(torch.randint(4, ())), (-2, -1))
    moves = torch.randint(-_SHIFT, _SHIFT + 1, (2,)).tolist()
    rows, columns = (
        (torch.arange(side) + move).clamp(0, side - 1)
        for side, move in zip(pixels.shape[-2:], moves, strict=True)
    )
    return pixels[:, rows][:, :, columns].contiguous()


def untrained_ct_model(
    architecture: str,
    labels: Sequence[str],
    *,
    slices: SliceFormat,
    output_stride: int,
    seed: int = 0,
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """Return a model with random weights that keeps the slice format, and its processor.

    Args:
        architecture: Of timm, see `untrained_backbone`, also for `labels` and `output_stride`.
        labels: The names of the labels.
        slices: How slices are laid out.
        output_stride: Pixels for each of its last features.
        seed: Random seed of the weights.

    Raises:
        InputError: timm has no such architecture, or it cannot have this stride.
    """
    model, processor = untrained_backbone(architecture, labels, slices.size, 1, output_stride, seed)
    cast(Any, model.config).ct = slices._asdict()
    return model, processor


def _as_photos(part: LabelledImages, _: BaseImageProcessor) -> LabelledImages:
    return LabelledImages(part.images, part.labels, as_photo)


def as_photo(pixels: torch.Tensor) -> torch.Tensor:
    """Return a slice as a photo model takes it: three channels, twice as large."""
    larger = torch.nn.functional.interpolate(
        pixels[None], scale_factor=2, mode="bilinear", antialias=True
    )
    return larger[0].expand(3, -1, -1)
