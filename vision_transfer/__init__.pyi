from . import captioning, classification, detection, photo_pipeline
from .backbones import bottleneck, load_backbone, save_classifier, untrained_backbone
from .image_task import read_image_task

__version__: str

__all__ = [
    "bottleneck",
    "captioning",
    "classification",
    "detection",
    "load_backbone",
    "photo_pipeline",
    "read_image_task",
    "save_classifier",
    "untrained_backbone",
]
