"""What every page of the demo has: how it looks, and how long it keeps what is uploaded."""

from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from gradio.route_utils import FnIndexInferError
from gradio_client.utils import is_file_obj, traverse

from transfer_app.listening import log_place
from transfer_app.prediction.answers import Answer

MOST_BYTES = 10 * 2**20  # of an uploaded file
MOST_SCAN_BYTES = 512 * 2**20  # of an uploaded volume of CT
MOST_FILES = 500  # in a request
MOST_SESSIONS = 100  # pages whose mails or photos are held in memory
MOST_WAITING = 100  # requests
KEPT = (600, 3600)  # what is uploaded is removed after an hour, and when the demo ends

CSS = """
.gradio-container { max-width: 64rem !important; margin: auto; }
.inbox .wrap { flex-direction: column; align-items: stretch; }
.inbox label { overflow-wrap: anywhere; }
.photos .thumbnail-item { aspect-ratio: 12 / 5; }
footer { display: none !important; }
"""


_UNKNOWN = (FnIndexInferError, KeyError)  # of Gradio, where a page has no such function


class _Page(gr.Blocks):
    """A page whose functions get no files but those that were uploaded to it.

    Gradio itself takes all that lies in the folder of uploads, and fetches what has an address.
    """

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> list[Any]:
        """Refuse other files, then do what Gradio does."""
        paths: list[str] = []
        traverse(inputs, lambda file: paths.append(file["path"]), is_file_obj)
        if not self.upload_file_set.issuperset(paths):
            raise gr.Error("That file was not uploaded.")
        if len(paths) > MOST_FILES:
            raise gr.Error(f"Give at most {MOST_FILES} files at a time.")
        ready: list[Any] = await super().preprocess_data(block_fn, inputs, state, explicit_call)
        return ready

    async def process_api(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Do what Gradio does, which would log an error with what it quotes."""
        try:
            done: dict[str, Any] = await super().process_api(*args, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log_place(error)
            raise gr.Error("That did not work.", print_exception=False) from error
        return done


def scores_of(answer: Answer) -> dict[str, float] | str:
    """Return what `gr.Label` shows of an answer: a bar for each label, or a number."""
    scores: dict[str, float] | None = answer.fields.get("scores")
    return scores or f"{answer.fields['value']:.12g}"


def new_page(title: str) -> gr.Blocks:
    """Return an empty page."""
    return _Page(title=title, analytics_enabled=False, delete_cache=KEPT)


def mount(app: FastAPI, page: gr.Blocks, most_bytes: int = MOST_BYTES) -> None:
    """Make a page the root of an application, to which files of so many bytes can be uploaded.

    What is done in it is kept nowhere but in the open page.
    """
    page.has_launched = True  # else Gradio takes files that nobody uploaded
    page.state_session_capacity = MOST_SESSIONS
    for function in page.fns.values():
        function.concurrency_id = "model"  # it does one thing at a time
    fonts = ["system-ui", "sans-serif"]  # those of Gradio's themes come from another host
    theme = gr.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app,
        page.queue(default_concurrency_limit=1, max_size=MOST_WAITING),
        path="/",
        app_kwargs={"exception_handlers": dict.fromkeys(_UNKNOWN, _no_function)},
        theme=theme,
        css=CSS,
        max_file_size=most_bytes,
        run_history=False,
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        show_error=False,
    )


async def _no_function(*_: object) -> PlainTextResponse:
    return PlainTextResponse("The page has no such function.", 404)
