"""What the servers of this application share: an address, its names, a log that quotes nothing."""

import logging
import socket
import traceback
from collections.abc import Container, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil

from staged_training.runtime.errors import InputError

_LOGGER = logging.getLogger(__name__)
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_BACKLOG = 1024  # connections that wait to be accepted
_LAST_PORT = 65_535


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; with port 0 on one that is free.

    Who connects before it is served waits, and the port is nobody else's meanwhile.

    Raises:
        InputError: The port is taken or none, or the address is none of this machine.
    """
    check_port(port)
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        why = f"nothing can listen on port {port} of {host} ({error.strerror})"
        raise InputError(f"--port {port}: {why}. Give another --port.") from error
    return listening


def check_port(port: int) -> None:
    """Refuse a number that is no port, before the work for what is to listen there.

    Raises:
        InputError: It is none.
    """
    if not 0 <= port <= _LAST_PORT:
        raise InputError(f"--port {port}: ports go from 0 to {_LAST_PORT}. Give another --port.")


def address_of(listening: socket.socket) -> str:
    """Return the address of a socket as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this computer reaches what listens on an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def names_of(host: str) -> set[str]:
    """Return the names by which a browser may call a server that listens on an address.

    A name of another, whose owner lets it point here, is none of them (DNS rebinding).

    Args:
        host: The address; `0.0.0.0` and `::` mean all that this machine has.
    """
    own = {host.lower()}
    if not host or _is_any(host):
        addresses = [a.address for some in psutil.net_if_addrs().values() for a in some]
        own = {address.partition("%")[0] for address in addresses}
        own |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return own | _LOCAL


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def refused_by_name(headers: Mapping[str, str], names: Container[str]) -> str | None:
    """Return why a request is refused that another page made, or that has another name for us.

    Args:
        headers: Those of the request.
        names: What the server may be called, without a port.
    """
    host = headers.get("host", "").lower()
    if _without_port(host) not in names:
        return "Nothing is served under that name."
    origin = headers.get("origin", f"//{host}").lower()
    if origin.partition("//")[2] != host:
        return "This is not there for other pages."
    return None


def _without_port(host: str) -> str:
    """Return a host without its port; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def log_place(error: BaseException) -> None:
    """Log where an error happened; what it says may quote a mail, or steer a terminal."""
    place = "".join(traceback.format_tb(error.__traceback__, -3))
    _LOGGER.error("%s\n%s", type(error).__name__, place)
