"""What a service is sent, as inputs of its models."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice, starmap, takewhile
from threading import Event
from typing import Annotated, Any, cast

from fastapi import HTTPException, Request
from pydantic import FailFast, Field, ValidationError, create_model
from starlette.datastructures import UploadFile

from staged_training.runtime.photos import BrokenImageError, upright_size
from transfer_app.prediction.inputs import Input, text_of
from transfer_app.prediction.photo_inputs import photo_of
from transfer_app.prediction.text_inputs import mail_of
from transfer_app.service.batching import BusyError
from transfer_app.service.schemas import Text

_JSON, _FORM = "application/json", "multipart/form-data"

_READERS = 2  # threads that read mails and check images, whose pixels take memory

_Files = list[tuple[str, bytes]]
"""The names of files, and what is in them."""


class Bodies:
    """The bodies of requests for predictions.

    Args:
        most: How many inputs a request may have.
        megapixels: How many its images may have.
    """

    def __init__(self, most: int, megapixels: int) -> None:
        self._most, self._megapixels = most, megapixels
        # Reading ends at the first text that is wrong: errors of a million would fill the memory.
        texts = Annotated[list[Text], FailFast(), Field(min_length=1, max_length=most)]
        self._texts = create_model("Texts", inputs=(texts, ...))
        self._readers = ThreadPoolExecutor(_READERS, "readers")

    def openapi(self, *, of_texts: bool) -> dict[str, Any]:
        """Return what OpenAPI says of them, if a model is of texts or if all are of images."""
        files = {"type": "array", "items": {"type": "string", "format": "binary"}}
        form = {"type": "object", "properties": {"files": files}, "required": ["files"]}
        content = {_FORM: {"schema": form}}
        if of_texts:
            texts = self._texts.model_json_schema()
            texts["properties"]["inputs"]["items"] = texts.pop("$defs")["Text"]
            content[_JSON] = {"schema": texts}
        return {"requestBody": {"content": content, "required": True}}

    def close(self) -> None:
        """Read no more."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def received(
        self, request: Request, *, of_texts: bool
    ) -> Callable[[float], Awaitable[list[Input]]]:
        """Return what reads the inputs of a request, to a model of texts or of images.

        It takes the time, by `time.monotonic`, until which its turn has to come, and may raise
        what this does, or a `BusyError` if it does not.

        Raises:
            HTTPException: What was sent is nothing for the model.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if of_texts and kind == _JSON:
            return partial(self._of_json, await request.body())
        if kind == _FORM:
            read = _mails if of_texts else self._photos
            return partial(self._of_files, await self._files(request), read)
        what = (
            f"texts as {_JSON}, or mails as files of {_FORM}" if of_texts else f"images, as {_FORM}"
        )
        raise HTTPException(415, f"Send {what}.")

    async def _files(self, request: Request) -> _Files:
        async with request.form(max_files=self._most, max_fields=self._most) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            if not files or len(files) < len(form.multi_items()):
                raise HTTPException(422, "Each part of the form is to be a file, with a name.")
            return [(one.filename or f"#{n}", await one.read()) for n, one in enumerate(files, 1)]

    async def _of_json(self, body: bytes, until: float) -> list[Input]:
        try:
            texts: list[Text] = cast(Any, self._texts.model_validate_json(body)).inputs
        except ValidationError as error:
            (first, *_) = error.errors(include_url=False, include_context=False)
            if first["type"] == "too_long":
                raise self._too_many() from None
            place = ".".join(map(str, first["loc"])) or "The body"
            raise HTTPException(422, f"{place}: {first['msg']}.") from None
        return [text_of(one.name or f"#{n}", one.text) for n, one in enumerate(texts, start=1)]

    async def _of_files(
        self, files: _Files, read: Callable[[_Files], Iterable[Input]], until: float
    ) -> list[Input]:
        """Return what is in files, which a thread reads until they are given up."""
        is_given_up = Event()

        def begin() -> list[Input]:
            if time.monotonic() > until:
                raise BusyError
            inputs = islice(read(files), self._most + 1)
            return list(takewhile(lambda _: not is_given_up.is_set(), inputs))

        try:
            inputs = await asyncio.get_running_loop().run_in_executor(self._readers, begin)
        finally:
            is_given_up.set()
        if len(inputs) > self._most:
            raise self._too_many()
        return inputs

    def _photos(self, files: _Files) -> Iterator[Input]:
        if sum(_pixels(data) for _, data in files) > self._megapixels * 10**6:
            reason = f"The images of a request may have {self._megapixels} million pixels."
            raise HTTPException(413, reason)
        return starmap(photo_of, files)

    def _too_many(self) -> HTTPException:
        return HTTPException(413, f"A request may have {self._most} inputs.")


def _mails(files: _Files) -> Iterator[Input]:
    return chain.from_iterable(starmap(mail_of, files))


def _pixels(data: bytes) -> int:
    try:
        width, height = upright_size(data)
    except BrokenImageError:  # which `photo_of` explains
        return 0
    return width * height
