"""Image files in everyday formats: upright 8-bit RGB, or refused by name."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from vision_transfer.deep_images import eight_bits, is_deep

MAX_PIXELS = 100_000_000
"""The largest image that is decoded: 300 MB as RGB. A small file can claim to be far larger."""

QUARTER_TURNED = (5, 6, 7, 8)
"""The orientations of EXIF whose width is the height of the upright image."""

_ORIENTATION = ExifTags.Base.Orientation
_GENERATOR = Lock()


class BrokenImageError(ValueError):
    """An image that cannot be decoded; says why."""


def load_rgb(path: str | Path) -> Image.Image:
    """Decode an image as a person would see it.

    It is turned upright as its EXIF data say; grayscale, palette and CMYK images become RGB; of an
    animation the first frame is taken; transparency is ignored, and the colours behind it are
    seen. All this is what `pipeline` of `transformers`, torchvision and timm do. Of more than 8
    bits, of which these see little, `eight_bits` makes 8.

    Args:
        path: A file of any kind that Pillow reads.

    Raises:
        BrokenImageError: It is no image, is truncated, or is larger than `MAX_PIXELS`.
    """
    path = Path(path)
    with _opened(path) as image:
        return _rgb(image, path)


class Photos(Sequence[torch.Tensor]):
    """Photos on disk, each decoded when it is asked for, `uint8 [3, height, width]`.

    Args:
        paths: The files.
        side: What the shorter side of each is scaled to, in pixels.
    """

    def __init__(self, paths: Sequence[Path], side: int) -> None:
        self.paths, self.side = list(paths), side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        """Return a photo, or those of a slice."""
        if isinstance(index, slice):
            return Photos(self.paths[index], self.side)
        small = functional.resize(load_rgb(self.paths[index]), [self.side], antialias=True)
        return functional.pil_to_tensor(small)


def check_image(path: Path) -> list[str]:
    """Check that `load_rgb` can decode an image, and return what it has to convert.

    A JPEG is decoded at an eighth of its size: enough to see whether it is whole, and fast.

    Returns:
        What is unusual about it, of `grayscale`, `palette`, `CMYK`, `16-bit`,
        `turned by its EXIF data`, `animated` and `transparent`.

    Raises:
        BrokenImageError: As `load_rgb`.
    """
    with _opened(path) as image:
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
        _rgb(image, path)
    return [name for name, is_so in unusual.items() if is_so]


def upright_size(path: Path) -> tuple[int, int]:
    """Return width and height, in pixels, that `load_rgb` gives an image, without decoding it.

    Raises:
        BrokenImageError: As `load_rgb`.
    """
    with _opened(path) as image:
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


def random_view(image: Image.Image, seed: int) -> Image.Image:
    """Return a random view of an image as in augmentation: half of it or more, maybe mirrored.

    The crop is that of Inception (Szegedy et al. 2015), whose smaller ones are left out: they show
    no more than a detail.
    """
    with seeded(seed):
        top, left, height, width = RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4, 4 / 3])
        mirrored = bool(torch.rand(1) < 0.5)
    view = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(view) if mirrored else view


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, also in threads, which share its generator."""
    with _GENERATOR, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image that is not too large to decode; explain what fails while it is used."""
    try:
        is_file, is_there = path.is_file(), path.exists()
    except OSError as error:
        raise BrokenImageError(f"cannot be opened ({error.strerror})") from error
    if not is_file:  # a pipe would be waited for
        raise BrokenImageError("is not a file" if is_there else "does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS decides
            warnings.filterwarnings("ignore", "Palette images with Transparency", UserWarning)
            # By a stream: what Pillow maps into memory by its path, it scrambles where it turns it.
            with path.open("rb") as file, Image.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BrokenImageError(
                        f"is {image.width:,} x {image.height:,} pixels large, more than "
                        f"{MAX_PIXELS:,} in all"
                    )
                yield image
    except UnidentifiedImageError as error:
        heic = path.suffix.lower() in (".heic", ".heif")
        reason = "is HEIC, which cannot be read: save it as JPEG" if heic else "is not an image"
        raise BrokenImageError(reason) from error
    except Image.DecompressionBombError as error:
        raise BrokenImageError(f"is too large ({error})") from error
    except BrokenImageError:
        raise
    except Exception as error:  # decoders raise almost anything on damage
        raise BrokenImageError(f"is damaged or truncated ({error})") from error


def _rgb(image: Image.Image, path: Path) -> Image.Image:
    return ImageOps.exif_transpose(eight_bits(image, path)).convert("RGB")


def _shows_through(image: Image.Image) -> bool:
    """Return whether any pixel is transparent; many images have an alpha channel without use."""
    if not image.has_transparency_data:
        return False
    lowest, _ = cast(tuple[int, int], image.convert("RGBA").getchannel("A").getextrema())
    return lowest < 255
