"""The command `nlp-transfer serve`: its arguments, and a server that ends in peace."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from staged_training.runtime.errors import InputError
from transfer_app.listening import address_of, is_loopback, listening_socket, names_of

TOKENS = "NLP_TRANSFER_TOKEN"
"""The environment variable of the tokens of clients."""

_NEEDED = ("fastapi", "uvicorn", "python_multipart", "onnxruntime")
_TOKEN = re.compile(r"[\w.~+/-]{16,}=*", re.ASCII)  # as RFC 6750 has it, and not to be guessed
_LAST = 5  # seconds in which requests under way are answered, at the end


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of `serve`."""
    parser = argparse.ArgumentParser(
        "nlp-transfer serve",
        description="Serve trained models over HTTP. The answers are those of `nlp-transfer predict "
        "--json`; /openapi.json describes what is asked and answered. Models that were exported "
        "run by ONNX, without PyTorch, in a fraction of the memory.",
        epilog=f"Clients send a token as `Authorization: Bearer TOKEN`, if {TOKENS} holds one, or "
        "several, parted by spaces; without, only this computer is served. There is no TLS: put a "
        "server that has it before this one.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="DIR",
        help="folder of a model; its name is that of the model in addresses",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; by default for this computer only",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on (default: 8000; 0: any free one)"
    )
    for flag, kind, most, what in _LIMITS:
        parser.add_argument(flag, type=kind...)
    return parser
