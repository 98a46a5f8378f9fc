"""Boxes from COCO's JSON, Pascal VOC's XML, YOLO's texts, or a column of a table."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_scalar

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.labelled_images import is_file_name, read_table, table_in
from staged_training.tables.parts import parts_of
from staged_training.tables.reading import check_columns
from vision_transfer.detection.coco import coco_files, read_coco, read_coco_folder
from vision_transfer.detection.marked import AnnotatedImage, Marked, corners_from_size
from vision_transfer.detection.voc import read_voc, voc_files
from vision_transfer.detection.yolo import DESCRIPTIONS, read_yolo, yolo_source


def read_annotations(
    source: Path,
    images: Path | None,
    box_column: str,
    label_column: str | None,
    problems: list[Problem] | None = None,
) -> list[AnnotatedImage]:
    """Read the boxes of images, in any of the known formats.

    Args:
        source: A COCO file (.json); a folder with such files, with .xml files as Pascal VOC's
            `Annotations/`, or with text files as YOLO's; the data.yaml of one; a folder with a
            `metadata.jsonl` or .csv, or with folders that have one; or such a table. Folders or
            files called train, valid and test are the parts of a split, and so are the lists of VOC
            and of a data.yaml.
        images: The folder of the images, if they are not where the format has them.
        box_column: Of a table, the column of boxes: x1, y1, x2 and y2 of one, nothing for none; or
            as `datasets` has them, `bbox` (x, y, width and height) and `categories`. An image may
            have a row for each of its boxes.
        label_column: Of a table, the column of the class. Without it there is one class, called
            after the column of boxes: `head` for `head_box`.
        problems: What is left out is added here.

    Raises:
        InputError: It is none of these, or a part of it cannot be read; the place is named.
    """
    problems = [] if problems is None else problems
    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    if source.suffix.lower() == ".json":
        found = read_coco(source, images, problems)
    elif source.is_file() and source.suffix.lower() in DESCRIPTIONS:
        found = read_yolo(source, images, problems)
    elif tables := _tables(source):
        parts = parts_of([table.parent.name for table in tables])
        found = [
            image._replace(fold=part or image.fold)
            for table, part in zip(tables, parts, strict=True)
            for image in _read_table(table, images, box_column, label_column)
        ]
    else:
        found = _of_folder(source, images, problems)
    return _check_files(source, found)


def _tables(source: Path) -> list[Path]:
    """Return a table, that of a folder, or those of its folders of parts."""
    if source.is_file():
        return [source]
    if (source / "Annotations").is_dir():
        return []
    folders = [source] if table_in(source) else filter(Path.is_dir, sorted(source.iterdir()))
    return [table for folder in folders if (table := table_in(folder))]


def _of_folder(folder: Path, images: Path | None, problems: list[Problem]) -> list[AnnotatedImage]:
    """Return the boxes of a folder in one of the formats of label tools."""
    voc = voc_files(folder)
    is_voc = voc and (folder / "Annotations").is_dir()
    if not is_voc and (coco := coco_files(folder)):
        return read_coco_folder(folder, coco, images, problems)
    if voc:
        return read_voc(folder, voc, images, problems)
    if yolo := yolo_source(folder):
        return read_yolo(yolo, images, problems)
    raise InputError(
        f"{folder}: holds no boxes in a format that is known. Give a folder with COCO's .json, "
        "with VOC's .xml files, with YOLO's data.yaml or classes.txt, or with a metadata.jsonl."
    )


def _check_files(source: Path, annotated: list[AnnotatedImage]) -> list[AnnotatedImage]:
    """Refuse an image that is listed twice, each time with a part of its boxes."""
    counts = Counter(image.file for image in annotated)
    if twice := [file.name for file, count in counts.items() if count > 1]:
        raise InputError(
            f"{source}: {len(twice)} images stand in it more than once, such as {twice[0]}. Put "
            "all boxes of an image together, or give images in different folders different names."
        )
    return annotated


def _read_table(
    file: Path, images: Path | None, box_column: str, label_column: str | None
) -> list[AnnotatedImage]:
    columns = {"file_name": None, box_column: "box_column"}
    if label_column:
        columns[label_column] = "label_column"
    table = read_table(file, *columns)
    check_columns(file, list(table.columns), columns)
    unnamed = [row for row, name in enumerate(table["file_name"], 1) if not is_file_name(name)]
    if unnamed:
        raise InputError(f"{file}: row {unnamed[0]} has no file name. Fill or delete it.")
    folder = images or file.parent
    parts = parts_of(list(map(str, table["split"]))) if "split" in table else [None] * len(table)
    folds = table.get("fold", parts)
    only = box_column.removesuffix("_box")
    labels = table[label_column] if label_column else [only] * len(table)
    found: dict[str, AnnotatedImage] = {}
    rows = zip(table["file_name"], table[box_column], labels, folds, strict=True)
    for row, (name, cell, label, fold) in enumerate(rows, start=1):
        where = f"{file}: row {row}"
        image = found.setdefault(name, AnnotatedImage(folder / name, [], fold))
        if str(fold) != str(image.fold):
            raise InputError(
                f"{where} puts {name} into fold {fold}, and one before into {image.fold}."
            )
        image.boxes.extend(_of_row(where, cell, str(label)))
    return list(found.values())


def _of_row(where: str, cell: Any, label: str) -> list[Marked]:
    """Return the boxes in a cell of a table."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell) if cell.strip() else None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: {cell!r} is not a box. Write [x1, y1, x2, y2].") from error
    if isinstance(cell, dict):
        boxes: Any = cell.get("bbox")
        classes: Any = cell.get("categories", cell.get("category"))
        if is_scalar(boxes) or is_scalar(classes) or len(classes) != len(boxes):
            raise InputError(f"{where}: needs lists `bbox` and `categories` of the same length.")
        pairs = zip(boxes, classes, strict=True)
        return [Marked(where, str(name), corners_from_size(where, box)) for box, name in pairs]
    if is_scalar(cell):
        if pd.isna(cell):
            return []
        raise InputError(f"{where}: {cell!r} is not a box. Write [x1, y1, x2, y2].")
    return [Marked(where, label, cell)] if len(cell) else []
