"""The command `nlp-transfer serve`: its arguments, and a server that ends in peace."""

import argparse
import logging
import os
import re
import socket
import sys
import warnings
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from staged_training.runtime.command import print_next
from staged_training.runtime.errors import InputError
from transfer_app.listening import address_of, is_loopback, listening_socket, names_of

if TYPE_CHECKING:
    from fastapi import FastAPI

TOKENS = "NLP_TRANSFER_TOKEN"
"""The environment variable that holds the tokens of clients."""

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "onnxruntime")
_TOKEN = re.compile(r"[\w.~+/-]{16,}=*", re.ASCII)  # RFC 6750, and too long to be guessed
_LAST = 5  # seconds in which requests under way are answered, at the end


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of `nlp-transfer serve`."""
    parser = argparse.ArgumentParser(
        "nlp-transfer serve",
        description="Serve trained models over HTTP. The answers are those of `nlp-transfer "
        "predict --json`; /openapi.json says what can be asked. A model that was exported runs by "
        "ONNX, in a fraction of the time and memory of PyTorch.",
        epilog=f"If {TOKENS} holds a token, or several parted by spaces, each request has to bring "
        "one (Authorization: Bearer TOKEN). Without one the service is for this computer only. It "
        "speaks no TLS: put a server before it that does.",
    )
    parser.add_argument(
        "models", nargs="+", metavar="DIR", help="folder of a model, which is served under its name"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; by default for this computer only",
    )
    parser.add_argument("--port", type=int, default=8000, help="port; 0 for any that is free")
    for name, default, what in (
        ("--max-megabytes", 10, "size of a request"),
        ("--max-inputs", 100, "texts, mails or images of a request"),
        ("--max-megapixels", 50, "size of the images of a request"),
        ("--max-waiting", 1000, "inputs that wait for a model; more are refused by status 429"),
        ("--timeout", 30, "seconds that a request may take"),
    ):
        parser.add_argument(
            name, type=int, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--rate", type=int, metavar="N", help="requests a minute of each token, or else address"
    )
    return parser


def serve(options: argparse.Namespace) -> None:
    """Serve models until it is interrupted.

    Args:
        options: As `new_parser` reads them.

    Raises:
        InputError: Models, tokens or limits cannot be used, the address is taken or open to others
            without a token, or the extra `serve` is not installed.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise InputError("The service needs more: pip install 'nlp-transfer[serve]'.")
    os.environ.setdefault("TQDM_DISABLE", "1")  # PyTorch's predictors show bars
    from transfer_app.service.app import service
    from transfer_app.service.limits import Limits
    from transfer_app.service.models import check_folders

    limits = Limits(**{field.name: getattr(options, field.name) for field in fields(Limits)})
    tokens = _tokens(options.host)
    check_folders([Path(folder) for folder in options.models])
    with listening_socket(options.host, options.port) as listening:
        app = service(options.models, limits, tokens, names_of(options.host))
        _log_requests_only()
        address = address_of(listening)
        print(f"{', '.join(app.state.models)} served at {address} (Ctrl+C ends it)")
        print_next("curl", f"{address}/models")
        sys.stdout.flush()
        _run(app, listening)


def _tokens(host: str) -> list[str]:
    """Return the tokens of clients.

    Raises:
        InputError: One is none, or there is none and others reach the address.
    """
    tokens = os.environ.get(TOKENS, "").split()
    if not all(map(_TOKEN.fullmatch, tokens)) or (TOKENS in os.environ and not tokens):
        raise InputError(
            f"{TOKENS} holds no token of 16 or more letters, digits and ._~+/-. Make one: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'."
        )
    if not tokens and not is_loopback(host):
        raise InputError(
            f"--host {host}: others reach that address, and there is no token. Put one into "
            f"{TOKENS}, or leave --host out."
        )
    return tokens


def _log_requests_only() -> None:
    """Log a line for each request; what libraries warn of may quote what was sent."""
    warnings.simplefilter("ignore")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.getLogger("transfer_app.service").setLevel(logging.INFO)


def _run(app: "FastAPI", listening: socket.socket) -> None:
    import uvicorn

    from transfer_app.service.connections import ImpatientProtocol

    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        log_level=logging.CRITICAL,  # errors are logged by `AccessLog`
        access_log=False,
        server_header=False,
        proxy_headers=False,  # anyone could send them
        timeout_graceful_shutdown=_LAST,
    )
    if sys.platform != "win32":  # where there is no such limit
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of connections, idle ones too
    uvicorn.Server(config).run(sockets=[listening])
