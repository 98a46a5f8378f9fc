"""Models of text, known to the Auto classes of `transformers` once this is imported."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from staged_training.tables.word_tokenizer import WordTokenizer

from .configuration_conv_head import ConvHeadConfig
from .configuration_recurrent import RecurrentConfig
from .configuration_tfidf import TfidfConfig
from .modeling_conv_head import ConvHeadForSequenceClassification
from .modeling_recurrent import RecurrentForSequenceClassification, RecurrentModel
from .modeling_recurrent_lm import RecurrentForCausalLM
from .modeling_tfidf import TfidfForSequenceClassification

AutoConfig.register(RecurrentConfig.model_type, RecurrentConfig)
AutoModel.register(RecurrentConfig, RecurrentModel)
AutoModelForSequenceClassification.register(RecurrentConfig, RecurrentForSequenceClassification)
AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM)
AutoConfig.register(ConvHeadConfig.model_type, ConvHeadConfig)
AutoModelForSequenceClassification.register(ConvHeadConfig, ConvHeadForSequenceClassification)
AutoConfig.register(TfidfConfig.model_type, TfidfConfig)
AutoModelForSequenceClassification.register(TfidfConfig, TfidfForSequenceClassification)
AutoTokenizer.register(TfidfConfig, tokenizer_class=WordTokenizer)
# What is saved carries this code, for those who load it without the package.
RecurrentConfig.register_for_auto_class()
RecurrentModel.register_for_auto_class("AutoModel")
RecurrentForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
ConvHeadConfig.register_for_auto_class()
ConvHeadForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
TfidfConfig.register_for_auto_class()
TfidfForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
WordTokenizer.register_for_auto_class()

__all__ = [
    "ConvHeadConfig",
    "ConvHeadForSequenceClassification",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentModel",
    "TfidfConfig",
    "TfidfForSequenceClassification",
]
