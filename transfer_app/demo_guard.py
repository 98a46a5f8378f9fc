"""What is let through to the demo: requests of its own page, to its own name, within a quota."""

import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

MOST_UPLOADED = 500 * 2**20  # bytes, of all that lies there at a time
MOST_SAID = 2**20  # bytes of a request that uploads nothing; a pasted mail is far shorter
_UPLOAD = "/gradio_api/upload"

# What the page asks for, and programs that use it. Gradio has more, which is closed: it fetches
# from other hosts, writes to the disk, or tells what was done.
_OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.+)?"
    r"|/gradio_api/(info|app_id|startup-events|reset|cancel|upload|upload_progress"
    r"|queue/(join|data)|(call|heartbeat)/.+|file=/.+)"
)
_LOCAL = {"localhost", "127.0.0.1", "::1"}

# The page needs nothing of other hosts, and is not to ask them.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


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


def guard(app: FastAPI, names: Iterable[str], uploads: Path) -> None:
    """Refuse requests by others, and uploads that would fill the disk.

    Args:
        app: The application.
        names: What it may be called, without a port.
        uploads: The folder that uploaded files go to.
    """
    allowed = set(names)
    under_way = 0  # bytes of uploads that are not on the disk yet

    @app.middleware("http")
    async def let_through(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        nonlocal under_way
        host = request.headers.get("host", "").lower()
        if _name(host) not in allowed:
            return PlainTextResponse("The demo is not served under that name.", 403)
        origin = request.headers.get("origin", f"//{host}").lower()
        if origin.partition("//")[2] != host:
            return PlainTextResponse("The demo is not there for other pages.", 403)
        path = request.scope["path"]
        if not _OPEN.fullmatch(path) or "deep_link" in request.query_params:
            return PlainTextResponse("The demo has no such page.", 404)
        size = _size(request)
        if size is None:
            return PlainTextResponse("Say how long what you send is: Content-Length.", 411)
        if path != _UPLOAD and size > MOST_SAID:
            return PlainTextResponse("That is too long.", 413)
        if size and under_way + size + _bytes_in(uploads) > MOST_UPLOADED:
            return PlainTextResponse("There is no room for more files. Try again in an hour.", 413)
        under_way += size
        try:
            response = await call_next(request)
        finally:
            under_way -= size
        response.headers["Content-Security-Policy"] = _POLICY
        return response


def _name(host: str) -> str:
    """The host without its port; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _size(request: Request) -> int | None:
    """The length in bytes of what is sent; `None` where it is not told."""
    if request.method != "POST":
        return 0
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() else None


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # what is old is removed
            total += file.stat().st_size
    return total
