"""Photos in everyday formats: upright 8-bit RGB, or refused by name; without PyTorch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from staged_training.runtime.deep_images import eight_bits, is_deep

MAX_PIXELS = 100_000_000
"""The largest image that is decoded: 300 MB as RGB. A small file can claim to be far larger."""

QUARTER_TURNED = (5, 6, 7, 8)
"""The orientations of EXIF whose width is the height of the upright image."""

_ORIENTATION = ExifTags.Base.Orientation


class BrokenImageError(ValueError):
    """An image that cannot be decoded; says why."""


def load_rgb(source: str | Path | bytes | Image.Image) -> Image.Image:
    """Decode an image as a person would see it.

    It is turned upright as its EXIF data say; grayscale, palette and CMYK images become RGB; of an
    animation the first frame is taken; transparency is ignored, and the colours behind it are
    seen. All this is what `pipeline` of `transformers`, torchvision and timm do. Of more than 8
    bits, of which these see little, `eight_bits` makes 8.

    Args:
        source: A file of any kind that Pillow reads, what is in one, or an image that was opened.

    Raises:
        BrokenImageError: It is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    if isinstance(source, Image.Image):
        return _rgb(source.copy())
    with _opened(source if isinstance(source, bytes) else Path(source)) as image:
        return _rgb(image)


def check_image(source: Path | bytes) -> list[str]:
    """Check that `load_rgb` can decode an image, and return what it has to convert.

    A JPEG is decoded at an eighth of its size: enough to see whether it is whole, and fast.

    Returns:
        What is unusual about it, of `grayscale`, `palette`, `CMYK`, `16-bit`,
        `turned by its EXIF data`, `animated` and `transparent`.

    Raises:
        BrokenImageError: As `load_rgb`.
    """
    with _opened(source) as image:
        unusual = {
            "grayscale": image.mode in ("1", "L", "LA"),
            "palette": image.mode == "P",
            "CMYK": image.mode == "CMYK",
            "16-bit": is_deep(image),
            "turned by its EXIF data": image.getexif().get(_ORIENTATION, 1) != 1,
            "animated": getattr(image, "is_animated", False),
            "transparent": _shows_through(image),
        }
        image.draft("RGB", (image.width // 8, image.height // 8))
        _rgb(image)
    return [name for name, is_so in unusual.items() if is_so]


def upright_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height, in pixels, that `load_rgb` gives an image, without decoding it.

    Raises:
        BrokenImageError: As `load_rgb`.
    """
    with _opened(source) as image:
        lies = image.getexif().get(_ORIENTATION, 1) in QUARTER_TURNED
        # Pillow turns a TIFF by itself, and gives its upright size from the start.
        return image.size[::-1] if lies and image.format != "TIFF" else image.size


def orientation(path: Path) -> int:
    """Return the EXIF orientation of an image, from 1 (upright) to 8.

    Raises:
        BrokenImageError: As `load_rgb`.
    """
    with _opened(path) as image:
        return int(image.getexif().get(_ORIENTATION, 1))


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """Open an image that is not too large to decode; explain what fails while it is used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)
            # By a stream: what Pillow maps into memory by its path, it scrambles where it turns it.
            with _stream(source) as file, Image.open(file, formats=_formats()) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BrokenImageError(
                        f"is {image.width:,} x {image.height:,} pixels large, more than "
                        f"{MAX_PIXELS:,} in all"
                    )
                yield image
    except UnidentifiedImageError as error:
        reason = "is not an image"
        if _is_heic(source):
            reason = "is HEIC, which cannot be read: save it as JPEG"
        raise BrokenImageError(reason) from error
    except Image.DecompressionBombError as error:
        raise BrokenImageError(f"is too large ({error})") from error
    except BrokenImageError:
        raise
    except Exception as error:  # decoders raise almost anything on damage
        raise BrokenImageError(f"is damaged or truncated ({error})") from error


@cache
def _formats() -> list[str]:
    """Return what Pillow decodes by itself: for EPS it runs Ghostscript."""
    Image.init()
    return [name for name in Image.ID if name != "EPS"]


def _stream(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return BytesIO(source)
    try:
        is_file, is_there = source.is_file(), source.exists()
    except OSError as error:
        raise BrokenImageError(f"cannot be opened ({error.strerror})") from error
    if not is_file:  # a pipe would be waited for
        raise BrokenImageError("is not a file" if is_there else "does not exist")
    return source.open("rb")


def _is_heic(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return source[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1")
    return source.suffix.lower() in (".heic", ".heif")


def _rgb(image: Image.Image) -> Image.Image:
    image = eight_bits(image)
    ImageOps.exif_transpose(image, in_place=True)  # else it is held three times
    return image.convert("RGB")


def _shows_through(image: Image.Image) -> bool:
    """Return whether any pixel is transparent; many images have an alpha channel without use."""
    if not image.has_transparency_data:
        return False
    lowest, _ = cast(tuple[int, int], image.convert("RGBA").getchannel("A").getextrema())
    return lowest < 255
