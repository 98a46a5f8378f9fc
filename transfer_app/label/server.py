"""The page on which examples are labelled, for this computer only."""

import os
import sys
import webbrowser
from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from importlib import resources
from pathlib import Path
from signal import SIGINT
from socket import socket

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware

from staged_training.runtime.errors import InputError
from staged_training.runtime.printable import shell_path
from staged_training.runtime.stopping import Stopped
from transfer_app.label.log import AnswerLog, log_of
from transfer_app.label.pool import Pool
from transfer_app.label.routes import router
from transfer_app.label.session import Session
from transfer_app.listening import address_of, listening_socket, names_of
from transfer_app.service.access import AccessLog, Gate
from transfer_app.service.limits import Limiter, Limits

_HOST = "127.0.0.1"
_LAST = 5  # seconds in which requests under way are answered, at the end
_LIMITS = Limits(max_megabytes=1)


def serve_page(
    pool: Pool, output: Path, names: Sequence[str], port: int, following: Sequence[str]
) -> int:
    """Serve the page until it is ended, there or by Ctrl+C; return how many labels its table has.

    Args:
        pool: The examples.
        output: The table of labelled examples; beside it lies the log of answers.
        names: Labels that have a button from the start.
        port: The port; 0 for any that is free.
        following: The words of the command that learns from the table.

    Raises:
        InputError: The port is taken, another server has the log, this is not about these
            examples, or the table cannot be written in the end.
    """
    with (
        closing(AnswerLog(log_of(output), pool)) as log,
        listening_socket(_HOST, port) as listening,
    ):
        session = Session(pool, log, output, names)
        try:
            address = address_of(listening)
            print(f"Label at {address} (Ctrl+C ends it)", flush=True)
            _open_browser(address)
            _run(session, following, listening)
        finally:
            count = _written(session, log, output)
    return count


def label_app(session: Session, following: Sequence[str], end: Callable[[], None]) -> FastAPI:
    """Return the page of a session as a web application.

    Args:
        session: The session.
        following: The words of the command that learns from its table.
        end: Ends the server.
    """
    app = FastAPI(
        title="Labels",
        docs_url=None,  # these pages load scripts of other hosts
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(AccessLog, paths=()),
            Middleware(Gate, tokens=(), names=names_of(_HOST), rate=None),
            Middleware(Limiter, limits=_LIMITS),
        ],
        exception_handlers={RequestValidationError: _refused},
    )
    page = (resources.files("transfer_app.label") / "page.html").read_text(encoding="utf-8")
    app.state.session, app.state.page, app.state.policy = session, page, _policy(page)
    app.state.following, app.state.end = following, end
    app.include_router(router)
    if session.pool.kind == "image":
        from transfer_app.label import photos  # needs what only photos need

        app.include_router(photos.router)
    return app


async def _refused(_request: Request, _error: Exception) -> JSONResponse:
    """Refuse a body; what it holds, which may be no text that can be sent, is not repeated."""
    return JSONResponse({"detail": "This is not what the page asks for. Load it again."}, 422)


def _policy(page: str) -> str:
    """Return what a page may load: its own script and style, and what this server has."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_digest(page, 'script')}'",
            f"style-src '{_digest(page, 'style')}'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _digest(page: str, tag: str) -> str:
    inside = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"sha256-{b64encode(sha256(inside.encode()).digest()).decode()}"


def _run(session: Session, following: Sequence[str], listening: socket) -> None:
    app = label_app(session, following, lambda: setattr(server, "should_exit", True))
    config = uvicorn.Config(
        app,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # anyone could send them
        timeout_graceful_shutdown=_LAST,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listening])
    except Stopped as stopped:
        if stopped.number != SIGINT:  # which is how people end it
            raise


def _written(session: Session, log: AnswerLog, output: Path) -> int:
    """Write the table, say what it holds, and return how many labels.

    Raises:
        InputError: It cannot be written.
    """
    try:
        count = session.write_table()
    except InputError as error:
        kept = f"All answers are in {log.file}: the same command writes the table again."
        raise InputError(f"{error} {kept}") from error
    if count is None:
        print(f"No label was given, so {shell_path(output)} was not written.")
    else:
        print(f"{shell_path(output)} holds {count:,} label{'' if count == 1 else 's'}.")
    return count or 0


def _open_browser(address: str) -> None:
    """Open the page where there is somebody to see it."""
    has_screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}
    if sys.stdout.isatty() and has_screen:
        webbrowser.open(address)
