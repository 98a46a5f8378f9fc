"""Labelled images from a data set of the Hub, as files that are read like any others."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.files import written_whole
from staged_training.tables.parts import part_of
from staged_training.tables.reading import check_columns


def hub_images(name_or_folder: str | Path, label_column: str) -> Path:
    """Write the images of a data set to files, once, within the cache of `datasets`.

    Images of all splits are taken, as they are, without being decoded; those without a label, as
    some test splits have none, are left out. Where all splits are called as parts of a data set
    are, each image keeps its own.

    Args:
        name_or_folder: A name on the Hub, or a folder that `datasets.load_dataset` reads.
        label_column: The column of the labels.

    Returns:
        A folder with `metadata.jsonl`: columns `file_name`, `label_column` and, where the data set
        has them, `fold` and `split`.

    Raises:
        InputError: There is no such data set, or it has no images or no such column.
    """
    import datasets  # takes a second

    try:
        splits = datasets.load_dataset(str(name_or_folder))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name_or_folder}: no data set could be loaded from there "
            f"({first_line(error)}). Check the name or the path."
        ) from error
    everything = datasets.concatenate_datasets(list(splits.values()))
    features = everything.features
    columns = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise InputError(
            f"{name_or_folder}: has no column of images. Its columns are: {', '.join(features)}."
        )
    check_columns(name_or_folder, list(features), {label_column: "label_column"})
    folder = Path(datasets.config.HF_DATASETS_CACHE, "nlp-transfer", everything._fingerprint)
    folder = folder.with_name(f"{folder.name}-lists")  # those called otherwise held none
    if not folder.exists():
        split_of = [name for name, split in splits.items() for _ in range(len(split))]
        are_parts = all(map(part_of, splits))
        named, missing = _naming(features[label_column])
        undecoded = everything.cast_column(columns[0], datasets.Image(decode=False))
        rows = []
        with written_whole(folder) as temporary:
            temporary.mkdir()
            bar = tqdm(undecoded, "images", delay=2, dynamic_ncols=True)
            for number, row in enumerate(bar):
                if row[label_column] in missing:
                    continue
                file = _write(row[columns[0]], temporary / f"{number:07}")
                fold = {"fold": row["fold"]} if "fold" in row else {}
                split = {"split": split_of[number]} if are_parts else {}
                labelled = {"file_name": file.name, label_column: named(row[label_column])}
                rows.append(labelled | fold | split)
            lines = "".join(f"{json.dumps(row)}\n" for row in rows)
            (temporary / "metadata.jsonl").write_text(lines)
    return folder


def _naming(labels: Any) -> tuple[Callable[[Any], Any], tuple[Any, ...]]:
    """Return how a cell of labels is written, and the cells that say that there is no label."""
    import datasets

    if isinstance(labels, datasets.ClassLabel):
        return labels.int2str, (None, -1)
    if isinstance(labels, datasets.List):
        named, _ = _naming(labels.feature)
        return lambda cells: [named(cell) for cell in cells], (None,)
    return str, (None,)


def _write(image: dict[str, Any], path: Path) -> Path:
    """Write the bytes of an image with the ending of its format."""
    content = image["bytes"] or Path(image["path"]).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as opened:
            ending = str(opened.format).lower()
    except UnidentifiedImageError:
        ending = "broken"  # it is reported by name when it is read
    file = path.with_suffix(f".{ending}")
    file.write_bytes(content)
    return file
