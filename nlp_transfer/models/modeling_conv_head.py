"""A pretrained encoder with a convolutional head on several of its layers."""

from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_conv_head import ConvHeadConfig


class ConvHead(nn.Module):
    """Convolution over the tokens, the maximum over time, and a linear layer (Kim, EMNLP 2014).

    Args:
        config: Its sizes.
        width: Numbers that it reads of each token.
    """

    def __init__(self, config: ConvHeadConfig, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, config.filters, config.kernel_size, padding="same")
        self.dropout = nn.Dropout(config.dropout)
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
        products = _spread(products, real).view(*real.shape, size, filters)
        before = (size - 1) // 2
        padded = nn.functional.pad(products, (0, 0, 0, 0, before, size - 1 - before))
        shifted = [padded[:, n : n + real.shape[1], n] for n in range(size)]
        return torch.stack(shifted).sum(0) + cast(torch.Tensor, self.convolution.bias)


class ConvHeadForSequenceClassification(PreTrainedModel):
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
    base_model_prefix = "encoder"

    def __init__(self, config: ConvHeadConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        base = encoder or AutoModel.from_config(AutoConfig.for_model(**config.base_config))
        self.encoder = _encoder_of(base)
        if hasattr(self.encoder, "pooler"):
            self.encoder.pooler = nn.Identity()  # nothing reads it
        self.head = ConvHead(config, self.encoder.config.hidden_size * len(config.layers))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave layers as `torch` makes them: the encoder comes with its weights."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding of the encoder."""
        return self.encoder.get_input_embeddings()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify texts.

        Args:
            input_ids: Token numbers, `int64 [batch, tokens]`, padded on the right.
            attention_mask: 1 for real tokens, 0 for padding, `[batch, tokens]`.
            labels: What is true, as `config.problem_type` says: numbers of labels, `int64
                [batch]`, 0 or 1 for each, `float [batch, num_labels]`, or numbers, `float [batch]`.
            **kwargs: Not used.

        Returns:
            `logits`, `[batch, num_labels]`, and with labels `loss`, the mean over the batch.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        logits = self.head(self.states(input_ids, attention_mask))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits)

    def states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute the inputs of the head, `[batch, tokens, layers * width]`, zero at padding."""
        batch, tokens = input_ids.shape
        window = _smaller(tokens, self.config.window)
        missing = -tokens % window
        ids, mask = (
            nn.functional.pad(tensor, (0, missing)).view(-1, window)
            for tensor in (input_ids, attention_mask)
        )
        written = mask.any(1)
        states = self.encoder(
            input_ids=ids[written], attention_mask=mask[written], output_hidden_states=True
        ).hidden_states
        read = torch.cat([states[layer] for layer in self.config.layers], dim=-1)
        read *= mask[written].unsqueeze(-1)
        return _spread(read, written).view(batch, tokens + missing, -1)[:, :tokens]


def _encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the encoder of an encoder-decoder such as T5, and any other model as it is."""
    encoder = model.get_encoder()
    return encoder if isinstance(encoder, PreTrainedModel) else model


def _spread(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Put rows, `[n, ...]`, where `places`, `[...]`, is true n times; zeros elsewhere."""
    below = rows.shape[1:]
    if not torch.jit.is_tracing() and len(rows) == places.numel():  # a trace would keep to this way
        return rows.view(*places.shape, *below)
    mask = places.view(*places.shape, *(1 for _ in below))
    return rows.new_zeros(*places.shape, *below).masked_scatter(mask, rows)


def _smaller(count: int, most: int) -> int:
    """Return the minimum, as a tensor where a trace would take a number for a constant."""
    if torch.jit.is_tracing():
        return cast(int, torch.minimum(torch.as_tensor(count), torch.as_tensor(most)))
    return min(count, most)


# What is saved carries this code, for those who load it without the package.
ConvHeadForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
