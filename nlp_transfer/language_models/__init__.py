"""Language models that learn word vectors from texts, known to the Auto classes once imported."""

from transformers import AutoConfig, AutoModel

from .configuration_window import WindowLanguageModelConfig
from .contexts import Context
from .modeling_window import WindowLanguageModel
from .window import perplexity, train_window_model

AutoConfig.register(WindowLanguageModelConfig.model_type, WindowLanguageModelConfig)
AutoModel.register(WindowLanguageModelConfig, WindowLanguageModel)
# What is saved carries this code, for those who load it without the package.
WindowLanguageModelConfig.register_for_auto_class()
WindowLanguageModel.register_for_auto_class("AutoModel")

__all__ = [
    "Context",
    "WindowLanguageModel",
    "WindowLanguageModelConfig",
    "perplexity",
    "train_window_model",
]
