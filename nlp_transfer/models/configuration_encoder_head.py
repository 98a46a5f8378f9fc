"""Configuration of an encoder with a head on several of its layers."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedConfig


class EncoderHeadConfig(PreTrainedConfig):
    """Configuration of an `EncoderHeadForSequenceClassification`.

    Args:
        base_config: Configuration of the encoder.
        layers: The layers whose states the head reads, side by side; 0 is the embedding. Layers
            above the topmost of them are not there.
        window: Tokens that the encoder reads at once; a longer text is read window by window.
        **kwargs: What every configuration takes.
    """

    def __init__(
        self,
        base_config: dict[str, Any] | None = None,
        layers: Sequence[int] = (0, 3),
        window: int = 512,
        **kwargs: Any,
    ) -> None:
        self.base_config = base_config or {}
        self.layers, self.window = list(layers), window
        super().__init__(**kwargs)
