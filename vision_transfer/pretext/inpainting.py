"""Filling in what is missing from an image: context encoders (Pathak et al., CVPR 2016).

Who can fill a hole from what is around it knows how things go on: edges, textures, organs. The
labels are the pixels that were taken away. The part that understands is a timm backbone, which
`load_backbone` takes from the folder that `save_classifier` makes of `ContextEncoder.encoder`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from transformers.utils import ModelOutput

from vision_transfer.pretext.model import PretextConfig, PretextModel

_WIDTH, _NARROWEST = 64, 16  # channels of the decoder, at its start and at its end

Image = torch.Tensor


class MaskedImages(Dataset[dict[str, torch.Tensor]]):
    """Images, and for each the rectangles that are taken out of it.

    Args:
        images: `float32 [channels, height, width]` from -1 to 1, all of one size.
        holes: Rectangles for each image, which may overlap.
        extent: Their least and greatest width and height, as shares of those of the image.
        augment: What is done to an image each time, before the holes.
        seed: Of holes that stay the same, to measure by; by default they are drawn each time.

    Examples:
        >>> example = MaskedImages([torch.zeros(3, 64, 64)], holes=1, extent=(0.25, 0.25))[0]
        >>> example["pixel_values"].shape, example["mask"].shape, int(example["mask"].sum())
        (torch.Size([3, 64, 64]), torch.Size([1, 64, 64]), 256)
    """

    def __init__(
        self,
        images: Sequence[Image],
        *,
        holes: int = 4,
        extent: tuple[float, float] = (0.15, 0.4),
        augment: Callable[[Image], Image] | None = None,
        seed: int | None = None,
    ) -> None:
        self.images, self.holes, self.extent = images, holes, extent
        self.augment, self.seed = augment, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return `pixel_values` and, true in its holes, `mask`, `bool [1, height, width]`."""
        if not 0 <= index < len(self):
            raise IndexError(index)  # by which Python's loops know the end
        pixels = self.images[index]
        if self.augment:
            pixels = self.augment(pixels)
        return {"pixel_values": pixels, "mask": self._mask(pixels.shape[1:], index)}

    def _mask(self, shape: Sequence[int], index: int) -> torch.Tensor:
        generator = None
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * len(self) + index)
        mask = torch.zeros(1, *shape, dtype=torch.bool)
        for sizes, places in torch.rand(self.holes, 2, 2, generator=generator).tolist():
            low, high = self.extent
            spans = []
            for side, size, place in zip(shape, sizes, places, strict=True):
                length = max(1, round((low + size * (high - low)) * side))
                start = int(place * (side - length + 1))
                spans.append(slice(start, start + length))
            mask[0, spans[0], spans[1]] = True
        return mask


class InpaintingConfig(PretextConfig):
    """What a `ContextEncoder` is made of.

    Attributes:
        encoder: The configuration of its backbone, see `PretextConfig`.
        loss: `l1`, which leaves edges sharper, or `l2`, as in the paper.
        adversarial: Weight of the adversarial term in what the backbone and the decoder learn from;
            0.001 in the paper, and 0 for none.
    """

    model_type = "context_encoder"

    loss: Literal["l1", "l2"] = "l1"
    adversarial: float = 0.0


@dataclass
class InpaintingOutput(ModelOutput):
    """What a `ContextEncoder` gives.

    Attributes:
        loss: Mean error in the holes; in training with an adversarial term, that is added.
        reconstruction: `float32 [batch, channels, height, width]`, the holes and all else.
    """

    loss: torch.Tensor | None = None
    reconstruction: torch.Tensor | None = None


class ContextEncoder(PretextModel):
    """A timm backbone and a small decoder that makes an image again of its last map of features.

    With an adversarial term a critic learns to separate filled images from whole ones in that step:
    its gradient goes on to what filled them with its sign reversed (Ganin and Lempitsky 2015), so
    that one loss and one optimizer train both.

    Args:
        config: What it is made of; `around` makes one of a backbone at hand.

    Examples:
        >>> from vision_transfer.backbones import untrained_backbone
        >>> backbone, _ = untrained_backbone("resnet10t", ["none"], size=64)
        >>> model = ContextEncoder.around(backbone, loss="l2")
        >>> example = MaskedImages([torch.zeros(3, 64, 64)])[0]
        >>> model(example["pixel_values"][None], example["mask"][None]).reconstruction.shape
        torch.Size([1, 3, 64, 64])
    """

    config_class = InpaintingConfig

    def __init__(self, config: InpaintingConfig) -> None:
        super().__init__(config)
        backbone = cast(Any, self.encoder.timm_model)
        channels = self.encoder.config.pretrained_cfg["input_size"][0]
        self.decoder = _decoder(
            backbone.num_features, int(backbone.feature_info[-1]["reduction"]), channels
        )
        if config.adversarial:
            self.critic = _critic(channels)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, mask: torch.Tensor) -> InpaintingOutput:
        """Fill holes.

        Args:
            pixel_values: `float32 [batch, channels, height, width]` from -1 to 1. What is in the
                holes is not looked at, save for the loss.
            mask: `bool [batch, 1, height, width]`, true in the holes.

        Returns:
            The loss, and the reconstruction in the shape of the images; see `InpaintingOutput`.
        """
        # The middle of the range, which is what normalized images are without.
        seen = pixel_values.masked_fill(mask, 0.0).contiguous(memory_format=torch.channels_last)
        made = self.decoder(_feature_map(cast(Any, self.encoder.timm_model), seen))
        errors = (made - pixel_values) * mask
        errors = errors.abs() if self.config.loss == "l1" else errors.square()
        loss = errors.sum() / (mask.sum() * pixel_values.shape[1]).clamp(min=1)
        if self.training and self.config.adversarial:
            loss = loss + self._told_apart(pixel_values, torch.where(mask, made, pixel_values))
        return InpaintingOutput(loss=loss, reconstruction=made)

    def _told_apart(self, whole: Image, made: Image) -> torch.Tensor:
        """Return the cross-entropy of the critic on whole and on filled images."""
        reversed_ = _Reversed.apply(made, self.config.adversarial)
        logits = self.critic(torch.cat([whole, reversed_])).mean((1, 2, 3))
        is_whole = torch.arange(len(logits), device=logits.device) < len(whole)
        return nn.functional.binary_cross_entropy_with_logits(logits, is_whole.to(logits))


