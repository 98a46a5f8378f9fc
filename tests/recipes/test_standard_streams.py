"""Texts come from standard input; what is printed may be read only in part."""

import io
import os
import subprocess
import sys

import pytest

from staged_training import InputError
from transfer_app import command_line
from transfer_app.prediction.inputs import usable
from transfer_app.prediction.text_inputs import texts

PRINTING = """
import sys
from transfer_app import command_line

def print_lines(arguments):
    for number in range(int(arguments[0])):
        print(number)

command_line._coverage = print_lines
sys.exit(command_line.main(sys.argv[1:]))
"""


def given(monkeypatch, data):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))


def test_lines_are_utf8_whatever_the_locale(monkeypatch):
    given(monkeypatch, "\ufeffGrüße\r\n\n  \nपानी".encode())
    assert [(item.name, item.content.strip()) for item in usable(texts("-").read())] == (
        [("-#1", "Grüße"), ("-#4", "पानी")]
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"call me\n\ncaf\xe9\n", 3),
        ("日本".encode("shift_jis"), 1),
        ("call".encode("utf-16"), 1),
        ("call".encode("utf-16-le"), 1),
    ],
)
def test_lines_that_are_not_utf8_are_refused_by_number(data, line, monkeypatch):
    given(monkeypatch, data)
    with pytest.raises(InputError, match=rf"-: line {line} is not UTF-8"):
        list(texts("-").read())


def test_standard_input_without_text_is_refused(monkeypatch):
    given(monkeypatch, b" \n\n")
    with pytest.raises(InputError, match="standard input holds no text"):
        list(texts("-").read())
    monkeypatch.setattr("sys.stdin", None)  # as Python has it where the shell says `<&-`
    with pytest.raises(InputError, match="standard input is closed"):
        list(texts("-").read())


@pytest.mark.parametrize(("lines", "unbuffered"), [(1, ""), (100_000, "1")])
def test_a_reader_that_goes_away_ends_the_command_without_a_word(lines, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    finished = subprocess.run(
        [sys.executable, "-c", PRINTING, "coverage", str(lines)],
        stdout=writing,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        timeout=90,
    )
    os.close(writing)
    assert (finished.returncode, finished.stderr) == (141, b"")


def test_a_command_whose_output_is_closed_does_its_work(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr(command_line, "_coverage", lambda arguments: print(*arguments))
    assert command_line.main(["coverage", "x"]) == 0
