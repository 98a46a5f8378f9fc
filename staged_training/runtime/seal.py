"""Checksums of a saved model: whether its files are still those that were saved together.

Most values of a configuration, a tokenizer or a processor can be changed into others that load just
as well, and give other scores. Only their checksums reveal it.
"""

import hashlib
from pathlib import Path

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import file_of_model

FILE_NAME = "SHA256SUMS"
"""As `sha256sum --check` reads it."""


def seal(folder: Path) -> None:
    """Write the checksums of the files of a saved model beside them."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    lines = [f"{digest(folder / name)}  {name}\n" for name in names if name != FILE_NAME]
    (folder / FILE_NAME).write_text("".join(lines), encoding="utf-8")


def seal_file(folder: Path, name: str) -> None:
    """Add the checksum of one file to those of a saved model, or replace it."""
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
    sums = file_of_model(name, FILE_NAME)
    if sums is None:
        return {}
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
        expected = {file: digest for digest, file in (line.split("  ", 1) for line in lines)}
    except ValueError:
        expected = {FILE_NAME: ""}  # which is damaged itself
    for file in expected:
        found = file_of_model(name, file)
        if found is None or not found.is_file() or digest(found) != expected[file]:
            raise InputError(
                f"{name}: {file} is not the file that was saved with the model. Copy the model "
                f"anew; or, if you changed it on purpose, delete {FILE_NAME}."
            )
    return expected


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
