"""Pascal VOC's format (Everingham et al. 2010): an XML file for each image."""

from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from xml.etree import ElementTree

from staged_training.runtime.errors import InputError, Problem
from staged_training.tables.parts import parts_of
from vision_transfer.detection.marked import AnnotatedImage, Marked, frame_of
from vision_transfer.image_files import ImageFiles, is_image, visible

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LISTS = ("trainval", "train", "val", "test")  # in ImageSets/Main; the later ones are finer


class _Sheet(NamedTuple):
    """What an XML file says."""

    file: Path
    name: str
    boxes: list[Marked]
    frame: tuple[float, float]


def voc_files(folder: Path) -> list[Path]:
    """Return the XML files in a folder, at any depth."""
    return visible(folder, ".xml")


def read_voc(
    folder: Path, files: list[Path], images: Path | None, problems: list[Problem]
) -> list[AnnotatedImage]:
    """Read files of annotations.

    The image is the one that is called as the XML file, else the one that it names. Pixels count
    from 1, as VOC has it, unless a 0 or a fraction shows that they do not.

    Args:
        folder: The folder of the data set. The lists of its `ImageSets/Main` say which part of the
            split an image is in, else the folders that it lies in do.
        files: The XML files in it.
        images: The folder of the images, by default `JPEGImages`, `images` or that of the file.
        problems: What is left out is added here.

    Raises:
        InputError: A file cannot be read, or none is of this format.
    """
    sheets = [sheet for file in files if (sheet := _read(file, problems))]
    if not sheets:
        raise InputError(f"{folder}: no .xml file of VOC in it.")
    sheets, parts = _split(folder, sheets, problems)
    values = [value for sheet in sheets for mark in sheet.boxes for value in mark.corners]
    first = 0 if any(value == 0 or value % 1 for value in values if value == value) else 1
    found = {}
    annotated = []
    for sheet, part in zip(sheets, parts, strict=True):
        place = (sheet.file.parent, part)
        if place not in found:
            around = [f for f in place[0].parents if f.is_relative_to(folder)]
            found[place] = ImageFiles([images] if images else [place[0], *around], part)
        boxes = [_from(first, mark) for mark in sheet.boxes]
        image = _image_of(sheet, found[place])
        annotated.append(AnnotatedImage(image, boxes, part, sheet.frame))
    return annotated


def _read(file: Path, problems: list[Problem]) -> _Sheet | None:
    """Read a file; one that is XML of another kind is reported and gives nothing."""
    boxes = []
    try:
        tree = ElementTree.parse(file).getroot()
        if tree.tag != "annotation":
            problems.append(Problem(str(file), f"was left out: <{tree.tag}> is not of VOC"))
            return None
        for number, item in enumerate(tree.iter("object"), start=1):
            where = f"{file}: object {number}"
            corners = [float(item.findtext(f"bndbox/{side}") or "nan") for side in _CORNERS]
            label = (item.findtext("name") or "").strip()
            if not label:
                raise InputError(f"{where} has no name. Say of which class it is.")
            boxes.append(Marked(where, label, corners))
    except (ElementTree.ParseError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: cannot be read as annotations of VOC: {error}") from error
    name = (tree.findtext("filename") or "").strip()
    frame = frame_of(tree.findtext("size/width"), tree.findtext("size/height"))
    return _Sheet(file, name, boxes, frame)


def _split(
    folder: Path, sheets: list[_Sheet], problems: list[Problem]
) -> tuple[list[_Sheet], list[str | None]]:
    """Return the files that are used, and the part of the split that each is in."""
    listed = {
        (lists.parent.parent, _without_ending(line.strip())): part
        for lists in folder.glob("**/ImageSets/Main")
        for part in _LISTS
        for line in _lines(lists / f"{part}.txt")
    }
    if not listed:
        return sheets, parts_of([str(s.file.parent.relative_to(folder)) for s in sheets])
    part_of_sheet = {
        sheet.file: listed[above, sheet.file.stem]
        for sheet in sheets
        for above in sheet.file.parents
        if (above, sheet.file.stem) in listed
    }
    used = [sheet for sheet in sheets if sheet.file in part_of_sheet]
    if len(used) < len(sheets):
        told = f"{len(sheets) - len(used)} of {len(sheets)} .xml files were left out: they stand "
        problems.append(Problem(f"{folder}:", f"{told}in no list of ImageSets/Main"))
    return used, parts_of(list(part_of_sheet.values()))


def _without_ending(name: str) -> str:
    return Path(name).stem if is_image(Path(name)) else name


def _lines(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return [line for line in lines if line.strip()]


def _from(first: int, mark: Marked) -> Marked:
    """Return a box whose corners count from 0 and exclude the last pixel."""
    x1, y1, x2, y2 = mark.corners
    return mark._replace(corners=(x1 - first, y1 - first, x2, y2))


def _image_of(sheet: _Sheet, files: ImageFiles) -> Path:
    own = sheet.file.stem + PureWindowsPath(sheet.name).suffix
    return files.find(own) or files.expect(sheet.name or f"{sheet.file.stem}.jpg")
