"""Configuration of an encoder with a convolutional head on several of its layers."""

from collections.abc import Sequence
from typing import Any

from .configuration_encoder_head import EncoderHeadConfig


class ConvHeadConfig(EncoderHeadConfig):
    """Configuration of `ConvHeadForSequenceClassification`.

    Args:
        base_config: As for `EncoderHeadConfig`, and the following two.
        layers: The layers that the head reads.
        window: Tokens that the encoder reads at once.
        filters: How many features the head looks for at every token.
        kernel_size: Neighbouring tokens that such a feature is made of.
        dropout: Share of what the head reads, and of its features, that is dropped.
        **kwargs: What every configuration takes.

    Examples:
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(num_hidden_layers=3)
        >>> config = ConvHeadConfig(encoder.to_dict(), layers=[0, 3], window=128, num_labels=4)
        >>> config.layers, config.filters, config.num_labels
        ([0, 3], 64, 4)
    """

    model_type = "conv_head"

    def __init__(
        self,
        base_config: dict[str, Any] | None = None,
        layers: Sequence[int] = (0, 3),
        window: int = 512,
        filters: int = 64,
        kernel_size: int = 3,
        dropout: float = 0.5,
        **kwargs: Any,
    ) -> None:
        self.filters, self.kernel_size, self.dropout = filters, kernel_size, dropout
        super().__init__(base_config, layers, window, **kwargs)


# What is saved carries this code, for those who load it without the package.
ConvHeadConfig.register_for_auto_class()
