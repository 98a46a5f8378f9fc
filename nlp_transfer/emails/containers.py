"""Where mail is kept: single files, folders of them, Maildir and mbox, read one at a time."""

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from nlp_transfer.emails.mbox import begins_as_mbox, mbox_messages
from staged_training.runtime.errors import InputError

MAX_BYTES = 25 * 2**20
"""How much of a message is read; mail servers seldom accept more."""

_MESSAGE_SUFFIXES = (".eml", ".msg")
_NO_MAIL = "is not mail (.eml, .msg, mbox)"


def is_mail(source: Path) -> bool:
    """Return whether `source` is something `raw_messages` reads; a folder always is."""
    return source.is_dir() or is_mail_file(source)


def is_mail_file(path: Path) -> bool:
    """Return whether a path names a message, or is an mbox."""
    return path.suffix.lower() in _MESSAGE_SUFFIXES or (path.is_file() and is_mbox(path))


def is_mbox(source: Path) -> bool:
    """Return whether the file is an mbox, by its suffix or its first line (many have no suffix)."""
    if source.suffix:
        return source.suffix.lower() == ".mbox"
    with source.open("rb") as file:
        return begins_as_mbox(file)


def is_maildir(folder: Path) -> bool:
    """Return whether `folder` has the two sub-folders where a Maildir keeps its messages."""
    return (folder / "new").is_dir() and (folder / "cur").is_dir()


def raw_messages(source: Path) -> Iterator[tuple[str, bytes | str]]:
    """Yield the name of each message with its bytes, or with the reason why they were not read.

    Names are `mail.eml` for a file, `inbox.mbox#3` for the third message of an mbox, and for what
    lies in a folder or a Maildir, the path below it. At most `MAX_BYTES` + 1 bytes of a message are
    read. In a folder all files are named, mail or not, save hidden ones that are no mail.

    Raises:
        InputError: a folder without mail, or a file that is no mbox.
    """
    if not source.is_dir():
        yield from _file_messages(source, shown_name(source.name))
        return
    if from_maildir := is_maildir(source):
        paths = sorted(path for sub in ("cur", "new") for path in (source / sub).iterdir())
    else:
        paths = sorted(_files(source))
        if not any(map(is_mail_file, paths)):
            raise InputError(
                f"{source}: no .eml file in this folder, no .msg or mbox, and it is no Maildir (no "
                "'cur' and 'new'). Give a folder of .eml files, a Maildir, an mbox file or a table."
            )
    for path in paths:
        name = shown_name(path.relative_to(source).as_posix())
        if not path.is_file():
            yield name, "is not a readable file or folder"
        elif not (from_maildir or is_mail_file(path)):
            if not path.name.startswith("."):
                yield name, _NO_MAIL
        else:
            try:
                yield from _file_messages(path, name)
            except (InputError, OSError) as error:
                yield name, f"cannot be read ({error})"


def sent_messages(name: str, data: bytes) -> Iterator[tuple[str, bytes | str]]:
    """Yield what `raw_messages` does, of a file that was sent and lies nowhere."""
    suffix, file = Path(name).suffix.lower(), BytesIO(data)
    if suffix in _MESSAGE_SUFFIXES:
        yield name, data[: MAX_BYTES + 1]
    elif suffix in ("", ".mbox") and begins_as_mbox(file):
        yield from _numbered(name, file)
    else:
        yield name, _NO_MAIL


def shown_name(name: str) -> str:
    """Return the name of a file as text, the bytes of it that are no UTF-8 as `\\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files at any depth, and folders that cannot be read; links lead nowhere twice."""
    entered = set()
    closed: list[OSError] = []
    for directory, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        if (real := os.path.realpath(directory)) in entered:
            folders.clear()
            continue
        entered.add(real)
        yield from (Path(directory, name) for name in names)
    yield from (Path(error.filename) for error in closed)


def _file_messages(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    if not is_mbox(path):
        yield name, _read(path)
        return
    with path.open("rb") as file:
        if not begins_as_mbox(file):
            raise InputError(
                f"{path}: an mbox begins with a line such as 'From ann@example.org Mon Jun "
                "3 10:15:00 2024', this file does not. Rename it if it is a single .eml."
            )
        yield from _numbered(name, file)


def _numbered(name: str, mbox: BinaryIO) -> Iterator[tuple[str, bytes]]:
    mbox.seek(0)
    for number, data in enumerate(mbox_messages(mbox, MAX_BYTES + 1), start=1):
        yield f"{name}#{number}", data


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
