"""Models of text, known to the Auto classes of `transformers` once this is imported.

They are imported, and PyTorch with them, when a module of `transformers` is that they have to be
registered with: mail can be read, and an exported model run, without.
"""

from types import ModuleType

import lazy_loader
from wrapt import when_imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


@when_imported("transformers.models.auto.configuration_auto")
def _register_configurations(auto: ModuleType) -> None:
    from .configuration_conv_head import ConvHeadConfig
    from .configuration_recurrent import RecurrentConfig
    from .configuration_tfidf import TfidfConfig

    for config in (ConvHeadConfig, RecurrentConfig, TfidfConfig):
        auto.AutoConfig.register(config.model_type, config)


@when_imported("transformers.models.auto.tokenization_auto")
def _register_tokenizer(auto: ModuleType) -> None:
    from staged_training.tables.word_tokenizer import WordTokenizer

    from .configuration_tfidf import TfidfConfig

    auto.AutoTokenizer.register(TfidfConfig, tokenizer_class=WordTokenizer)


@when_imported("transformers.models.auto.modeling_auto")
def _register_models(auto: ModuleType) -> None:
    from .modeling_conv_head import ConvHeadConfig, ConvHeadForSequenceClassification
    from .modeling_recurrent import (
        RecurrentConfig,
        RecurrentForSequenceClassification,
        RecurrentModel,
    )
    from .modeling_recurrent_lm import RecurrentForCausalLM
    from .modeling_tfidf import TfidfConfig, TfidfForSequenceClassification

    classifiers = auto.AutoModelForSequenceClassification
    classifiers.register(ConvHeadConfig, ConvHeadForSequenceClassification)
    classifiers.register(RecurrentConfig, RecurrentForSequenceClassification)
    classifiers.register(TfidfConfig, TfidfForSequenceClassification)
    auto.AutoModel.register(RecurrentConfig, RecurrentModel)
    auto.AutoModelForCausalLM.register(RecurrentConfig, RecurrentForCausalLM)
