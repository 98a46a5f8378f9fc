"""The neural probabilistic language model, as a `transformers` model."""

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutput

from .configuration_window import WindowLanguageModelConfig
from .contexts import Context
from .sampled_softmax import proposal_distribution, sampled_softmax_loss


class WindowLanguageModel(PreTrainedModel):
    """A word predicted from a window of words around it (Bengio et al. 2003).

    The embeddings of the context are concatenated; a tanh layer and a softmax over the vocabulary
    follow. The direct connections from the embeddings to the output, optional in the paper, are
    left out.

    Args:
        config: What it is made of.

    Examples:
        >>> from nlp_transfer.language_models import WindowLanguageModelConfig
        >>> model = WindowLanguageModel(WindowLanguageModelConfig(vocab_size=1000))
        >>> contexts = torch.tensor([[0, 0, 17, 4, 9], [0, 17, 4, 9, 23]])  # 0 before the text
        >>> model(contexts).logits.shape
        torch.Size([2, 1000])
    """

    config_class = WindowLanguageModelConfig
    base_model_prefix = "window"
    proposal: torch.Tensor

    def __init__(self, config: WindowLanguageModelConfig) -> None:
        super().__init__(config)
        self.embedding: nn.Module = nn.Embedding(
            config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id
        )
        width = Context.parse(config.context).width
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(width * config.embedding_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.vocab_size)
        self.register_buffer("proposal", torch.empty(config.vocab_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Initialize linear layers as PyTorch does, and embeddings with a mean length of one.

        Until counts are known all words are alike.
        """
        if isinstance(module, nn.Linear):
            for parameter in module.parameters():
                init.uniform_(parameter, -(module.in_features**-0.5), module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, WindowLanguageModel):
            alike = torch.ones(self.config.vocab_size)
            init.copy_(module.proposal, proposal_distribution(alike, self.config.pad_token_id))
        else:
            super()._init_weights(module)  # type: ignore[no-untyped-call]

    def load_counts(self, counts: torch.Tensor) -> None:
        """Initialize the output bias and the proposal from the counts of words.

        The bias of the output layer becomes the logarithm of each word's share, so that training
        begins at the unigram model; sampled softmax draws words by their counts.

        Args:
            counts: How often each word occurs, `int64 [vocab_size]`.
        """
        shares = counts.clamp(min=1).double()
        with torch.no_grad():
            self.output.bias.copy_((shares / shares.sum()).log())
            self.proposal.copy_(proposal_distribution(counts, self.config.pad_token_id))

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.embedding = value

    def embedding_matrix(self) -> NDArray[np.float32]:
        """Return a copy of the word embedding, `float32 [vocab_size, embedding_size]`."""
        return cast(nn.Embedding, self.embedding).weight.detach().numpy(force=True).copy()

    def forward(
        self, input_ids: torch.Tensor, labels: torch.Tensor | None = None
    ) -> CausalLMOutput:
        """Predict words from their contexts.

        Args:
            input_ids: Word numbers of the contexts, `int64 [batch, context]`, in the order of the
                text, `pad_token_id` beyond its borders.
            labels: The words themselves, `int64 [batch]`.

        Returns:
            `logits`, `[batch, vocab_size]`, and with labels `loss`, their mean cross-entropy. In
            training with `config.sampled_words` the loss is estimated and there are no logits.
        """
        embedded = self.dropout(self.embedding(input_ids).flatten(1))
        states = self.dropout(torch.tanh(self.hidden(embedded)))
        if labels is not None and self.training and self.config.sampled_words:
            samples = self.config.sampled_words
            return CausalLMOutput(
                loss=sampled_softmax_loss(states, self.output, labels, self.proposal, samples)
            )
        logits = self.output(states)
        if self.config.pad_token_id is not None:
            logits[:, self.config.pad_token_id] = -torch.inf
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return CausalLMOutput(loss=loss, logits=logits)
