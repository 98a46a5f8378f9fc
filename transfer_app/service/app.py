"""Trained models as a web application."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.middleware import Middleware

from transfer_app.listening import names_of
from transfer_app.service.access import AccessLog, Gate
from transfer_app.service.bodies import Bodies
from transfer_app.service.limits import Limiter, Limits
from transfer_app.service.models import Served, opened
from transfer_app.service.routes import (
    described,
    health,
    predict,
    predict_with_the_only_model,
    refusals,
)
from transfer_app.service.schemas import Answers

_PATIENCE = 2.0  # seconds in which a model ends what it was given, at the end


def service(
    models: Sequence[str | Path],
    limits: Limits | None = None,
    tokens: Sequence[str] = (),
    names: Collection[str] | None = None,
) -> FastAPI:
    """Return trained models as a web application, for a server such as uvicorn.

    Its answers are those of `nlp-transfer predict --json`. Parallel requests are predicted
    together, in one thread for each model.

    Args:
        models: Their folders, after which they are named. Those that were exported run by ONNX,
            without PyTorch.
        limits: What clients may ask for.
        tokens: Those of its clients, who send one as `Authorization: Bearer TOKEN`; without any it
            answers all who reach it.
        names: What it may be called without tokens, by default what this computer calls itself:
            pages of others, open in a browser here, cannot use it.

    Raises:
        InputError: A folder holds no model that can be served, or two have the same name.
    """
    limits = limits or Limits()
    served = opened(models, limits.max_waiting)
    app = FastAPI(
        title="NLP Transfer",
        version=version("nlp-transfer"),
        docs_url=None,  # these pages load scripts of other hosts
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_closing,
        middleware=[
            Middleware(AccessLog, paths=_paths(served)),
            Middleware(Gate, tokens=tokens, names=names or names_of("localhost"), rate=limits.rate),
            Middleware(Limiter, limits=limits),
        ],
    )
    app.state.models, app.state.bodies = served, Bodies(limits.max_inputs, limits.max_megapixels)
    app.state.patience = limits.timeout / 2
    app.include_router(health)
    tells_of_tokens = [Depends(HTTPBearer(auto_error=False))] if tokens else []  # `Gate` checks
    for router in (described, _predicting(served, app.state.bodies)):
        app.include_router(router, dependencies=tells_of_tokens)
    return app


def _predicting(models: Mapping[str, Served], bodies: Bodies) -> APIRouter:
    """Return the routes that predict."""
    router = APIRouter()
    options: dict[str, Any] = {
        "methods": ["POST"],
        "response_model": Answers,
        "response_model_exclude_none": True,
        "responses": refusals(),
        "openapi_extra": bodies.openapi(of_texts=any(one.is_of_texts for one in models.values())),
    }
    router.add_api_route("/models/{name}/predict", predict, **options)
    options["include_in_schema"] = len(models) == 1
    router.add_api_route("/predict", predict_with_the_only_model, **options)
    return router


def _paths(models: Mapping[str, Served]) -> set[str]:
    of_models = {f"/models/{name}{end}" for name in models for end in ("", "/card", "/predict")}
    return {"/health", "/models", "/openapi.json", "/predict"} | of_models


@asynccontextmanager
async def _closing(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.bodies.close()
    for model in app.state.models.values():
        model.batcher.close(_PATIENCE)
