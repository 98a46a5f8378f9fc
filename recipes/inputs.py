"""What a trained model is to predict: texts and images, each under the name it was found by."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nlp_transfer.emails import read_texts
from staged_training import InputError


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


def texts(source: str, text_columns: Sequence[str] | None) -> list[Input]:
    """The texts of a source, as `read_texts` takes them; `-` for lines of standard input.

    Raises:
        InputError: They cannot be read.
    """
    if source != "-":
        dataset = read_texts(source, text_columns).dataset
        return [Input(*row, row[1]) for row in zip(dataset["input"], dataset["text"], strict=True)]
    lines = ((n, line) for n, line in enumerate(sys.stdin, start=1) if line.strip())
    return [Input(f"-#{n}", line, line) for n, line in lines]


def images(source: Path) -> list[Input]:
    """The images of a file or a folder; those that cannot be decoded are told and left out.

    Raises:
        InputError: There is no such file or folder, or no image in it.
    """
    from vision_transfer.image_folders import Found, find_images
    from vision_transfer.images import BrokenImageError, check_image

    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path.")
    found = find_images(source) if source.is_dir() else Found([source], [])
    for sentence in found.left_out:
        print(f"Left out: {sentence}.", file=sys.stderr)
    inputs = []
    for file in found.files:
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
