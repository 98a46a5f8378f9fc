"""The messages of an mbox file, one at a time, however its writer parts them."""

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

# "From ann@example.org Mon Jun  3 10:15:00 2024". Some programs write no more than "From ", or no
# more than a sender, or the date in another way: such a line may be a sentence of a mail, so it
# begins a message only where headers follow.
_DATED = re.compile(
    rb"From .*\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b.*(?:\d\d:\d\d.*\d{4}|\d{4}.*\d\d:\d\d)"
)
_UNSURE = re.compile(rb"From(?: +\S*| .*\d\d.*)?\s*$")
_HEADER = re.compile(
    rb">From |(?:(?!e-mail)[a-z]+(?:-[a-z\d]+)+|from|to|cc|bcc|date|subject|received|sender|status"
    rb"|lines|path|newsgroups|references|precedence|organization|importance|priority)[ \t]*:",
    re.I,
)
_MOST = 1000  # bytes of a line that are looked at; the expressions take quadratic time
_ESCAPED = re.compile(rb">+From ")


def begins_as_mbox(file: BinaryIO) -> bool:
    """Return whether the first line with anything on it begins a message."""
    return next(mbox_lines(file, _MOST), (b"", False))[1]


def mbox_messages(file: BinaryIO, most: int) -> Iterator[bytes]:
    """Yield the messages of a file that begins as an mbox.

    Args:
        file: The mbox, opened and not read from yet.
        most: About how many bytes of a message are kept; the rest is read and dropped.
    """
    message = bytearray()
    lines = mbox_lines(file, most)
    next(lines)
    for line, is_main_process in lines:
        if is_main_process:
            yield bytes(message)
            message.clear()
        elif len(message) < most:
            message += line[1:] if _ESCAPED.match(line) else line
    yield bytes(message)


def mbox_lines(file: BinaryIO, most: int) -> Iterator[tuple[bytes, bool]]:
    """Yield each line from the first with anything on it, and whether it begins a message.

    Args:
        file: As for `mbox_messages`.
        most: Longer lines come in pieces of so many bytes.
    """
    line = file.readline(most).removeprefix(codecs.BOM_UTF8)
    while line.isspace():
        line = file.readline(most)
    after_blank = True
    while line:
        following = file.readline(most)
        yield line, line.startswith(b"From") and _begins(line[:_MOST], following, after_blank)
        after_blank = line.isspace()
        line = following


def _begins(line: bytes, following: bytes, after_blank: bool) -> bool:
    if after_blank and _DATED.match(line):
        return True
    return bool(_UNSURE.match(line) and _HEADER.match(following[:_MOST]))
