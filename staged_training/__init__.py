"""Stages over a model whose layers are ordered from general to specific."""

from staged_training.errors import InputError
from staged_training.features.reuse import on_features
from staged_training.freezing import freeze, unfreeze
from staged_training.freezing_callbacks import GradualUnfreezingCallback, LayerFreezingCallback
from staged_training.layers import LayerGroup, layer_groups
from staged_training.stages import Stage, StageResult
from staged_training.trainer import StagedTrainer

__all__ = [
    "GradualUnfreezingCallback",
    "InputError",
    "LayerFreezingCallback",
    "LayerGroup",
    "Stage",
    "StageResult",
    "StagedTrainer",
    "freeze",
    "layer_groups",
    "on_features",
    "unfreeze",
]
