"""Models of text, known to the Auto classes of `transformers` once this is imported.

They are imported, and PyTorch with them, when a module of `transformers` is that they have to be
registered with: mail can be read, and an exported model run, without.
"""

from importlib import import_module
from types import ModuleType

import lazy_loader
from wrapt import when_imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_CLASSES = {  # of each module, by the Auto class that they are registered with
    "modeling_conv_head": {
        "AutoModelForSequenceClassification": "ConvHeadForSequenceClassification",
    },
    "modeling_pooled_head": {
        "AutoModelForSequenceClassification": "PooledHeadForSequenceClassification",
    },
    "modeling_recurrent": {
        "AutoModel": "RecurrentModel",
        "AutoModelForSequenceClassification": "RecurrentForSequenceClassification",
    },
    "modeling_recurrent_lm": {"AutoModelForCausalLM": "RecurrentForCausalLM"},
    "modeling_tfidf": {"AutoModelForSequenceClassification": "TfidfForSequenceClassification"},
}


@when_imported("transformers.models.auto.configuration_auto")
def _register_configurations(auto: ModuleType) -> None:
    from .configuration_conv_head import ConvHeadConfig
    from .configuration_pooled_head import PooledHeadConfig
    from .configuration_recurrent import RecurrentConfig
    from .configuration_tfidf import TfidfConfig

    for config in (ConvHeadConfig, PooledHeadConfig, RecurrentConfig, TfidfConfig):
        auto.AutoConfig.register(config.model_type, config)


@when_imported("transformers.models.auto.tokenization_auto")
def _register_tokenizer(auto: ModuleType) -> None:
    from staged_training.tables.word_tokenizer import WordTokenizer

    from .configuration_tfidf import TfidfConfig

    auto.AutoTokenizer.register(TfidfConfig, tokenizer_class=WordTokenizer)


@when_imported("transformers.models.auto.modeling_auto")
def _import_models(_: ModuleType) -> None:
    for name in _CLASSES:
        import_module(f"{__name__}.{name}")  # one of them may be what imports the Auto classes


def _register_models(models: ModuleType) -> None:
    import transformers

    for auto, name in _CLASSES[models.__name__.rpartition(".")[2]].items():
        model = getattr(models, name)
        getattr(transformers, auto).register(model.config_class, model)


for _name in _CLASSES:
    when_imported(f"{__name__}.{_name}")(_register_models)
