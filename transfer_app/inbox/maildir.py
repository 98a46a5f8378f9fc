"""A Maildir: a file for each mail, whose name ends in its flags, and which others rename too."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from nlp_transfer.emails.containers import MAX_BYTES, is_maildir
from staged_training.runtime.errors import InputError
from transfer_app.inbox.mailbox import Key, Mailbox, UnreachableError, Wanted

_FLAGGED, _SEEN = "F", "S"
_TRIES = 10  # to rename a file that others rename at the same time
_LOOK = 0.5  # seconds between two looks at the folders


class Maildir(Mailbox):
    """A Maildir. Its mails are marked by the flag F, and keep all others.

    Args:
        folder: The folder that holds `cur` and `new`.
        wanted: Which mails are looked at; a file is as old as its last change.
        every: Seconds until all files are listed again, if the folders do not change before.
    """

    mark_name = "flag F"

    def __init__(self, folder: Path, wanted: Wanted, every: float) -> None:
        self.name = str(folder)
        self._folder, self._wanted, self._every = folder, wanted, every
        self._files: dict[Key, Path] = {}
        self._state: list[int] = []

    def open(self) -> str:
        """Check that it is there."""
        if not is_maildir(self._folder):
            raise InputError(f"{self.name}: there is no Maildir any more. Check the path.")
        return ""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def keys(self) -> Iterator[Sequence[Key]]:
        """Yield the mails that are wanted."""
        self._list()
        yield [key for key, file in self._files.items() if self._is_wanted(file)]

    def sizes(self, keys: Sequence[Key]) -> Mapping[Key, int]:
        """Return the sizes of files."""
        found = {}
        for key in keys:
            with suppress(FileNotFoundError):
                found[key] = self._current(key).stat().st_size
        return found

    def marked(self, keys: Sequence[Key] | None = None) -> set[Key]:
        """Return which mails are flagged."""
        self._list()
        flagged = {key for key, file in self._files.items() if _FLAGGED in _flags(file)}
        return flagged if keys is None else flagged.intersection(keys)

    def fetch(self, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        """Yield the contents of files."""
        for key in keys:
            with suppress(FileNotFoundError), self._current(key).open("rb") as file:
                yield key, file.read(MAX_BYTES + 1)

    def mark(self, keys: Sequence[Key]) -> None:
        """Flag mails by renaming their files; those that are new become current."""
        for key in keys:
            self._flag(key)

    def wait(self) -> None:
        """Return when a file comes, goes or is renamed, or after a while."""
        end = time.monotonic() + self._every
        while time.monotonic() < end and self._changed() == self._state:
            time.sleep(min(_LOOK, self._every))

    def _is_wanted(self, file: Path) -> bool:
        if self._wanted.unseen and _SEEN in _flags(file):
            return False
        if self._wanted.since is None:
            return True
        with suppress(FileNotFoundError):
            return datetime.fromtimestamp(file.stat().st_mtime).date() >= self._wanted.since
        return False

    def _changed(self) -> list[int]:
        """Return what changes with the files that are there."""
        try:
            return [(self._folder / sub).stat().st_mtime_ns for sub in ("new", "cur")]
        except OSError as error:
            raise UnreachableError(str(error.strerror)) from error

    def _list(self) -> None:
        self._state = self._changed()
        try:
            files = [Path(entry) for sub in ("new", "cur") for entry in os.scandir(self._folder / sub) if entry.is_file() and not entry.name.startswith(".")]
        except OSError as error:
            raise UnreachableError(str(error.strerror)) from error
        self._files = {_key(file): file for file in files}
