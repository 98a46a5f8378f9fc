"""A proxy before a real server, which changes what that says, or hangs up."""

import socket
import threading
from contextlib import contextmanager, suppress


@contextmanager
def proxy(port, answered=lambda data: data, asked=lambda data: data):
    """The port of a proxy.

    Args:
        port: That of the server.
        answered: What becomes of data of the server; None to hang up.
        asked: What becomes of data of the client.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(
            target=_serve, args=(listening, port, answered, asked), daemon=True
        ).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _serve(listening, port, answered, asked):
    with suppress(OSError):
        while True:
            client, _ = listening.accept()
            with suppress(OSError):
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server, asked), (server, client, answered)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source, target, changed):
    with suppress(OSError):
        while (data := source.recv(2**16)) and (data := changed(data)) is not None:
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
