"""The photos of a page, as browsers show them, and the places in them that mattered."""

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Response
from PIL import Image

from staged_training.runtime.photos import BrokenImageError, load_rgb
from transfer_app.label.hints import Said, said_of
from transfer_app.label.pool import BACKBONE, Pool
from transfer_app.label.routes import Current, row_of
from vision_transfer.backbones import load_backbone
from vision_transfer.explanation import class_activation, on_whole_image, overlay

router = APIRouter()

_SIDE = 1600  # pixels of the longer side, at most


@router.get("/photos/{key}")
def photo(session: Current, key: str) -> Response:
    """Return a photo of the pool."""
    row = row_of(session, key)
    try:
        return _shown(picture_of(session.pool, row))
    except BrokenImageError as error:
        raise HTTPException(404, f"The photo {error}.") from None


@router.get("/photos/{key}/hint")
def explained(session: Current, key: str) -> Response:
    """Return a photo with the places that mattered."""
    row = row_of(session, key)
    said = said_of(session.snapshot(), row)
    try:
        picture = said and explained_picture(session.pool, row, said)
    except BrokenImageError as error:
        raise HTTPException(404, f"The photo {error}.") from None
    if picture is None:
        raise HTTPException(404, "This model of photos does not tell the place that mattered.")
    return _shown(picture)


def _shown(image: Image.Image) -> Response:
    """Answer with a photo as JPEG, which all browsers show."""
    stream = BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=0)
    headers = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(stream.getvalue(), media_type="image/jpeg", headers=headers)


def picture_of(pool: Pool, row: int) -> Image.Image:
    """Return a photo as people see it, and as large as a page needs it.

    Raises:
        BrokenImageError: It cannot be decoded any more.
    """
    return _smaller(load_rgb(pool.contents[row]))


def explained_picture(pool: Pool, row: int, said: Said) -> Image.Image | None:
    """Return a photo, its places the brighter the more they spoke for the likeliest label.

    None where the model of images gives no such places.

    Raises:
        BrokenImageError: It cannot be decoded any more.
    """
    model, processor = _backbone(pool.base or BACKBONE)
    image = load_rgb(pool.contents[row])
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    added = class_activation(model, pixels, said.weight, pool.scale[0])
    if added is None:
        return None
    image = _smaller(image)
    heat = np.maximum(added, 0) / max(added.max(), 1e-12)
    return overlay(image, on_whole_image(heat, image.size, processor))


def _smaller(image: Image.Image) -> Image.Image:
    image.thumbnail((_SIDE, _SIDE))
    return image


@lru_cache(maxsize=1)
def _backbone(name: str) -> tuple[Any, Any]:
    model, processor = load_backbone(name, ["no", "yes"])
    return model.eval(), processor
