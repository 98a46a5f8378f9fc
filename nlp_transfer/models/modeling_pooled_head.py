"""A pretrained encoder with a linear head on the tokens' mean and maximum in several layers."""

from typing import cast

import torch
from torch import nn

from .configuration_pooled_head import PooledHeadConfig
from .modeling_encoder_head import EncoderHeadForSequenceClassification


class PooledHeadForSequenceClassification(EncoderHeadForSequenceClassification):
    """A linear classifier of texts of any length on all layers of an encoder.

    No layer is best for every task; a linear head on all of them finds what it needs in any, even
    with few labels (Head2Toe: Evci et al., ICML 2022). `load_encoder_classifier` makes one of a
    pretrained encoder.

    Args:
        config: What it is made of.
        encoder: The pretrained encoder, of as many layers as are read; a new one by default.

    Examples:
        >>> from nlp_transfer.models import PooledHeadConfig
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
        >>> config = PooledHeadConfig(encoder.to_dict(), layers=[0, 1, 2])
        >>> model = PooledHeadForSequenceClassification(config)
        >>> model(torch.ones(1, 5, dtype=torch.long)).logits.shape, model.head.in_features
        (torch.Size([1, 2]), 96)
    """

    config_class = PooledHeadConfig

    def _new_head(self, width: int) -> nn.Linear:
        return nn.Linear(2 * width, cast(int, self.config.num_labels))

    def head_inputs(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute the means over the tokens, then the maxima, `[batch, 2 * layers * width]`."""
        real = attention_mask.bool().unsqueeze(-1)
        count = real.sum(1).clamp(min=1)
        states = self.states(input_ids, attention_mask)
        means = [state.sum(1) / count for state in states]
        if self.config.unit_means:
            means = [nn.functional.normalize(mean) for mean in means]
        maxima = [state.masked_fill(~real, -torch.inf).amax(1) for state in states]
        return torch.cat([*means, *maxima], dim=-1).masked_fill(~real.any(1), 0.0)


# What is saved carries this code, for those who load it without the package.
PooledHeadForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
