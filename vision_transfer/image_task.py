"""An image classification task: labelled images, checked, dealt into folds."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from staged_training.experiment.dealing import check_folds, deal_folds, given_parts
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.splits import (
    Indices,
    given_folds,
    torn_groups,
)
from staged_training.experiment.target import (
    Regression,
    SingleLabel,
    Target,
    positive_number,
    target_of,
)
from staged_training.experiment.task import LabelledTask
from staged_training.runtime.errors import InputError, given_path
from staged_training.runtime.photos import BrokenImageError, check_image, load_rgb
from staged_training.tables.labelled_images import labels_of
from staged_training.tables.labels import LabelFormat
from vision_transfer.hub_images import hub_images
from vision_transfer.image_folders import find_images
from vision_transfer.image_tables import HUB_NAME, is_dataset, read_labelled_rows
from vision_transfer.images import random_view


class Skipped(NamedTuple):
    """An image that could not be decoded, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name} {self.reason}"


class ImageDataset(Dataset[dict[str, Any]]):
    """Images as a processor prepares them, with their labels; decoded when asked for.

    Args:
        paths: The files; or images, of which there is no fingerprint.
        labels: The values of their labels, see `Labels`; for subclasses lists of them.
        processor: What prepares them.
        views: Augmented views of each image, the same ones whenever they are asked for. They follow
            behind the images: view v of image i is number `v * len(paths) + i`, where view 0 is the
            image itself.

    Raises:
        InputError: The processor is that of a model of gray images or stacks.
    """

    def __init__(
        self,
        paths: Sequence[Any],
        labels: Sequence[Any],
        processor: BaseImageProcessor,
        views: int = 0,
    ) -> None:
        channels = getattr(processor, "data_config", {"input_size": [3]})["input_size"][0]
        if channels != 3:
            raise InputError(
                f"The model sees images of {channels} channel(s), and photos have 3. Give a model "
                "that was trained on photos."
            )
        self.paths, self.labels, self.processor = list(paths), list(labels), processor
        self.views = views

    def __len__(self) -> int:
        return len(self.paths) * (1 + self.views)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        view, row = divmod(index, len(self.paths))
        image = load_rgb(self.paths[row])
        if view:
            image = random_view(image, index)
        pixels = self.processor(image, return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels[0], "labels": torch.tensor(self.labels[row])}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the images of a batch, decoded in parallel; `DataLoader` asks for all at once."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self.__getitem__, indices))

    @property
    def fingerprint(self) -> str:
        """Changes with any file, the order of files and the processor; see `features_key`."""
        digest = hashlib.sha256(f"{self.processor!r} {self.views}".encode())
        for path in self.paths:
            state = path.stat()
            digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}\0".encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class ImageTask(LabelledTask):
    """What an image classifier learns from and is measured on.

    Attributes:
        paths: The files.
        labels: The values of their labels, see `Labels`.
        skipped: Images that could not be decoded.
        unusual: How many images were unusual in which way, see `check_image`.
        notes: Further sentences about the images, for the report.
    """

    paths: list[Path]
    labels: list[Any]
    skipped: list[Skipped]
    unusual: dict[str, int]
    notes: list[str]

    @property
    def values(self) -> NDArray[Any]:
        """What is true of each image."""
        return np.asarray(self.labels)

    @property
    def contents(self) -> list[Any]:
        """What a run depends on besides the files: labels and folds."""
        return [self.labels, self.names, self.folds]

    @property
    def remarks(self) -> list[str]:
        """Sentences that say which images were left out, and the notes."""
        return [*(f"Left out: {item}." for item in self.skipped), *self.notes]

    def scaled(self, scaling: Scaling) -> "ImageTask":
        """Return the same with numbers as they are learnt."""
        return replace(self, labels=[scaling.scale(value) for value in self.labels])

    def dataset(
        self, rows: Iterable[int], processor: BaseImageProcessor, views: int = 0
    ) -> ImageDataset:
        """Return some of the images, each also in a number of augmented views."""
        rows = list(rows)
        paths, labels = [self.paths[row] for row in rows], [self.labels[row] for row in rows]
        return ImageDataset(paths, labels, processor, views)


def read_image_task(
    source: str | Path,
    label_column: str = "label",
    positive_label: str | None = None,
    *,
    label_separator: str | None = None,
    task: Literal["classification", "regression"] = "classification",
) -> ImageTask:
    """Read labelled images; those that cannot be decoded are left out, and reported in `skipped`.

    A column `fold` says which fold each image belongs to. Without it a column `split`, or folders
    such as `train` and `test`, say which images to train on and to test on. Without these the
    images are dealt into five folds with equal shares of each label, copies of a file in the same
    one.

    Args:
        source: A folder with `metadata.jsonl` or `metadata.csv` (a column `file_name`, and one of
            labels), or with one sub-folder per label; or with sub-folders for parts of the data
            that are such; or such a table itself (.csv, .jsonl, .parquet); or a data set with a
            column of images, by its name on the Hub or its folder.
        label_column: The column of the labels. If it holds lists, an image has any number of
            labels.
        positive_label: The label that matters; by default all matter alike.
        label_separator: What parts the labels of an image, where it has any number of them.
        task: Whether labels are names, or numbers to be predicted.

    Raises:
        InputError: There are no such images, labels that cannot be learnt from, see `read_labels`,
            or folds that cannot be used.

    Examples:
        >>> for label in ("cat", "dog"):
        ...     Path("photos", label).mkdir(parents=True)
        ...     for number in range(5):
        ...         _ = Path("photos", label, f"{number}.jpg").write_bytes(
        ...             Path("dog.jpg").read_bytes() + bytes([number])  # copies would share a fold
        ...         )
        >>> task = read_image_task("photos")
        >>> task.names, len(task.paths), task.fold_numbers
        (['cat', 'dog'], 10, [0, 1, 2, 3, 4])
    """
    path = given_path(source)
    written = LabelFormat(label_column, label_separator, task)
    if not path.exists() or is_dataset(path):
        if not path.exists() and not HUB_NAME.fullmatch(str(source)):
            raise InputError(f"{path}: no such file or folder. Check the path.")
        folder = hub_images(source, label_column)
        return replace(_read(folder, written, positive_label), source=path)
    return _read(path, written, positive_label)


