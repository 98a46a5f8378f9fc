"""Files of captions: tables, Flickr8k and 30k, COCO; each with its row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.labelled_images import is_file_name, read_table
from staged_training.tables.parts import part_of, parts_of
from vision_transfer.captioning.coco import read_json
from vision_transfer.captioning.flickr import is_flickr, read_flickr
from vision_transfer.captioning.rows import CaptionRow
from vision_transfer.image_files import ImageFiles

CAPTION_COLUMNS = ("captions", "caption", "text")
_FLICKR = ("captions.txt", "Flickr8k.token.txt", "results_20130124.token", "results.csv")
_NAMES = (  # of a file of captions in a folder, the best first
    "captions.jsonl",
    "captions.csv",
    "captions.parquet",
    *_FLICKR,
    "metadata.jsonl",
    "metadata.csv",
    "metadata.parquet",
)


@dataclass(frozen=True)
class CaptionFile:
    """What a file of captions holds.

    Attributes:
        path: The file, or the folder of several.
        rows: Its captions, in their order.
        problems: What was left out, and why.
    """

    path: Path
    rows: list[CaptionRow]
    problems: list[Problem]


def read_captions(source: Path) -> CaptionFile:
    """Read captions in any of the known layouts.

    Args:
        source: A folder or a file. Tables (`captions.jsonl`, `metadata.jsonl` or .csv, .parquet)
            have a column `file_name`, and one of `CAPTION_COLUMNS` with a caption or a list of
            them; a column `fold` or `split` may stand in a `metadata.jsonl` beside them too.
            Flickr8k has `captions.txt` (`image,caption`) or `Flickr8k.token.txt` (`name.jpg#0`, a
            tab, the caption), Flickr30k `results.csv` or `results_20130124.token`; lists of images
            beside them, such as `Flickr_8k.trainImages.txt`, are the parts of a split. COCO has
            JSON with `images` and `annotations`, for each part one; Karpathy's has `sentences`.

    Raises:
        InputError: There is no such file, or a row of it cannot be used.
    """
    paths = _files_in(source) if source.is_dir() else [source]
    problems: list[Problem] = []
    rows = []
    for path, part in zip(paths, parts_of(list(map(_name, paths))), strict=True):
        found = _rows(path, problems)
        if not found:
            raise InputError(f"{path}: has no captions. Give a file with at least one.")
        rows += [replace(row, fold=part) for row in found] if part else found
    return CaptionFile(paths[0] if len(paths) == 1 else source, rows, problems)


def _rows(path: Path, problems: list[Problem]) -> list[CaptionRow]:
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Check the path of the captions.")
    if path.suffix == ".json":
        return list(read_json(path, problems))
    if is_flickr(path):
        return read_flickr(path, problems)
    return list(_table(path))


def image_files(file: CaptionFile, images: Path | None) -> Callable[[CaptionRow], Path]:
    """Return a finder of the image of a caption.

    Args:
        file: The captions.
        images: The folder of the images; by default that of the captions, or one that is usual.
    """
    beside = file.path if file.path.is_dir() else file.path.parent
    above = [beside.parent] if beside.name.lower().startswith("annotation") else []
    bases = [images] if images else [beside, *above]
    own = part_of(file.path.name) if all(row.fold is None for row in file.rows) else None
    found: dict[object, ImageFiles] = {}

    def find(row: CaptionRow) -> Path:
        part = row.fold if isinstance(row.fold, str) else own
        if part not in found:
            found[part] = ImageFiles(bases, part)
        return found[part].expect(row.image)

    return find


def _files_in(folder: Path) -> list[Path]:
    """Return the caption file in a folder, or those of the parts of a split."""
    for name in _NAMES:
        if (folder / name).exists():
            return [folder / name]
        found = sorted(folder.glob(f"*/{name}"))
        if len(found) > 1 and len(found) == len({part_of(_name(file)) for file in found}):
            return found
    found = sorted(folder.glob("[!.]*.json")) or sorted(folder.glob("annotations/[!.]*.json"))
    found = [file for file in found if "caption" in file.name.lower()] or found
    parts = {part_of(file.name) for file in found}
    if len(found) != len(parts) or not found:
        raise InputError(
            f"{folder}: no file of captions in it that is known. Give the file itself: a table "
            f"with columns 'file_name' and 'caption', {' or '.join(_FLICKR)} of Flickr, or the "
            "JSON file of COCO."
        )
    return found


def _name(path: Path) -> str:
    """Return the name that shows a file's part of a split: its own, else that of its folder."""
    return f"{path.name} {path.parent.name}"


def _table(path: Path) -> Iterator[CaptionRow]:
    table = read_table(path, "file_name", *CAPTION_COLUMNS)
    column = next((name for name in CAPTION_COLUMNS if name in table), None)
    if column is None or "file_name" not in table:
        raise InputError(
            f"{path}: needs a column 'file_name' and one of {', '.join(CAPTION_COLUMNS)}. Its "
            f"columns are: {', '.join(table.columns)}."
        )
    folds = _folds(path, table)
    for number, (name, cell) in enumerate(zip(table["file_name"], table[column], strict=True), 1):
        where = f"{path}: row {number}"
        if not is_file_name(name):
            raise InputError(f"{where} has no file name. Fill or delete it.")
        captions = [cell] if isinstance(cell, str) else cell
        usable = not pd.api.types.is_scalar(captions) and len(captions)
        if not usable or not all(isinstance(caption, str) for caption in captions):
            raise InputError(f"{where}: {name} has no caption. Fill or delete it.")
        for caption in captions:
            yield CaptionRow(name, caption, where, folds.get(name))


def _folds(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    """Return the fold of each image, where the table or the `metadata.jsonl` beside it has one."""
    beside = path.parent / "metadata.jsonl"
    if not {"fold", "split"} & {*table} and beside.exists() and beside != path:
        path, table = beside, read_table(beside, "file_name")
    if "split" in table and "fold" not in table:
        table = table.assign(fold=parts_of(list(map(str, table["split"]))))
    if "fold" not in table or "file_name" not in table:
        return {}
    folds: dict[str, Any] = {}
    for number, (name, fold) in enumerate(zip(table["file_name"], table["fold"], strict=True), 1):
        if is_file_name(name) and folds.setdefault(name, fold) != fold:
            raise InputError(
                f"{path}: row {number} puts {name} into fold {fold}, and a row before it into "
                f"fold {folds[name]}. Correct one of them."
            )
    return folds
