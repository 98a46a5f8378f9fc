"""COCO's detection format (Lin et al. 2014), one file or one for each part of a split."""

import json
from collections import Counter
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.parts import part_of, parts_of
from vision_transfer.detection.marked import (
    AnnotatedImage,
    Marked,
    corners_from_size,
    frame_of,
)
from vision_transfer.image_files import ImageFiles, visible

_LISTS = ("images", "annotations", "categories")


def coco_files(folder: Path) -> list[Path]:
    """Return the files of a folder, or of the folders in it, that are in this format."""
    near = (folder, *folder.iterdir())
    return [file for file in visible(folder, ".json") if file.parent in near and _is_coco(file)]


def read_coco_folder(
    folder: Path, files: list[Path], images: Path | None, problems: list[Problem]
) -> list[AnnotatedImage]:
    """Read the file of each part of a split, or the only one.

    Raises:
        InputError: Several files are of one part, or one cannot be read.
    """
    parts = parts_of([str(file.relative_to(folder)) for file in files])
    twice = [part for part, count in Counter(parts).items() if count > 1]
    if twice:
        several = [f.name for f, part in zip(files, parts, strict=True) if part == twice[0]]
        raise InputError(
            f"{folder}: {' and '.join(several)} are in COCO's format and not called after "
            "different parts of a split. Give one of them."
        )
    return [
        image._replace(fold=part)
        for file, part in zip(files, parts, strict=True)
        for image in read_coco(file, images, problems)
    ]


def read_coco(file: Path, images: Path | None, problems: list[Problem]) -> list[AnnotatedImage]:
    """Read a file, without annotations that are marked as crowds.

    Args:
        file: The file.
        images: The folder of the images, by default that of the file, or beside its `annotations`.
        problems: What is left out is added here.

    Raises:
        InputError: It is not in this format.
    """
    above = [file.parent.parent] if file.parent.name.lower().startswith("annotation") else []
    files = ImageFiles([images] if images else [file.parent, *above], part_of(file.name))
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        names = {item["id"]: str(item["name"]) for item in content["categories"]}
        by_id = {item["id"]: _image(item, files) for item in content["images"]}
        annotations = list(content["annotations"])
        crowds = sum(bool(item.get("iscrowd")) for item in annotations)
        twice = len(content["images"]) - len(by_id)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file}: is not in COCO's format ({type(error).__name__}: {error}). It takes lists "
            "`images`, `annotations` and `categories`."
        ) from error
    if twice:
        raise InputError(f"{file}: {twice} of the `images` have the id of another. Number them.")
    if crowds:
        told = (
            f"{crowds} of {len(annotations)} annotations were left out: they are marked as crowds"
        )
        problems.append(Problem(f"{file}:", told))
    for number, item in enumerate(annotations, start=1):
        where = f"{file}: annotation {number} (id {item.get('id')})"
        if item.get("iscrowd"):
            continue
        image, category = item.get("image_id"), item.get("category_id")
        if not isinstance(image, Hashable) or image not in by_id:
            raise InputError(f"{where} is of image {image}, which is not in `images`.")
        if not isinstance(category, Hashable) or category not in names:
            raise InputError(
                f"{where} is of category {category}, which is not in `categories`: "
                f"{', '.join(f'{i} ({name})' for i, name in names.items())}."
            )
        corners = corners_from_size(where, item.get("bbox"))
        by_id[image].boxes.append(Marked(where, names[category], corners))
    return list(by_id.values())


def _image(item: dict[str, Any], files: ImageFiles) -> AnnotatedImage:
    frame = frame_of(item.get("width"), item.get("height"))
    return AnnotatedImage(files.expect(item["file_name"]), [], frame=frame)


def _is_coco(file: Path) -> bool:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _LISTS)
