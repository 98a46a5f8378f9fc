from .experiment.classifier_candidate import ClassifierCandidate
from .experiment.cross_validation import cross_validate
from .experiment.run_folder import RunFolder
from .experiment.splits import near_duplicate_groups, stratified_folds
from .experiment.task import Task
from .features.extraction import compute_features
from .features.reuse import on_features
from .freezing import freeze, unfreeze
from .freezing_callbacks import GradualUnfreezingCallback, LayerFreezingCallback
from .heads.class_balance import metrics_on
from .heads.linear_probe import linear_probe
from .layers import LayerGroup, layer_groups, select_parameters
from .runtime.errors import InputError
from .stages import Stage, StageResult
from .trainer import StagedTrainer

__version__: str

__all__ = [
    "ClassifierCandidate",
    "GradualUnfreezingCallback",
    "InputError",
    "LayerFreezingCallback",
    "LayerGroup",
    "RunFolder",
    "Stage",
    "StageResult",
    "StagedTrainer",
    "Task",
    "compute_features",
    "cross_validate",
    "freeze",
    "layer_groups",
    "linear_probe",
    "metrics_on",
    "near_duplicate_groups",
    "on_features",
    "select_parameters",
    "stratified_folds",
    "unfreeze",
]
