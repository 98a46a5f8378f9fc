"""The demo of a trained model in a browser: the command `nlp-transfer demo`."""

import socket
from typing import TYPE_CHECKING

from recipes import caption_prediction, detection_prediction
from recipes.prediction import known_to, open_classifier
from staged_training import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI, Request, Response

# The page needs nothing of other hosts, and is not to ask them.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def serve(model: str, host: str, port: int) -> None:
    """Serve the demo of a model until it is interrupted.

    Args:
        model: Folder or Hub name of the model.
        host: The address to listen on.
        port: The port.

    Raises:
        InputError: There is no model, the extra `demo` is not installed, or the port is taken.
    """
    app = web_app(model)
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host} --port {port}: {error}. Give another --port.") from error
    with listening:
        shown = f"[{host}]" if ":" in host else host
        print(f"The demo is at http://{shown}:{port} (Ctrl+C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def web_app(model: str) -> "FastAPI":
    """The demo of a model as a web application.

    Raises:
        InputError: There is no model, or the extra `demo` is not installed.
    """
    try:
        import captum  # noqa: F401 - to say so now, not at the first mail
        import gradio  # noqa: F401
        from fastapi import FastAPI
    except ImportError as error:
        raise InputError("The demo needs more: pip install 'nlp-transfer[demo]'.") from error
    from recipes import demo_images, demo_page, demo_pictures, demo_texts

    classifier, known = open_classifier(model), known_to(model)
    if classifier.task == caption_prediction.TASK:
        blocks = demo_pictures.captioner_blocks(classifier)
    elif classifier.task == detection_prediction.TASK:
        blocks = demo_pictures.detector_blocks(classifier)
    else:
        is_image = classifier.task == "image-classification"
        blocks = (demo_images if is_image else demo_texts).blocks(classifier, known)
    app = FastAPI()

    @app.middleware("http")
    async def keep_to_itself(
        request: "Request", call_next: "Callable[[Request], Awaitable[Response]]"
    ) -> "Response":
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    demo_page.mount(app, blocks)
    return app
