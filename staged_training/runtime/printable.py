"""Texts from outside as they may be shown: what they say, and nothing that a terminal obeys."""

import logging
import re
from typing import Any

# Control characters but for line breaks and tabs, marks that turn the direction of writing, line
# separators of Unicode, and halves of characters, which stand for bytes that are no text.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text in which characters that change how others are shown are escaped.

    Examples:
        >>> print(printable("clear \x1b[2J the screen"))
        clear \x1b[2J the screen
    """
    return _OBEYED.sub(lambda match: match[0].encode("unicode-escape").decode(), text)


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

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return printable(super().format(record))
