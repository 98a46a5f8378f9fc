"""Files of captions as people have them: tables, Flickr8k, COCO; each caption with its row."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from staged_training.errors import InputError, Problem
from vision_transfer.image_task import is_file_name, read_table

CAPTION_COLUMNS = ("captions", "caption", "text")
_FLICKR = ("captions.txt", "Flickr8k.token.txt")
_NAMES = (  # of a file of captions in a folder, the best first
    "captions.jsonl",
    "captions.csv",
    "captions.parquet",
    *_FLICKR,
    "metadata.jsonl",
    "metadata.csv",
    "metadata.parquet",
)
_IMAGE_FOLDERS = ("Images", "images", "Flicker8k_Dataset")  # so spelt where it is from


@dataclass(frozen=True)
class CaptionRow:
    """A caption of an image, as a file has it.

    Attributes:
        image: The name of the image.
        caption: What is said of it.
        where: The file and the row, for messages.
        fold: The fold of the image, where the file has one.
    """

    image: str
    caption: str
    where: str
    fold: Any = None


@dataclass(frozen=True)
class CaptionFile:
    """What a file of captions holds.

    Attributes:
        path: The file.
        rows: Its captions, in their order.
        problems: What was left out, and why.
    """

    path: Path
    rows: list[CaptionRow]
    problems: list[Problem]


def read_captions(source: Path) -> CaptionFile:
    """Read captions from any of the layouts that are known.

    Args:
        source: A folder or a file. Tables (`captions.jsonl`, `metadata.jsonl` or .csv, .parquet)
            have a column `file_name`, and one of `CAPTION_COLUMNS` with a caption or a list of
            them; a column `fold` may stand in a `metadata.jsonl` beside them too. Flickr8k has
            `captions.txt` (`image,caption`) or `Flickr8k.token.txt` (`name.jpg#0`, a tab, the
            caption). COCO has JSON with `images` and `annotations`.

    Raises:
        InputError: There is no such file, or a row of it cannot be used.
    """
    path = _file_in(source) if source.is_dir() else source
    if not path.exists():
        raise InputError(f"{path}: no such file or folder. Check the path of the captions.")
    problems: list[Problem] = []
    if path.suffix == ".json":
        rows = list(_coco(path, problems))
    elif path.suffix == ".txt":
        rows = list(_flickr(path))
    else:
        rows = list(_table(path))
    if not rows:
        raise InputError(f"{path}: has no captions. Give a file with at least one.")
    return CaptionFile(path, rows, problems)


def image_folder(file: CaptionFile) -> Path:
    """Where the images of a file of captions are: beside it, or in a sub-folder that is usual."""
    beside = file.path.parent
    candidates = [beside, *(beside / name for name in _IMAGE_FOLDERS)]
    found = (f for row in file.rows for f in candidates if (f / row.image).exists())
    return next(found, beside)


def _file_in(folder: Path) -> Path:
    """The file of captions in a folder."""
    for name in _NAMES:
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob("*.json"))
    if len(found) != 1:
        raise InputError(
            f"{folder}: no file of captions in it that is known. Give the file itself: a table "
            f"with columns 'file_name' and 'caption', {' or '.join(_FLICKR)} of Flickr8k, or the "
            "JSON file of COCO."
        )
    return found[0]


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
    """The fold of each image, where the table or the `metadata.jsonl` beside it has one."""
    beside = path.parent / "metadata.jsonl"
    if "fold" not in table and beside.exists() and beside != path:
        path, table = beside, read_table(beside, "file_name")
    if "fold" not in table or "file_name" not in table:
        return {}
    folds: dict[str, Any] = {}
    for number, (name, fold) in enumerate(zip(table["file_name"], table["fold"], strict=True), 1):
        if folds.setdefault(name, fold) != fold:
            raise InputError(
                f"{path}: row {number} puts {name} into fold {fold}, and a row before it into "
                f"fold {folds[name]}. Correct one of them."
            )
    return folds


def _flickr(path: Path) -> Iterator[CaptionRow]:
    separator = "," if path.name == "captions.txt" else "\t"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 ({error}). Convert it.") from error
    for number, line in enumerate(lines, 1):
        name, found, caption = line.partition(separator)
        if not line.strip() or (number == 1 and name == "image"):
            continue
        if not found or not name:
            expected = "image,caption" if separator == "," else "name.jpg#0, a tab and the caption"
            raise InputError(f"{path}: line {number} is not {expected}: {line[:60]!r}. Correct it.")
        caption = caption.strip()
        if len(caption) > 1 and caption[0] == caption[-1] == '"':  # as CSV quotes a comma
            caption = caption[1:-1].replace('""', '"')
        yield CaptionRow(name.partition("#")[0], caption, f"{path}: line {number}")


def _coco(path: Path, problems: list[Problem]) -> Iterator[CaptionRow]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not JSON as COCO has it, with 'images' (each with 'id' and 'file_name') "
            f"and 'annotations': {type(error).__name__} {error}."
        ) from error
    described = set()
    for number, annotation in enumerate(annotations, 1):
        where = f"{path}: annotation {number}"
        fields = annotation if isinstance(annotation, dict) else {}
        caption, image = fields.get("caption"), fields.get("image_id")
        if not isinstance(caption, str):
            raise InputError(
                f"{where} has no 'caption'. Give the file of captions (captions_*.json), not that "
                "of instances or keypoints."
            )
        if image not in names:
            raise InputError(
                f"{where} is about image_id {image!r}, which is none of the 'images' of the file. "
                "Delete it, or add the image."
            )
        described.add(image)
        yield CaptionRow(names[image], caption, where)
    without = [name for number, name in names.items() if number not in described]
    problems += [Problem(name, "has no caption") for name in without]
