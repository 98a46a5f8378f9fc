"""Who may ask a service, how often, and what is logged of it."""

import hmac
import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transfer_app.listening import log_place, refused_by_name

ALIVE = "/health"
"""The path that is open to all, and tells nothing but that the service works."""

_LOGGER = logging.getLogger(__name__)
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}


def refused(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer to a request that is refused, in the form of those of FastAPI."""
    return JSONResponse({"detail": reason}, status, headers)


class Rate:
    """Counts the requests of each client: so many a minute, which may come at once.

    This is the generic cell rate algorithm, of one number for each client. Libraries for it bring
    storage that several processes share; a service is one.

    Args:
        per_minute: How many.
    """

    def __init__(self, per_minute: int) -> None:
        self._gap = 60 / per_minute
        self._used_until: dict[str, float] = {}
        self._tidied = time.monotonic()

    def wait(self, client: str) -> float:
        """Return the seconds until a client may make a request; 0 if it makes one now."""
        now = time.monotonic()
        if now - self._tidied > 60:
            self._used_until = {name: end for name, end in self._used_until.items() if end > now}
            self._tidied = now
        used_until = max(self._used_until.get(client, now), now) + self._gap
        if used_until - now > 60:
            return used_until - now - 60
        self._used_until[client] = used_until
        return 0


class Gate:
    """Middleware that refuses requests of strangers, and of those who ask too often.

    Args:
        app: The application.
        tokens: Those of its clients; none if it is open to all who reach it.
        names: What it may be called where it is open, see `names_of`: pages of others, in a browser
            that reaches it, are strangers too.
        rate: How many requests a minute a client may make, which is known by its token, or else by
            its address; None for any number.
    """

    def __init__(
        self, app: ASGIApp, tokens: Sequence[str], names: Collection[str], rate: int | None
    ) -> None:
        self._app, self._names = app, names
        self._tokens = [token.encode() for token in tokens]
        self._rate = Rate(rate) if rate else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer why not."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> JSONResponse | None:
        if not self._tokens and (reason := refused_by_name(request.headers, self._names)):
            return refused(403, reason)
        if request.scope["path"] == ALIVE:
            return None
        client = request.client.host if request.client else ""
        if self._tokens:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            sent = given.encode("latin-1")
            known = [hmac.compare_digest(sent, token) for token in self._tokens]
            if scheme.lower() != "bearer" or not any(known):
                reason = "Send your token as `Authorization: Bearer TOKEN`."
                return refused(401, reason, {"WWW-Authenticate": "Bearer"})
            client = str(known.index(True))
        if self._rate and (wait := self._rate.wait(client)):
            return refused(429, "Too many requests.", {"Retry-After": str(math.ceil(wait))})
        return None


class AccessLog:
    """Middleware that logs a line for each request, and quotes nothing of it.

    Args:
        app: The application.
        paths: The paths that it has; others are not logged, as they may say anything.
    """

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), None

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except ClientDisconnect:
            pass
        except Exception as error:
            log_place(error)
            if status is None:
                await refused(500, "That did not work.")(scope, receive, noted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "-"
            path = scope["path"] if scope["path"] in self._paths else "-"
            taken = 1000 * (time.perf_counter() - begin)
            _LOGGER.info("%s %s %s %.0f ms", method, path, status or "gone", taken)
