"""Flags and the arguments of functions: what one is called, the other is called too."""

from collections.abc import Mapping
from typing import Any

from staged_training.runtime.errors import InputError, MissingColumnsError, flag


def in_flags(error: InputError, **flags: str) -> str:
    """Return what an error says, with a flag for each argument of a function that it names.

    Args:
        error: The error.
        flags: Those whose names differ from their arguments.
    """
    text = str(error)
    for name in error.arguments if isinstance(error, MissingColumnsError) else ():
        text = text.replace(f"`{name}`", flags.get(name, flag(name)))
    return text


def check_filled(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that are empty, as where a variable is not set, or hold a zero byte.

    Raises:
        InputError: One of them, or a part of one that takes several, is.
    """
    for name, value in arguments.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and not part.strip():
                raise InputError(
                    f"{name} is empty. Give a value (is a variable of the shell not set?), or "
                    "leave it out."
                )
            if isinstance(part, str) and "\0" in part:
                raise InputError(f"{name} holds a zero byte. Write it without.")
