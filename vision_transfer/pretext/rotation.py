"""Predicting how an image was rotated: RotNet (Gidaris, Singh and Komodakis, ICLR 2018).

To predict which way up an image is, a model has to recognize what is on it: where a head sits, what
stands on what. The labels cost nothing. The model is an image classifier of four labels like any
other, `untrained_backbone(architecture, ROTATIONS, size)`; `load_backbone` takes its folder as a
base.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

ROTATIONS = ("upright", "a quarter left", "upside down", "a quarter right")


def middle_square(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a transform to the middle of an image: `float32 [channels, size, size]`, -1 to 1.

    Args:
        size: Height and width, in pixels.

    Returns:
        A transform of images `[channels, height, width]`: `uint8`, or `float32` from 0 to 1.

    Examples:
        >>> square = middle_square(64)(torch.full((3, 80, 100), 255, dtype=torch.uint8))
        >>> square.shape, float(square.max())
        (torch.Size([3, 64, 64]), 1.0)
    """
    steps = [v2.Resize(size), v2.CenterCrop(size), *_numbers()]
    prepare: Callable[[torch.Tensor], torch.Tensor] = v2.Compose(steps)
    return prepare


def random_square(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a transform to any square in an image, mirrored and in other colours at random.

    Args:
        size: Height and width, in pixels.

    Returns:
        A transform of images as `middle_square` returns, of three channels or one; it draws from
        PyTorch's global generator.

    Examples:
        >>> gray = torch.arange(256).expand(3, 256, 256).to(torch.uint8)
        >>> augment = random_square(64)
        >>> augment(gray).shape, torch.equal(augment(gray), augment(gray))
        (torch.Size([3, 64, 64]), False)
    """
    prepare: Callable[[torch.Tensor], torch.Tensor] = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(1.0, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
            v2.RandomGrayscale(0.1),
            *_numbers(),
        ]
    )
    return prepare


def _numbers() -> list[Any]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]


class RotatedImages(Dataset[dict[str, torch.Tensor]]):
    """Images in all four rotations, which are exact: pixels move, none is interpolated.

    Squares are cut and scaled by the same factor both ways before they are rotated: were one
    axis of an image blurred more than the other, that would give the rotation away.

    Args:
        images: `uint8 [channels, height, width]`, such as `Photos`; or `float32` from 0 to 1.
        size: Height and width of the model's input, in pixels.
        augmented: Whether to cut a new square each time, mirror some and change colours; otherwise
            it is the middle one.

    Examples:
        >>> from pathlib import Path
        >>> from vision_transfer.images import Photos
        >>> rotated = RotatedImages(Photos([Path("dog.jpg")], 128), 64, augmented=False)
        >>> len(rotated), rotated[2]["pixel_values"].shape, ROTATIONS[rotated[2]["labels"]]
        (4, torch.Size([3, 64, 64]), 'upside down')
    """

    def __init__(self, images: Sequence[torch.Tensor], size: int, *, augmented: bool) -> None:
        self.images = images
        self.transform = random_square(size) if augmented else middle_square(size)

    def __len__(self) -> int:
        return len(ROTATIONS) * len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return an image, `float32 [channels, size, size]`, and the number of its rotation."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        row, rotation = divmod(index, len(ROTATIONS))
        pixels = self.transform(self.images[row]).rot90(rotation, (1, 2)).contiguous()
        return {"pixel_values": pixels, "labels": torch.tensor(rotation)}
