"""The decision of a classifier, stored in its head, so that every user of the model decides so."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from staged_training.layers import head_layers

DECIDED = 0.5
"""The probability from which on one of several labels is predicted."""


def move_outputs(
    model: PreTrainedModel, bias: Sequence[float], mean: float = 0.0, std: float = 1.0
) -> None:
    """Make the logits `std * logits + mean + bias`, by the last layer of the head.

    Args:
        model: A model whose head ends with a linear layer; it is changed.
        bias: A number for each output.
        mean: The mean of the numbers that the model learnt standardized.
        std: Their standard deviation.
    """
    last = list(head_layers(model).values())[-1]
    with torch.no_grad():
        last.weight *= std
        last.bias.copy_(std * last.bias + mean + torch.as_tensor(bias, dtype=last.bias.dtype))
