"""What a trained model is to predict: texts and images, each under the name it was found by."""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from staged_training import InputError
from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import Problem
from staged_training.runtime.printable import one_line

if TYPE_CHECKING:  # else imported where mail is read: its libraries take 40 MB
    from nlp_transfer.emails.messages import Skipped
    from nlp_transfer.emails.reading import TextTable

_MOST_SHOWN = 1000  # characters of a text, of which a table shows less than a line


class Input(NamedTuple):
    """Something to predict of.

    Attributes:
        name: What it is called.
        content: A text, or a function that returns an image, as its model takes it.
        shown: What people see of it in a table.
        problem: Why it cannot be read and has no content, if that is so.
    """

    name: str
    content: Any
    shown: str = ""
    problem: str | None = None

    def load(self) -> Any:
        """Return the text or the image."""
        return self.content() if callable(self.content) else self.content


def usable(inputs: Iterable[Input]) -> Iterable[Input]:
    """Return the inputs that can be read; of a list a list, since its length is known."""
    read = (item for item in inputs if item.problem is None)
    return list(read) if isinstance(inputs, list) else read


def texts(source: str) -> Iterable[Input]:
    """Return the texts of mail, as `iter_mail_texts` takes it; `-` for lines of standard input.

    Raises:
        InputError: None can be read.
    """
    if source != "-":
        from nlp_transfer.emails.reading import iter_mail_texts

        return map(_mail, iter_mail_texts(source))
    lines = [_text(f"-#{number}", line, "has no text") for number, line in _lines_of_stdin()]
    if not usable(lines):
        raise InputError("-: standard input holds no text. Give one text per line.")
    return lines


def texts_of_rows(table: "TextTable") -> Iterator[Input]:
    """Yield the texts of the rows of a table."""
    problem = f"has no text in {' and '.join(table.text_columns)}"
    for name, text in zip(table.names, table.texts, strict=True):
        yield _text(name, text, problem)


def _text(name: str, text: str, problem: str) -> Input:
    return Input(name, text, text[:_MOST_SHOWN], None if text.strip() else problem)


def _mail(message: "tuple[str, str] | Skipped") -> Input:
    from nlp_transfer.emails.messages import Skipped

    if isinstance(message, Skipped):
        return Input(message.input, None, problem=message.reason)
    return _text(*message, "has no text")


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
    """Return the images of a file or a folder; those that cannot be decoded are told.

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
            inputs.append(_left_out(file, str(error)))
    if not usable(inputs):
        raise InputError(
            f"{source}: no image that can be decoded. Give photos or a folder of them."
        )
    return inputs


def _left_out(file: Path, reason: str) -> Input:
    print(one_line(f"Left out: {file} {reason}."), file=sys.stderr)
    return Input(str(file), None, problem=reason)


def pictures(source: Path, ct: Mapping[str, Any] | None) -> list[Input]:
    """Return the images or the slices of CT of a file or a folder; what cannot be read is told.

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
            reason = "is a scan, and there are images beside it"
            return [*images(source), *(_left_out(file, reason) for file in slices)]
    inputs, problems = scans(source, ct)
    for problem in problems:
        print(one_line(f"Not as expected: {problem}."), file=sys.stderr)
    return inputs


def scans(source: Path, ct: Mapping[str, Any] | None) -> tuple[list[Input], list[Problem]]:
    """Return the slices of CT of a file or a folder, decoded when asked for, and what is wrong.

    A file of which no slice can be read is an input with a problem.

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
    root = source if source.is_dir() else source.parent
    inputs = []
    for row, (file, index) in enumerate(zip(rows["file"], rows["index"], strict=True)):
        name = f"{root / file}#{index}" if is_nifti(Path(file)) else str(root / file)
        inputs.append(Input(name, partial(_slice, slices, row, for_ct=ct is not None)))
    used = {*rows["file"]}
    unread = {file: reason for file, reason in problems if file not in used}
    for file, reason in unread.items():
        if (root / file).is_file():  # and no folder that holds several series
            inputs.append(Input(str(root / file), None, problem=reason))
    if not ct:
        told = "is CT, and the model does not say how it is read: as scanned, soft tissue"
        problems = [Problem(str(source), told), *problems]
    return inputs, problems


def _slice(slices: Sequence[Any], row: int, *, for_ct: bool) -> Any:
    """Return a slice for a model of CT, `float32 [1, height, width]` from 0 to 1, or as a photo."""
    from torchvision.transforms.functional import to_pil_image

    pixels = (slices[row] + 1) / 2
    return pixels if for_ct else to_pil_image(pixels).convert("RGB")
