"""A mailbox, wherever it is: which mails are there, what they say, and how they are marked."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

Key = int | bytes
"""What a mail is called by for good: its UID, or the part of its file's name that never changes."""


class UnreachableError(Exception):
    """A mailbox cannot be used for the time being; says why."""


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
        name: Where it is, as people are told.
        mark_name: What a mail gets, as people are told.
    """

    name: str
    mark_name: str

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
    def keys(self) -> Iterator[Sequence[Key]]:
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

    @abstractmethod
    def wait(self) -> None:
        """Return when there may be something new, or after a while."""
