"""A Maildir: a file for each mail, whose name ends in its flags, and which others rename too."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TypeVar

from nlp_transfer.emails.containers import MAX_BYTES, is_maildir, shown_name
from staged_training.runtime.errors import InputError
from transfer_app.inbox.mailbox import Key, Mailbox, UnreachableError, Wanted, reachable
from transfer_app.inbox.telling import tell_aside

_FLAGGED, _SEEN = "F", "S"
_NAME = re.compile(r"(?!.*![12],)[^.:][^:]*(:2,.*)?", re.DOTALL)  # some write ! for :
_TRIES = 10  # to rename a file that others rename at the same time
_LOOK = 0.5  # seconds between two looks at the folders
_FRESH = 10**8  # nanoseconds in which a folder may change once more, and keep its time

T = TypeVar("T")


class Maildir(Mailbox):
    """A Maildir. Its mails are marked by the flag F, and keep all others.

    Args:
        folder: The folder that holds `cur` and `new`.
        wanted: Which mails are looked at; a mail is as old as its file.
        every: Seconds until all files are listed again, if the folders do not change before.
        read_only: Whether nothing is to be changed.
    """

    mark_name = "flag F"

    def __init__(self, folder: Path, wanted: Wanted, every: float, read_only: bool) -> None:
        self.name = shown_name(str(folder.resolve()))
        self.read_only = read_only
        self._folders = [folder / "new", folder / "cur"]
        self._folder, self._wanted, self._every = folder, wanted, every
        self._files: dict[Key, Path] = {}
        self._times: list[int] = []
        self._told: set[Path] = set()

    def open(self) -> str:
        """Check that it is there, and can be changed."""
        if not is_maildir(self._folder):
            raise InputError(f"{self.name}: there is no Maildir any more. Check the path.")
        if not self.read_only and not all(os.access(sub, os.W_OK) for sub in self._folders):
            raise InputError(
                f"{self.name}: may not be written to. Run this as its owner, or look what would be "
                "marked by `dry_run`.",
                ["dry_run"],
            )
        self._list()
        return ""

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def search(self) -> Iterator[Sequence[Key]]:
        """Yield the mails that are wanted."""
        self._list()
        yield [key for key in list(self._files) if self._is_wanted(key)]

    def sizes(self, keys: Sequence[Key]) -> Mapping[Key, int]:
        """Return the sizes of files."""
        sizes = {key: self._of_file(key, lambda file: file.stat().st_size) for key in keys}
        return {key: size for key, size in sizes.items() if size is not None}

    def marked(self, keys: Sequence[Key] | None = None) -> set[Key]:
        """Return which mails are flagged."""
        if keys is None:
            self._list()
            keys = list(self._files)
        return {key for key in keys if self._of_file(key, _is_flagged)}

    def fetch(self, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
        """Yield the contents of files."""
        for key in keys:
            content = self._of_file(key, _read)
            if content is not None:
                yield key, content

    def mark(self, keys: Sequence[Key]) -> None:
        """Flag mails by renaming their files; those that are new become current."""
        for key in keys:
            self._of_file(key, self._flag)

    def wait(self) -> None:
        """Return when a file comes, goes or is renamed, or after a while."""
        end = time.monotonic() + self._every
        while time.monotonic() < end:
            time.sleep(_LOOK)
            if self._changed() != self._times:
                return

    def _is_wanted(self, key: Key) -> bool:
        since = self._wanted.since
        if self._wanted.unseen and _SEEN in _flags(self._files[key]):
            return False
        if since is None:
            return True
        changed = self._of_file(key, lambda file: file.stat().st_mtime)
        return changed is not None and date.fromtimestamp(changed) >= since

    def _flag(self, file: Path) -> None:
        flags = "".join(sorted({*_flags(file), _FLAGGED}))
        flagged = self._folders[-1] / f"{_lasting(file)}:2,{flags}"
        if not flagged.exists():  # what is there would be lost
            file.rename(flagged)
        self._files[_key(file)] = flagged

    def _of_file(self, key: Key, use: Callable[[Path], T]) -> T | None:
        """Return what a function returns of the file of a mail; None where the mail is gone.

        Others may rename it at any moment, and then it is used under its new name.
        """
        with reachable():
            for _ in range(_TRIES):
                if key not in self._files:
                    return None
                try:
                    return use(self._files[key])
                except FileNotFoundError:
                    self._list()
        raise UnreachableError("files are renamed all the time")

    def _list(self) -> None:
        """Look which files there are; again where some are renamed, which may be passed over."""
        files: list[Path] = []
        for _ in range(_TRIES):
            self._times = self._changed()
            with reachable():
                files += [path for sub in self._folders for path in sub.iterdir() if path.is_file()]
            if self._changed() == self._times:
                break
        if time.time_ns() - max(self._times) < _FRESH:
            self._times = []
        self._files = {_key(file): file for file in files if _NAME.fullmatch(file.name)}
        for file in {*files} - {*self._files.values()} - self._told:
            self._tell_of_other(file)

    def _tell_of_other(self, file: Path) -> None:
        """Tell of a file that is left out, unless it was renamed meanwhile."""
        same = self._files.get(_key(file))
        if file.name.startswith(".") or not file.exists() or (same and not same.exists()):
            return
        self._told.add(file)
        why = "has the name of another mail" if same else "has no name that a Maildir gives a mail"
        tell_aside(f"Left out: {file.parent.name}/{shown_name(file.name)} {why}.")

    def _changed(self) -> list[int]:
        """Return when each folder changed, in nanoseconds."""
        with reachable():
            return [sub.stat().st_mtime_ns for sub in self._folders]


def _lasting(file: Path) -> str:
    return file.name.partition(":")[0]


def _key(file: Path) -> Key:
    return os.fsencode(_lasting(file))


def _flags(file: Path) -> str:
    return file.name.partition(":2,")[2]


def _is_flagged(file: Path) -> bool:
    return file.exists() and _FLAGGED in _flags(file)


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)
