"""What is let through to the demo: requests of its own page, to its own name, within a quota."""

import asyncio
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transfer_app.listening import log_place, refused_by_name

MOST_UPLOADED = 500 * 2**20  # bytes, of all that lies there at a time
LEAST_BYTES = 2**16  # that a file counts, as many small ones fill a disk, too
LONGEST_UPLOAD = 600  # seconds, after which it makes room for others
MOST_SAID = 2**20  # bytes of a request that uploads nothing; a pasted mail is far shorter
_UPLOAD = "/gradio_api/upload"

# What the page asks for, and programs that use it. Gradio has more, which is closed: it fetches
# from other hosts, writes to the disk, or tells what was done.
_OPEN = re.compile(
    r"/(config|theme\.css|favicon\.ico|manifest\.json|(assets|static|svelte)/.+)?"
    r"|/gradio_api/(info|app_id|startup-events|reset|cancel|upload|upload_progress"
    r"|queue/(join|data)|(call|heartbeat)/.+|file=/.+)"
)

# The page needs nothing of other hosts, and is not to ask them.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


class Guard:
    """Middleware that refuses requests by others, and uploads that would fill the disk.

    Args:
        app: The application.
        names: What it may be called, without a port.
        uploads: The folder that uploaded files go to.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], uploads: Path) -> None:
        self._app, self._names, self._uploads = app, set(names), uploads
        self._under_way = 0  # bytes of uploads that are not on the disk yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if refusal := self._refusal(request):
            await refusal(scope, receive, send)
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        size = _size(request) or 0
        self._under_way += size
        try:
            async with asyncio.timeout(LONGEST_UPLOAD if size else None):
                await self._app(scope, receive, send_with_policy)
        except TimeoutError:
            await PlainTextResponse("That took too long.", 408)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:  # of Gradio, which has answered
            log_place(error)
        finally:
            self._under_way -= size
            if size:
                self._tidy()

    def _refusal(self, request: Request) -> Response | None:
        if reason := refused_by_name(request.headers, self._names):
            return PlainTextResponse(reason, 403)
        path = request.scope["path"]
        if not _OPEN.fullmatch(path) or "deep_link" in request.query_params:
            return PlainTextResponse("The demo has no such page.", 404)
        size = _size(request)
        if size is None:
            return PlainTextResponse("Say how long what you send is: Content-Length.", 411)
        if path != _UPLOAD and size > MOST_SAID:
            return PlainTextResponse("That is too long.", 413)
        if not size:
            return None
        self._tidy()
        if self._under_way + size + _bytes_in(self._uploads) > MOST_UPLOADED:
            return PlainTextResponse("There is no room for more files. Try again in an hour.", 413)
        return None

    def _tidy(self) -> None:
        """Remove what uploads left that were not finished, and folders whose files were removed.

        Those that were finished lie in a folder of their own.
        """
        for entry in () if self._under_way else self._uploads.iterdir():
            with suppress(OSError):  # a folder that holds something stays
                if entry.is_file():
                    entry.unlink()
                elif time.time() - entry.stat().st_mtime > 60:  # else something may go there
                    entry.rmdir()


def _size(request: Request) -> int | None:
    """Return the length of a request in bytes; `None` if it is not given."""
    if request.method != "POST":
        return 0
    if "transfer-encoding" in request.headers:  # which counts, whatever length is told
        return None
    told = request.headers.get("content-length", "")
    return int(told) if told.isdecimal() else None


def _bytes_in(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # what is old is removed
            total += max(file.stat().st_size, LEAST_BYTES) if file.is_file() else 0
    return total
