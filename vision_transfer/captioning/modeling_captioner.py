"""Image captioning: a pretrained CNN and a recurrent decoder, as one model."""

from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as _SUPPORTED,
)


@strict
class CaptionerConfig(PreTrainedConfig):
    """Configuration of `CaptionerForImageTextToText`.

    Attributes:
        encoder_config: Configuration of the image classifier that the features come from.
        replaced: Path in it of the linear layer that ended its head.
        feature_size: Width of the features: of the bottleneck, or of each cell of the last map.
        attention: Whether the decoder looks at the cells of the last map, where it likes for each
            word (Xu et al. 2015), or at the bottleneck (Vinyals et al. 2015).
        vocab_size: Rows of the word embedding.
        embedding_size: Its width; that of the word vectors it is aligned to.
        context_size: Width of what the decoder sees of the image with each word.
        hidden_size: Width of the recurrent layer.
        feature_dropout: Share of the features that is dropped in training.
        embedding_dropout: Share of the embedding that is dropped.
        output_dropout: Share of what the words are scored by that is dropped.
        label_smoothing: Share of the probability that training spreads over all words.
        pad_token_id: Row of the embedding that is zero and stays so.
        unk_token_id: Stands for rare words, which are read and never learnt to be said.
        bos_token_id: Begins every caption.
        eos_token_id: Ends every caption.

    Examples:
        >>> config = CaptionerConfig(vocab_size=500, attention=True)
        >>> decoder = CaptionDecoder(config)
        >>> decoder.attention.of_cell, decoder.output  # the output reads state and image
        (Linear(in_features=128, out_features=256, bias=True),
         Linear(in_features=384, out_features=500, bias=True))
    """

    model_type = "captioner"

    encoder_config: dict[str, Any] | None = None
    replaced: str = "classifier"
    feature_size: int = 1280
    attention: bool = False
    vocab_size: int = 1000
    embedding_size: int = 50
    context_size: int = 128
    hidden_size: int = 256
    feature_dropout: float = 0.3
    embedding_dropout: float = 0.3
    output_dropout: float = 0.5
    label_smoothing: float = 0.0
    pad_token_id: int | None = 0
    unk_token_id: int | None = 1
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = False


