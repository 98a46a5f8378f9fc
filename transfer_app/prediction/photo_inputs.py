"""Photos and slices of CT to predict of."""

import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import InputError, Problem
from staged_training.runtime.printable import one_line
from transfer_app.prediction.inputs import Input, Unread


def images(source: Path) -> Unread:
    """Return the images of a file or a folder; those that cannot be decoded are told, when read.

    Raises:
        InputError: There is no such file or folder, or no image in it.
    """
    from vision_transfer.image_folders import Found, find_images

    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    found = find_images(source) if source.is_dir() else Found([source], [])
    for sentence in found.left_out:
        print(one_line(f"Left out: {sentence}."), file=sys.stderr)
    if all(photo_of(str(file), file).problem for file in found.files):
        for file in found.files:
            _told(file)
        raise InputError(
            f"{source}: no image that can be decoded. Give photos or a folder of them."
        )
    return Unread((partial(_told, file) for file in found.files), len(found.files))


def photo_of(name: str, source: Path | bytes) -> Input:
    """Return a photo as an input, decoded when asked for; a broken one with a problem.

    Args:
        name: What it is called.
        source: Its file, or what is in it.
    """
    from staged_training.runtime.photos import BrokenImageError, check_image, load_rgb

    try:
        check_image(source)
    except BrokenImageError as error:
        return Input(name, None, problem=str(error))
    return Input(name, partial(load_rgb, source))


def _told(file: Path) -> Input:
    photo = photo_of(str(file), file)
    return _left_out(file, photo.problem) if photo.problem else photo


def _left_out(file: Path, reason: str) -> Input:
    print(one_line(f"Left out: {file} {reason}."), file=sys.stderr)
    return Input(str(file), None, problem=reason)


def pictures(source: Path, ct: Mapping[str, Any] | None) -> Unread:
    """Return the images or the slices of CT of a file or a folder; what cannot be read is told.

    Args:
        source: The file or the folder.
        ct: How a model of CT has its slices read; None for another model, which is given slices of
            a folder that holds no images.

    Raises:
        InputError: As `images` and `scans`.
    """
    from transfer_app.prediction.scan_inputs import scans
    from vision_transfer.ct.series import is_scan
    from vision_transfer.image_folders import SUFFIXES

    if not ct:
        files = files_of(source)
        others = [file for file in files if file.suffix.lower() not in SUFFIXES]
        slices = [file for file in others if is_scan(file)]
        if not slices or len(others) < len(files):
            reason = "is a scan, and there are images beside it"
            scans_beside = Unread.of([_left_out(file, reason) for file in slices], len(slices))
            return Unread.joined([images(source), scans_beside])
    inputs, problems = scans(source, ct)
    tell(problems)
    return Unread.of(inputs, len(inputs))


def tell(problems: Iterable[Problem]) -> None:
    """Tell on standard error what is wrong with scans."""
    for problem in problems:
        print(one_line(f"Not as expected: {problem}."), file=sys.stderr)
