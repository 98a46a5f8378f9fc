"""Where mail lies: a folder on a server, by its URL, or a Maildir or an mbox, by its path."""

import re
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from nlp_transfer.emails.containers import is_maildir, is_mbox
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path

_INBOX = "INBOX"
_PORTS = {"imaps": 993, "imap": 143}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # would end a command to a server


class ServerFolder(NamedTuple):
    """A folder of mail on an IMAP server.

    Attributes:
        scheme: `imaps`, or `imap`, which is not encrypted and for this computer only.
        user: Who logs in.
        host: The name or the address of the server.
        port: Where it listens.
        folder: The name of the folder.
    """

    scheme: str
    user: str
    host: str
    port: int
    folder: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.user}@{host}{port}/{self.folder}"


def parse_source(source: str) -> ServerFolder | Path:
    """Return what a URL or a path names.

    Args:
        source: `imaps://USER@HOST[:PORT]/FOLDER`, where the folder is `INBOX` if none is named, or
            the path of a Maildir or an mbox.

    Raises:
        InputError: It is no such URL, or there is no such mail.
    """
    if "://" in source:
        return _parse_url(source)
    path = existing_path(source)
    if is_maildir(path) or (path.is_file() and is_mbox(path)):
        return path
    raise InputError(
        f"{path}: neither a Maildir (a folder with 'cur' and 'new') nor an mbox. Name one, or a "
        "folder on a server as imaps://USER@HOST/FOLDER."
    )


def _parse_url(source: str) -> ServerFolder:
    shown = re.sub(r"//.*@", "//…@", source, flags=re.S)  # a password may stand there
    try:
        url = urlsplit(source)
        port = url.port
        user, folder = (unquote(part or "", errors="strict") for part in _user_and_folder(url))
    except ValueError:  # it may show the password
        raise InputError(f"{shown}: is no URL. {_ADVICE}") from None
    if url.scheme not in _PORTS:
        raise InputError(f"{shown}: mail is read by imaps. {_ADVICE}")
    if url.password is not None:
        raise InputError(
            f"{shown}: holds a password, which others on this computer can see. Change it, and "
            "leave it out; it is asked for. A ':' in the name of a user is written %3A."
        )
    if not user or not url.hostname:
        raise InputError(f"{shown}: names no {'host' if user else 'user'}. {_ADVICE}")
    if url.query or url.fragment:
        raise InputError(f"{shown}: in the name of a folder '?' is written %3F and '#' %23.")
    if _CONTROL.search(user + folder):
        raise InputError(f"{shown}: holds control characters. {_ADVICE}")
    if url.scheme == "imap" and not _is_loopback(url.hostname):
        raise InputError(
            f"{shown}: imap sends password and mail as plain text, and is for this computer only. "
            "Use imaps."
        )
    return ServerFolder(
        url.scheme, user, url.hostname, port or _PORTS[url.scheme], folder_name(folder or _INBOX)
    )


def folder_name(name: str) -> str:
    """Return the name of a folder in one way: that of the inbox is of any case (RFC 3501, 5.1)."""
    return _INBOX if name.upper() == _INBOX else name


_ADVICE = "Write imaps://USER@HOST/FOLDER, or name a Maildir or an mbox."


def _user_and_folder(url: SplitResult) -> tuple[str | None, str]:
    return url.username, url.path.removeprefix("/")


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
