"""Configuration of the neural probabilistic language model."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .contexts import Context


@strict
class WindowLanguageModelConfig(PreTrainedConfig):
    """Configuration of `WindowLanguageModel`.

    Attributes:
        vocab_size: Words of the vocabulary.
        embedding_size: Width of the embedding.
        hidden_size: Width of the hidden layer.
        context: What a word is predicted from, see `Context`: `previous N`, `around N`, `last` or
            `nearby N`.
        dropout: Share of what the hidden layer and the output layer read that is dropped in
            training.
        sampled_words: Words drawn for each batch in training, see `sampled_softmax_loss`; 0 for the
            exact softmax.
        pad_token_id: Word number of what lies beyond the borders of a text. Its row of the
            embedding is zero and stays so, and it is never predicted.

    Raises:
        StrictDataclassClassValidationError: There is no such context; from
            `huggingface_hub.errors`.

    Examples:
        >>> from nlp_transfer.language_models import WindowLanguageModel
        >>> config = WindowLanguageModelConfig(vocab_size=1000, context="around 2")
        >>> WindowLanguageModel(config).hidden  # it reads four words, 50 numbers each
        Linear(in_features=200, out_features=100, bias=True)
    """

    model_type = "window_language_model"

    vocab_size: int = 20_000
    embedding_size: int = 50
    hidden_size: int = 100
    context: str = "previous 5"
    dropout: float = 0.0
    sampled_words: int = 0
    pad_token_id: int | None = 0

    def validate_context(self) -> None:
        """Refuse an unknown kind of context."""
        Context.parse(self.context)
