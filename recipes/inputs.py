"""What a trained model is to predict: texts and images, each under the name it was found by."""

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nlp_transfer.emails import iter_texts
from staged_training import InputError

_MOST_SHOWN = 1000  # characters of a text, of which a table shows less than a line


class Input(NamedTuple):
    """Something to classify.

    Attributes:
        name: What it is called.
        content: A text, or the file of an image.
        shown: What people see of it in a table.
    """

    name: str
    content: Any
    shown: str = ""


def texts(source: str, text_columns: Sequence[str] | None) -> Iterable[Input]:
    """The texts of a source, as `iter_texts` takes them; `-` for lines of standard input.

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
    """The images of a file or a folder; those that cannot be decoded are told and left out.

    Raises:
        InputError: There is no such file or folder, or no image in it.
    """
    from vision_transfer.images import SUFFIXES, BrokenImageError, check_image

    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    files = [source]
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES)
    inputs = []
    for file in files:
        try:
            check_image(file)
            inputs.append(Input(str(file), file))
        except BrokenImageError as error:
            print(f"Left out: {file} {error}.", file=sys.stderr)
    if not inputs:
        raise InputError(
            f"{source}: no image that can be decoded. Give photos or a folder of them."
        )
    return inputs
