from . import models
from .alignment import align
from .encoder_classifier import load_encoder_classifier
from .text_task import read_task
from .vocabulary import build_vocabulary
from .word_vectors import open_vectors

__version__: str

__all__ = [
    "align",
    "build_vocabulary",
    "load_encoder_classifier",
    "models",
    "open_vectors",
    "read_task",
]
