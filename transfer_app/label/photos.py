"""The photos of a page, as browsers show them, and the places in them that mattered."""

from functools import lru_cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from staged_training.runtime.photos import load_rgb
from transfer_app.label.hints import Said
from transfer_app.label.pool import BACKBONE, Pool
from vision_transfer.backbones import load_backbone
from vision_transfer.explanation import class_activation, on_whole_image, overlay

_SIDE = 1600  # pixels of the longer side, at most


def picture_of(pool: Pool, row: int) -> bytes:
    """Return a photo as people see it, as JPEG, which all browsers show.

    Raises:
        BrokenImageError: It cannot be decoded any more.
    """
    return _jpeg(_smaller(load_rgb(pool.contents[row])))


def explained_picture(pool: Pool, row: int, said: Said) -> bytes | None:
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
    return _jpeg(overlay(image, on_whole_image(heat, image.size, processor)))


def _smaller(image: Image.Image) -> Image.Image:
    image.thumbnail((_SIDE, _SIDE))
    return image


def _jpeg(image: Image.Image) -> bytes:
    stream = BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=0)
    return stream.getvalue()


@lru_cache(maxsize=1)
def _backbone(name: str) -> tuple[Any, Any]:
    model, processor = load_backbone(name, ["no", "yes"])
    return model.eval(), processor
