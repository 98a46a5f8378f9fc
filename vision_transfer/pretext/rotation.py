"""Telling how an image was turned: RotNet (Gidaris, Singh and Komodakis, ICLR 2018).

Who can tell which way up an image is knows what is on it: where a head sits, what stands on what.
The labels cost nothing. A model learnt so is an image classifier of four labels like any other, and
`load_backbone` takes its folder as a base.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2
from transformers import (
    PreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    TimmWrapperImageProcessor,
    set_seed,
)

from staged_training.errors import InputError
from vision_transfer.images import load_rgb

TURNS = ("upright", "a quarter left", "upside down", "a quarter right")

_MEAN, _STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def rotation_model(
    architecture: str, size: int = 64, seed: int = 0
) -> tuple[PreTrainedModel, TimmWrapperImageProcessor]:
    """A new model that tells the four turns, and the processor of its images.

    Args:
        architecture: Any of timm, such as `resnet18`; its weights are random.
        size: Height and width of what the model sees, in pixels.
        seed: Of the random weights.

    Raises:
        InputError: timm has no such architecture.
    """
    import timm

    if not timm.is_model(architecture):
        raise InputError(
            f"{architecture!r} is no architecture of timm; `timm.list_models()` names them."
        )
    known = timm.get_pretrained_cfg(architecture)
    settings = (known.to_dict() if known else {}) | {
        "input_size": (3, size, size),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": _MEAN,
        "std": _STD,
    }
    settings.pop("num_classes", None)  # that of its own weights
    set_seed(seed)
    options: dict[str, Any] = {
        "num_labels": len(TURNS),
        "pretrained_cfg": settings,
        "id2label": dict(enumerate(TURNS)),
        "label2id": {name: number for number, name in enumerate(TURNS)},
    }
    config = TimmWrapperConfig(architecture=architecture, **options)
    model = TimmWrapperForImageClassification(config)
    torch.nn.Module.to(model, memory_format=torch.channels_last)
    return model, TimmWrapperImageProcessor(settings, architecture=architecture)


class TurnedImages(Dataset[dict[str, torch.Tensor]]):
    """Every image in all four turns, which are exact: pixels move, none is made.

    Squares are cut and scaled by the same factor both ways before they are turned, so that no axis
    of an image is blurred more than the other, which would give the turn away.

    Args:
        paths: The files; each is decoded whenever it is asked for.
        size: Height and width of what the model sees, in pixels.
        augmented: Whether to cut a new square each time, mirror some and change colours; otherwise
            it is the middle one.

    Example:
        >>> TurnedImages([Path("cat.jpg")], 64, augmented=False)[2]["labels"]  # upside down
        tensor(2)
    """

    def __init__(self, paths: Sequence[Path], size: int, *, augmented: bool) -> None:
        self.paths = list(paths)
        cut: list[Any] = [v2.Resize(size), v2.CenterCrop(size)]
        if augmented:
            cut = [
                v2.RandomResizedCrop(size, scale=(0.35, 1.0), ratio=(1.0, 1.0)),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4, 0.1),
                v2.RandomGrayscale(0.1),
            ]
        numbers = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)]
        self.transform = v2.Compose([*cut, *numbers])

    def __len__(self) -> int:
        return len(TURNS) * len(self.paths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """`pixel_values`, `float32 [3, size, size]`, and `labels`, its quarter turns."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        row, turn = divmod(index, len(TURNS))
        image = cast(torch.Tensor, self.transform(load_rgb(self.paths[row])))
        pixels = image.as_subclass(torch.Tensor).rot90(turn, (1, 2)).contiguous()
        return {"pixel_values": pixels, "labels": torch.tensor(turn)}
