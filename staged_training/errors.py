"""The one exception for wrong input: its message names what is wrong and says what to do."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file, the line or the argument, says what was expected and what to do.
    `nlp-transfer` prints it without a traceback and exits with status 2.
    """
