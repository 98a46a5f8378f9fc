"""An image classification task: labelled images, checked, dealt into folds."""

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import BaseImageProcessor

from staged_training.experiment.splits import (
    Indices,
    fold_split,
    given_folds,
    stratified_folds,
    torn_groups,
)
from staged_training.experiment.target import SingleLabel
from staged_training.experiment.task import LabelledTask
from staged_training.runtime.errors import InputError, given_path
from staged_training.tables import reading as tables
from staged_training.tables.labels import check_labels, tidy_labels
from staged_training.tables.parts import part_of
from vision_transfer.hub_images import hub_images
from vision_transfer.image_folders import find_images, holds_images, rows_of_folders
from vision_transfer.images import BrokenImageError, check_image, load_rgb, random_view

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # by preference
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Skipped(NamedTuple):
    """An image that could not be decoded, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path.name} {self.reason}"


class ImageDataset(Dataset[dict[str, Any]]):
    """Images as a processor prepares them, with their labels; decoded when asked for.

    Args:
        paths: The files.
        labels: Their label numbers, or for subclasses lists of them.
        processor: What prepares them.
        views: Augmented views of each image, the same ones whenever they are asked for. They follow
            behind the images: view v of image i is number `v * len(paths) + i`, where view 0 is the
            image itself.

    Raises:
        InputError: The processor is that of a model of gray images or stacks.
    """

    def __init__(
        self,
        paths: Sequence[Path],
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
        labels: Their label numbers.
        skipped: Images that could not be decoded.
        unusual: How many images were unusual in which way, see `check_image`.
        notes: Further sentences about the images, for the report.
    """

    paths: list[Path]
    labels: list[int]
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

    def dataset(
        self, rows: Iterable[int], processor: BaseImageProcessor, views: int = 0
    ) -> ImageDataset:
        """Return some of the images, each also in a number of augmented views."""
        rows = list(rows)
        paths, labels = [self.paths[row] for row in rows], [self.labels[row] for row in rows]
        return ImageDataset(paths, labels, processor, views)


def read_image_task(source: str | Path, label_column: str = "label") -> ImageTask:
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
        label_column: The column of the labels.

    Raises:
        InputError: There are no such images, fewer than two labels, a label seen once, or folds
            that cannot be used.

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
    if not path.exists() and not _HUB_NAME.fullmatch(str(source)):
        raise InputError(f"{path}: no such file or folder. Check the path.")
    if not path.exists() or _is_dataset(path):
        images = read_image_task(hub_images(source, label_column), label_column)
        return replace(images, source=path)
    table, left_out = _read_rows(path, label_column)
    folder = path if path.is_dir() else path.parent
    files = [folder / name for name in table["file_name"]]
    skipped, unusual = checked_images(files)
    broken = {item.path for item in skipped}
    kept = [row for row, file in enumerate(files) if file not in broken]
    if not kept:
        first = skipped[0]
        raise InputError(f"{path}: no image could be decoded; {first}.")
    table = table.iloc[kept]
    paths = [files[row] for row in kept]
    labels = tidy_labels(path, map(str, table["label"]))
    check_labels(path, [file.name for file in paths], labels, "image")
    names = sorted(set(labels))
    groups = group_numbers(map(content, paths))
    notes = [f"Left out: {sentence}." for sentence in left_out]
    notes += _copies_with_other_labels(table["file_name"], labels, groups)
    given, told = _given_folds(path, table, labels, groups)
    folds = stratified_folds(labels, groups) if given is None else given
    numbers = [names.index(label) for label in labels]
    return ImageTask(
        source=path,
        folds=folds,
        own_folds=given is not None,
        paths=paths,
        labels=numbers,
        target=SingleLabel(names),
        skipped=skipped,
        unusual=unusual,
        notes=notes + told,
    )


