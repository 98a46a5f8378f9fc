"""Recurrent models on a word embedding, as `transformers` models."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput

from .configuration_recurrent import RecurrentConfig
from .recurrent_layers import GRU, SeparateDirections, run_layer


class RecurrentPreTrainedModel(PreTrainedModel):
    """What the recurrent models share: configuration, initial weights and access to E."""

    config_class = RecurrentConfig
    base_model_prefix = "recurrent"

    def _init_weights(self, module: nn.Module) -> None:
        """Initialize recurrent and linear layers as PyTorch does: BERT's ranges are too narrow."""
        if isinstance(module, nn.GRU | nn.LSTM | nn.Linear):
            fan = module.in_features if isinstance(module, nn.Linear) else module.hidden_size
            for parameter in module.parameters():
                init.uniform_(parameter, -(fan**-0.5), fan**-0.5)
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]

    def load_embedding(self, matrix: torch.Tensor) -> None:
        """Set the word embedding to E_T, word vectors aligned to the task vocabulary.

        Args:
            matrix: `float32 [vocab_size, embedding_size]`, one row per word of the vocabulary.

        Raises:
            ValueError: The matrix has another shape.
        """
        weight = cast(nn.Embedding, self.get_input_embeddings()).weight
        if matrix.shape != weight.shape:
            raise ValueError(
                f"The word vectors are {tuple(matrix.shape)} and the embedding is "
                f"{tuple(weight.shape)}: align the vectors to the tokenizer of this model."
            )
        with torch.no_grad():
            weight.copy_(matrix)
        # As what `from_pretrained` loads is marked: `StagedTrainer` knows that all else is new.
        weight._is_hf_initialized = True  # type: ignore[attr-defined]

    def embedding_matrix(self) -> NDArray[np.float32]:
        """Return a copy of the word embedding, `float32 [vocab_size, embedding_size]`."""
        weight = cast(nn.Embedding, self.get_input_embeddings()).weight
        return weight.detach().numpy(force=True).copy()


