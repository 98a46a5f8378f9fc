"""Connections that end where no request comes on them."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

PATIENCE = 10.0
"""Seconds in which the head of a request has to come; uvicorn itself waits for ever."""


class ImpatientProtocol(H11Protocol):
    """The protocol of uvicorn, which ends a connection that does not bring a whole head in time.

    Neither silence nor a byte now and then keeps a connection open, nor does a client that goes on
    sending what was refused.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def _wait(self) -> None:
        self.loop.call_later(PATIENCE, self._end_without_request, self.cycle)

    def _end_without_request(self, last: RequestResponseCycle | None) -> None:
        """End the connection if no request came after the last, and that was answered."""
        if self.transport.is_closing():
            return
        if self.cycle is last and (last is None or last.response_complete):
            self.transport.close()
        else:
            self._wait()
