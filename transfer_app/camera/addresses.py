"""Addresses of cameras and brokers, which hold no password, and the passwords that they need."""

import os
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
    except ValueError as error:
        raise InputError(f"{address.rpartition('@')[2]}: is no address ({error}).") from error
    if parts.password is not None:
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise InputError(
            f"{shown}: others can see a password in an address. Leave USER@ there, and put the "
            f"password into the environment as {variable}."
        )
    return parts


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
