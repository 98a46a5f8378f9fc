"""Configuration of the recurrent models."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class RecurrentConfig(PreTrainedConfig):
    """Configuration of `RecurrentModel` and of what is built on it.

    Attributes:
        vocab_size: Rows of the embedding, one for each word of the task vocabulary.
        embedding_size: Width of the embedding; that of the word vectors it is aligned to.
        hidden_size: Width of each recurrent layer, in each direction.
        num_hidden_layers: How many recurrent layers are stacked. Each but the first reads the
            embedding too, beside the states of the layer below (Ding et al. 2018).
        cell: `gru` (Cho et al. 2014) or `lstm` (Hochreiter and Schmidhuber 1997).
        bidirectional: Whether each layer also reads from the end (Schuster and Paliwal 1997).
        separate_directions: Whether the two directions of a layer each read only the states of
            their own below, as in ELMo (Peters et al. 2018), and not those of both. No state then
            depends on tokens of both sides, as a pair of language models needs.
        pooling: What is taken over the real tokens and concatenated to the features of the text, of
            `mean`, `max` and `last` (the state after the last token; of the backward direction,
            after the first). All three are the concat pooling of ULMFiT (Howard and Ruder 2018).
        embedding_pooling: What is taken over the embedding of the real tokens, past the recurrent
            layers, and concatenated too, of `mean` and `max`; may be empty.
        embedding_dropout: Share of the embedding that is dropped before the layers read it.
        hidden_dropout: Share of a layer's states that is dropped before the next one, or the output
            layer of a language model, reads them.
        classifier_dropout: Share of the features that is dropped before the head.
        pad_token_id: Row of the embedding that is zero and stays so.
        tie_word_embeddings: Whether a language model scores words by the embedding that it reads
            them by (Press and Wolf 2017; Inan et al. 2017).

    Raises:
        StrictDataclassClassValidationError: There is no such pooling, or `pooling` is empty; from
            `huggingface_hub.errors`.

    Examples:
        >>> config = RecurrentConfig(hidden_size=64, pooling=["mean", "max", "last"])
        >>> config.feature_size  # three times two directions of 64, twice the embedding of 50
        484
    """

    model_type = "recurrent"

    vocab_size: int = 20_000
    embedding_size: int = 50
    hidden_size: int = 64
    num_hidden_layers: int = 2
    cell: Literal["gru", "lstm"] = "gru"
    bidirectional: bool = True
    separate_directions: bool = False
    pooling: list[str] | tuple[str, ...] = ("max",)
    embedding_pooling: list[str] | tuple[str, ...] = ("mean", "max")
    embedding_dropout: float = 0.2
    hidden_dropout: float = 0.2
    classifier_dropout: float = 0.3
    pad_token_id: int | None = 0
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: object) -> None:
        self.pooling = list(self.pooling)
        self.embedding_pooling = list(self.embedding_pooling)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]

    def validate_pooling(self) -> None:
        """Refuse an unknown kind of pooling."""
        kinds = {"pooling": ("mean", "max", "last"), "embedding_pooling": ("mean", "max")}
        for name, known in kinds.items():
            chosen = getattr(self, name)
            if any(kind not in known for kind in chosen):
                raise ValueError(f"{name} is {chosen}; choose of {', '.join(known)}.")
        if not self.pooling:
            raise ValueError("pooling is empty; choose one or more of mean, max, last.")

    @property
    def feature_size(self) -> int:
        """Width of the pooled features, which the head reads."""
        states = self.hidden_size * (2 if self.bidirectional else 1) * len(self.pooling)
        return states + self.embedding_size * len(self.embedding_pooling)


# What is saved carries this code, for those who load it without the package.
RecurrentConfig.register_for_auto_class()
