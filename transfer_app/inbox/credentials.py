"""How a user logs in: a password that was not written down anywhere, or an OAuth2 token."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from getpass import getpass
from pathlib import Path

from staged_training.runtime.errors import InputError
from transfer_app.inbox.mailbox import reason
from transfer_app.inbox.source import ServerFolder

PASSWORD = "NLP_TRANSFER_PASSWORD"
"""The environment variable of the password."""

CREDENTIAL = "imap-password"
"""The name of the password among the credentials that systemd hands to a service."""

_MOST_SECONDS = 60  # that a command takes to print a token


def find_password(server: ServerFolder) -> str:
    """Return the password from the environment, from systemd, from the keyring or by a prompt.

    Raises:
        InputError: There is none, and nobody to ask.
    """
    for find in (_from_environment, _from_systemd, _from_keyring):
        if password := find(server):
            return _as_utf8(password, server)
    if not (sys.stdin and sys.stdin.isatty()):
        raise InputError(
            f"{server}: there is no password. Set {PASSWORD}, store it by `keyring set "
            f"{server.host} {server.user}`, or run this in a terminal, where it is asked for."
        )
    try:
        return getpass(f"Password of {server.user} at {server.host}: ")
    except EOFError as error:
        raise InputError(f"{server}: no password was given.") from error


def _as_utf8(password: str, server: ServerFolder) -> str:
    """Return a password, unless it holds bytes that Python could not decode."""
    try:
        password.encode()
    except UnicodeEncodeError:
        told = f"{server}: the password is not UTF-8. Store it in that encoding."
        raise InputError(told) from None
    return password


def _from_environment(_: ServerFolder) -> str | None:
    return os.environ.get(PASSWORD)


def _from_systemd(_: ServerFolder) -> str | None:
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", os.devnull), CREDENTIAL)
    if not file.is_file():
        return None
    return file.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\r\n")


def _from_keyring(server: ServerFolder) -> str | None:
    try:
        import keyring
    except ImportError:  # the extra `inbox`
        return None
    try:
        return keyring.get_password(server.host, server.user)
    except keyring.errors.KeyringError:  # there is none on this computer, or it stays locked
        return None


def token_by(command: str) -> Callable[[], str]:
    """Return a function that runs a command and returns the OAuth2 token that it prints.

    Args:
        command: The command, as for a shell, which it is not given to.

    Raises:
        InputError: It is no command, or there is no such program; where the function is called,
            it prints no token.
    """
    try:
        (program, *_) = words = shlex.split(command)
    except ValueError as error:
        raise InputError("`token_command` is no command.", ["token_command"]) from error
    if not shutil.which(program):
        raise InputError(
            f"{program}: there is no such program. Check `token_command`.", ["token_command"]
        )

    def token() -> str:
        try:
            ran = subprocess.run(
                words, stdout=subprocess.PIPE, timeout=_MOST_SECONDS, check=True, encoding="ascii"
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise InputError(
                f"{program}: prints no token ({_reason(error)}). Check `token_command`.",
                ["token_command"],
            ) from error
        found = ran.stdout.strip()
        if len(found.split()) != 1 or not found.isprintable():
            raise InputError(
                f"{program}: what it prints is not one token. Check `token_command`.",
                ["token_command"],
            )
        return found

    return token


def _reason(error: Exception) -> str:
    """Return why a command failed, without its arguments and what it printed."""
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it takes more than {_MOST_SECONDS} seconds"
    if isinstance(error, UnicodeError):
        return "it is not ASCII"
    return reason(error)
