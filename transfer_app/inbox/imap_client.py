"""One connection to an IMAP server: made, waited on, and told of in words when it fails."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Timer
from typing import Any

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError
from imapclient.imap4 import IMAP4WithTimeout
from imapclient.tls import IMAP4_TLS

from staged_training.runtime.errors import InputError
from transfer_app.inbox.mailbox import reachable, reason
from transfer_app.inbox.source import ServerFolder

_BREATH = 0.1  # seconds; a server may tell the same again and again
_TIMEOUT = SocketTimeout(connect=30, read=60)  # seconds
_MOST_TO_LOG_IN = 60  # seconds, once there is a connection
_WRONG = (AssertionError, LookupError, TypeError, ValueError)  # what IMAPClient raises on nonsense


class _Bounded:
    """A connection that is shut unless `bound` is cancelled in time, however slowly it trickles."""

    def _create_socket(self, timeout: float | None = None) -> socket.socket:
        connection: socket.socket = super()._create_socket(timeout)  # type: ignore[misc]
        self.bound = Timer(_MOST_TO_LOG_IN, _shut, [connection])
        self.bound.daemon = True
        self.bound.start()
        return connection


class _Plain(_Bounded, IMAP4WithTimeout):  # type: ignore[misc]
    pass


class _Encrypted(_Bounded, IMAP4_TLS):  # type: ignore[misc]
    pass


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # no farewell by TLS, which may hang


class Client(IMAPClient):  # type: ignore[misc]
    """A client that waits for new mail and misses none."""

    def wait(self, seconds: float, *, pause: float) -> None:
        """Return when the server tells of something, or after some time.

        Args:
            seconds: That time; servers end an IDLE after 29 minutes, and other devices sooner.
            pause: That time where the server cannot tell.
        """
        if self.heard_of_mail():
            time.sleep(_BREATH)
            return
        if not self.has_capability("IDLE"):
            time.sleep(pause)
            return
        self.idle()
        news = self.idle_check(timeout=0) or self.idle_check(timeout=seconds)
        for name, *words in news:
            if name == b"BYE":
                raise IMAPClientAbortError(
                    " ".join(str(word, "utf-8", "replace") for word in words)
                )
        self.idle_done()

    def heard_of_mail(self) -> bool:
        """Return whether new mail was told of along with another answer, since asked last."""
        return bool(self._imap.response("EXISTS")[1] != [None])

    def _create_IMAP4(self) -> _Plain | _Encrypted:  # noqa: N802
        if self.ssl:
            return _Encrypted(self.host, self.port, self.ssl_context, _TIMEOUT.connect)
        return _Plain(self.host, self.port, _TIMEOUT.connect)

    def logged_in(self) -> None:
        """End the time in which a server must have logged the user in."""
        self._imap.bound.cancel()

    def _poll_socket(self, sock: Any, timeout: float | None = None) -> Any:
        # What came in one piece with the answer to IDLE lies in a buffer, and is read at once: no
        # polling of the socket would see it.
        return [sock] if timeout == 0 else super()._poll_socket(sock, timeout)


def connect(server: ServerFolder, log_in: Callable[[Client], object]) -> Client:
    """Connect to a server and log in.

    Raises:
        InputError: There is no such server, it is another, or it refuses the user.
    """
    encrypted = server.scheme == "imaps"
    context = ssl.create_default_context() if encrypted else None
    try:
        client = Client(
            server.host, server.port, ssl=encrypted, ssl_context=context, timeout=_TIMEOUT
        )
    except ssl.SSLCertVerificationError as error:
        raise InputError(
            f"{server}: its certificate is not to be trusted ({error.verify_message}). Check the "
            "name of the host; where it is signed by an authority of your own, set SSL_CERT_FILE "
            "to the certificate of that."
        ) from error
    except (OSError, IMAPClientError, *_WRONG) as error:
        raise InputError(
            f"{server}: no mail server answers there ({reason(error)}). Check the name of the host "
            "and the port."
        ) from error
    try:
        log_in(client)
        client.logged_in()
    except InputError:
        close(client)
        raise
    except (OSError, IMAPClientError, *_WRONG) as error:
        close(client)
        raise InputError(
            f"{server}: {server.user} is refused ({reason(error)}). Check the name of the user and "
            "the password or token."
        ) from error
    return client


def by_password(user: str, password: str) -> Callable[[Client], object]:
    """Return a function that logs in by a password."""

    def log_in(client: Client) -> object:
        if client.has_capability("AUTH=PLAIN"):  # where a password may be of any characters
            return client.plain_login(user, password)
        return client.login(user, password)

    return log_in


def by_token(user: str, token: Callable[[], str]) -> Callable[[Client], object]:
    """Return a function that logs in by an OAuth2 token, a new one each time."""

    def log_in(client: Client) -> object:
        if client.has_capability("AUTH=OAUTHBEARER"):
            return client.oauthbearer_login(user, token())
        return client.oauth2_login(user, token())

    return log_in


def close(client: Client) -> None:
    """Close a connection, whatever its state is."""
    with suppress(OSError):
        client.shutdown()


answering = partial(reachable, IMAPClientError, *_WRONG)
"""Tells by one error of a connection that fails, and of answers that make no sense."""
