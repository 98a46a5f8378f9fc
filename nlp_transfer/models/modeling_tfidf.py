"""A linear model on TF-IDF, as a `transformers` model."""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_tfidf import TfidfConfig


class TfidfFeatures(nn.Module):
    """TF-IDF of words and pairs of neighbouring words, with 1 + log(count), of unit length.

    These are the numbers of scikit-learn's `TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)`
    (Salton and Buckley 1988), without the zeros.

    Args:
        config: How many words and features there are.

    Attributes:
        codes: A number for each feature, in ascending order, `int64 [features]`: that of a word, or
            for a pair `vocab_size * first + second`.
        idf: What weighs each feature, `[features]`.
    """

    codes: torch.Tensor
    idf: torch.Tensor

    def __init__(self, config: TfidfConfig) -> None:
        super().__init__()
        self.num_embeddings = config.vocab_size  # as an embedding says how many words it takes
        self.num_features = config.num_features
        self.register_buffer("codes", torch.zeros(config.num_features, dtype=torch.long))
        self.register_buffer("idf", torch.ones(config.num_features))

    def forward(
        self, input_ids: torch.Tensor, real: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find the features of texts.

        Args:
            input_ids: Word numbers, `int64 [batch, words]`.
            real: Where there are words, not padding, `bool [batch, words]`.

        Returns:
            For each feature that a text has the number of the text, that of the feature, and its
            value, `[found]` each.
        """
        text, place = torch.nonzero(real, as_tuple=True)
        words = input_ids[text, place]
        together = text[1:] == text[:-1]
        pairs = (self.num_embeddings * words[:-1] + words[1:])[together]
        feature, known = self._look_up(torch.cat([words, pairs]))
        text = torch.cat([text, text[1:][together]])
        cells = (self.num_features * text + feature)[known]
        cells, counts = torch.unique(cells, return_counts=True)
        text, feature = cells // self.num_features, cells % self.num_features
        values = (1 + counts.to(self.idf.dtype).log()) * self.idf[feature]
        # Not `index_add`, which ONNX has without repeated indices only.
        squares = values.new_zeros(input_ids.shape[0]).scatter_add(0, text, values**2)
        return text, feature, values / squares[text].sqrt()

    def _look_up(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last feature up to each code, and whether it is that of the code.

        This is a binary search; ONNX has no `searchsorted`.
        """
        found = torch.zeros_like(codes)
        for bit in reversed(range(self.num_features.bit_length())):
            further = found + 2**bit
            there = further < self.num_features
            fits = there & (self.codes[further.where(there, 0)] <= codes)
            found = torch.where(fits, further, found)
        return found, self.codes[found] == codes


class TfidfForSequenceClassification(PreTrainedModel):
    """A linear classifier, or regression, on TF-IDF: `tfidf_classifier` makes one.

    Args:
        config: What it is made of; `num_labels` says how wide the head is.

    Examples:
        >>> from nlp_transfer.tfidf import tfidf_classifier, tfidf_vectorizer
        >>> vectorizer = tfidf_vectorizer().fit(["call me", "me too"])
        >>> vectorizer.get_feature_names_out().tolist()
        ['call', 'call me', 'me', 'me too', 'too']
        >>> weight, bias = [[1, 1, 0, 0, 0], [0, 0, 0, 1, 1]], [0, 0]
        >>> model, tokenizer = tfidf_classifier(vectorizer, weight, bias, ["call", "too"])
        >>> model(**tokenizer("too late to call", return_tensors="pt")).logits.tolist()
        [[0.7071..., 0.7071...]]
    """

    config_class = TfidfConfig
    base_model_prefix = "tfidf"

    def __init__(self, config: TfidfConfig) -> None:
        super().__init__(config)
        self.tfidf = TfidfFeatures(config)
        self.classifier = nn.Linear(config.num_features, cast(int, config.num_labels))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Return what reads the words."""
        return self.tfidf

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Classify texts, or predict numbers of them.

        Args:
            input_ids: Word numbers, `int64 [batch, words]`.
            attention_mask: 1 for real words, 0 for padding, `[batch, words]`; by default all that
                is not `pad_token_id` is real.
            labels: What is true, as `config.problem_type` has it: label numbers `int64 [batch]`,
                zeros and ones `float32 [batch, num_labels]`, or numbers `float32 [batch]`.

        Returns:
            `logits`, `[batch, num_labels]`, and with labels `loss`.
        """
        input_ids = input_ids.long()  # texts without words come as float from a tokenizer
        real = input_ids != self.config.pad_token_id
        if attention_mask is not None:
            real = real & attention_mask.bool()
        text, feature, values = self.tfidf(input_ids, real)
        parts = values.unsqueeze(1) * self.classifier.weight.T[feature]
        sums = parts.new_zeros(input_ids.shape[0], parts.shape[1])
        logits = sums.scatter_add(0, text.unsqueeze(1).expand_as(parts), parts)
        logits = logits + self.classifier.bias
        loss: Any = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


# What is saved carries this code, for those who load it without the package.
TfidfForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
