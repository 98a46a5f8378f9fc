"""Convolutions with the BatchNorm behind them folded in: the same outputs, in less time.

In evaluation mode BatchNorm is a fixed scale and shift of each channel, which the convolution
before it can do on its own (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", section 3.2).
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(model: nn.Module, run: Callable[[nn.Module], torch.Tensor]) -> nn.Module:
    """Return a copy of a model in evaluation mode with folded convolutions, or the model itself.

    Args:
        model: The model, which stays as it is.
        run: Runs a model on some inputs; shows which convolution feeds which BatchNorm, and that
            the copy computes the same within 1e-5 of the largest output.

    Returns:
        The model itself where nothing can be folded, or where the outputs would differ.
    """
    names = {module: name for name, module in model.named_modules()}
    if not any(isinstance(module, nn.BatchNorm2d) for module in names):
        return model
    neighbours, expected = _neighbours(model, run)
    if not neighbours:
        return model
    faster = copy.deepcopy(model)
    for conv_name, norm_name in ((names[conv], names[norm]) for conv, norm in neighbours):
        conv = cast(nn.Conv2d, faster.get_submodule(conv_name))
        norm = cast(nn.BatchNorm2d, faster.get_submodule(norm_name))
        faster.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        # timm's BatchNorm brings an activation with it, which stays.
        faster.set_submodule(norm_name, nn.Sequential(*norm.children()))
    return faster if close(run(faster), expected) else model


def _neighbours(
    model: nn.Module, run: Callable[[nn.Module], torch.Tensor]
) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], torch.Tensor]:
    """Return the convolutions that feed a BatchNorm, both run once, and the model's output."""
    outputs: dict[int, tuple[nn.Conv2d, torch.Tensor]] = {}  # holds them: an id is not used again
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    ran: Counter[nn.Module] = Counter()

    def keep(conv: nn.Module, _: Any, output: torch.Tensor) -> None:
        ran[conv] += 1
        outputs[id(output)] = (cast(nn.Conv2d, conv), output)

    def pair(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        ran[norm] += 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], cast(nn.BatchNorm2d, norm)))

    handles = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(keep))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(pair))
    try:
        expected = run(model)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in pairs if all(ran[module] == 1 for module in pair)], expected


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Return whether features are the same within 1e-5 of the largest, or of 1 if that is more."""
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1))
