"""Models of text, known to the Auto classes of `transformers` once this is imported."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from .configuration_conv_head import ConvHeadConfig
from .configuration_recurrent import RecurrentConfig
from .modeling_conv_head import ConvHeadForSequenceClassification
from .modeling_recurrent import RecurrentForSequenceClassification, RecurrentModel
from .modeling_recurrent_lm import RecurrentForCausalLM

AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig)
AutoModel.register(RecurrentConfig, RecurrentModel)
AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification)
AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM)
AutoConfig.register(ConvHeadConfig.model_type, ConvHeadConfig)
AutoModelForSequenceClassification.register(ConvHeadConfig, ConvHeadForSequenceClassification)
# What is saved carries this code, for those who load it without the package.
RecurrentConfig.register_for_auto_class()
RecurrentModel.register_for_auto_class("AutoModel")
RecurrentForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
ConvHeadConfig.register_for_auto_class()
ConvHeadForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")

__all__ = [
    "ConvHeadConfig",
    "ConvHeadForSequenceClassification",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentModel",
]
