"""Checksums of a saved model: whether its files are still those that were saved together.

Most values of a configuration, a tokenizer or a processor can be changed into others that load just
as well, and give other scores. Only their checksums reveal it.
"""

import hashlib
from pathlib import Path
from typing import Protocol

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import file_of_model

FILE_NAME = "SHA256SUMS"
"""As `sha256sum --check` reads it."""


def seal(folder: Path) -> None:
    """Write the checksums of the files of a saved model beside them."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    lines = [f"{digest(folder / name)}  {name}\n" for name in names if name != FILE_NAME]
    (folder / FILE_NAME).write_text("".join(lines), encoding="utf-8")


class Part(Protocol):
    """What is saved beside a model, in a file of its own."""

    def save(self, folder: Path) -> None:
        """Save it beside a saved model."""


def add_sealed(part: Part, folder: Path, name: str) -> None:
    """Save a part beside a saved model, and its checksum with those of the others.

    Args:
        part: The part.
        folder: The folder of the model.
        name: The name of the file that the part is saved as.
    """
    part.save(folder)
    sums = folder / FILE_NAME
    lines = sums.read_text(encoding="utf-8").splitlines(keepends=True)
    others = [line for line in lines if line.rstrip("\n").split("  ", 1)[1] != name]
    sums.write_text("".join([*others, f"{digest(folder / name)}  {name}\n"]), encoding="utf-8")


def check_seal(name: str) -> dict[str, str]:
    """Refuse a model whose files are not those that were saved; accept one without checksums.

    Args:
        name: Folder or Hub name of the model.

    Returns:
        The SHA-256 of each file, in hexadecimal digits; none without checksums.

    Raises:
        InputError: A file is missing or another, or the checksums cannot be read.
    """
    expected = read_seal(name)
    for file in expected:
        found = file_of_model(name, file)
        if found is None or not found.is_file() or digest(found) != expected[file]:
            raise InputError(
                f"{name}: {file} is not the file that was saved with the model. Copy the model "
                f"anew; or, if you changed it on purpose, delete {FILE_NAME}."
            )
    return expected


def read_seal(name: str) -> dict[str, str]:
    """Return the SHA-256 that each file of a model had when it was saved, see `check_seal`.

    Args:
        name: Folder or Hub name of the model.
    """
    sums = file_of_model(name, FILE_NAME)
    if sums is None:
        return {}
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
        return {file: digest for digest, file in (line.split("  ", 1) for line in lines)}
    except ValueError:
        return {FILE_NAME: ""}  # which is damaged itself


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
