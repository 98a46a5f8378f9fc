"""Vectors of texts: what a frozen encoder or TF-IDF says of each, once for all labels."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from transformers import PreTrainedTokenizerBase

from nlp_transfer.encoder_classifier import EncoderHead, load_encoder_classifier
from nlp_transfer.explanation import Word, words_of
from nlp_transfer.tfidf import tfidf_vectorizer
from staged_training.features.extraction import computed
from staged_training.features.reuse import features_key

_TOKENS_AT_ONCE = 2**14
_TOPICS = 300


def encoder_features(texts: Sequence[str], base: str, folder: Path) -> NDArray[np.float32]:
    """Return the mean and the maximum over the tokens of each layer of an encoder.

    They are computed once and kept; other texts, another order and another encoder have others.

    Args:
        texts: The texts.
        base: As for `load_encoder_classifier`.
        folder: Where they are kept.

    Returns:
        `[texts, 2 * layers * width]`.

    Raises:
        InputError: There is no such encoder, or the folder cannot be written to.

    Examples:
        >>> from nlp_transfer.text_features import encoder_features
        >>> encoder_features(texts[:3], "bert", Path("features")).shape  # 7 layers, 384 wide
        (3, 5376)
    """
    model, tokenizer = load_encoder_classifier(base, ["no", "yes"], seed=0, head="linear")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    file = folder / f"{features_key(model, 'mean and maximum', digest)}.safetensors"
    return head_features(model, tokenizer, texts, file)


def head_features(
    model: EncoderHead,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    file: Path | None = None,
) -> NDArray[np.float32]:
    """Compute what the linear head of a classifier reads of texts, `[texts, ...]`.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        texts: The texts.
        file: Where it is kept, if it is.
    """
    examples = [tokenizer(text, truncation=True) for text in texts]
    device = next(model.parameters()).device

    def pooled(_: Any, some: list[Any]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in some)
        size = max(1, _TOKENS_AT_ONCE // max(1, longest))
        parts = [some[start : start + size] for start in range(0, len(some), size)]
        batches = [tokenizer.pad(part, return_tensors="pt").to(device) for part in parts]
        with torch.no_grad():
            read = [model.head_inputs(own["input_ids"], own["attention_mask"]) for own in batches]
        return {"features": torch.cat(read)}

    features = computed(lambda _: model, pooled, examples, file).columns["features"]
    return np.asarray(features)


def word_contributions(
    text: str, base: str, weight: NDArray[np.floating], centre: NDArray[np.floating]
) -> tuple[list[Word], float]:
    """Return what each word adds to a linear function of the features of a text, exactly.

    A mean is a sum over tokens; of a maximum, the token that has it gets all.

    Args:
        text: The text. What the encoder does not read of a long one gets no words.
        base: As for `encoder_features`.
        weight: Of each feature, `[features]`.
        centre: The features of a text to compare with, such as the mean of all, `[features]`.

    Returns:
        The words in order, parts of one added up, and what special tokens add. All together are
        `weight @ (features - centre)`, but for rounding.

    Raises:
        InputError: There is no such encoder.

    Examples:
        >>> from nlp_transfer.text_features import word_contributions
        >>> words, rest = word_contributions("Call me", "bert", np.ones(5376), np.zeros(5376))
        >>> [(word.start, word.end) for word in words]
        [(0, 4), (5, 7)]
    """
    model, tokenizer = _encoder(base)
    encoded = tokenizer(text, truncation=True, return_tensors="pt")
    with torch.no_grad():
        layers = model.states(encoded["input_ids"], encoded["attention_mask"])
    states = torch.cat(layers, dim=-1)[0].double().numpy()
    (of_mean, of_largest), (mean, largest) = np.split(weight, 2), np.split(centre, 2)
    added = (states - mean) @ of_mean / len(states)
    at_largest = of_largest * (states.max(axis=0) - largest)
    added += np.bincount(states.argmax(axis=0), at_largest, len(states))
    words = words_of(encoded, added.tolist()) if tokenizer.is_fast else []
    return words, float(added.sum() - sum(word.attribution for word in words))


@lru_cache(maxsize=1)
def _encoder(base: str) -> Any:
    return load_encoder_classifier(base, ["no", "yes"], seed=0, head="linear")


def topic_features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return latent semantic analysis: the largest singular vectors of TF-IDF.

    Args:
        texts: The texts.

    Returns:
        `[texts, topics]`.

    Examples:
        >>> from nlp_transfer.text_features import topic_features
        >>> topic_features(["call me", "call me today", "the report"]).shape
        (3, 2)
    """
    try:
        counts = tfidf_vectorizer().fit_transform(texts)
    except ValueError:  # there is no word
        return np.zeros((len(texts), 1), np.float32)
    topics = min(_TOPICS, min(counts.shape) - 1)
    if topics < 1:  # one text, or one word
        return np.asarray(counts.toarray(), np.float32)
    features = TruncatedSVD(topics, random_state=0).fit_transform(counts)
    return np.asarray(features, np.float32)
