"""Stages over a model whose layers are ordered from general to specific."""

from importlib.metadata import version

import lazy_loader

__version__ = version("nlp-transfer")

# What is asked for is imported then: an error costs no PyTorch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
