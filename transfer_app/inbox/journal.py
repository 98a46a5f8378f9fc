"""What was done with each mail of a mailbox, kept on disk: nothing is done twice, or forgotten."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from staged_training.runtime.errors import InputError
from staged_training.runtime.printable import shell_path
from transfer_app.inbox.mailbox import Key, Mailbox

_TABLES = """
CREATE TABLE IF NOT EXISTS mailbox (name TEXT, mark TEXT, label TEXT, generation TEXT);
CREATE TABLE IF NOT EXISTS mails (key PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
"""


class State(StrEnum):
    """What was done with a mail.

    Attributes:
        INTENDED: It is to be marked; whether it was, the mailbox knows.
        MARKED: It was marked.
        MOVED: It was marked, and is in another folder.
        UNMARKED: It was read, and not marked.
        FOUND: It had the mark when it was first seen.
        UNREAD: It could not be read.
        CORRECTED: A person has changed the mark, and that was written down.
    """

    INTENDED = "intended"
    MARKED = "marked"
    MOVED = "moved"
    UNMARKED = "unmarked"
    FOUND = "found"
    UNREAD = "unread"
    CORRECTED = "corrected"


class Journal:
    """The journal of one mailbox and one mark, in a file that no other process can use meanwhile.

    It holds no word of any mail.

    Args:
        mailbox: The mailbox. Of one that is only read a copy in memory is kept.
        file: The file; by default one of its own in the user's folder for such things.

    Raises:
        InputError: The file is in use, of another mailbox, or no journal; the disk is full.
    """

    def __init__(self, mailbox: Mailbox, file: Path | None = None) -> None:
        self.file = file or _default_file(mailbox)
        self._kept: tuple[str, ...] = mailbox.name, mailbox.mark_name
        with self._reported():
            if mailbox.read_only:
                self._database = sqlite3.connect(":memory:")
                if self.file.exists():
                    with closing(sqlite3.connect(self.file, timeout=1)) as stored:
                        stored.execute("BEGIN")
                        stored.execute("SELECT * FROM sqlite_master").fetchone()  # locks the file,
                        stored.backup(self._database)  # which this would wait for without end
            else:
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self._database = sqlite3.connect(self.file, timeout=1)
                self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._database.execute("BEGIN EXCLUSIVE")
                self._database.commit()
                self.file.chmod(0o600)
            self._database.executescript(_TABLES)
        self._check_kept()

    def keep_label(self, label: str) -> None:
        """Keep, from `begin` on, which label's mails are marked.

        Raises:
            InputError: Those of another were: what was done says nothing of this one.
        """
        self._kept = (*self._kept[:2], label)
        self._check_kept()

    def begin(self, generation: str) -> bool:
        """Begin with what keys are valid for; forget mails whose keys are others' now.

        Returns:
            Whether there were any.
        """
        with self._changing() as database:
            before = database.execute("SELECT generation FROM mailbox").fetchone()
            if before == (generation,):
                return False
            database.execute("DELETE FROM mailbox")
            database.execute("INSERT INTO mailbox VALUES (?, ?, ?, ?)", (*self._kept, generation))
            return database.execute("DELETE FROM mails").rowcount > 0

    def note(self, states: Mapping[Key, State]) -> None:
        """Note what was done with mails, so that it is known even after a crash."""
        with self._changing() as database:
            database.executemany("INSERT OR REPLACE INTO mails VALUES (?, ?)", states.items())

    def unknown(self, keys: Iterable[Key]) -> list[Key]:
        """Return the keys of mails that nothing was done with."""
        one = "SELECT 1 FROM mails WHERE key = ?"
        with self._reported():
            return [key for key in keys if not self._database.execute(one, (key,)).fetchone()]

    def of_state(self, state: State) -> list[Key]:
        """Return the keys of mails that are in a state."""
        with self._reported():
            rows = self._database.execute("SELECT key FROM mails WHERE state = ?", (state,))
            return [key for (key,) in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _check_kept(self) -> None:
        with self._reported():
            kept = self._database.execute("SELECT name, mark, label FROM mailbox").fetchone()
        if kept and kept[: len(self._kept)] != self._kept:
            self.close()
            raise InputError(
                f"{self.file}: keeps what was done with {kept[0]}, mark {kept[1]}, label "
                f"{kept[2]}. Give another `state`.",
                ["state"],
            )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._reported(), self._database as database:
            yield database

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            locked = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
            advice = (
                "It is in use: another process marks the same mails. Wait until that has ended."
                if locked
                else "Free some space, or give another `state`."
            )
            raise InputError(f"{self.file}: {error}. {advice}", ["state"]) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{self.file}: is damaged, or no file of this command ({error}). Delete it, and "
                f"all mails are looked at again: rm {shell_path(self.file)}"
            ) from error


def _default_file(mailbox: Mailbox) -> Path:
    """Return where the XDG base directory specification has it."""
    states = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    name = sha256(f"{mailbox.name}\n{mailbox.mark_name}".encode("utf-8", "surrogateescape"))
    return states / "nlp-transfer" / f"mark-{name.hexdigest()[:16]}.sqlite"
