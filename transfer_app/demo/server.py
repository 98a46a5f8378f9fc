"""The demo of a trained model in a browser: the command `nlp-transfer demo`."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from staged_training import InputError
from staged_training.heads.conformal import LabelSets
from staged_training.runtime.command import print_next
from transfer_app.listening import address_of, listening_socket, names_of
from transfer_app.prediction.classifiers import Classifier, TextClassifier
from transfer_app.prediction.opening import open_predictor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI


def serve(
    model: str, host: str, port: int, name: str | None = None, sets: LabelSets | None = None
) -> None:
    """Serve the demo of a model until it is interrupted.

    Args:
        model: Folder or Hub name of the model.
        host: The address to listen on.
        port: The port.
        name: What browsers call it, if a server before it has another name.
        sets: What gives each input the set of labels that cannot be excluded, see `label_sets`.

    Raises:
        InputError: There is no model, the extra `demo` is not installed, or the port is taken.
    """
    app = web_app(model, host, name, sets)
    import uvicorn

    with listening_socket(host, port) as listening:
        print(f"The demo is at {address_of(listening)} (Ctrl+C ends it)")
        print_next("nlp-transfer", "predict", model, "YOUR_FILES")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def web_app(
    model: str,
    host: str = "127.0.0.1",
    name: str | None = None,
    sets: LabelSets | None = None,
) -> "FastAPI":
    """Return the demo of a model as a web application; the arguments are those of `serve`.

    Files that are uploaded go to a folder of their own, which is removed when the demo ends.

    Raises:
        InputError: There is no model, or the extra `demo` is not installed.
    """
    try:
        import captum  # noqa: F401 - to say so now, not at the first mail
        import gradio  # noqa: F401
        from fastapi import FastAPI
    except ImportError as error:
        raise InputError("The demo needs more: pip install 'nlp-transfer[demo]'.") from error
    from transfer_app.demo import guard, page, photos, texts

    uploads = TemporaryDirectory(prefix="nlp-transfer-demo-")
    os.environ["GRADIO_TEMP_DIR"] = uploads.name  # read when components are made, and later
    predictor = open_predictor(model)
    if isinstance(predictor, Classifier):
        predictor.sets = sets
    if isinstance(predictor, TextClassifier):
        blocks = texts.blocks(predictor)
    else:
        blocks = photos.blocks(predictor)

    @asynccontextmanager
    async def with_uploads(_: FastAPI) -> "AsyncIterator[None]":
        with uploads:
            yield
        os.environ.pop("GRADIO_TEMP_DIR")

    app = FastAPI(lifespan=with_uploads)
    names = names_of(host) | ({name.lower()} if name else set())
    app.add_middleware(guard.Guard, names=names, uploads=Path(uploads.name))
    page.mount(app, blocks, page.MOST_SCAN_BYTES if predictor.ct else page.MOST_BYTES)
    return app
