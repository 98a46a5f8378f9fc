"""Addresses of cameras and brokers, which hold no password, and the passwords that they need."""

import os
import re
from urllib.parse import SplitResult, quote, urlsplit

from staged_training.runtime.errors import InputError


def split_address(address: str, variable: str) -> SplitResult:
    """Return the parts of an address.

    Args:
        address: The address.
        variable: The variable of the environment that its password belongs into.

    Raises:
        InputError: It is none, or holds a password, which others on the computer could see.
    """
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:  # it quotes what may be of a password
        raise InputError(
            f"{shown(address)}: is no address. Write SCHEME://[USER@]HOST[:PORT]/..., and put the "
            f"password into the environment as {variable}."
        ) from None
    if parts.password is not None:
        raise InputError(
            f"{shown(address)}: others can see a password in an address. Leave USER@ there, and "
            f"put the password into the environment as {variable}."
        )
    return parts


def shown(address: str) -> str:
    """Return an address without what may be a password: what is before an `@`, or after a `?`.

    Examples:
        >>> shown("rtsp://me:secret@camera/stream?key=secret")
        'rtsp://camera/stream'
    """
    place = re.sub(r"^(\w+://)?[^/?#]*@", r"\1", address)
    if "@" in place:  # a password with a `/` in it, of which no end is certain
        return "The address"
    return re.split("[?#]", place)[0]


def with_password(address: str, variable: str) -> str:
    """Return an address with the password of a variable of the environment, if it names a user.

    Raises:
        InputError: As `split_address`.
    """
    parts, password = split_address(address, variable), os.environ.get(variable)
    if not parts.username or not password:
        return address
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}").geturl()
