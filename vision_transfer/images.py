"""Photos as tensors, and random views of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image, ImageOps
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from staged_training.runtime.photos import load_rgb

_GENERATOR = Lock()


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
