"""Image files as people have them: upright 8-bit RGB, or refused by name."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

MAX_PIXELS = 100_000_000
"""The largest image that is decoded: 300 MB as RGB. A small file can claim to be far larger."""


class BrokenImageError(ValueError):
    """An image that cannot be decoded; says why."""


def load_rgb(path: Path, *, small: bool = False) -> Image.Image:
    """Decode an image as a person would see it.

    It is turned upright as its EXIF data say; grayscale, palette, CMYK and 16-bit images become
    8-bit RGB; what is transparent becomes white; of an animation the first frame is taken.

    Args:
        path: A file with one of `SUFFIXES`.
        small: Decode a JPEG at an eighth of its size: enough to see whether it is whole, and fast.

    Raises:
        BrokenImageError: It is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BrokenImageError(
                        f"is {image.width:,} x {image.height:,} pixels large, more than "
                        f"{MAX_PIXELS:,} in all"
                    )
                if small:
                    image.draft("RGB", (image.width // 8, image.height // 8))
                return _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise BrokenImageError("does not exist") from error
    except UnidentifiedImageError as error:
        raise BrokenImageError("is no image") from error
    except Image.DecompressionBombError as error:
        raise BrokenImageError(f"is too large ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what decoders raise on damage
        if isinstance(error, BrokenImageError):
            raise
        raise BrokenImageError(f"is damaged or truncated ({error})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8; larger or floating values to the range that they fill."""
    values = np.asarray(image, np.float64)
    if image.mode.startswith("I;16") or (values.min() >= 0 and 255 < values.max() <= 65_535):
        values = values / 257
    else:
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low or 1))
    return Image.fromarray(values.round().astype(np.uint8))
