"""Boxes in the frame that they were drawn in, brought into their upright images and checked."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from staged_training.runtime.errors import InputError, Problem
from staged_training.runtime.photos import QUARTER_TURNED, orientation, upright_size
from vision_transfer.detection.marked import SHARES, UNSAID, AnnotatedImage, Marked

Size = tuple[int, int]
Frame = tuple[float, float]
Corners = tuple[float, float, float, float]

_AT_EDGE = 1.0  # pixels that a box may stand out without a word
_THIN = 0.01  # pixels; a narrower box has no area
_ROUNDED = 0.01  # that a share may lie outside of 0 to 1

# Where a point of an image as it is stored lies in the upright one, by EXIF's number; both shares.
_TURNS: dict[int, Callable[[float, float], tuple[float, float]]] = {
    1: lambda x, y: (x, y),
    5: lambda x, y: (y, x),
    6: lambda x, y: (1 - y, x),
    7: lambda x, y: (1 - y, 1 - x),
    8: lambda x, y: (y, 1 - x),
}

_CHANGED = "are annotated at another size; their boxes were scaled or rotated to fit"
_UNSURE = (
    "are turned by their EXIF data, and nothing says whether their boxes were drawn before or "
    "after that: they were read as those of the upright images"
)
_SHARED = "its boxes are made of numbers from 0 to 1: they were read as shares of the images"


def upright_boxes(
    source: Path, annotated: Sequence[AnnotatedImage], problems: list[Problem]
) -> tuple[list[Size], list[list[Marked]]]:
    """Return the sizes of images, and their boxes in pixels of the upright image, cut at its edges.

    Boxes that were drawn on an image before it was turned or scaled are turned and scaled too: the
    size that comes with them says. Where all numbers are from 0 to 1, they are relative.

    Args:
        source: The file or folder of the boxes, for messages.
        annotated: The images, which can be decoded.
        problems: What is left out, cut, turned or scaled is added here.

    Raises:
        InputError: A box cannot be one of its image.
    """
    sizes = [upright_size(image.file) for image in annotated]
    corners = [[_corners(mark, image.file) for mark in image.boxes] for image in annotated]
    pixels = [image for image in annotated if image.boxes and image.frame != SHARES]
    if pixels and all(map(_are_shares, (box for of_image in corners for box in of_image))):
        problems.append(Problem(f"{source}:", _SHARED))
        annotated = [image._replace(frame=SHARES) for image in annotated]
    boxes: list[list[Marked]] = []
    told: dict[str, list[str]] = {_CHANGED: [], _UNSURE: []}
    for image, drawn, size in zip(annotated, corners, sizes, strict=True):
        frame = image.frame if drawn else None
        turn = _turn(image, size) if frame else 1
        if frame:
            if frame not in (size, SHARES, UNSAID):
                told[_CHANGED].append(image.file.name)
            if turn == 1 and _is_unsure(image.file, frame, size):
                told[_UNSURE].append(image.file.name)
            drawn = [_moved(box, frame, size, turn) for box in drawn]
        marks = [m._replace(corners=box) for m, box in zip(image.boxes, drawn, strict=True)]
        cut = (_cut(mark, image.file, *size, problems) for mark in marks)
        boxes.append([mark for mark in cut if mark])
    for what, names in told.items():
        if names:
            problems.append(Problem(f"{source}: {len(names)} images, such as {names[0]},", what))
    return sizes, boxes


def _corners(mark: Marked, file: Path) -> Corners:
    """Return the corners of a box, the first one first."""
    shown = f"the box {list(mark.corners)} of {file.name}"
    try:
        x1, y1, x2, y2 = map(float, mark.corners)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{mark.where}: {shown} is not four numbers, [x1, y1, x2, y2].") from error
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise InputError(f"{mark.where}: {shown} is not four numbers, [x1, y1, x2, y2].")
    if x2 < x1 or y2 < y1:
        raise InputError(
            f"{mark.where}: {shown} ends before it begins. Write its corners as x1, y1, x2 and y2; "
            "if these are x, y, width and height, add them up."
        )
    return x1, y1, x2, y2


def _are_shares(box: Corners) -> bool:
    return min(box) >= -_ROUNDED and max(box) <= 1 + _ROUNDED


def _turn(image: AnnotatedImage, size: Size) -> int:
    """Return the EXIF orientation that makes the frame of the boxes upright."""
    frame = image.frame or size
    if frame in (size, SHARES, UNSAID):
        return 1
    turned, stored = orientation(image.file), size[::-1]
    lies = turned in QUARTER_TURNED
    if lies and (frame == stored or (_fits(frame, stored) and not _fits(frame, size))):
        return turned
    if _fits(frame, size):
        return 1
    raise InputError(
        f"{image.boxes[0].where} was drawn on {frame[0]:g} x {frame[1]:g} pixels, and "
        f"{image.file.name} has {size[0]} x {size[1]}, which is another shape. Give the images "
        "that the boxes were drawn on; if only width and height are wrong, correct or delete them."
    )


def _fits(frame: Frame, size: Frame) -> bool:
    """Return whether one is the other scaled, with sides rounded by a pixel at most."""
    return abs(frame[0] * size[1] - frame[1] * size[0]) <= max(sum(frame), sum(size))


def _is_unsure(file: Path, frame: Frame, size: Size) -> bool:
    """Return whether an image is turned, and its size does not say if its boxes are."""
    alike = frame in (SHARES, UNSAID) or _fits(frame, size[::-1])
    turned = orientation(file)
    return turned != 1 and (alike or turned not in QUARTER_TURNED)


def _moved(box: Corners, frame: Frame, size: Size, turn: int) -> Corners:
    """Turn and scale a box from its frame into an image of some size."""
    if frame in (size, UNSAID):
        return box
    points = [_TURNS[turn](box[i] / frame[0], box[i + 1] / frame[1]) for i in (0, 2)]
    (x1, x2), (y1, y2) = (sorted(ends) for ends in zip(*points, strict=True))
    return x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1]


def _cut(
    mark: Marked, file: Path, width: int, height: int, problems: list[Problem]
) -> Marked | None:
    """Cut a box at the edges of its image; return `None` if it has no area."""
    x1, y1, x2, y2 = mark.corners
    where, drawn = mark.where, ", ".join(f"{x:g}" for x in mark.corners)
    shown = f"the box [{drawn}] of {file.name}"
    if x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0:
        raise InputError(
            f"{where}: {shown} lies outside it; the image is {width} x {height} pixels. Are the "
            "boxes those of another size of it?"
        )
    cut = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
    if cut[2] - cut[0] < _THIN or cut[3] - cut[1] < _THIN:
        problems.append(Problem(where, f"was left out: {shown} has no area"))
        return None
    if max(cut) <= 1:
        told = f"was left out: {shown} lies in its first pixel. Are its coordinates relative?"
        problems.append(Problem(where, told))
        return None
    out = max(abs(a - b) for a, b in zip(cut, (x1, y1, x2, y2), strict=True))
    if out > _AT_EDGE:
        problems.append(Problem(where, f"was cut: {shown} extends beyond it by {out:.0f} pixels"))
    return mark._replace(corners=cut)
