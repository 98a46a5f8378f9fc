"""A mailbox, wherever it is: which mails are there, what they say, and how they are marked."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from textwrap import shorten
from typing import NamedTuple

from nlp_transfer.emails.containers import shown_name

Key = int | bytes
"""What a mail is called by for good: its UID, or the part of its file's name that never changes."""


_MOST_SHOWN = 200  # characters of what a server says


def shown_key(key: Key) -> str:
    """Return a key as people are told."""
    return f"UID {key}" if isinstance(key, int) else shown_name(os.fsdecode(key))


class UnreachableError(Exception):
    """A mailbox cannot be used for the time being; says why."""


@contextmanager
def reachable(*kinds: type[Exception]) -> Iterator[None]:
    """Tell by one error of all that keeps a mailbox from being used.

    Args:
        kinds: What a library raises then, besides errors of the system.

    Raises:
        UnreachableError: One of them was raised.
    """
    expected: tuple[type[Exception], ...] = (OSError, *kinds)
    try:
        yield
    except expected as error:
        raise UnreachableError(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return why something failed, as the system or a server says."""
    said = error.args[0] if error.args else ""
    if isinstance(error, OSError) and error.strerror:
        said = error.strerror
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return shorten(text, _MOST_SHOWN, placeholder=" …") or type(error).__name__


URGENT = "$Urgent"
"""The keyword that mails on a server get by default."""


class Marks(NamedTuple):
    """What a mail on a server gets.

    Attributes:
        keyword: A flag of one's own, which many mail programs show as a label.
        flag: Whether it is flagged as well, as by hand with a star.
        move: The folder that it is moved to.
    """

    keyword: str = URGENT
    flag: bool = False
    move: str | None = None


class Wanted(NamedTuple):
    """Which mails of a mailbox are looked at.

    Attributes:
        since: Those that came on this day or later.
        unseen: Those that nobody has read.
    """

    since: date | None = None
    unseen: bool = False


def in_parts(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    """Return an iterator over parts of a size."""
    return (keys[start : start + size] for start in range(0, len(keys), size))


class Mailbox(ABC):
    """Mails in a place where they can be marked.

    All methods but `open` and `close` raise `UnreachableError` where it cannot be used for the time
    being; it is closed then, and opened again.

    Attributes:
        name: Where it is.
        mark_name: What a mail gets.
        moves: Whether mails that have the mark are moved elsewhere.
        read_only: Whether nothing is to be changed.
    """

    name: str
    mark_name: str
    moves: bool = False
    read_only: bool = False

    @abstractmethod
    def open(self) -> str:
        """Open it, and return what its keys are valid for: with another value, they are others'.

        Raises:
            InputError: It is not there, or not to be used like this.
        """

    @abstractmethod
    def close(self) -> None:
        """Close it, whatever its state is."""

    @abstractmethod
    def search(self) -> Iterator[Sequence[Key]]:
        """Yield the mails that are wanted, in parts: all of them, or those that may be new."""

    @abstractmethod
    def sizes(self, keys: Sequence[Key]) -> Mapping[Key, int]:
        """Return how many bytes mails have, of those that are still there."""

    @abstractmethod
    def marked(self, keys: Sequence[Key] | None = None) -> set[Key]:
        """Return which mails have the mark, of some or of all."""

    @abstractmethod
    def fetch(self, keys: Sequence[Key]) -> Iterable[tuple[Key, bytes]]:
        """Return what mails say, of those that are still there, up to one byte over `MAX_BYTES`.

        No mail counts as read for it.
        """

    @abstractmethod
    def mark(self, keys: Sequence[Key]) -> None:
        """Give the mark to mails."""

    def move(self, keys: Sequence[Key]) -> None:  # noqa: B027 - most mails stay where they are
        """Move mails that have the mark, if they are to be moved."""

    @abstractmethod
    def wait(self) -> None:
        """Return when there may be something new, or after a while."""