def _read(path: Path, written: LabelFormat, positive_label: str | None) -> ImageTask:
    table, labels, left_out = read_labelled_rows(path, written)
    positive = positive_number(path, labels, positive_label) if positive_label else None
    folder = path if path.is_dir() else path.parent
    files = [folder / name for name in table["file_name"]]
    skipped, unusual = checked_images(files)
    broken = {item.path for item in skipped}
    kept = [row for row, file in enumerate(files) if file not in broken]
    if not kept:
        raise InputError(f"{path}: no image could be decoded; {skipped[0]}.")
    if skipped:  # and with them perhaps all that have some label
        table = table.iloc[kept]
        labels = labels_of(path, table, written)
        positive = positive_number(path, labels, positive_label) if positive_label else None
    paths = [files[row] for row in kept]
    target, values = target_of(labels, positive), np.asarray(labels.values)
    groups = group_numbers(map(content, paths))
    notes = [f"Left out: {sentence}." for sentence in left_out]
    notes += _copies_with_other_labels(
        table["file_name"], [target.describe_value(value) for value in values], groups
    )
    given, told = _given_folds(path, table, target, values, groups)
    folds = deal_folds(path, target, values, groups) if given is None else given
    check_folds(path, target, values, folds)
    return ImageTask(
        source=path,
        folds=folds,
        own_folds=given is not None,
        paths=paths,
        labels=labels.values,
        target=target,
        skipped=skipped,
        unusual=unusual,
        notes=notes + told,
    )


def _given_folds(
    source: Path,
    table: pd.DataFrame,
    target: Target,
    values: NDArray[Any],
    groups: Sequence[int],
) -> tuple[Indices | None, list[str]]:
    """Return the folds or parts that came with images, if usable, and notes for the report."""
    told = []
    if "fold" in table:
        numbers = isinstance(target, Regression)
        labels = None if numbers else [target.describe_value(value) for value in values]
        folds = given_folds(source, table["fold"].tolist(), groups, labels)
    elif "split" in table and table["split"].nunique() > 1:
        cells = table["split"].tolist()
        parts, sentence = given_parts(source, cells, target, values, groups, "image")
        if parts is None:
            return None, [sentence]
        folds = parts
        told.append(sentence)
    else:
        return None, []
    return folds, told + [f"{problem}." for problem in torn_groups(source, folds, groups)]


def check_one_label(task: ImageTask) -> None:
    """Refuse images of which each may have several labels, or a number.

    Raises:
        InputError: They are such.
    """
    if not isinstance(task.target, SingleLabel):
        raise InputError(
            f"{task.source}: here each image must have one label. Choose another column by "
            "`label_column`.",
            ["label_column"],
        )


def group_numbers(keys: Iterable[Hashable]) -> list[int]:
    """Return a number for each key; equal keys, such as contents of copies, share one."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _copies_with_other_labels(
    names: Iterable[str], labels: Sequence[str], groups: Sequence[int]
) -> list[str]:
    """Report copies of an image that have different labels, if there are any."""
    by_group: dict[int, dict[str, str]] = {}
    for name, label, group in zip(names, labels, groups, strict=True):
        by_group.setdefault(group, {}).setdefault(label, name)
    torn = [list(by_label.items()) for by_label in by_group.values() if len(by_label) > 1]
    if not torn:
        return []
    (label, name), (other_label, other) = torn[0][:2]
    return [
        f"{len(torn):,} images are there under several labels, such as {name} ({label}), a copy "
        f"of {other} ({other_label}). Correct the labels."
    ]


def content(file: Path) -> bytes:
    """Return a digest of a file, which copies of it share."""
    return hashlib.sha256(file.read_bytes()).digest()


def read_photos(folder: str | Path) -> tuple[list[Path], list[Skipped]]:
    """Find the images in a folder, at any depth and without labels, and what was left out.

    Raises:
        InputError: There is no such folder, or no image in it.
    """
    path = given_path(folder)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder. Check the path of the images.")
    files, left_out = find_images(path)
    skipped, _ = checked_images(files)
    broken = {item.path for item in skipped}
    if len(broken) == len(files):
        raise InputError(f"{path}: no image in it that can be decoded.")
    skipped += [Skipped(path, f"holds {others}") for others in left_out]
    return [file for file in files if file not in broken], skipped


def checked_images(files: Sequence[Path]) -> tuple[list[Skipped], dict[str, int]]:
    """Return the images that cannot be decoded, and a count of each peculiarity of the others."""

    def check(file: Path) -> list[str] | Skipped:
        try:
            return check_image(file)
        except BrokenImageError as error:
            return Skipped(file, str(error))

    with ThreadPoolExecutor() as pool:  # decoders work without the interpreter's lock
        results = pool.map(check, files)
        found = list(tqdm(results, "images", total=len(files), delay=2, dynamic_ncols=True))
    unusual = Counter(way for ways in found if isinstance(ways, list) for way in ways)
    return [item for item in found if isinstance(item, Skipped)], dict(unusual.most_common())
