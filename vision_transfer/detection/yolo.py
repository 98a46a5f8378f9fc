"""YOLO's format (Darknet, Ultralytics): a text file for each image, with a line for each box."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from staged_training.runtime.errors import InputError, Problem
from staged_training.runtime.yaml_files import read_yaml
from staged_training.tables.parts import part_of, parts_of
from staged_training.tables.text_files import read_utf8
from vision_transfer.detection.marked import SHARES, AnnotatedImage, Marked
from vision_transfer.image_files import is_image, visible
from vision_transfer.image_folders import SUFFIXES

DESCRIPTIONS = (".yaml", ".yml")
_CLASSES = ("classes.txt", "obj.names", "_darknet.labels")
_MOST = 1.5  # what is above it is no share

Names = dict[str, str]
"""The name of each class, by its number as a file of boxes writes it."""


def yolo_source(folder: Path) -> Path | None:
    """Return a folder's data.yaml in this format, else the folder itself, if it is one.

    A data.yaml may lie in a folder of it too, as archives are unpacked.
    """
    near = (file for pattern in ("[!.]*", "[!.]*/[!.]*") for file in sorted(folder.glob(pattern)))
    files = (file for file in near if file.suffix in DESCRIPTIONS and file.is_file())
    described = next((file for file in files if "names" in _description(file)), None)
    marks = (found for name in (*_CLASSES, "labels") for found in _down_to(2, folder, name))
    return described or (folder if any(marks) else None)


def read_yolo(source: Path, images: Path | None, problems: list[Problem]) -> list[AnnotatedImage]:
    """Read the boxes of images.

    The file of `images/a.jpg` is `labels/a.txt`, or `a.txt` beside it. An image without one shows
    nothing, where others in its folder have one. Of a polygon, the box around it is taken.

    Args:
        source: A data.yaml; or a folder with a `classes.txt`, `obj.names` or `_darknet.labels`.
        images: The folder of the images, if they are neither beside the files nor in `images`.
        problems: What is left out is added here.

    Raises:
        InputError: A line is no box, or its class has no name.
    """
    folder = source if source.is_dir() else source.parent
    data = {} if source.is_dir() else _description(source)
    parts = _listed(source, data, problems) if not images else {}
    if not parts:
        found = visible(images or folder, *SUFFIXES)
        above = [str(file.parent.relative_to(images or folder)) for file in found]
        parts = dict(zip(found, parts_of(above), strict=True))
    files = {image: _file_of(image, images, folder) for image in parts}
    used = {image.parent for image, file in files.items() if file}
    kept = [image for image in files if image.parent in used]
    if not kept:
        raise InputError(f"{source}: no image in it has a file of boxes, as a.jpg has a.txt.")
    _report_unpaired(source, problems, kept, files)
    folders = {file.parent for file in files.values() if file}
    if source.is_dir():
        names = {above: _names_above(above, source) for above in folders}
    else:
        names = dict.fromkeys(folders, _names_in(source, data))
    boxes = {
        image: _boxes(file, names[file.parent], data) if file else []
        for image, file in files.items()
    }
    return [AnnotatedImage(image, boxes[image], parts[image], SHARES) for image in kept]


def _report_unpaired(
    source: Path, problems: list[Problem], kept: list[Path], files: dict[Path, Path | None]
) -> None:
    """Report images without a file of boxes, and such files without an image."""
    bare = [image.name for image in kept if not files[image]]
    if bare:
        told = f"{len(bare)} images, such as {bare[0]}, have no file of boxes: they show nothing"
        problems.append(Problem(f"{source}:", told))
    used = {file for file in files.values() if file}
    folders = {file.parent for file in used if "labels" in file.parts}
    beside = {file for folder in folders for file in folder.glob("[!.]*.txt")}
    stray = sorted(file.name for file in beside - used if file.name not in _CLASSES)
    if stray:
        told = f"{len(stray)} files of boxes, such as {stray[0]}, were left out: they have no image"
        problems.append(Problem(f"{source}:", told))


def _description(file: Path) -> dict[str, Any]:
    """Read a data.yaml, every cell as a text; return nothing if it is none."""
    content, _ = read_yaml(file)
    return {str(k): v for k, v in content.items()} if isinstance(content, dict) else {}


def _names_in(file: Path, data: dict[str, Any]) -> Names:
    """Return the classes of a data.yaml, a list or by their numbers."""
    names = data.get("names")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{file}: takes `names`, a list of the classes or a name for each number.")
    return names


def _names_above(labels: Path, folder: Path) -> Names:
    """Return the classes in the nearest list of them, beside the files of boxes or above them."""
    above = [parent for parent in labels.parents if parent.is_relative_to(folder)]
    lists = (parent / name for parent in [labels, *above] for name in _CLASSES)
    found = next((file for file in lists if file.exists()), None)
    if found is None:
        raise InputError(
            f"{folder}: nothing names its classes. Add a data.yaml with `names`, or a classes.txt "
            "with a name in each line."
        )
    return {
        str(number): name
        for number, name in enumerate(map(str.strip, read_utf8(found).splitlines()))
    }


def _listed(source: Path, data: dict[str, Any], problems: list[Problem]) -> dict[Path, str | None]:
    """Return the images that a data.yaml lists, and the part of the split that each is in."""
    listed: dict[str, list[Path]] = {}
    for key in filter(part_of, data):
        entries = data[key] or []
        places = [entries] if isinstance(entries, str) else entries
        found = [_place(source, str(data.get("path") or ""), str(place)) for place in places]
        if None in found:
            missing = places[found.index(None)]
            problems.append(Problem(f"{source}:", f"`{key}` is {missing}, which is not there"))
        files = list(chain.from_iterable(_images_at(place) for place in found if place))
        if files and files not in listed.values():  # to train and validate on the same is no split
            listed[key] = files
    parts: dict[Path, str | None] = {}
    for key, files in listed.items():
        for file in files:
            if parts.setdefault(file, key) != key:
                raise InputError(f"{source}: {file} is in `{parts[file]}` and in `{key}`.")
    return parts if len(listed) > 1 else dict.fromkeys(parts)


def _place(source: Path, path: str, name: str) -> Path | None:
    """Return a folder or list of a data.yaml, which may be written as from another folder."""
    plain = Path(*(part for part in Path(name).parts if part != ".."))
    places = (source.parent / path / name, source.parent / name, source.parent / plain)
    return next((place.resolve() for place in places if place.exists()), None)


def _images_at(place: Path) -> list[Path]:
    if place.is_dir():
        return visible(place, *SUFFIXES)
    files = [place.parent / line.strip() for line in read_utf8(place).splitlines() if line.strip()]
    return [file for file in files if is_image(file)]


def _file_of(image: Path, images: Path | None, folder: Path) -> Path | None:
    """Return the file of the boxes of an image, if there is one."""
    places = [image.with_suffix(".txt")]
    for level, name in enumerate(image.parts):
        if name in ("images", "JPEGImages"):
            swapped = Path(*image.parts[:level], "labels", *image.parts[level + 1 :])
            places.insert(0, swapped.with_suffix(".txt"))
    if images:
        own = image.relative_to(images).with_suffix(".txt")
        places += [folder / "labels" / own, folder / own]
    return next((place for place in places if place.exists()), None)


def _boxes(file: Path, names: Names, data: dict[str, Any]) -> list[Marked]:
    lines = [(number, line.split()) for number, line in enumerate(read_utf8(file).splitlines(), 1)]
    return [_box(f"{file}: line {n}", cells, names, data) for n, cells in lines if cells]


def _box(where: str, cells: list[str], names: Names, data: dict[str, Any]) -> Marked:
    """Return the box in a line: class, centre, width and height; or a class and a polygon."""
    try:
        number, *values = map(float, cells)
    except ValueError as error:
        raise InputError(f"{where}: {' '.join(cells)[:60]!r} is not made of numbers.") from error
    if "kpt_shape" in data or len(values) == 5:
        values = values[:4]  # key points or a confidence follow
    if max(values, default=0) > _MOST:
        raise InputError(f"{where}: takes shares of the image, from 0 to 1, and not pixels.")
    if len(values) == 4:
        x, y, width, height = values
        corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    elif len(values) >= 6 and len(values) % 2 == 0:
        corners = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    else:
        raise InputError(f"{where}: has {len(cells)} numbers. A box takes 5, its class first.")
    label = names.get(f"{number:g}")
    if not label:
        raise InputError(
            f"{where}: there is no class {cells[0]}. The classes are "
            f"{', '.join(f'{n} ({name})' for n, name in names.items())}."
        )
    return Marked(where, label, corners)


def _down_to(levels: int, folder: Path, name: str) -> Iterator[Path]:
    """Yield files of a name in a folder and in its sub-folders down to some level."""
    for level in range(levels + 1):
        yield from folder.glob("*/" * level + name)
