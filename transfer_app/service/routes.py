"""The routes of a service, and how a request is answered."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from transfer_app.service.access import ALIVE
from transfer_app.service.batching import BusyError
from transfer_app.service.limits import BUSY, SOON
from transfer_app.service.models import Served
from transfer_app.service.schemas import Health, Model, Models, Refusal

_T = TypeVar("_T")
_MARKDOWN = "text/markdown"
_CARD: dict[int | str, Any] = {200: {"content": {_MARKDOWN: {"schema": {"type": "string"}}}}}
_REFUSALS = {
    400: "The form is none",
    401: "There is no token, or none that is known",
    403: "It comes from a page of another, or under another name",
    404: "There is no such model, or it has no card",
    408: "It came too slowly",
    413: "It is too large, or has too many inputs",
    415: "It is of another kind",
    422: "It is not as described",
    429: "There are too many; `Retry-After` says when to come again",
    500: "The service failed",
    503: "Its answer takes too long; or the service does not work",
}

described = APIRouter()
"""Routes that describe the models."""

health = APIRouter()
"""The route that tells whether the service works."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of requests that are refused; of all kinds by default."""
    chosen = statuses or _REFUSALS
    return {status: {"model": Refusal, "description": _REFUSALS[status]} for status in chosen}


async def _known(name: str, request: Request) -> Served:
    model: Served | None = request.app.state.models.get(name)
    if model is None:
        raise HTTPException(404, "There is no such model; see /models.")
    return model


_Known = Annotated[Served, Depends(_known)]


@health.head(ALIVE, include_in_schema=False)
@health.get(ALIVE, responses=refusals(503))
async def alive(request: Request) -> Health:
    """Tell whether the service works, to whoever watches it."""
    if not all(model.batcher.is_working for model in request.app.state.models.values()):
        raise HTTPException(503, "A model is not predicted with any more.")
    return Health()


@described.get("/models", response_model_exclude_none=True, responses=refusals(401, 403, 429))
async def models(request: Request) -> Models:
    """List the models."""
    return Models(models=[model.description for model in request.app.state.models.values()])


@described.get(
    "/models/{name}", response_model_exclude_none=True, responses=refusals(401, 403, 404, 429)
)
async def model(model: _Known) -> Model:
    """Tell what a model predicts, and its version."""
    return model.description


@described.get(
    "/models/{name}/card",
    response_class=Response,  # else all, refusals too, would be described as Markdown
    responses=_CARD | refusals(401, 403, 404, 429),
)
async def card(model: _Known) -> Response:
    """Show the card of a model: what it was trained on, how good it is, what it is not good for."""
    if model.card is None:
        raise HTTPException(404, "The model has no card.")
    return Response(model.card, media_type=_MARKDOWN)


async def predict(model: _Known, request: Request) -> dict[str, Any]:
    """Predict with a model: of texts, or of files of mails or images."""
    read = await request.app.state.bodies.received(request, of_texts=model.is_of_texts)
    until = time.monotonic() + request.app.state.patience

    async def answers() -> list[dict[str, Any]]:
        return await model.answers(await read(until), until)

    try:
        found = await _while_connected(request, answers())
    except BusyError:
        raise HTTPException(429, BUSY, SOON) from None
    about = model.description
    return {"model": about.name, "version": about.version, "answers": found}


async def predict_with_the_only_model(request: Request) -> dict[str, Any]:
    """Predict with the only model: of texts, or of files of mails or images."""
    models = [*request.app.state.models.values()]
    if len(models) > 1:
        raise HTTPException(404, "There are several models: ask /models/NAME/predict.")
    return await predict(models[0], request)


async def _while_connected(request: Request, work: Awaitable[_T]) -> _T:
    """Return what work gives; end it where the client goes away.

    Raises:
        ClientDisconnect: The client did.
    """
    working, watching = asyncio.ensure_future(work), asyncio.create_task(_end_of(request))
    try:
        await asyncio.wait([working, watching], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


async def _end_of(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
