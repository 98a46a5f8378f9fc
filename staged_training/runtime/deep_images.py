"""Images of more than 8 bits a sample, as images of 8.

A camera of 10, 12 or 14 bits writes its values as they are into a file of 16, where they fill a
small part of the range. The highest value of a file shows which it was: the file alone, so that it
looks the same in training and in prediction.
"""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.ExifTags import Base

_DEPTHS = (8, 10, 12, 14, 16)  # bits of a sample, as cameras and scanners have them
_BITS, _PLANAR, _GDAL_NO_DATA = 258, 284, 42113  # tags of TIFF
# What stands for a missing value where the file does not say.
_NO_DATA = (-9999.0, -99999.0, -32768.0)
_BEYOND_ANY_VALUE = 1e19  # where floats have their missing values, such as 1e20 or -3.4e38
# Pillow keeps one of the two bytes of a colour: by rawmode, the one that makes it keep the other.
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in ("BL", "LB", "NB")
}

Array = npt.NDArray[Any]


def is_deep(image: Image.Image) -> bool:
    """Return whether an image, opened and not yet decoded, has more than 8 bits a sample."""
    return _is_deep_gray(image) or any(_rawmode(tile) in _OTHER_BYTE for tile in _tiles(image))


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale the samples of an image to 8 bits.

    Of whole numbers the top 8 of the bits that the file uses are kept: of 8, 10, 12, 14 or 16.
    Floats, and whole numbers of another range, are scaled to the range that they fill. What is no
    finite number, or stands for a missing one, becomes black.

    Args:
        image: An image that was opened by a stream and not yet decoded; one of 8 bits is returned
            itself.

    Returns:
        The image, to be turned as its EXIF data say.

    Raises:
        ValueError: No pixel holds a value, or Pillow would mix the colours up.
    """
    if _tag(image, _PLANAR) == 2 and max(_tag(image, _BITS)) > 8:
        raise ValueError("16-bit colours in separate planes cannot be read")
    if not is_deep(image):
        return image
    if _is_deep_gray(image):
        scaled = _scaled(np.asarray(image), _missing_values(image))
    else:
        scaled = _top_bits(_deep_colours(image))
    shallow = Image.fromarray(scaled)
    # Read after decoding, in which a TIFF is turned already.
    shallow.getexif()[Base.Orientation] = image.getexif().get(Base.Orientation, 1)
    return shallow


def _is_deep_gray(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _tiles(image: Image.Image) -> list[Any]:
    return getattr(image, "tile", [])


def _rawmode(tile: Any) -> Any:
    """Return how the samples of a tile are stored, in Pillow's words."""
    return tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args


def _with_other_byte(tile: Any) -> Any:
    other = _OTHER_BYTE[_rawmode(tile)]
    return tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)


def _deep_colours(image: Image.Image) -> Array:
    """Return the colours of an image of 16 bits, `uint16 [height, width, 3]`."""
    stream = cast(ImageFile.ImageFile, image).fp
    assert stream  # it was not decoded yet
    high = np.asarray(image)[..., :3]
    stream.seek(0)
    with Image.open(stream) as again:
        again.tile = [_with_other_byte(tile) for tile in _tiles(again)]
        low = np.asarray(again)[..., :3]
    colours: Array = high.astype(np.uint16) << 8 | low
    return colours


def _tag(image: Image.Image, number: int) -> Any:
    """Return a tag of a TIFF, if it is one and has it."""
    return getattr(image, "tag_v2", {}).get(number)


def _missing_values(image: Image.Image) -> list[float]:
    """Return the numbers that stand for a missing value."""
    try:
        return [*_NO_DATA, float(str(_tag(image, _GDAL_NO_DATA)).strip(" \0"))]
    except ValueError:
        return [*_NO_DATA]


def _scaled(values: Array, missing: list[float]) -> Array:
    """Scale the values of one channel to 8 bits; missing ones become black."""
    held = np.isfinite(values) & (np.abs(values, dtype=np.float64) < _BEYOND_ANY_VALUE)
    for value in missing:
        held &= ~np.isclose(values, value, rtol=1e-6, atol=0)
    if not held.any():
        raise ValueError("no pixel holds a value")
    low, high = float(values[held].min()), float(values[held].max())
    values = np.where(held, values, values[held].min())
    is_whole = values.dtype.kind != "f"
    if is_whole and (values.dtype.itemsize == 2 or (low >= 0 and 255 < high < 2**16)):
        return np.where(held, _top_bits(values), 0).astype(np.uint8)
    filled = (values.astype(np.float64) - low) * (255 / (high - low or 1))
    return np.where(held, filled, 0).round().astype(np.uint8)


def _top_bits(values: Array) -> Array:
    """Return the top 8 of the bits that values use."""
    used = next(depth for depth in _DEPTHS if values.max() < 2**depth)
    return (values >> (used - 8)).astype(np.uint8)
