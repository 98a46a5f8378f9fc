"""The decision of a classifier, stored in its head, so that every user of the model decides so."""

import copy
from collections.abc import Sequence

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from staged_training.experiment.scaling import Scaling
from staged_training.experiment.target import SingleLabel, Target
from staged_training.layers import head_layers


def with_decision(
    model: PreTrainedModel, target: Target, scaling: Scaling, bias: Sequence[float]
) -> PreTrainedModel:
    """Return a copy of a model whose outputs decide as they are.

    Args:
        model: As for `move_outputs`.
        target: What is predicted; `config.positive_label` will hold the label that matters.
        scaling: How the numbers that it learnt were scaled.
        bias: What makes the decision best, see `Target.decision_bias`.
    """
    model = copy.deepcopy(model)
    move_outputs(model, bias, *scaling)
    name_positive(model.config, target)
    return model


def name_positive(config: PreTrainedConfig, target: Target) -> None:
    """Store the name of the label that matters, if one does, as `config.positive_label`."""
    if isinstance(target, SingleLabel) and target.positive is not None:
        config.positive_label = target.names[target.positive]


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
        last.bias.copy_(std * last.bias + mean + last.bias.new_tensor(bias))
