"""Captions in JSON: COCO's (Chen et al. 2015), and the splits of Karpathy and Fei-Fei (2015)."""

import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.labelled_images import is_file_name
from staged_training.tables.parts import parts_of
from vision_transfer.captioning.rows import CaptionRow


def read_json(path: Path, problems: list[Problem]) -> Iterator[CaptionRow]:
    """Read captions.

    Args:
        path: The file.
        problems: Images without captions are added here.

    Raises:
        InputError: It is in neither format, or a caption of it cannot be used.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images = list(map(dict, content["images"]))
        if any("sentences" in image for image in images):
            return _karpathy(path, images)
        names = {image["id"]: str(image["file_name"]) for image in images}
        return _coco(path, names, list(content["annotations"]), problems)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: is not JSON as COCO has it, with 'images' (each with 'id' and 'file_name') "
            f"and 'annotations': {type(error).__name__} {error}."
        ) from error


def _karpathy(path: Path, images: list[dict[str, Any]]) -> Iterator[CaptionRow]:
    parts = parts_of([str(image.get("split")) for image in images])
    for number, (image, part) in enumerate(zip(images, parts, strict=True), 1):
        where = f"{path}: image {number}"
        name, sentences = image.get("filename"), image.get("sentences")
        if not is_file_name(name) or not isinstance(sentences, list) or not sentences:
            raise InputError(f"{where} has no 'filename' or no 'sentences'. Fill or delete it.")
        path_of = f"{image['filepath']}/{name}" if image.get("filepath") else str(name)
        for sentence in sentences:
            caption = sentence.get("raw") if isinstance(sentence, dict) else None
            if not isinstance(caption, str):
                raise InputError(f"{where}: a sentence of {name} has no 'raw'. Fill or delete it.")
            yield CaptionRow(path_of, caption, where, part)


def _coco(
    path: Path, names: dict[Any, str], annotations: list[Any], problems: list[Problem]
) -> Iterator[CaptionRow]:
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
        if not isinstance(image, Hashable) or image not in names:
            raise InputError(
                f"{where} is about image_id {image!r}, which is none of the 'images' of the file. "
                "Delete it, or add the image."
            )
        described.add(image)
        yield CaptionRow(names[image], caption, where)
    without = [name for number, name in names.items() if number not in described]
    problems += [Problem(name, "has no caption") for name in without]