def _given_folds(
    source: Path, table: pd.DataFrame, labels: Sequence[str], groups: Sequence[int]
) -> tuple[Indices | None, list[str]]:
    """Return the folds or parts that came with images, if usable, and notes for the report."""
    told = []
    if "fold" in table:
        folds = given_folds(source, table["fold"].tolist(), groups, labels)
    elif "split" in table and table["split"].nunique() > 1:
        learnt = {
            label for label, part in zip(labels, table["split"], strict=True) if part == "train"
        }
        if unlearnt := sorted({*labels} - learnt):
            return None, [
                "The parts that came with the images are not used: no image to train on has the "
                f"label '{unlearnt[0]}'. They were dealt anew."
            ]
        folds = given_folds(source, table["split"].tolist(), groups, labels)
        train, validation, test = map(len, fold_split(folds, 0))
        told.append(
            f"The parts that came with the images are used: {train:,} images to train on, "
            f"{validation:,} to validate on, {test:,} to test on."
        )
    else:
        return None, []
    return folds, told + [f"{problem}." for problem in torn_groups(source, folds, groups)]


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


def _is_dataset(path: Path) -> bool:
    """Return whether a folder holds a data set in the files of `datasets`, images and all."""
    if not path.is_dir() or holds_images(path):
        return False
    return any(not file.stem.startswith("metadata") for file in path.rglob("*.parquet"))


def _read_rows(path: Path, label_column: str) -> tuple[pd.DataFrame, list[str]]:
    """Read the columns `file_name`, `label` and, where there are such, `fold` and `split`.

    Beside them what else lies in the folder, see `rows_of_folders`.
    """
    if not path.is_dir():
        return _rows_of_table(path, label_column), []
    if found := table_in(path):
        return _rows_of_table(found, label_column), []
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    tables = {folder.name: found for folder in folders if (found := table_in(folder))}
    if not tables:
        return rows_of_folders(path)
    without = [f.name for f in folders if f.name not in tables and holds_images(f)]
    if without:
        raise InputError(
            f"{path}: {next(iter(tables.values())).relative_to(path)} describes the images of its "
            f"folder, and {without[0]} has no such table. Add one, or give a folder alone."
        )
    parts = []
    for name, table in tables.items():
        rows = _rows_of_table(table, label_column)
        rows["file_name"] = name + "/" + rows["file_name"]
        if "split" not in rows and (part := part_of(name)):
            rows["split"] = part
        parts.append(rows)
    return pd.concat(parts, ignore_index=True), []


def _rows_of_table(path: Path, label_column: str) -> pd.DataFrame:
    table = read_table(path, "file_name", label_column)
    tables.check_columns(
        path, list(table.columns), {"file_name": None, label_column: "label_column"}
    )
    cells = zip(table["file_name"], table[label_column], strict=True)
    for row, (name, label) in enumerate(cells, start=1):
        labelled = pd.api.types.is_scalar(label) and not pd.isna(label) and str(label).strip()
        if not is_file_name(name) or not labelled:
            raise InputError(f"{path}: row {row} has no file name or no label. Fill or delete it.")
    rows = pd.DataFrame({"file_name": table["file_name"], "label": table[label_column]})
    if "fold" in table:
        rows["fold"] = table["fold"]
    elif "split" in table:
        rows["split"] = [part_of(str(cell)) for cell in table["split"]]
        if rows["split"].isna().any():
            row = int(rows["split"].isna().argmax())
            raise InputError(
                f"{path}: row {row + 1}: the column 'split' says '{table['split'][row]}'. Write "
                "train, validation or test, or give the column another name."
            )
    return rows


def read_table(path: Path, *as_text: str) -> pd.DataFrame:
    """Read a table of images.

    Args:
        path: The file.
        as_text: Columns that are texts whatever they look like, see `tables.read_table`.

    Raises:
        InputError: It is of another kind than `tables.SUFFIXES`, has no rows, or is damaged.
    """
    if not tables.table_suffix(path):
        raise InputError(
            f"{path}: not a kind of file that can be read here. Give a folder of images, or a "
            f"table ({', '.join(tables.SUFFIXES)}) with a column 'file_name'."
        )
    return pd.DataFrame(tables.read_table(path, as_text).to_pydict())


def is_file_name(cell: Any) -> bool:
    """Return whether a cell of a table names a file."""
    return isinstance(cell, str) and bool(cell.strip())


def table_in(folder: Path) -> Path | None:
    """Return the table of a folder of images, `metadata` of any kind, if it has one."""
    return next((folder / name for name in _METADATA if (folder / name).exists()), None)


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
