"""What an image model has learnt, in pictures: filters, activations, favourite images."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import nn

from staged_training.layers import layer_groups


def first_filters(model: nn.Module) -> NDArray[np.float32] | None:
    """Return the filters of the first convolution as RGB images, `[filters, height, width, 3]`.

    Each is scaled to the range from 0 to 1. `None` where the model has no convolution of colours.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            filters = module.weight.detach().cpu().permute(0, 2, 3, 1).numpy()
            low = filters.min(axis=(1, 2, 3), keepdims=True)
            high = filters.max(axis=(1, 2, 3), keepdims=True)
            scaled: NDArray[np.float32] = (filters - low) / np.maximum(high - low, 1e-8)
            return scaled
    return None


def activation_maps(model: nn.Module, pixel_values: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    """Return where each layer group of a convolutional model is active in an image, bottom to top.

    Args:
        model: An image classifier.
        pixel_values: The image as its processor prepares it, `[1, channels, height, width]`.

    Returns:
        For each group that gives maps, the mean absolute value over channels, `[height, width]`.
    """
    maps: dict[str, NDArray[np.float32]] = {}
    handles = []
    for group in layer_groups(model)[:-1]:

        def keep(module: nn.Module, inputs: object, output: object, name: str = group.name) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
                maps[name] = (
                    output[0].abs().mean(0).cpu().numpy()
                )  # the last one of the group stays

        handles += [module.register_forward_hook(keep) for module in group.modules.values()]
    try:
        with torch.no_grad():
            model(pixel_values)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def telling_units(features: NDArray[np.float32], groups: NDArray[np.bool]) -> NDArray[np.int64]:
    """Return the most telling unit of the bottleneck for each group, by deviations above its mean.

    Args:
        features: `[examples, units]`.
        groups: Which examples are in each group, such as those of a label, `[groups, examples]`.
    """
    normal = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    return np.array([normal[rows].mean(0).argmax() if rows.any() else 0 for rows in groups])


def projection(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the first two principal components of features, `[examples, 2]`."""
    places: NDArray[np.float32] = PCA(2, random_state=0).fit_transform(features)
    return places
