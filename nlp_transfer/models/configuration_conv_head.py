"""Configuration of an encoder with a convolutional head on several of its layers."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class ConvHeadConfig(PreTrainedConfig):
    """Configuration of `ConvHeadForSequenceClassification`.

    Args:
        base_config: Configuration of the encoder.
        layers: The layers whose states the head reads, side by side; 0 is the embedding. Layers
            above the topmost of them are not there.
        window: Tokens that the encoder reads at once; a longer text is read window by window.
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
        self.base_config = base_config or {}
        self.layers, self.window = list(layers), window
        self.filters, self.kernel_size, self.dropout = filters, kernel_size, dropout
        super().__init__(**kwargs)


# What is saved carries this code, for those who load it without the package.
ConvHeadConfig.register_for_auto_class()
