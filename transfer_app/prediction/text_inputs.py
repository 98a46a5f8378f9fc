"""Texts to predict of: mail, rows of a table, lines of standard input."""

import io
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain

from nlp_transfer.emails.message import BrokenMessageError, parse_message
from nlp_transfer.emails.messages import Skipped, message_of
from nlp_transfer.emails.reading import iter_sent_mail, unread_mail
from nlp_transfer.emails.text_tables import TextStream, TextTable
from staged_training.runtime.errors import InputError
from transfer_app.prediction.inputs import Input, Unread, text_of

STDIN = "-"
_ROWS_AT_ONCE = 1_000


def texts(source: str) -> Unread:
    """Return the texts of mail, as `unread_mail` takes it; `-` for lines of standard input.

    Raises:
        InputError: At the end, if none could be read.
    """
    if source != STDIN:
        return Unread(partial(_mail, read) for read in unread_mail(source))
    return Unread.of(_lines())


def _lines() -> Iterator[Input]:
    any_text = False
    for number, line in _lines_of_stdin():
        item = text_of(f"-#{number}", line)
        any_text |= item.problem is None
        yield item
    if not any_text:
        raise InputError("-: standard input holds no text. Give one text per line.")


def mail(name: str, data: bytes | str) -> Input:
    """Return the text of a message; its subject is what people see of it.

    Args:
        name: What it is called.
        data: The message as it is stored, or why it was not read.
    """
    try:
        content = data if isinstance(data, str) else parse_message(data)
    except BrokenMessageError as error:
        content = str(error)
    message = message_of(name, content)
    if isinstance(message, Skipped):
        return Input(name, None, problem=message.reason)
    return Input(name, message.text, message.subject)


def texts_of_rows(table: TextTable) -> Iterator[Input]:
    """Yield the texts of the rows of a table."""
    problem = f"has no text in {' and '.join(table.text_columns)}"
    for name, text in zip(table.names, table.texts, strict=True):
        yield text_of(name, text, problem)


def texts_of_table(table: TextStream) -> Unread:
    """Return the texts of all rows of a table."""
    parts = table.parts(_ROWS_AT_ONCE)
    return Unread.of(chain.from_iterable(map(texts_of_rows, parts)), table.table.count)


def mail_of(name: str, data: bytes) -> Iterator[Input]:
    """Return the texts of a file of mail that was sent, see `iter_sent_mail`."""
    return map(_as_input, iter_sent_mail(name, data))


def _mail(read: Callable[[], tuple[str, str] | Skipped]) -> Input:
    return _as_input(read())


def _as_input(message: tuple[str, str] | Skipped) -> Input:
    if isinstance(message, Skipped):
        return Input(message.input, None, problem=message.reason)
    return text_of(*message)


def _lines_of_stdin() -> Iterator[tuple[int, str]]:
    if sys.stdin is None:
        raise InputError("-: standard input is closed. Give texts by a pipe, or name a file.")
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.encoding != "utf-8-sig":
        sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(sys.stdin, start=1):
        if "\0" in line or re.search("[\ud800-\udfff]", line):
            raise InputError(f"-: line {number} is not UTF-8. Convert the texts, as by `iconv`.")
        yield number, line
