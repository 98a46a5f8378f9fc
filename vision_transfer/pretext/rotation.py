"""Telling how an image was turned: RotNet (Gidaris, Singh and Komodakis, ICLR 2018).

Who can tell which way up an image is knows what is on it: where a head sits, what stands on what.
The labels cost nothing. A model learnt so is an image classifier of four labels like any other, and
`load_backbone` takes its folder as a base: `untrained_backbone(architecture, TURNS, size)`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from vision_transfer.images import load_rgb

TURNS = ("upright", "a quarter left", "upside down", "a quarter right")


class TurnedImages(Dataset[dict[str, torch.Tensor]]):
    """Every image in all four turns, which are exact: pixels move, none is made.

    Squares are cut and scaled by the same factor both ways before they are turned, so that no axis
    of an image is blurred more than the other, which would give the turn away.

    Args:
        images: Files, each of which is decoded whenever it is asked for; or tensors of any number
            of channels, `float32 [channels, height, width]` from 0 to 1.
        size: Height and width of what the model sees, in pixels.
        augmented: Whether to cut a new square each time, mirror some and change colours; otherwise
            it is the middle one.

    Example:
        >>> TurnedImages([Path("cat.jpg")], 64, augmented=False)[2]["labels"]  # upside down
        tensor(2)
    """

    def __init__(
        self, images: Sequence[Path | torch.Tensor], size: int, *, augmented: bool
    ) -> None:
        self.images = images
        cut: list[Any] = [v2.Resize(size), v2.CenterCrop(size)]
        if augmented:
            cut = [
                v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(1.0, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
                v2.RandomGrayscale(0.1),
            ]
        numbers = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
        self.transform = v2.Compose([*cut, *numbers])

    def __len__(self) -> int:
        return len(TURNS) * len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`pixel_values`, `float32 [channels, size, size]`, and `labels`, its quarter turns."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        row, turn = divmod(index, len(TURNS))
        item = self.images[row]
        image = self.transform(load_rgb(item) if isinstance(item, Path) else item)
        pixels = image.as_subclass(torch.Tensor).rot90(turn, (1, 2)).contiguous()
        return {"pixel_values": pixels, "labels": torch.tensor(turn)}
