"""A pretrained encoder with a convolutional head on several of its layers."""

from typing import cast

import torch
from torch import nn

from .configuration_conv_head import ConvHeadConfig
from .modeling_encoder_head import EncoderHeadForSequenceClassification, spread


class BytewiseDropout(nn.Dropout):
    """Dropout that spends a random byte on each number where there is no accelerator.

    `nn.Dropout` draws a float for each, which takes longer there than the convolution behind it.
    The probability is the nearest of 256; what is kept is scaled by that one.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Drop numbers of a tensor of any shape, in training."""
        dropped = round(256 * self.p)
        if not self.training or dropped == 256 or states.device.type != "cpu":
            return super().forward(states)
        words = torch.empty(-(-states.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: states.numel()].view(states.shape) >= dropped
        return (states * kept).mul_(256 / (256 - dropped))


class ConvHead(nn.Module):
    """Convolution over the tokens, the maximum over time, and a linear layer (Kim, EMNLP 2014).

    Args:
        config: Its sizes.
        width: Numbers that it reads of each token.
    """

    def __init__(self, config: ConvHeadConfig, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, config.filters, config.kernel_size, padding="same")
        self.dropout = BytewiseDropout(config.dropout)
        self.classifier = nn.Linear(config.filters, cast(int, config.num_labels))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Compute logits `[batch, labels]` of `[batch, tokens, layers * width]`, 0 at padding."""
        real = (states != 0).any(-1)
        found = self._convolved(self.dropout(states[real]), real)
        found = found.masked_fill(~real.unsqueeze(-1), -torch.inf)
        logits: torch.Tensor = self.classifier(self.dropout(found.amax(1).relu()))
        return logits

    def _convolved(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Convolve texts that are zero at padding: `[batch, tokens, filters]`.

        Most of a batch of texts may be padding; only the real tokens are multiplied out.

        Args:
            tokens: The real tokens of all texts behind one another, `[real tokens, width]`.
            real: Where they stand, `[batch, tokens]`.
        """
        filters, width, size = self.convolution.weight.shape
        kernel = self.convolution.weight.permute(2, 0, 1).reshape(size * filters, width)
        products = nn.functional.linear(tokens, kernel)
        products = spread(products, real).view(*real.shape, size, filters)
        before = (size - 1) // 2
        padded = nn.functional.pad(products, (0, 0, 0, 0, before, size - 1 - before))
        shifted = [padded[:, n : n + real.shape[1], n] for n in range(size)]
        return torch.stack(shifted).sum(0) + cast(torch.Tensor, self.convolution.bias)


class ConvHeadForSequenceClassification(EncoderHeadForSequenceClassification):
    """A classifier of texts of any length on the lower and middle layers of an encoder.

    What a text is about stands in the upper layers of an encoder; which words say it, and how,
    stands in the lower ones (Peters et al. 2018; Tenney et al. 2019), and small sets need both.
    The head is that of Kim (EMNLP 2014). `load_encoder_classifier` makes one of a pretrained
    encoder.

    Args:
        config: What it is made of.
        encoder: The pretrained encoder, of as many layers as are read; a new one by default.

    Examples:
        >>> from nlp_transfer.models import ConvHeadConfig
        >>> from transformers import BertConfig
        >>> encoder = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
        >>> model = ConvHeadForSequenceClassification(ConvHeadConfig(encoder.to_dict(), [0, 2]))
        >>> model(torch.ones(1, 1000, dtype=torch.long)).logits.shape  # in two windows of 512
        torch.Size([1, 2])
    """

    config_class = ConvHeadConfig

    def _new_head(self, width: int) -> ConvHead:
        return ConvHead(cast(ConvHeadConfig, self.config), width)

    def head_inputs(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute the states of the layers, `[batch, tokens, layers * width]`, 0 at padding."""
        return torch.cat(self.states(input_ids, attention_mask), dim=-1)


# What is saved carries this code, for those who load it without the package.
ConvHeadForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
