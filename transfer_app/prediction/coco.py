"""What photos show as a file of COCO (Lin et al. 2014), which the tools of the field read."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nlp_transfer.emails.containers import shown_name
from staged_training.runtime.files import written_whole
from staged_training.runtime.photos import upright_size
from staged_training.runtime.printable import shell_path
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.photos import Captioner, Detector

SUFFIX = ".json"

_DESCRIPTION = "Predicted by a model of NLP Transfer, not annotated by people"


def write_coco(
    predictor: Captioner | Detector, inputs: Iterable[Input], sources: Sequence[str], file: Path
) -> str:
    """Predict of photos and write `images`, `annotations` and, of a detector, `categories`.

    Annotations are results as COCO has them, with an `id`: `image_id`, `category_id`, `bbox` (x, y,
    width, height) and `score`; or `image_id` and `caption`. Boxes are in pixels of the upright
    photo, whose `width` and `height` are those of `images`. A photo that is given twice stands in
    it once, and one in which nothing was found has no annotation. The file is written whole or not
    at all.

    Args:
        predictor: The model.
        inputs: Its inputs; those that cannot be read are named, with the reason, in `info`.
        sources: The files and folders that they were found in. Names of photos are relative to the
            folder that all of these are, or lie, in.
        file: The file to write.

    Returns:
        What was written, in words.

    Raises:
        InputError: The disk is full.
    """
    root = _common_folder(sources)
    named = {os.path.relpath(item.name, root): item for item in inputs}
    unread = {name: item.problem for name, item in named.items() if item.problem is not None}
    names = [name for name in named if name not in unread]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    found = predictor.predict([named[name] for name in names])
    for number, (name, (item, prediction)) in enumerate(zip(names, found, strict=True), start=1):
        width, height = upright_size(Path(item.name))
        image = {"id": number, "file_name": _as_text(name), "width": width, "height": height}
        images.append(image)
        for annotation in prediction.annotations:
            ids = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(ids | annotation)
    left_out = {_as_text(name): problem for name, problem in unread.items()}
    content = {
        "info": {"description": _DESCRIPTION} | ({"unread": left_out} if unread else {}),
        "images": images,
        "annotations": annotations,
    }
    if isinstance(predictor, Detector):
        content["categories"] = predictor.categories
    with written_whole(file) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    what = "boxes" if isinstance(predictor, Detector) else "captions"
    told = f"Wrote {shell_path(file)}: {len(annotations):,} {what}, {len(images):,} photos"
    told = f"{told}, named by their paths in {shell_path(root)}"
    return f"{told}; {len(unread):,} unread, see `info`." if unread else f"{told}."


def _common_folder(sources: Sequence[str]) -> str:
    """Return the folder that all sources are, or lie, in, as it was given if it is one of them."""
    folders = [path if path.is_dir() else path.parent for path in map(Path, sources)]
    if len(set(folders)) == 1:
        return str(folders[0])
    return os.path.commonpath(map(os.path.abspath, folders))


def _as_text(name: str) -> str:
    return shown_name(Path(name).as_posix())
