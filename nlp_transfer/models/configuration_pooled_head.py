"""Configuration of an encoder with a linear head on several of its layers."""

from collections.abc import Sequence
from typing import Any

from .configuration_encoder_head import EncoderHeadConfig


class PooledHeadConfig(EncoderHeadConfig):
    """Configuration of `PooledHeadForSequenceClassification`.

    Args:
        base_config: As for `EncoderHeadConfig`, and the following two.
        layers: The layers that the head reads.
        window: Tokens that the encoder reads at once.
        unit_means: Whether the mean of each layer is divided by its length, which says how alike
            the tokens are rather than what the text is about.
        **kwargs: What every configuration takes.

    Examples:
        >>> from transformers import BertConfig
        >>> config = PooledHeadConfig(BertConfig(num_hidden_layers=2).to_dict(), layers=[0, 1, 2])
        >>> config.layers, config.num_labels
        ([0, 1, 2], 2)
    """

    model_type = "pooled_head"

    def __init__(
        self,
        base_config: dict[str, Any] | None = None,
        layers: Sequence[int] = (0, 3),
        window: int = 512,
        unit_means: bool = False,
        **kwargs: Any,
    ) -> None:
        self.unit_means = unit_means
        super().__init__(base_config, layers, window, **kwargs)


# What is saved carries this code, for those who load it without the package.
PooledHeadConfig.register_for_auto_class()
