"""An mbox copied with a header in each mail that says what was decided of it."""

import os
import re
import stat
from collections.abc import Iterator
from email.header import Header
from pathlib import Path
from typing import BinaryIO

from nlp_transfer.emails.containers import MAX_BYTES, raw_messages
from nlp_transfer.emails.mbox import mbox_lines
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from transfer_app.inbox.decision import Decider, Decision
from transfer_app.inbox.telling import Summary, tell_decided
from transfer_app.prediction.text_inputs import mail

HEADER = "X-Urgency"
"""The header that mails get; with `-Words` at its end it tells the words that mattered."""

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?(?:[^\S\n]*\n)*")  # before the first message
_MOST_BEFORE = 2**20  # bytes of that
_ESCAPED = re.compile(rb">+From ")  # some programs leave one before the headers
_OURS = re.compile(rf"{HEADER}(?:-Words)?[ \t]*:".encode(), re.I)
_BARE_RETURN = re.compile(rb"(?<=\r)(?!\n)")  # ends a line for some readers


def check_copy(source: Path, output: Path) -> None:
    """Refuse a file that the copy of an mbox cannot be written to.

    Raises:
        InputError: It is in no folder, or something is there already.
    """
    if output.is_dir() or not output.parent.is_dir():
        raise InputError(f"{output}: is a folder, or in none. Name a file in a folder that exists.")
    if output.exists() and output.samefile(source):
        raise InputError(f"{output}: is the mbox itself. Name another file.")
    if os.path.lexists(output):  # a file, a link, or a device, which the copy would replace
        raise InputError(f"{output}: is there already. Name another file.", ["output"])


def mark_mbox(source: Path, decider: Decider, output: Path | None) -> Summary:
    """Decide of all mails of an mbox, and copy it.

    Each mail that can be read gets the header `X-Urgency: yes; score=0.9312`, or `no`. Nothing else
    of it changes, but that such headers by others are left out.

    Args:
        source: The mbox.
        decider: What decides.
        output: The file of the copy; None for none.

    Raises:
        InputError: The mbox cannot be read, or changes meanwhile; the disk is full.
    """
    summary = Summary()
    decided = decider.decide(mail(*found) for found in raw_messages(source))

    def headers() -> Iterator[bytes]:
        for read, decision in decided:
            tell_decided(summary, read, decision)
            yield _header(decision)
        raise InputError(f"{source}: grows while it is read. Copy it first.")

    if output is None:
        for outcome in decided:
            tell_decided(summary, *outcome)
        return summary
    with (
        source.open("rb") as file,
        written_whole(output, stat.S_IMODE(source.stat().st_mode)) as temporary,
        temporary.open("wb") as copy,
    ):
        copy.writelines(_with_headers(file, headers()))
    return summary


def _header(decision: Decision | None) -> bytes:
    if decision is None:
        return b""
    lines = [f"{HEADER}: {'yes' if decision.is_chosen else 'no'}; score={decision.score:.4f}"]
    if decision.words:
        name = f"{HEADER}-Words"
        lines.append(f"{name}: {Header(decision.words, 'utf-8', header_name=name).encode()}")
    return "".join(f"{line}\n" for line in lines).encode()


def _with_headers(file: BinaryIO, headers: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines of an mbox with our headers at the top of each mail, and only ours."""
    beginning = _BEGINNING.match(file.read(_MOST_BEFORE))
    yield beginning[0] if beginning else b""
    file.seek(0)
    ours = b""
    in_headers = in_ours = False
    for line, begins in mbox_lines(file, MAX_BYTES + 1):
        if begins:
            ours = next(headers)
            in_headers, in_ours = True, False
        elif in_headers and not _ESCAPED.match(line):
            yield ours.replace(b"\n", b"\r\n") if line.endswith(b"\r\n") else ours
            ours = b""
            in_headers = bool(line.strip(b"\r\n"))
            line, in_ours = _without_ours(line, in_ours)
        yield line


def _without_ours(line: bytes, in_ours: bool) -> tuple[bytes, bool]:
    """Return what is left of a line of headers, and whether it ends in one that is left out."""
    kept = []
    for piece in _BARE_RETURN.split(line):
        if not piece.startswith((b" ", b"\t")):  # else it continues what was before
            in_ours = _OURS.match(piece) is not None
        kept += [] if in_ours else [piece]
    return b"".join(kept), in_ours
