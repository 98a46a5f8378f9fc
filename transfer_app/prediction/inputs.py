"""What a trained model is to predict: texts and images, each under the name it was found by."""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nlp_transfer.emails import iter_texts
from staged_training import InputError
from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import Problem
from staged_training.runtime.printable import one_line

_MOST_SHOWN = 1000  # characters of a text, of which a table shows less than a line


class Input(NamedTuple):
    """Something to predict of.

    Attributes:
        name: What it is called.
        content: A text, or a function that returns an image, as its model takes it.
        shown: What people see of it in a table.
    """

    name: str
    content: Any
    shown: str = ""

    def load(self) -> Any:
        """Return the text or the image."""
        return self.content() if callable(self.content) else self.content


def texts(source: str, text_columns: Sequence[str] | None) -> Iterable[Input]:
    """Return the texts of a source, as `iter_texts` takes them; `-` for lines of standard input.

    Raises:
        InputError: They cannot be read.
    """
    if source != "-":
        found = iter_texts(source, text_columns)
        return (Input(name, text, text[:_MOST_SHOWN]) for name, text in found)
    lines = [Input(f"-#{n}", line, line) for n, line in _lines_of_stdin() if line.strip()]
    if not lines:
        raise InputError("-: standard input holds no text. Give one text per line.")
    return lines


def _lines_of_stdin() -> Iterator[tuple[int, str]]:
    if sys.stdin is None:
        raise InputError("-: standard input is closed. Give texts by a pipe, or name a file.")
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.encoding != "utf-8-sig":
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(sys.stdin, start=1):
        if "\0" in line or re.search("[\ud800-\udfff]", line):
            raise InputError(f"-: line {number} is not UTF-8. Convert the texts, as by `iconv`.")
        yield number, line


def images(source: Path) -> list[Input]:
    """Return the images of a file or a folder; those that cannot be decoded are told and left out.

    Raises:
        InputError: There is no such file or folder, or no image in it.
    """
    from vision_transfer.image_folders import Found, find_images
    from vision_transfer.images import BrokenImageError, check_image, load_rgb

    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    found = find_images(source) if source.is_dir() else Found([source], [])
    for sentence in found.left_out:
        print(one_line(f"Left out: {sentence}."), file=sys.stderr)
    inputs = []
    for file in found.files:
        try:
            check_image(file)
            inputs.append(Input(str(file), partial(load_rgb, file)))
        except BrokenImageError as error:
            print(one_line(f"Left out: {file} {error}."), file=sys.stderr)
    if not inputs:
        raise InputError(
            f"{source}: no image that can be decoded. Give photos or a folder of them."
        )
    return inputs


def pictures(source: Path, ct: Mapping[str, Any] | None) -> list[Input]:
    """Return the images or the slices of CT of a file or a folder; what is left out is told.

    Args:
        source: The file or the folder.
        ct: How a model of CT has its slices read; None for another model, which is given slices of
            a folder that holds no images.

    Raises:
        InputError: As `images` and `scans`.
    """
    from vision_transfer.ct.series import is_scan
    from vision_transfer.image_folders import SUFFIXES

    if not ct:
        files = files_of(source)
        others = [file for file in files if file.suffix.lower() not in SUFFIXES]
        slices = [file for file in others if is_scan(file)]
        if not slices or len(others) < len(files):
            for file in slices:
                told = f"Left out: {file} is a scan, and there are images beside it."
                print(one_line(told), file=sys.stderr)
            return images(source)
    inputs, problems = scans(source, ct)
    for problem in problems:
        print(one_line(f"Not as expected: {problem}."), file=sys.stderr)
    return inputs


def scans(source: Path, ct: Mapping[str, Any] | None) -> tuple[list[Input], list[Problem]]:
    """Return the slices of CT of a file or a folder, decoded when asked for, and what is wrong.

    Args:
        source: The file or the folder.
        ct: As for `pictures`.

    Raises:
        InputError: There is no slice that can be used.
    """
    from vision_transfer.ct import WindowedSlices, read_ct
    from vision_transfer.ct.nifti import is_nifti

    read = ct or {"size": None, "spacing": None, "window": "soft tissue"}
    rows, problems = read_ct(source, read["size"], read["spacing"])
    window = read["window"] if isinstance(read["window"], str) else tuple(read["window"])
    slices = WindowedSlices(rows.with_format("numpy")["hounsfield"], window)
    if not ct:
        told = "is CT, and the model does not say how it is read: as scanned, soft tissue"
        problems = [Problem(str(source), told), *problems]
    root = source if source.is_dir() else source.parent
    inputs = []
    for row, (file, index) in enumerate(zip(rows["file"], rows["index"], strict=True)):
        name = f"{root / file}#{index}" if is_nifti(Path(file)) else str(root / file)
        inputs.append(Input(name, partial(_slice, slices, row, for_ct=ct is not None)))
    return inputs, problems


def _slice(slices: Sequence[Any], row: int, *, for_ct: bool) -> Any:
    """Return a slice for a model of CT, `float32 [1, height, width]` from 0 to 1, or as a photo."""
    from torchvision.transforms.functional import to_pil_image

    pixels = (slices[row] + 1) / 2
    return pixels if for_ct else to_pil_image(pixels).convert("RGB")
