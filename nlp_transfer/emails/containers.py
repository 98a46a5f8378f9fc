"""Where mail is kept: single files, folders of them, Maildir and mbox, read one at a time."""

from collections.abc import Iterator
from pathlib import Path

from nlp_transfer.emails.mbox import begins_as_mbox, mbox_messages
from staged_training.errors import InputError

MAX_BYTES = 25 * 2**20
"""The largest message that is read; no mail server worth its name accepts a larger one."""


def is_mail(source: Path) -> bool:
    """Return whether `source` is something `raw_messages` reads; a folder always is."""
    return source.is_dir() or source.suffix.lower() == ".eml" or is_mbox(source)


def is_mbox(source: Path) -> bool:
    """Return whether the file is an mbox, by its suffix or its first line (many have no suffix)."""
    with source.open("rb") as file:
        return source.suffix.lower() == ".mbox" or (not source.suffix and begins_as_mbox(file))


def is_maildir(folder: Path) -> bool:
    """Return whether `folder` has the two sub-folders where a Maildir keeps its messages."""
    return (folder / "new").is_dir() and (folder / "cur").is_dir()


def raw_messages(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each message, in the order of the names or of the mbox.

    Names are `mail.eml` for a file, `inbox.mbox#3` for the third message of an mbox, the path
    below the folder for a folder and for a Maildir. At most `MAX_BYTES` + 1 bytes of a message are
    read.

    Raises:
        InputError: a folder without mail, or a file that is no mbox.
    """
    if source.is_file() and is_mbox(source):
        with source.open("rb") as file:
            if not begins_as_mbox(file):
                raise InputError(
                    f"{source}: an mbox begins with a line such as 'From ann@example.org Mon Jun "
                    "3 10:15:00 2024', this file does not. Rename it if it is a single .eml."
                )
            file.seek(0)
            for number, data in enumerate(mbox_messages(file, MAX_BYTES + 1), start=1):
                yield f"{source.name}#{number}", data
    elif source.is_file():
        yield source.name, _read(source)
    else:
        for path in _message_files(source):
            yield path.relative_to(source).as_posix(), _read(path)


def _message_files(folder: Path) -> list[Path]:
    if is_maildir(folder):
        return sorted(path for sub in ("cur", "new") for path in (folder / sub).iterdir())
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".eml")
    if not files:
        raise InputError(
            f"{folder}: no .eml file in this folder, and it is no Maildir (no 'cur' and 'new'). "
            "Give a folder of .eml files, a Maildir, an mbox file or a table."
        )
    return files


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
