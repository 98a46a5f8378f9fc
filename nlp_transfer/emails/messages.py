"""Readable messages, one by one, and warnings of the others."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nlp_transfer.emails.body_text import MAX_CHARACTERS
from nlp_transfer.emails.containers import raw_messages
from nlp_transfer.emails.message import BrokenMessageError, Content, parse_message
from staged_training.runtime.errors import InputError

logger = logging.getLogger(__name__)

_MOST_NAMED = 20
_SKIPPED = "skipped"
_BARE = "have no text of their own and are read by their subject alone"
_CUT = f"are read in part, up to {MAX_CHARACTERS:,} characters"


class Email(NamedTuple):
    """One message: where it was found and what it says.

    Attributes:
        input: Its name: `mail.eml`, its path below the folder that was read, or `inbox.mbox#3`,
            the third of an mbox.
        subject: Its subject, decoded; empty if there is none.
        body: Its text, decoded; attachments are left out, and unless they are to be kept, quoted
            replies and the signature.

    Examples:
        >>> from nlp_transfer.emails import iter_emails
        >>> first = next(iter_emails("mail"))
        >>> first.input, first.subject
        ('easy-ham-1-00993.eml', 'Re: Sorting')
    """

    input: str
    subject: str
    body: str

    @property
    def text(self) -> str:
        """Return what a model is given of it: its subject, a line break and its body."""
        return f"{self.subject}\n{self.body}".strip()


class Skipped(NamedTuple):
    """One message that could not be read, and why.

    Attributes:
        input: As that of `Email`.
        reason: What is wrong with it, such as `has no text part`.

    Examples:
        >>> from pathlib import Path
        >>> from nlp_transfer.emails import iter_emails
        >>> length = Path("note.eml").write_text("Call me.")
        >>> next(iter_emails("note.eml"))
        Skipped(input='note.eml', reason='has no mail headers')
    """

    input: str
    reason: str


def contents(
    messages: Iterable[tuple[str, bytes | str]], keep_quotes: bool
) -> Iterator[tuple[str, Content | str]]:
    """Yield the name of each of `raw_messages`, and what it says or why it cannot be read."""
    for name, data in messages:
        try:
            yield name, data if isinstance(data, str) else parse_message(data, keep_quotes)
        except BrokenMessageError as error:
            yield name, str(error)


def message_of(name: str, content: Content | str) -> Email | Skipped:
    """Return one of `contents`."""
    if isinstance(content, str):
        return Skipped(name, content)
    return Email(name, content.subject, content.body)


def readable(path: Path, keep_quotes: bool, skipped: list[Skipped]) -> Iterator[Email]:
    """Yield the readable messages of `reported`, and put the others into `skipped`."""
    for message in reported(path, keep_quotes):
        if isinstance(message, Skipped):
            skipped.append(message)
        else:
            yield message


def reported(path: Path, keep_quotes: bool) -> Iterator[Email | Skipped]:
    """Yield the messages, see `unread`.

    Raises:
        InputError: At the end, if no message could be read.
    """
    return (read() for read in unread(path, keep_quotes))


def unread(path: Path, keep_quotes: bool) -> Iterator[Callable[[], Email | Skipped]]:
    """Yield for each message what reads it; report at the end those not read, or only in part.

    Args:
        path: Mail that exists.
        keep_quotes: As for `iter_emails`.

    Raises:
        InputError: At the end, if all were asked for, and none could be read.
    """
    count = 0
    told: defaultdict[str, list[str]] = defaultdict(list)  # the first names
    counts = Counter[str]()

    def note(what: str, name: str) -> None:
        counts[what] += 1
        if counts[what] <= _MOST_NAMED:
            told[what].append(name)

    def read(name: str, data: bytes | str) -> Email | Skipped:
        counts["read"] += 1
        ((_, content),) = contents([(name, data)], keep_quotes)
        if isinstance(content, str):
            note(_SKIPPED, f"{name} {content}")
        elif not content.body:
            note(_BARE, name)
        if not isinstance(content, str) and content.is_cut:
            note(_CUT, name)
        return message_of(name, content)

    for name, data in raw_messages(path):
        count += 1
        yield partial(read, name, data)
    for what in (_SKIPPED, _BARE, _CUT):
        if counts[what]:
            rest = counts[what] - len(told[what])
            listed = "; ".join(told[what]) + (f"; and {rest} more" if rest else "")
            summary = f"{counts[what]} of {counts['read']} messages {what}: {listed}"
            if counts[_SKIPPED] == count:
                raise InputError(f"{path}: no message could be read. {summary}.")
            logger.warning("%s: %s", path, summary)
