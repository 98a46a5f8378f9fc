"""What classifiers of texts share whose head reads several layers of a pretrained encoder."""

from abc import abstractmethod
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_encoder_head import EncoderHeadConfig

_AT_ONCE = 8  # texts of a batch that are padded to the same length


class EncoderHeadForSequenceClassification(PreTrainedModel):
    """A classifier of texts of any length on the layers of an encoder.

    Args:
        config: What it is made of.
        encoder: The pretrained encoder, of as many layers as are read; a new one by default.
    """

    base_model_prefix = "encoder"

    def __init__(self, config: EncoderHeadConfig, encoder: PreTrainedModel | None = None) -> None:
        from transformers import AutoConfig, AutoModel  # they import the models that build on this

        super().__init__(config)
        base = encoder or AutoModel.from_config(AutoConfig.for_model(**config.base_config))
        self.encoder = _encoder_of(base)
        if hasattr(self.encoder, "pooler"):
            self.encoder.pooler = nn.Identity()  # nothing reads it
        self.head = self._new_head(self.encoder.config.hidden_size * len(config.layers))
        self.post_init()

    @abstractmethod
    def _new_head(self, width: int) -> nn.Module:
        """Return the head, for so many numbers of each token."""

    @abstractmethod
    def head_inputs(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute what the head reads of texts, `[batch, ...]`; see `forward`."""

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
        logits = self.head(self.head_inputs(input_ids, attention_mask))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits)

    def states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> list[torch.Tensor]:
        """Compute the states of each layer that is read, `[batch, tokens, width]`, 0 at padding."""
        batch, tokens = input_ids.shape
        window = _smaller(tokens, self.config.window)
        missing = -tokens % window
        ids, mask = (
            nn.functional.pad(tensor, (0, missing)).view(-1, window)
            for tensor in (input_ids, attention_mask)
        )
        written = mask.any(1)
        states = self._encoded(ids[written], mask[written])
        real = mask[written].unsqueeze(-1)
        read = (spread(state * real, written) for state in states)
        return [state.view(batch, tokens + missing, -1)[:, :tokens] for state in read]

    def _encoded(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Compute the states of each layer that is read, `[batch, tokens, width]`.

        Where the whole encoder trains on a processor, it reads some texts of like length at a time:
        of a batch of short texts and a long one most is padding.
        """
        if not (ids.device.type == "cpu" and self._trains_whole_encoder()):
            return self._encoded_at_once(ids, mask)
        ends = (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)  # padding may lie before, too
        order = ends.argsort()
        read = []
        for rows in order.split(_AT_ONCE):
            tokens = int(ends[rows].max())
            states = self._encoded_at_once(ids[rows, :tokens], mask[rows, :tokens])
            missing = 0, 0, 0, ids.shape[1] - tokens
            read.append([nn.functional.pad(state, missing) for state in states])
        back = order.argsort()
        return [torch.cat(states)[back] for states in zip(*read, strict=True)]

    def _encoded_at_once(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        states = self.encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        return [states[layer] for layer in self.config.layers]

    def _trains_whole_encoder(self) -> bool:
        """Return whether all layers train, but for the embedding: none runs once and is stored."""
        parts = [part for part in self.encoder.modules() if not isinstance(part, nn.Embedding)]
        own = (p for part in parts for p in part.parameters(recurse=False) if p.ndim > 1)
        return self.training and torch.is_grad_enabled() and all(p.requires_grad for p in own)


def _encoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return the encoder of an encoder-decoder such as T5, and any other model as it is."""
    encoder = model.get_encoder()
    return encoder if isinstance(encoder, PreTrainedModel) else model


def spread(rows: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
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