def _decoder(width: int, stride: int, channels: int) -> nn.Sequential:
    """Build layers that double a map of features until it is as large as an image.

    It is small by design: what has to be understood must be understood by the backbone.
    """
    layers: list[nn.Module] = [nn.Conv2d(width, _WIDTH, 1), nn.BatchNorm2d(_WIDTH), nn.ReLU()]
    width = _WIDTH
    while stride > 2 and stride % 2 == 0:
        narrower = max(width // 2, _NARROWEST)
        layers += [
            nn.ConvTranspose2d(width, narrower, 4, stride=2, padding=1),
            nn.BatchNorm2d(narrower),
            nn.ReLU(),
        ]
        width, stride = narrower, stride // 2
    layers += [nn.Conv2d(width, channels * stride**2, 3, padding=1), nn.PixelShuffle(stride)]
    return nn.Sequential(*layers)


def _critic(channels: int) -> nn.Sequential:
    """Build layers that halve an image three times and judge whether each place is generated."""
    widths = (channels, _NARROWEST, 2 * _NARROWEST, 4 * _NARROWEST)
    layers: list[nn.Module] = []
    for width, wider in pairwise(widths):
        layers += [nn.Conv2d(width, wider, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a negative weight."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def _feature_map(backbone: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Return the last feature map, `[batch, features, rows, columns]`, of any kind of backbone."""
    features = backbone.forward_features(pixels)
    if features.ndim == 3:  # tokens of a transformer
        tokens = features[:, getattr(backbone, "num_prefix_tokens", 0) :]
        rows = pixels.shape[2] // int(backbone.feature_info[-1]["reduction"])
        features = tokens.unflatten(1, (rows, -1))
    if features.shape[1] != backbone.num_features:  # channels come last
        features = features.permute(0, 3, 1, 2)
    return cast(torch.Tensor, features)


class InpaintingScores(NamedTuple):
    """How near filled holes are to what was there.

    Attributes:
        psnr: Peak signal-to-noise ratio in the holes, in dB.
        ssim: Structural similarity (Wang et al. 2004) of whole images whose holes were filled.
    """

    psnr: float
    ssim: float


def filled(original: Image, reconstruction: Image, mask: torch.Tensor) -> Image:
    """Fill the holes of images from a reconstruction.

    Args:
        original: `float32 [images, channels, height, width]` from -1 to 1.
        reconstruction: The same, but not held to that range.
        mask: `bool [images, 1, height, width]`, true in the holes.

    Returns:
        Images in the shape of `original`, from -1 to 1.

    Examples:
        >>> mask = torch.tensor([True, False]).view(1, 1, 1, 2)
        >>> filled(torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 2), 3.0), mask)
        tensor([[[[1., 0.]]]])
    """
    return torch.where(mask, reconstruction, original).clamp(-1, 1)


def inpainting_scores(
    original: Image, reconstruction: Image, mask: torch.Tensor
) -> InpaintingScores:
    """Score reconstructions, as means over images.

    Args:
        original: `float32 [images, channels, height, width]` from -1 to 1.
        reconstruction: The same.
        mask: `bool [images, 1, height, width]`, true in the holes.

    Raises:
        ValueError: The images are smaller than 7 pixels along a side; from scikit-image.

    Examples:
        >>> whole = torch.zeros(2, 3, 64, 64)
        >>> mask = MaskedImages(whole, seed=0)[0]["mask"].expand(2, 1, 64, 64)
        >>> scores = inpainting_scores(whole, whole + 0.2, mask)
        >>> round(scores.psnr, 1), scores.ssim < inpainting_scores(whole, whole, mask).ssim
        (20.0, True)
    """
    from skimage.metrics import structural_similarity

    made = filled(original, reconstruction, mask)
    squares = (made - original).square().sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * original.shape[1])
    psnr = 10 * torch.log10(2.0**2 / squares.clamp(min=1e-10))
    pairs = zip(original.numpy(), made.numpy(), strict=True)
    ssim = [structural_similarity(a, b, channel_axis=0, data_range=2.0) for a, b in pairs]
    return InpaintingScores(float(psnr.mean()), float(np.mean(cast(list[NDArray[Any]], ssim))))
