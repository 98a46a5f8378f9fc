"""Connections that end where no request comes on them."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

PATIENCE = 10.0
"""Seconds in which the head of a request has to come; uvicorn itself waits for ever."""


class ImpatientProtocol(H11Protocol):
    """The protocol of uvicorn, which ends a connection that does not bring a whole head in time.

    Neither silence nor a byte now and then keeps a connection open, nor does a client that goes on
    sending what was refused, or does not read what it is answered.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def _wait(self) -> None:
        seen = self.cycle, self._is_idle, self.transport.is_closing()
        self._timer = self.loop.call_later(PATIENCE, self._look, *seen)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._timer.cancel()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _look(self, cycle: RequestResponseCycle | None, was_idle: bool, was_closing: bool) -> None:
        """End the connection if no request has come since it was looked at before."""
        if was_closing:
            self.transport.abort()
            return
        if was_idle and self.cycle is cycle:
            self.transport.close()
        self._wait()
