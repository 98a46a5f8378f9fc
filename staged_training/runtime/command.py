"""A command from its first line to its exit status: errors, signals and readers that go away."""

import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import IO, cast

from staged_training.runtime.errors import InputError, in_flags
from staged_training.runtime.files import UnwritableError, unwritable_reported
from staged_training.runtime.printable import (
    PrintableFormatter,
    PrintableStream,
    one_line,
    shell_path,
)
from staged_training.runtime.stopping import Stopped, close_progress_bars, stoppable

_BROKEN_PIPE = 128 + 13  # as shells tell of SIGPIPE, which Windows has not

_MAIN_FIRST = 5.0
"""Seconds that other processes wait before they end with an error: a launcher then stops all, and
the main process, whose words people look for, may not have said it yet."""


def run_command(command: Callable[[], None], *, resumes: bool = False) -> int:
    """Run a command, and report unusable input in one line, without a traceback.

    Args:
        command: What it does.
        resumes: Whether it can go on where it was stopped.

    Returns:
        The exit status: 0; 2 for input that cannot be used, or a disk that cannot be written to;
        130 or 143 where it was stopped, by Ctrl-C or SIGTERM; 141 where nobody reads on.
    """
    try:
        with stoppable():
            return _reported(command, resumes)
    except Stopped as stopped:
        close_progress_bars()
        hint = "; continue with --resume" if resumes else ""
        print(f"\nnlp-transfer: stopped{hint}", file=sys.stderr)
        return stopped.status
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        close_progress_bars()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to print
        return _BROKEN_PIPE


def print_next(*words: str | Path, file: IO[str] | None = None) -> None:
    """Print the command that usually follows this one, to be copied, as the last line.

    Args:
        *words: The words of the command; all but flags are quoted.
        file: Where to print it, by default on standard output.

    Examples:
        >>> from staged_training.runtime.command import print_next
        >>> print_next("nlp-transfer", "export", "my model", "--output", "model.onnx")
        Next:   nlp-transfer export 'my model' --output model.onnx
    """
    print(f"Next:   {command_line(*words)}", file=file)


def command_line(*words: str | Path) -> str:
    """Return a command to be copied, of which all but flags is quoted.

    Examples:
        >>> from staged_training.runtime.command import command_line
        >>> command_line("nlp-transfer", "export", "my model")
        "nlp-transfer export 'my model'"
    """
    return " ".join(str(word) if str(word).startswith("--") else shell_path(word) for word in words)


def _nobody_reads() -> bool:
    """Return whether the reader of standard output is gone, as `head` may be."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


@contextmanager
def printable_errors() -> Iterator[None]:
    """Make the messages of `argparse` printable."""
    shown = sys.stderr and PrintableStream(sys.stderr)  # None where it is closed
    with redirect_stderr(cast(IO[str] | None, shown)):
        yield


def _reported(command: Callable[[], None], resumes: bool) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    shown = sys.stdout and PrintableStream(sys.stdout)  # None where it is closed
    try:
        with unwritable_reported(), redirect_stdout(cast(IO[str] | None, shown)):
            command()
            print(end="", flush=True)
    except InputError as error:
        number = os.environ.get("RANK", "0")
        whose = "" if number == "0" else f" (process {number})"
        goes_on = resumes and isinstance(error, UnwritableError)
        hint = " Then continue with --resume." if goes_on else ""
        print(
            one_line(f"nlp-transfer{whose}: {in_flags(error)}{hint}"), file=sys.stderr, flush=True
        )
        if number != "0":
            time.sleep(_MAIN_FIRST)
        return 2
    return 0
