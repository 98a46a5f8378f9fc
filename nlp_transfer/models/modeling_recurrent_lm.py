"""A recurrent language model, or a pair of one in each direction, as a `transformers` model."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import can_return_tuple

from .configuration_recurrent import RecurrentConfig
from .modeling_recurrent import RecurrentModel, RecurrentPreTrainedModel

_SLICE = 256  # words whose scores fit into a processor's cache: nearly twice as fast as all at once


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """A recurrent base that predicts the next word, and the previous one if it is bidirectional.

    The output layer is tied to the embedding: the states are projected to its width, by a layer of
    their own in each direction, and words are scored by their rows (Press and Wolf 2017; Merity et
    al. 2018). The two models of a pair share the embedding and the scores' bias, and nothing else
    (ELMo, Peters et al. 2018). Padding is never predicted. While it trains, `estimated_loss` may
    take the place of the exact loss: a function of states, output layer and true words.

    Args:
        config: What it is made of.

    Raises:
        ValueError: The two directions read each other's states: from the second layer on, the model
            would see the word that it is to predict.

    Examples:
        >>> from nlp_transfer.models import RecurrentConfig
        >>> config = RecurrentConfig(vocab_size=100, bidirectional=False)
        >>> model = RecurrentForCausalLM(config).eval()
        >>> words = torch.tensor([[5, 9, 2]])
        >>> model(words, labels=words).logits.shape, model.generate(words, max_new_tokens=4).shape
        (torch.Size([1, 3, 100]), torch.Size([1, 7]))
    """

    estimated_loss: Callable[[torch.Tensor, nn.Linear, torch.Tensor], torch.Tensor] | None = None
    _tied_weights_keys = {"lm_head.weight": "recurrent.embedding.weight"}  # noqa: RUF012

    def __init__(self, config: RecurrentConfig) -> None:
        if config.bidirectional and not config.separate_directions:
            raise ValueError(
                "A bidirectional language model needs separate_directions=True, else it sees the "
                "words that it is to predict. Set it, or bidirectional=False."
            )
        super().__init__(config)
        self.recurrent = RecurrentModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.projections = nn.ModuleList(
            nn.Linear(config.hidden_size, config.embedding_size)
            for _ in range(2 if config.bidirectional else 1)
        )
        self.lm_head: nn.Module = nn.Linear(config.embedding_size, config.vocab_size)
        if config.tie_word_embeddings:  # or `Trainer` would warn that checkpoints lack it
            self._keys_to_ignore_on_save = list(self._tied_weights_keys)
        self.post_init()
        self._spread_words()

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer that scores the words."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the layer that scores the words."""
        self.lm_head = new_embeddings

    @torch.no_grad()
    def load_counts(self, counts: torch.Tensor) -> None:
        """Set the scores' bias to the logarithm of each word's share: the unigram model.

        From zero, AdamW would take thousands of steps to get there.

        Args:
            counts: How often each word occurs, `int64 [vocab_size]`.
        """
        shares = counts.clamp(min=1).double()
        cast(nn.Linear, self.lm_head).bias.copy_((shares / shares.sum()).log())

    @torch.no_grad()
    def _spread_words(self) -> None:
        """Give the words rows of about unit length: they are scored by them from the start.

        The narrow range that is usual for a new embedding holds the loss up for long.
        """
        embedding = cast(nn.Embedding, self.get_input_embeddings())
        init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)
        if embedding.padding_idx is not None:
            init.zeros_(embedding.weight[embedding.padding_idx])

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> CausalLMOutput:
        """Predict words from those before them, and from those after them.

        Args:
            input_ids: Word numbers, `int64 [batch, tokens]`, padded on the right or on the left.
            attention_mask: 1 for real tokens, 0 for padding, `[batch, tokens]`; by default all that
                is not `pad_token_id` is real.
            labels: The true words, `int64 [batch, tokens]`, those of `input_ids` as a rule: they
                are shifted here. Padding and -100 do not count.

        Returns:
            `logits` of the next word, `[batch, tokens, vocab_size]`, and with labels `loss`, the
            mean cross-entropy; of a pair, the mean over both directions. While it trains on labels
            there is the loss alone, since all the logits at once would take most of the time.
        """
        real = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask
        real = real.bool()
        states = self.dropout(self._states(input_ids, real)).split(self.config.hidden_size, dim=-1)
        loss = None
        if labels is not None:
            labels = labels.masked_fill(~real | (labels == self.config.pad_token_id), -100)
            between = real[:, 1:] & real[:, :-1]  # the first of left-padded words follows nothing
            losses = [self._loss(0, states[0][:, :-1], labels[:, 1:], between)]
            if self.config.bidirectional:
                losses.append(self._loss(1, states[1][:, 1:], labels[:, :-1], between))
            loss = torch.stack(losses).mean()
        logits = self._logits(0, states[0]) if labels is None or not self.training else None
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return all words so far: they are read anew for each word that is generated."""
        return {"input_ids": input_ids, "attention_mask": kwargs.get("attention_mask")}

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Return false: there are no keys and values to cache."""
        return False

    def _states(self, input_ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Run the base, which needs right padding, on inputs that `generate` pads on the left."""
        order = (~real).int().argsort(dim=1, stable=True)
        output = self.recurrent(input_ids.gather(1, order), real.gather(1, order))
        states: torch.Tensor = output.last_hidden_state
        return states.take_along_dim(order.argsort(dim=1).unsqueeze(-1), dim=1)

    def _logits(self, direction: int, states: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.lm_head(self.projections[direction](states))
        if self.config.pad_token_id is not None:
            # So its row in the embedding gets no gradient, and stays zero.
            logits[..., self.config.pad_token_id] = -torch.inf
        return logits

    def _loss(
        self, direction: int, states: torch.Tensor, words: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean cross-entropy over the words that count; zero if there are none."""
        counted = real & (words != -100)
        states, words = states[counted], words[counted]
        if self.training and self.estimated_loss is not None and len(words):
            projected = self.projections[direction](states)
            return self.estimated_loss(projected, cast(nn.Linear, self.lm_head), words)
        total = states[:0].sum()
        for some, true in zip(states.split(_SLICE), words.split(_SLICE), strict=True):
            logits = self._logits(direction, some)
            total = total + nn.functional.cross_entropy(logits, true, reduction="sum")
        return total / max(1, len(words))


# What is saved carries this code, for those who load it without the package.
RecurrentForCausalLM.register_for_auto_class("AutoModelForCausalLM")
