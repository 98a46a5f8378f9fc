from .features.reuse import on_features
from .freezing import freeze, unfreeze
from .freezing_callbacks import GradualUnfreezingCallback, LayerFreezingCallback
from .layers import LayerGroup, layer_groups
from .runtime.errors import InputError
from .stages import Stage, StageResult
from .trainer import StagedTrainer

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
