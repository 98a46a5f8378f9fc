from .configuration_conv_head import ConvHeadConfig
from .configuration_pooled_head import PooledHeadConfig
from .configuration_recurrent import RecurrentConfig
from .configuration_tfidf import TfidfConfig
from .modeling_conv_head import ConvHeadForSequenceClassification
from .modeling_pooled_head import PooledHeadForSequenceClassification
from .modeling_recurrent import RecurrentForSequenceClassification, RecurrentModel
from .modeling_recurrent_lm import RecurrentForCausalLM
from .modeling_tfidf import TfidfForSequenceClassification

__all__ = [
    "ConvHeadConfig",
    "ConvHeadForSequenceClassification",
    "PooledHeadConfig",
    "PooledHeadForSequenceClassification",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentModel",
    "TfidfConfig",
    "TfidfForSequenceClassification",
]
