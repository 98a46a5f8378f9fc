"""Texts to predict of: mail, rows of a table, lines of standard input."""

import io
import re
import sys
from collections.abc import Iterable, Iterator

from nlp_transfer.emails.message import BrokenMessageError, parse_message
from nlp_transfer.emails.messages import Skipped, message_of
from nlp_transfer.emails.reading import TextTable, iter_mail_texts, iter_sent_mail
from staged_training.runtime.errors import InputError
from transfer_app.prediction.inputs import Input, text_of, usable


def texts(source: str) -> Iterable[Input]:
    """Return the texts of mail, as `iter_mail_texts` takes it; `-` for lines of standard input.

    Raises:
        InputError: None can be read.
    """
    if source != "-":
        return map(_mail, iter_mail_texts(source))
    lines = [text_of(f"-#{number}", line) for number, line in _lines_of_stdin()]
    if not usable(lines):
        raise InputError("-: standard input holds no text. Give one text per line.")
    return lines


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


def mail_of(name: str, data: bytes) -> Iterator[Input]:
    """Return the texts of a file of mail that was sent, see `iter_sent_mail`."""
    return map(_mail, iter_sent_mail(name, data))


def _mail(message: tuple[str, str] | Skipped) -> Input:
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
