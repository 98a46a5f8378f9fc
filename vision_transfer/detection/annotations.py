"""Boxes as people have them: COCO's JSON, Pascal VOC's XML, or a column of a table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd
from pandas.api.types import is_scalar

from staged_training.errors import InputError
from staged_training.tables import check_columns
from vision_transfer.image_task import is_file_name, read_table, table_in

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Marked(NamedTuple):
    """A box that somebody drew.

    Attributes:
        where: The file and the place in it, for messages.
        label: Its class.
        corners: x1, y1, x2 and y2 in pixels, not checked.
    """

    where: str
    label: str
    corners: Sequence[float]


class AnnotatedImage(NamedTuple):
    """An image and the boxes in it, none for one that shows nothing of interest.

    Attributes:
        file: Where it is.
        boxes: What is marked in it.
        fold: Its fold, if it came with one.
    """

    file: Path
    boxes: list[Marked]
    fold: object = None


def read_annotations(
    source: Path, images: Path | None, box_column: str, label_column: str | None
) -> list[AnnotatedImage]:
    """Read the boxes of images, whichever way they are written down.

    Args:
        source: A COCO file (.json); a folder with `Annotations/` and `JPEGImages/`, as Pascal VOC;
            a folder with a `metadata.jsonl` or .csv; or such a table.
        images: The folder of the images, if they are not where the format has them.
        box_column: Of a table, the column of boxes: x1, y1, x2 and y2 of the only one, nothing for
            none; or as `datasets` has them, `bbox` (x, y, width and height) and `categories`.
        label_column: Of a table, the column of the class. Without it there is one class, called
            after the column of boxes: `head` for `head_box`.

    Raises:
        InputError: It is none of these, or a part of it cannot be read; the place is named.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    if source.suffix == ".json":
        return _read_coco(source, images or source.parent)
    if (source / "Annotations").is_dir():
        return _read_voc(source, images or source / "JPEGImages")
    return _read_table(source, images, box_column, label_column)


def _read_coco(file: Path, images: Path) -> list[AnnotatedImage]:
    """COCO's detection format (Lin et al. 2014); what is marked as a crowd is left out."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
        by_id = {
            item["id"]: AnnotatedImage(images / item["file_name"], []) for item in content["images"]
        }
        annotations = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file}: is not in COCO's format ({type(error).__name__}: {error}). It takes lists "
            "`images`, `annotations` and `categories`."
        ) from error
    for number, item in enumerate(annotations, start=1):
        where = f"{file}: annotation {number} (id {item.get('id')})"
        if item.get("iscrowd"):
            continue
        if item.get("image_id") not in by_id:
            raise InputError(
                f"{where} is of image {item.get('image_id')}, which is not in `images`."
            )
        if item.get("category_id") not in names:
            raise InputError(
                f"{where} is of category {item.get('category_id')}, which is not in `categories`: "
                f"{', '.join(f'{i} ({name})' for i, name in names.items())}."
            )
        corners = _from_size(where, item.get("bbox"))
        label = names[item["category_id"]]
        by_id[item["image_id"]].boxes.append(Marked(where, label, corners))
    return list(by_id.values())


def _read_voc(folder: Path, images: Path) -> list[AnnotatedImage]:
    """Pascal VOC's format (Everingham et al. 2010), whose pixels count from 1."""
    found = []
    for file in sorted((folder / "Annotations").glob("*.xml")):
        try:
            tree = ElementTree.parse(file).getroot()
            name = tree.findtext("filename") or f"{file.stem}.jpg"
            boxes = []
            for number, item in enumerate(tree.iter("object"), start=1):
                where = f"{file}: object {number}"
                corners = [float(item.findtext(f"bndbox/{side}") or "nan") for side in _CORNERS]
                label = item.findtext("name")
                if not label:
                    raise InputError(f"{where} has no name. Say of which class it is.")
                x1, y1, x2, y2 = corners
                boxes.append(Marked(where, label, (x1 - 1, y1 - 1, x2, y2)))
        except (ElementTree.ParseError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file}: cannot be read as annotations of VOC: {error}") from error
        found.append(AnnotatedImage(images / name, boxes))
    if not found:
        raise InputError(f"{folder / 'Annotations'}: no .xml file in it.")
    return found


def _read_table(
    source: Path, images: Path | None, box_column: str, label_column: str | None
) -> list[AnnotatedImage]:
    file = (table_in(source) or source) if source.is_dir() else source
    columns = {"file_name": None, box_column: "box_column"}
    if label_column:
        columns[label_column] = "label_column"
    table = read_table(file, *columns)
    check_columns(file, list(table.columns), columns)
    unnamed = [row for row, name in enumerate(table["file_name"], 1) if not is_file_name(name)]
    if unnamed:
        raise InputError(f"{file}: row {unnamed[0]} has no file name. Fill or delete it.")
    folder = images or file.parent
    folds = table["fold"] if "fold" in table else [None] * len(table)
    only = box_column.removesuffix("_box")
    labels = table[label_column] if label_column else [only] * len(table)
    return [
        AnnotatedImage(folder / name, _of_row(f"{file}: row {row}", cell, str(label)), fold)
        for row, (name, cell, label, fold) in enumerate(
            zip(table["file_name"], table[box_column], labels, folds, strict=True), start=1
        )
    ]


def _of_row(where: str, cell: Any, label: str) -> list[Marked]:
    """The boxes in a cell of a table."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell) if cell.strip() else None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: {cell!r} is no box. Write [x1, y1, x2, y2].") from error
    if isinstance(cell, dict):
        boxes: Any = cell.get("bbox")
        classes: Any = cell.get("categories", cell.get("category"))
        if is_scalar(boxes) or is_scalar(classes) or len(classes) != len(boxes):
            raise InputError(f"{where}: needs lists `bbox` and `categories` of the same length.")
        pairs = zip(boxes, classes, strict=True)
        return [Marked(where, str(name), _from_size(where, box)) for box, name in pairs]
    if is_scalar(cell):
        if pd.isna(cell):
            return []
        raise InputError(f"{where}: {cell!r} is no box. Write [x1, y1, x2, y2].")
    return [Marked(where, label, cell)] if len(cell) else []


def _from_size(where: str, box: Any) -> tuple[float, float, float, float]:
    """Corners of a box that is given by its first corner, its width and its height."""
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {box!r} is no box. It takes four numbers, [x, y, width, height]."
        ) from error
    return x, y, x + width, y + height
