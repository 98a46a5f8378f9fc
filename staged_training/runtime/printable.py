"""Texts from outside as they may be shown: what they say, and nothing that a terminal obeys."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

# Control characters but for line breaks and tabs, marks that turn the direction of writing, line
# separators of Unicode, and halves of characters, which stand for bytes that are no text.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


STDOUT, STDERR = 1, 2
"""The descriptors of what is printed."""


@contextmanager
def silenced(descriptor: int) -> Iterator[None]:
    """Keep libraries from printing that are not written in Python.

    Args:
        descriptor: Where they print, `STDOUT` or `STDERR`, which may be closed.
    """
    if {STDOUT: sys.__stdout__, STDERR: sys.__stderr__}[descriptor] is None:
        yield  # another file may have the descriptor by now
        return
    kept = os.dup(descriptor)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def printable(text: str) -> str:
    r"""Return a text with the characters escaped that change how others are shown.

    Examples:
        >>> print(printable("clear \x1b[2J the screen"))
        clear \x1b[2J the screen
    """
    return _OBEYED.sub(lambda match: match[0].encode("unicode-escape").decode(), text)


def one_line(text: str) -> str:
    r"""Return a text as `printable` does, with its line breaks escaped too.

    Examples:
        >>> print(one_line("a name\nof two lines"))
        a name\nof two lines
    """
    return printable(text).replace("\n", r"\n")


def shell_path(path: str | Path) -> str:
    r"""Return a path quoted for a shell: one word that is no flag, on one line.

    Examples:
        >>> from pathlib import Path
        >>> print(shell_path(Path("my model")), shell_path(Path("-v")), shell_path(Path("a\nb")))
        'my model' ./-v $'a\x0ab'
    """
    word = f"./{path}" if str(path).startswith("-") else str(path)
    if one_line(word) == word:
        return quote(word)
    escaped = word.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{''.join(map(_shell_character, escaped))}'"


def _shell_character(character: str) -> str:
    if one_line(character) == character:
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


class PrintableStream:
    """A stream of text that shows what is written to it as `printable` does.

    What its encoding lacks is escaped, too.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        encoding = self._stream.encoding or "utf-8"
        shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(shown)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PrintableFormatter(logging.Formatter):
    """Formats log messages as `printable` shows them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        return one_line(super().formatMessage(record))
