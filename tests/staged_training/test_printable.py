"""Texts from outside do not steer the terminal that shows them."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from staged_training.runtime.printable import (
    PrintableFormatter,
    PrintableStream,
    one_line,
    printable,
    shell_path,
)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),  # clears the screen, names it
        ("bill\rpaid", r"bill\rpaid"),  # begins the line anew
        ("\x9b31m", r"\x9b31m"),  # the same as escape and a bracket
        ("invoice\u202efdp.exe", r"invoice\u202efdp.exe"),  # shown as exe.pdf
        ("\u2066hidden\u2069", r"\u2066hidden\u2069"),
        ("one\u2028two", r"one\u2028two"),
        ("caf\udce9.eml", r"caf\udce9.eml"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["naïve 日本語", "שלום", "क्‍ष", "👩‍🔬", "one\n\ttwo"])
def test_what_is_only_shown_stays_as_it_is(text):
    assert printable(text) == text


ODD = [
    "a b",
    "-v",
    "it's",
    "`id` $(id)",
    "a\nb",
    "\x1b[2J\x9f'\\",
    "\u202ea\udce9f",
    "日本 😀",
    "$'a'",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_one_line_that_a_shell_reads_as_that_path(name):
    word = shell_path(Path(name))
    assert one_line(word) == word
    found = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert Path(os.fsdecode(found.stdout)) == Path(name)
    assert not found.stdout.startswith(b"-")


def test_a_plain_path_is_shown_as_it_is():
    assert shell_path(Path("outputs/email-urgency")) == "outputs/email-urgency"


def test_a_stream_escapes_what_its_encoding_lacks():
    raw = io.BytesIO()
    stream = PrintableStream(io.TextIOWrapper(raw, "ascii", newline="\n"))
    print("caf\xe9 \x1b[0m", file=stream, flush=True)
    assert raw.getvalue() == rb"caf\xe9 \x1b[0m" + b"\n"
    assert not PrintableStream(sys.stdout).closed


def test_log_messages_are_escaped():
    record = logging.LogRecord("n", logging.WARNING, "", 1, "read %s", ("\x1b[1m\n.eml",), None)
    assert PrintableFormatter("%(levelname)s: %(message)s").format(record) == (
        r"WARNING: read \x1b[1m\n.eml"
    )