class RecurrentModel(RecurrentPreTrainedModel):
    """Embedding, recurrent layers, and pooling of both over the real tokens of each text.

    Args:
        config: What it is made of; the papers are named there.

    Examples:
        >>> from nlp_transfer.models import RecurrentConfig
        >>> base = RecurrentModel(RecurrentConfig(vocab_size=100, hidden_size=16))
        >>> output = base(torch.tensor([[5, 9, 2], [7, 3, 0]]))  # 0 is padding
        >>> output.last_hidden_state.shape, output.pooler_output.shape
        (torch.Size([2, 3, 32]), torch.Size([2, 132]))
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.embedding: nn.Module = nn.Embedding(
            config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id
        )
        cell = nn.LSTM if config.cell == "lstm" else GRU
        width = config.hidden_size * (2 if config.bidirectional else 1)
        self.layers = nn.ModuleList(
            SeparateDirections(cell, config.embedding_size, config.hidden_size, first=depth == 0)
            if config.bidirectional and config.separate_directions
            else cell(
                config.embedding_size + (width if depth else 0),
                config.hidden_size,
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            for depth in range(config.num_hidden_layers)
        )
        # Both stand behind the layers, and so belong to them and not to the embedding: they are on
        # while the layers train on an embedding that is frozen.
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.embedding = value

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> BaseModelOutputWithPooling:
        """Read texts.

        Args:
            input_ids: Word numbers, `int64 [batch, tokens]`, padded on the right.
            attention_mask: 1 for real tokens, 0 for padding, `[batch, tokens]`; by default all that
                is not `pad_token_id` is real.

        Returns:
            `last_hidden_state`, `[batch, tokens, width]`, of both directions the forward one first,
            zero at padding, and `pooler_output`, the features of each text, `[batch,
            config.feature_size]`: the bottleneck.
        """
        if not input_ids.shape[1]:  # texts without words, as a tokenizer hands them on
            input_ids = input_ids.new_full(
                (len(input_ids), 1), self.config.pad_token_id or 0
            ).long()
            attention_mask = torch.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
        mask = attention_mask.bool() | first  # a text without words counts as one padding token
        lengths = mask.sum(1).cpu()
        embedded = states = self.embedding_dropout(self.embedding(input_ids))
        for depth, layer in enumerate(self.layers):
            if depth:
                states = torch.cat([embedded, self.hidden_dropout(states)], dim=-1)
            states, last = run_layer(layer, states, lengths)
        features = [
            last if kind == "last" else _pool(kind, states, mask) for kind in self.config.pooling
        ]
        features += [_pool(kind, embedded, mask) for kind in self.config.embedding_pooling]
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=torch.cat(features, dim=-1)
        )


def _pool(kind: str, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the mean or the maximum, `[batch, width]`, of the states of real tokens."""
    real = mask.unsqueeze(-1)
    if kind == "mean":
        return (states * real).sum(1) / real.sum(1)
    return states.masked_fill(~real, -torch.inf).amax(1)


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """A recurrent base with a linear head on its pooled features.

    Args:
        config: What it is made of; `num_labels` says how wide the head is.

    Examples:
        >>> from nlp_transfer.models import RecurrentConfig
        >>> model = RecurrentForSequenceClassification(RecurrentConfig(vocab_size=100))
        >>> model.new_head(["work", "private", "spam"])
        >>> output = model(torch.tensor([[5, 9, 2], [7, 3, 0]]), labels=torch.tensor([0, 2]))
        >>> output.logits.shape, output.loss.shape
        (torch.Size([2, 3]), torch.Size([]))
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.recurrent = RecurrentModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.feature_size, cast(int, config.num_labels))
        self.post_init()

    @classmethod
    def from_aligned(
        cls, aligned: Any, labels: Sequence[str], **options: Any
    ) -> "RecurrentForSequenceClassification":
        """Build a classifier on word vectors, with new recurrent layers and a new head.

        Args:
            aligned: What `align` returns, or E_T itself, `float32 [words, dim]`.
            labels: The names of the labels.
            **options: Others of `RecurrentConfig`.

        Raises:
            ValueError: The vectors are no matrix of finite numbers, or the labels no different
                names.

        Examples:
            >>> from nlp_transfer import align, build_vocabulary
            >>> aligned = align(build_vocabulary(texts), "glove-6b-50d")
            >>> model = RecurrentForSequenceClassification.from_aligned(aligned, ["no", "yes"])
            >>> model.config.embedding_size, model.config.id2label
            (50, {0: 'no', 1: 'yes'})
        """
        matrix = torch.as_tensor(getattr(aligned, "matrix", aligned))
        if matrix.ndim != 2 or not matrix.isfinite().all():
            raise ValueError("The word vectors must be a matrix of finite numbers, [words, dim].")
        if isinstance(labels, str) or len(set(labels)) < len(labels):
            raise ValueError(f"labels is {labels!r}: give a list of different names.")
        words, dim = matrix.shape
        config = RecurrentConfig(vocab_size=words, embedding_size=dim, **options)
        model = cls(config)
        model.load_embedding(matrix)
        model.new_head(labels)
        return model

    def new_head(self, labels: Sequence[str]) -> None:
        """Put a new, random head for other labels on the base."""
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: index for index, label in enumerate(labels)}
        device, dtype = self.classifier.weight.device, self.classifier.weight.dtype
        self.classifier = nn.Linear(
            self.config.feature_size, len(labels), device=device, dtype=dtype
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Classify texts.

        Args:
            input_ids: Word numbers, `int64 [batch, tokens]`, padded on the right.
            attention_mask: 1 for real tokens, 0 for padding, `[batch, tokens]`.
            labels: What is true, as `config.problem_type` says: numbers of labels, `int64
                [batch]`, 0 or 1 for each, `float [batch, num_labels]`, or numbers, `float [batch]`.

        Returns:
            `logits`, `[batch, num_labels]`, and with labels `loss`, the mean over the batch.
        """
        features = self.recurrent(input_ids, attention_mask).pooler_output
        logits = self.classifier(self.dropout(features))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


# What is saved carries this code, for those who load it without the package.
RecurrentModel.register_for_auto_class("AutoModel")
RecurrentForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
