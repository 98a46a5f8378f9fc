"""Recurrent models, known to the Auto classes of `transformers` once this is imported."""

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .configuration_recurrent import RecurrentConfig
from .modeling_recurrent import RecurrentForSequenceClassification, RecurrentModel

AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig)
AutoModel.register(RecurrentConfig, RecurrentModel)
AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification)

__all__ = ["RecurrentConfig", "RecurrentForSequenceClassification", "RecurrentModel"]