class Attention(nn.Module):
    """Where to look: weights for the cells of a map, from each of them and the decoder's state.

    It is the soft attention of Bahdanau et al. and of Show, Attend and Tell (Xu et al.), both 2015.
    """

    def __init__(self, context: int, hidden: int) -> None:
        super().__init__()
        self.of_cell = nn.Linear(context, hidden)
        self.of_state = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, cells: torch.Tensor, keys: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Return the mean of the cells by their weights, `[batch, context]`.

        Args:
            cells: `[batch, cells, context]`.
            keys: What `of_cell` makes of them, `[batch, cells, hidden]`; the same for every word.
            state: The state before the word, `[batch, hidden]`.
        """
        scores: torch.Tensor = self.score(torch.tanh(keys + self.of_state(state).unsqueeze(1)))
        return (scores.softmax(dim=1) * cells).sum(1)


class CaptionDecoder(nn.Module):
    """A recurrent layer that reads the words so far beside the image, and scores the next word.

    The image is read with every word, as in the m-RNN (Mao et al. 2015), and the scores see it too
    (the deep output of Xu et al. 2015); with attention, another part of it for every word.
    """

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__()
        self.config = config
        size, context = config.hidden_size, config.context_size
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id
        )
        self.image = nn.Sequential(
            nn.LayerNorm(config.feature_size),
            nn.Dropout(config.feature_dropout),
            nn.Linear(config.feature_size, context),
            nn.ReLU(),
        )
        self.attention = Attention(context, size) if config.attention else None
        self.recurrent = nn.LSTM(config.embedding_size + context, size, batch_first=True)
        self.output = nn.Linear(size + context, config.vocab_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.output_dropout = nn.Dropout(config.output_dropout)

    def forward(
        self,
        features: torch.Tensor,
        labels: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> CausalLMOutput:
        """Score the words of captions.

        Args:
            features: Of the images, `[batch, feature_size]`, or with attention `[batch, cells,
                feature_size]`.
            labels: Captions to learn, `int64 [batch, tokens]`: without the token that begins them,
                with the one that ends them, and -100 behind it.
            input_ids: The words so far, where there are no labels, `int64 [batch, tokens]`.
            logits_to_keep: Of how many of the last tokens logits are wanted; 0 for all.

        Returns:
            `logits`, `[batch, tokens, vocab_size]`, of the word that follows each, and with labels
            `loss`, their mean cross-entropy. Words that are not in the vocabulary do not count.
        """
        if labels is not None:
            input_ids = self._before(labels)
        words = self.embedding_dropout(self.embedding(input_ids))
        states = self._read(self.image(features), words)[:, -logits_to_keep:]
        logits = self.output(self.output_dropout(states))
        return CausalLMOutput(loss=self._loss(logits, labels), logits=logits)

    def _before(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the words before each of those to be predicted, `[batch, tokens]`."""
        words = labels.masked_fill(labels == -100, cast(int, self.config.pad_token_id))
        begin = words.new_full((len(words), 1), cast(int, self.config.bos_token_id))
        return torch.cat([begin, words[:, :-1]], dim=1)

    def _read(self, image: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Compute the states that score the next word, `[batch, tokens, hidden + context]`."""
        if self.attention is None:
            seen = image.unsqueeze(1).expand(-1, words.shape[1], -1)
            states, _ = self.recurrent(torch.cat([words, seen], dim=-1))
            return torch.cat([states, seen], dim=-1)
        keys = self.attention.of_cell(image)
        state = memory = image.new_zeros(1, len(image), self.config.hidden_size)
        read = []
        for word in words.unbind(1):
            seen = self.attention(image, keys, state[0])
            both = torch.cat([word, seen], dim=-1).unsqueeze(1)
            _, (state, memory) = self.recurrent(both, (state, memory))
            read.append(torch.cat([state[0], seen], dim=-1))
        return torch.stack(read, dim=1)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor | None:
        if labels is None:
            return None
        labels = labels.masked_fill(labels == cast(int, self.config.unk_token_id), -100)
        smoothing = self.config.label_smoothing if self.training else 0.0
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing
        )


class CaptionerForImageTextToText(PreTrainedModel, GenerationMixin):
    """Says in words what an image shows.

    An encoder and a recurrent decoder (Vinyals et al. 2015), with attention as in Show, Attend and
    Tell (Xu et al. 2015). It takes pixels `[batch, channels, height, width]`; `forward` scores
    words, `generate` says them.

    Args:
        config: What it is made of.
        encoder: The pretrained image classifier, which loses its head; a new one by default.

    Examples:
        >>> from vision_transfer.backbones import untrained_backbone
        >>> encoder, _ = untrained_backbone("resnet10t", ["cat"], size=64)
        >>> config = CaptionerConfig(replaced="timm_model.fc", feature_size=512, vocab_size=100)
        >>> model = CaptionerForImageTextToText(config, encoder).eval()
        >>> pixels = torch.zeros(2, 3, 64, 64)
        >>> model(pixels, input_ids=torch.tensor([[2, 17, 4], [2, 9, 23]])).logits.shape
        torch.Size([2, 3, 100])
        >>> model.generate(pixel_values=pixels, min_new_tokens=5, max_new_tokens=5).shape
        torch.Size([2, 6])
    """

    config_class = CaptionerConfig
    base_model_prefix = "encoder"
    accepts_loss_kwargs = False  # its loss is a mean over the words of the batch

    def __init__(self, config: CaptionerConfig, encoder: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if encoder is None:
            of_encoder = AutoConfig.for_model(**(config.encoder_config or {}))
            encoder = AutoModelForImageClassification.from_config(of_encoder)
        parent, _, child = config.replaced.rpartition(".")
        setattr(encoder.get_submodule(parent), child, nn.Identity())
        self.encoder = encoder
        self.decoder = CaptionDecoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep layers as `torch` initializes them; encoder and embedding come with weights."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.decoder.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embedding."""
        self.decoder.embedding = cast(nn.Embedding, value)

    def features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Compute the features of images that the decoder reads, see `CaptionDecoder.forward`.

        Args:
            pixel_values: `[batch, channels, height, width]`, as the processor prepares them.

        Returns:
            `[batch, feature_size]`, or with attention `[batch, cells, feature_size]`.
        """
        if not self.config.attention:
            logits: torch.Tensor = self.encoder(pixel_values).logits
            return logits.flatten(1)
        base = cast(Any, self.encoder.base_model)
        if hasattr(base, "forward_features"):  # of timm
            cells: torch.Tensor = base.forward_features(pixel_values)
        else:
            cells = base(pixel_values).last_hidden_state
        if cells.ndim == 4 and cells.shape[1] == self.config.feature_size:  # channels come first
            return cells.flatten(2).transpose(1, 2)
        return cells.flatten(1, -2)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Score the words of captions; arguments and result are those of `CaptionDecoder.forward`.

        Args:
            pixel_values: `[batch, channels, height, width]`, as the processor prepares them.
            features: What `features` makes of them, where that is known.
            input_ids: The words so far, `int64 [batch, tokens]`.
            attention_mask: 1 for their real tokens, 0 for padding, which may stand on either side.
            labels: Captions to learn, `int64 [batch, tokens]`, in place of `input_ids`.
            logits_to_keep: Of how many of the last tokens logits are wanted; 0 for all.
            **kwargs: Not used.
        """
        if features is None:
            features = self.features(cast(torch.Tensor, pixel_values))
        if labels is not None or attention_mask is None:
            output: CausalLMOutput = self.decoder(features, labels, input_ids, logits_to_keep)
            return output
        # The decoder wants its padding behind the words; `generate`, before them.
        order = (attention_mask == 0).int().argsort(dim=1, stable=True)
        logits = self.decoder(features, None, cast(torch.Tensor, input_ids).gather(1, order)).logits
        logits = logits.take_along_dim(order.argsort(dim=1).unsqueeze(-1), dim=1)
        return CausalLMOutput(logits=logits[:, -logits_to_keep:])

    @torch.no_grad()
    def generate(
        self,
        *inputs: Any,
        pixel_values: torch.Tensor | None = None,
        features: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate captions of images, with one pass of the encoder.

        Args:
            *inputs: The words that captions begin with, `int64 [batch, tokens]`, and what
                `GenerationMixin.generate` takes behind them; by default only the token that begins
                every caption.
            pixel_values: The images, `[batch, channels, height, width]`.
            features: What `features` makes of them, where that is known.
            **kwargs: What it takes besides, such as `num_beams`.

        Returns:
            The words, `int64 [batch, tokens]`, with those that captions begin with.
        """
        if features is None:
            features = self.features(cast(torch.Tensor, pixel_values))
        return cast(Any, super()).generate(*inputs, features=features, **kwargs)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the features and all words so far, which are read anew for each that follows."""
        names = ("features", "attention_mask", "logits_to_keep")
        return {"input_ids": input_ids, **{name: kwargs.get(name) for name in names}}

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Return false: there are no keys and values to cache."""
        return False


CaptionerConfig.register_for_auto_class()
CaptionerForImageTextToText.register_for_auto_class("AutoModelForImageTextToText")
AutoConfig.register(CaptionerConfig.model_type, CaptionerConfig)
AutoModelForImageTextToText.register(CaptionerConfig, CaptionerForImageTextToText)
# Or `pipeline` would warn of each such model that it is not supported.
_SUPPORTED[CaptionerConfig.model_type] = CaptionerForImageTextToText.__name__
