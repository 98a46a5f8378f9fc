"""Folders of photos: what is a photo, its label, and its part of the data."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image

from staged_training.experiment.fingerprints import is_hidden
from staged_training.runtime.errors import InputError
from staged_training.tables.parts import part_of, without_shared

logger = logging.getLogger(__name__)

SUFFIXES = frozenset(
    suffix
    for suffix, kind in Image.registered_extensions().items()
    if Image.MIME.get(kind, "").startswith("image/")
) | {".heic", ".heif"}
"""Of files that are looked at: of images that Pillow reads, and of phones, which it does not."""

_MOST_NAMED = 3

_ADVICE = (
    "Give a folder with one sub-folder of images per label, or with a metadata.jsonl that has "
    "columns 'file_name' and 'label'."
)

Name = tuple[str, ...]
"""A path below the folder, by its parts."""


class Found(NamedTuple):
    """The photos in a folder.

    Attributes:
        files: The photos, sorted.
        left_out: Sentences on what else lies there and is not read.
    """

    files: list[Path]
    left_out: list[str]


def find_images(folder: Path) -> Found:
    """Find the photos in a folder, at any depth and behind links, unless they are hidden.

    What begins with `.` or `@` is hidden, or of a tool, and so are the bins of file servers.

    Raises:
        InputError: A folder cannot be looked into.
    """
    files: list[Path] = []
    hidden: list[Path] = []
    for file in _walk(folder, ()):
        (hidden if is_hidden(file.name) else files).append(file)
    photos = [file for file in files if file.suffix.lower() in SUFFIXES]
    others = Counter(file.suffix or file.name for file in set(files) - set(photos))
    told = [file.name for file in hidden if file.is_dir() or file.suffix.lower() in SUFFIXES]
    left_out = []
    if told:
        left_out.append(f"{len(told):,} hidden or of a tool ({_some(told)})")
    if others:
        left_out.append(f"{others.total():,} files of other kinds ({_some(sorted(others))})")
    return Found(sorted(photos), left_out)


def holds_images(folder: Path) -> bool:
    """Return whether `find_images` would find a photo; stop at the first."""
    files = (file for file in _walk(folder, ()) if not is_hidden(file.name))
    return any(file.suffix.lower() in SUFFIXES for file in files)


def rows_of_folders(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the photos of a folder with one sub-folder per label.

    These may lie in folders of parts such as `train` and `test`, or hold such folders.

    Returns:
        Columns `file_name`, `label` and, where there are several parts, `split`; and what else
        lies in the folder, as `Found` describes it.

    Raises:
        InputError: There is no photo, one lies in no folder of a label, or only some folders are
            those of parts.
    """
    found = find_images(folder)
    names = [file.relative_to(folder).parts for file in found.files]
    if not names:
        beside = f", but {' and '.join(found.left_out)}" if found.left_out else ""
        raise InputError(f"{folder}: no image in it{beside}. {_ADVICE}")
    labelled, splits = _without_parts(folder, names)
    loose = next((name for name in labelled if len(name) == 1), None)
    if loose:
        whole = "/".join(names[labelled.index(loose)])
        alone = " Or give a part alone that has such folders." if splits else ""
        raise InputError(f"{folder}: {whole} lies in no sub-folder of a label. {_ADVICE}{alone}")
    columns: dict[str, Sequence[str | None]] = {
        "file_name": ["/".join(name) for name in names],
        "label": [name[0] for name in labelled],
    }
    if len(set(splits)) > 1:
        columns["split"] = splits
    else:
        _warn_of_same_folders(folder, labelled)
    return pd.DataFrame(columns), found.left_out


def _without_parts(folder: Path, names: Sequence[Name]) -> tuple[list[Name], list[str | None]]:
    """Return the paths of photos without the folders of parts, and those parts beside them."""
    below = [tuple(name) for name in without_shared(names)]
    if all(len(name) > 2 and part_of(name[0]) for name in below):
        names = below  # what lies around all parts is no label
    labelled = list(names)
    splits = [part_of(name[0]) if len(name) > 1 else None for name in names]
    deep = [len(name) > 2 for name in names]
    # Of several folders of one part, such as freight-train and steam-train, none is a part.
    are_parts = all(splits) and (len(set(splits)) > 1 or len({name[0] for name in names}) == 1)
    if are_parts and ("train" in splits or all(deep)):
        labelled = [name[1:] for name in names]
        # Archives often repeat the folder: train/train/cat.
        while all(
            len(n) > 1 and part_of(n[0]) == part for n, part in zip(labelled, splits, strict=True)
        ):
            labelled = [name[1:] for name in labelled]
        return labelled, splits
    tops = {name[0] for name, part in zip(names, splits, strict=True) if part}
    shallow = {name[0] for name, is_deep in zip(names, deep, strict=True) if not is_deep}
    others = {name[0] for name in names} - tops
    if tops - shallow and others:
        raise InputError(
            f"{folder}: some folders in it are named like parts of a data set and hold folders "
            f"({_some(sorted(tops - shallow))}), others are not ({_some(sorted(others))}). Give a "
            "folder of parts alone, such as train and test, or of labels alone."
        )
    within = [part_of(name[1]) if len(name) > 2 else None for name in names]
    return labelled, within if all(within) else []


def _warn_of_same_folders(folder: Path, labelled: Sequence[Name]) -> None:
    """Warn where each label holds the same folders: they may be the labels, and it a part."""
    below: defaultdict[str, set[str]] = defaultdict(set)
    for name in labelled:
        below[name[0]].add(name[1] if len(name) > 2 else "")
    first, *others = below.values()
    if "" not in first and len(first) > 1 and others and all(other == first for other in others):
        logger.warning(
            "%s: the labels are %s, and each holds the same folders (%s). If these are the labels, "
            "call the folders above them train, validation and test, or leave those out.",
            folder,
            _some(sorted(below)),
            _some(sorted(first)),
        )


def _walk(folder: Path, above: Sequence[Path]) -> Iterator[Path]:
    """Yield every file below a folder, and what is hidden, without looking into it."""
    own = folder.resolve()
    if own in above:
        return  # a link leads back
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}).") from error
    for entry in entries:
        if entry.is_dir() and not is_hidden(entry.name):
            yield from _walk(entry, (*above, own))
        else:
            yield entry


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return ", ".join([*names[:_MOST_NAMED], *more])
