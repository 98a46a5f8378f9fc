"""Classifiers with a head of their own on any pretrained image model."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TimmWrapperImageProcessor,
)
from transformers.modeling_outputs import ImageClassifierOutput, ModelOutput


class MlpHeadConfig(PreTrainedConfig):
    """Configuration of `MlpHeadForImageClassification`.

    Args:
        base_config: Configuration of the image classifier whose head is replaced, or of a base that
            has none.
        replaced: Path in it of the linear layer that ends its head; none of a base.
        width: Numbers that this layer is given for an image.
        hidden: Widths of the hidden layers of the head; none of a linear one.
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
    """An image classifier whose head has hidden layers, or stands on a base that has no head.

    Args:
        config: What it is made of.
        base: The pretrained classifier, which loses its own head, or base; a new one by default.
    """

    config_class = MlpHeadConfig
    base_model_prefix = "base"
    main_input_name = "pixel_values"

    def __init__(self, config: MlpHeadConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if base is None:
            of_base = AutoConfig.for_model(**config.base_config)
            kind = AutoModelForImageClassification if config.replaced else AutoModel
            base = cast(PreTrainedModel, cast(Any, kind).from_config(of_base))
        if config.replaced:
            parent, _, child = config.replaced.rpartition(".")
            setattr(base.get_submodule(parent), child, nn.Identity())
        self.base = base
        widths = [config.width, *config.hidden]
        layers: list[nn.Module] = []
        for below, above in pairwise(widths):
            layers += [nn.Dropout(config.dropout), nn.Linear(below, above), nn.ReLU()]
        last = nn.Linear(widths[-1], cast(int, config.num_labels))
        if layers:
            layers.append(nn.Dropout(config.dropout))
        self.head = nn.Sequential(*layers, last)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep layers as `torch` initializes them: the base comes with its weights."""

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutput:
        """Classify images.

        Args:
            pixel_values: `[batch, channels, height, width]`, as the processor prepares them.
            labels: True label numbers, `[batch]`.
            **kwargs: Not used.
        """
        logits = self.head(pooled(self.base(pixel_values)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss=cast(Any, loss), logits=logits)


def pooled(outputs: ModelOutput) -> torch.Tensor:
    """Return the pooled output of a model for each image, `[batch, width]`.

    That is what a classifier without its last layer gives, what a base pools, or else the mean of
    its tokens or of its map.
    """
    for name in ("logits", "pooler_output"):
        if (found := outputs.get(name)) is not None:
            return cast(torch.Tensor, found).flatten(1)
    states = cast(torch.Tensor, outputs["last_hidden_state"])
    return states.mean(1) if states.ndim == 3 else states.flatten(2).mean(2)


MlpHeadConfig.register_for_auto_class()
MlpHeadForImageClassification.register_for_auto_class("AutoModelForImageClassification")
AutoConfig.register(MlpHeadConfig.model_type, MlpHeadConfig)
AutoModelForImageClassification.register(MlpHeadConfig, MlpHeadForImageClassification)
AutoImageProcessor.register(MlpHeadConfig, TimmWrapperImageProcessor)  # others are saved beside it
