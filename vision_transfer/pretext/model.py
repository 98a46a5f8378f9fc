"""What models that learn a pretext task share: a timm backbone, and a part for the task."""

from typing import Any, Self, cast

import torch
from torch import nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    set_seed,
)


class PretextConfig(PreTrainedConfig):
    """What a `PretextModel` is made of.

    Attributes:
        encoder: The configuration of its backbone, a `TimmWrapperConfig` as a dictionary.
    """

    encoder: dict[str, Any] | None = None


class PretextModel(PreTrainedModel):
    """A backbone, `encoder`, which is kept; what is learnt around it is of no use afterwards."""

    config_class: type[PretextConfig] = PretextConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PretextConfig) -> None:
        super().__init__(config)
        self.encoder = TimmWrapperForImageClassification(
            cast(TimmWrapperConfig, TimmWrapperConfig.from_dict(dict(config.encoder or {})))
        )

    @classmethod
    def around(cls, encoder: PreTrainedModel, seed: int = 0, **settings: Any) -> Self:
        """Build a model around a given backbone, with all else new.

        Args:
            encoder: The backbone, as `untrained_backbone` makes it.
            seed: Of the random weights.
            **settings: What the configuration takes besides.
        """
        set_seed(seed)
        model = cls(cls.config_class(encoder=encoder.config.to_dict(), **settings))
        model.encoder = cast(TimmWrapperForImageClassification, encoder)
        torch.nn.Module.to(model, memory_format=torch.channels_last)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        """Keep weights as PyTorch and timm initialize them."""
