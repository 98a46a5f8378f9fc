"""Wrong input: the one exception for it, and what was left out where the rest is usable."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file, the line or the argument, says what was expected and what to do.

    Attributes:
        arguments: The arguments of functions that the message names in backticks.

    Examples:
        >>> from staged_training import freeze
        >>> freeze(model, "top")
        Traceback (most recent call last):
        staged_training.runtime.errors.InputError: The selector 'top' matches no parameters of
        RecurrentForSequenceClassification. Use 'all', 'head', 'backbone', 'backbone[-2:]', a
        pattern of parameter names, or one of the groups: embedding, layers.0, layers.1, head.
    """

    def __init__(self, message: str, arguments: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.arguments = arguments

    def with_argument(self, name: str, other: str) -> "InputError":
        """Return the same error about an argument of another name."""
        message = str(self).replace(f"`{name}`", f"`{other}`")
        return InputError(message, [other if one == name else one for one in self.arguments])


class Problem(NamedTuple):
    """A file, or a part of it, that was left out or is not as expected, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


def given_path(source: str | PathLike[str]) -> Path:
    """Return the given path; refuse an empty one, which would be the current folder.

    Raises:
        InputError: It is empty.
    """
    if not str(source).strip():
        raise InputError("The path of what is to be read is empty. Give one.")
    return Path(source)


def first_line(error: BaseException) -> str:
    """Return the first line of the message of a library's error, for a message of our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def flag(name: str) -> str:
    """Return the flag of an argument or a field."""
    return f"--{name.replace('_', '-')}"


def in_flags(error: InputError) -> str:
    """Return the message of an error, with the arguments that it names as flags."""
    text = str(error)
    for name in error.arguments:
        text = text.replace(f"`{name}`", flag(name))
    return text
