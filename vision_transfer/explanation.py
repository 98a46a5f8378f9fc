"""Which places of an image a prediction is due to."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import BaseImageProcessor, PreTrainedModel

from staged_training.layers import layer_groups
from staged_training.runtime.errors import InputError
from vision_transfer.backbones import head_layer
from vision_transfer.preprocessing import preprocessing, resized_side

_STRENGTH = 0.5


def grad_cam(
    model: PreTrainedModel, pixel_values: torch.Tensor, label: int
) -> NDArray[np.float32] | None:
    """Return how much each place of an image spoke for a label (Grad-CAM, Selvaraju et al. 2017).

    The topmost maps of features, each weighted by the mean gradient of the logit of the label.

    Args:
        model: An image classifier.
        pixel_values: The image as its processor prepares it, `[1, channels, height, width]`.
        label: The number of the label.

    Returns:
        From 0 to 1, `float32 [height, width]`, all 0 where nothing spoke for the label; `None` for
        a model whose layers give no maps, such as a vision transformer.

    Raises:
        InputError: The extra `demo` is not installed.
    """
    try:
        from captum.attr import LayerAttribution, LayerGradCam
    except ImportError as error:
        raise InputError("Explanations need more: pip install 'nlp-transfer[demo]'.") from error
    layer = topmost_maps(model, pixel_values)
    if layer is None:
        return None
    camera = LayerGradCam(lambda pixels: model(pixel_values=pixels).logits, layer)
    attributions = camera.attribute(pixel_values, target=label, relu_attributions=True)
    size = tuple(pixel_values.shape[2:])
    of_places = LayerAttribution.interpolate(attributions, size, "bilinear")[0, 0].detach()
    shares: NDArray[np.float32] = (of_places / of_places.max().clamp_min(1e-8)).cpu().numpy()
    return shares


def class_activation(
    model: PreTrainedModel,
    pixel_values: torch.Tensor,
    weight: NDArray[np.floating],
    centre: NDArray[np.floating],
) -> NDArray[np.float64] | None:
    """Return what each place adds to a linear function of the bottleneck (Zhou et al. 2016).

    Args:
        model: An image classifier.
        pixel_values: The image as its processor prepares it, `[1, channels, height, width]`.
        weight: Of each feature of the bottleneck, `[features]`.
        centre: The features of an image to compare with, such as the mean of all, `[features]`.

    Returns:
        `[height, width]` of the topmost maps, whose sum is `weight @ (features - centre)`; `None`
        for a model whose bottleneck is no mean of maps.
    """
    layer = topmost_maps(model, pixel_values)
    if layer is None:
        return None
    seen: dict[str, torch.Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _, inputs, output: seen.update(maps=output[0])),
        head_layer(model).register_forward_pre_hook(lambda _, inputs: seen.update(means=inputs[0])),
    ]
    try:
        with torch.no_grad():
            model(pixel_values=pixel_values)
    finally:
        for handle in handles:
            handle.remove()
    maps, means = seen["maps"].double(), seen["means"].double().flatten()
    if maps.ndim != 3 or len(maps) != len(means):
        return None
    if not torch.allclose(maps.mean(dim=(1, 2)), means, rtol=1e-3, atol=1e-4):
        return None
    places = (maps.numpy() - centre[:, None, None]) / maps[0].numel()
    added: NDArray[np.float64] = np.tensordot(weight, places, axes=1)
    return added


def topmost_maps(model: nn.Module, pixel_values: torch.Tensor) -> nn.Module | None:
    """Return the last module below the head that gives maps, `[1, channels, height, width]`."""
    found: list[nn.Module] = []

    def keep(module: nn.Module, inputs: object, output: object) -> None:
        result = output[0] if isinstance(output, tuple) else output
        if isinstance(result, torch.Tensor) and result.ndim == 4 and result.shape[-1] > 1:
            found.append(module)
        elif isinstance(result, torch.Tensor) and result.ndim == 3:  # tokens, no longer places
            found.clear()

    modules = [module for group in layer_groups(model)[:-1] for module in group.modules.values()]
    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        with torch.no_grad():
            model(pixel_values=pixel_values)
    finally:
        for handle in handles:
            handle.remove()
    return found[-1] if found else None


def on_whole_image(
    heat: NDArray[np.floating], size: tuple[int, int], processor: BaseImageProcessor
) -> NDArray[np.float32]:
    """Put a heat map where its places are in an image, of which a processor cuts off the margins.

    Args:
        heat: The map of what the model sees, `[height, width]`.
        size: Width and height of the image.
        processor: What prepares the image.

    Returns:
        `[height, width]` of the image, 0 in the margins.
    """
    side, (height, width) = resized_side(processor), preprocessing(processor)["size"]
    scale = min(size) / side if side else 0.0
    seen = (round(width * scale), round(height * scale)) if side else size
    whole = Image.new("F", size)
    part = Image.fromarray(heat.astype(np.float32)).resize(seen, Image.Resampling.BILINEAR)
    whole.paste(part, ((size[0] - seen[0]) // 2, (size[1] - seen[1]) // 2))
    return np.asarray(whole)


def overlay(image: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """Lay a heat map of `grad_cam` over an image: the brighter, the more it spoke for the label."""
    from matplotlib import colormaps

    large = Image.fromarray((255 * heat).astype(np.uint8)).resize(
        image.size, Image.Resampling.BILINEAR
    )
    colours = np.asarray(colormaps["inferno"](np.asarray(large))[..., :3])
    weight = _STRENGTH * np.asarray(large)[..., None] / 255
    mixed = (1 - weight) * np.asarray(image.convert("RGB")) / 255 + weight * colours
    return Image.fromarray((255 * mixed).astype(np.uint8))
