"""Readable messages, one by one, and warnings of the others."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from nlp_transfer.emails.body_text import MAX_CHARACTERS
from nlp_transfer.emails.containers import raw_messages
from nlp_transfer.emails.message import BrokenMessageError, Content, parse_message
from staged_training.runtime.errors import InputError

logger = logging.getLogger(__name__)

_MOST_NAMED = 20


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
    """Yield the messages, and report at the end those not read, or only in part.

    Args:
        path: Mail that exists.
        keep_quotes: As for `iter_emails`.

    Raises:
        InputError: At the end, if no message could be read.
    """
    count = 0
    skipped: list[Skipped] = []
    bare: list[str] = []
    cut: list[str] = []
    for name, content in contents(raw_messages(path), keep_quotes):
        count += 1
        if isinstance(content, str):
            skipped.append(Skipped(name, content))
            yield skipped[-1]
            continue
        if not content.body:
            bare.append(name)
        if content.is_cut:
            cut.append(name)
        yield Email(name, content.subject, content.body)
    _warn(path, count, skipped, bare, cut)


def _warn(path: Path, count: int, skipped: list[Skipped], bare: list[str], cut: list[str]) -> None:
    told = [
        ([f"{item.input} {item.reason}" for item in skipped], "skipped"),
        (bare, "have no text of their own and are read by their subject alone"),
        (cut, f"are read in part, up to {MAX_CHARACTERS:,} characters"),
    ]
    for names, what in told:
        if names:
            more = f"; and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            listed = "; ".join(names[:_MOST_NAMED])
            summary = f"{len(names)} of {count} messages {what}: {listed}{more}"
            if len(skipped) == count:
                raise InputError(f"{path}: no message could be read. {summary}.")
            logger.warning("%s: %s", path, summary)
