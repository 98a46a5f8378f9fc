"""The decision of a classifier, stored in its head, so that every user of the model decides so."""

import copy

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from staged_training.experiment.outcome import Decision
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.target import SingleLabel, Target
from staged_training.layers import head_layers


def with_decision(
    model: PreTrainedModel, target: Target, scaling: Scaling, decision: Decision
) -> PreTrainedModel:
    """Return a copy of a model whose outputs decide as they are.

    Args:
        model: As for `move_outputs`.
        target: What is predicted; `config.positive_label` will hold the label that matters.
        scaling: How the numbers that it learnt were scaled.
        decision: What makes the decision best and the scores reliable.
    """
    model = copy.deepcopy(model)
    move_outputs(model, decision, *scaling)
    name_positive(model.config, target)
    return model


def name_positive(config: PreTrainedConfig, target: Target) -> None:
    """Store the name of the label that matters, if one does, as `config.positive_label`."""
    if isinstance(target, SingleLabel) and target.positive is not None:
        config.positive_label = target.names[target.positive]


def move_outputs(
    model: PreTrainedModel, decision: Decision, mean: float = 0.0, std: float = 1.0
) -> None:
    """Make the logits `(std * logits + mean + bias) / temperature`, by the last layer of the head.

    All logits of an example are divided by the same temperature, or each is compared with 0 alone:
    what was predicted of it still is.

    Args:
        model: A model whose head ends with a linear layer; it is changed.
        decision: The bias and the temperature.
        mean: The mean of the numbers that the model learnt standardized.
        std: Their standard deviation.
    """
    last = list(head_layers(model).values())[-1]
    with torch.no_grad():
        bias, temperature = map(last.bias.new_tensor, decision)
        last.weight *= std / temperature[:, None]
        last.bias.copy_((std * last.bias + mean + bias) / temperature)
