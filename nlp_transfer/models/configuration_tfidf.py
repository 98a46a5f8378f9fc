"""Configuration of a linear model on TF-IDF."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class TfidfConfig(PreTrainedConfig):
    """Configuration of `TfidfForSequenceClassification`.

    Attributes:
        vocab_size: Words of its tokenizer.
        num_features: Words and pairs of words that it knows.
        pad_token_id: The number that pads texts.

    Examples:
        >>> config = TfidfConfig(vocab_size=100, num_features=300, num_labels=4)
        >>> config.num_features, config.num_labels
        (300, 4)
    """

    model_type = "tfidf"

    vocab_size: int = 20_000
    num_features: int = 100_000
    pad_token_id: int | None = 0


# What is saved carries this code, for those who load it without the package.
TfidfConfig.register_for_auto_class()
