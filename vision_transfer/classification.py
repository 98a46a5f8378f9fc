"""Classifiers with a multilayer head on the bottleneck of any pretrained image model."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperImageProcessor,
)
from transformers.modeling_outputs import ImageClassifierOutput


class MlpHeadConfig(PreTrainedConfig):
    """Configuration of `MlpHeadForImageClassification`.

    Args:
        base_config: Configuration of the image classifier whose head is replaced.
        replaced: Path in it of the linear layer that ends its head.
        width: Numbers that this layer is given for an image.
        hidden: Widths of the hidden layers of the head.
        dropout: Share of the numbers that is dropped before each layer of the head.
        **kwargs: What every configuration takes. That of a timm model also has its `architecture`
            and `pretrained_cfg`, from which its processor is made.
    """

    model_type = "mlp_head"

    def __init__(
        self,
        base_config: dict[str, Any] | None = None,
        replaced: str = "classifier",
        width: int = 0,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self.base_config = base_config or {}
        self.replaced, self.width = replaced, width
        self.hidden, self.dropout = list(hidden), dropout
        super().__init__(**kwargs)


class MlpHeadForImageClassification(PreTrainedModel):
    """An image classifier whose head has hidden layers.

    Args:
        config: What it is made of.
        base: The pretrained classifier, which loses its own head; a new one by default.
    """

    config_class = MlpHeadConfig
    base_model_prefix = "base"
    main_input_name = "pixel_values"

    def __init__(self, config: MlpHeadConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if base is None:
            of_base = AutoConfig.for_model(**config.base_config)
            base = AutoModelForImageClassification.from_config(of_base)
        parent, _, child = config.replaced.rpartition(".")
        setattr(base.get_submodule(parent), child, nn.Identity())
        self.base = base
        widths = [config.width, *config.hidden]
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Dropout(config.dropout), nn.Linear(below, above), nn.ReLU()]
        last = nn.Linear(widths[-1], cast(int, config.num_labels))
        self.head = nn.Sequential(*layers, nn.Dropout(config.dropout), last)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave layers as `torch` makes them: the base comes with its weights."""

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutput:
        """Classify images.

        Args:
            pixel_values: `[batch, channels, height, width]`, as the processor prepares them.
            labels: True label numbers, `[batch]`.
            **kwargs: Not used.
        """
        logits = self.head(self.base(pixel_values).logits)
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss=cast(Any, loss), logits=logits)


MlpHeadConfig.register_for_auto_class()
MlpHeadForImageClassification.register_for_auto_class("AutoModelForImageClassification")
AutoConfig.register(MlpHeadConfig.model_type, MlpHeadConfig)
AutoModelForImageClassification.register(MlpHeadConfig, MlpHeadForImageClassification)
AutoImageProcessor.register(MlpHeadConfig, TimmWrapperImageProcessor)  # others are saved beside it
