"""How much a client of a service may send, and how long it may take."""

import asyncio
from dataclasses import dataclass

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from staged_training.runtime.errors import InputError
from transfer_app.service.access import refused

BUSY = "Too many requests at a time."
SOON = {"Retry-After": "1"}
_MOST_HELD = 16  # requests of the largest size that are held in memory at a time


@dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    Attributes:
        max_megabytes: The size of a request.
        max_inputs: The texts, mails or images of a request.
        max_megapixels: The size of the images of a request, as a small file can hold a huge one. In
            memory a million pixels take 8 MB, and three images are decoded at a time.
        max_waiting: The inputs that wait for a model, of all requests.
        timeout: The seconds that a request may take, from its head to the end of its answer.
        rate: The requests of a client in a minute; None for any number.

    Raises:
        InputError: One is less than 1.
    """

    max_megabytes: int = 10
    max_inputs: int = 100
    max_megapixels: int = 50
    max_waiting: int = 1000
    timeout: int = 30
    rate: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise InputError(f"`{name}` is {value}; give 1 or more.", [name])

    @property
    def max_bytes(self) -> int:
        """Return the size of a request in bytes."""
        return self.max_megabytes * 10**6


class Limiter:
    """Middleware that ends requests that are too large or take too long.

    Args:
        app: The application.
        limits: The limits.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._held = 0  # bytes of all requests under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered in time, or answer why not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, is_whole, is_answered = 0, False, False

        async def counted() -> Message:
            nonlocal size, is_whole
            message = await receive()
            more = len(message.get("body", b""))
            size, self._held = size + more, self._held + more
            is_whole = not message.get("more_body", False)
            self._check_size(size)
            if self._held > _MOST_HELD * self._limits.max_bytes:
                raise HTTPException(429, BUSY, SOON)
            return message

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            async with asyncio.timeout(self._limits.timeout):
                declared = Headers(scope=scope).get("content-length", "")
                self._check_size(int(declared) if declared.isdecimal() else 0)
                await self._app(scope, counted, noted)
        except HTTPException as error:
            await refused(error.status_code, error.detail, error.headers)(scope, receive, send)
        except TimeoutError:
            if not is_answered:  # else the connection ends, as the client does not read
                await self._too_late(is_whole)(scope, receive, send)
        finally:
            self._held -= size

    def _check_size(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise HTTPException(413, f"A request may have {self._limits.max_megabytes} MB.")

    def _too_late(self, is_whole: bool) -> JSONResponse:
        within = f"within {self._limits.timeout} seconds"
        if not is_whole:
            return refused(408, f"The request was not there {within}.", {"Connection": "close"})
        return refused(503, f"There was no answer {within}. Send fewer inputs.", SOON)
