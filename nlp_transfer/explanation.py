"""Which words of a text a prediction is due to."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from staged_training.runtime.errors import InputError
from staged_training.tables.word_tokenizer import WordTokenizer

_STEPS = 32
_STEPS_AT_ONCE = 8
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Word:
    """A word of a text and what it did.

    Attributes:
        start: Where it begins in the text.
        end: Where it ends.
        attribution: What it added to the log-odds of the label, in nats, or to the number; negative
            if it spoke against the label, or lowered the number.
    """

    start: int
    end: int
    attribution: float


def explain(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, label: int
) -> list[Word]:
    """Return what each word added to the log-odds of a label.

    Where there is a word embedding, by integrated gradients: the gradients of the log-odds (of the
    label against all others, or of one of several labels against its absence; or of the number that
    a model predicts) with respect to it are summed along the straight line from a text of nothing
    but padding to this one (Sundararajan et al., ICML 2017). Together the words and the special
    tokens add up to the difference between the two, but for the error of a sum of 32 steps.

    Of a model of TF-IDF it is what the log-odds lose where the word is unknown, each word by itself
    (occlusion: Zeiler and Fergus, ECCV 2014).

    Args:
        model: A classifier of texts.
        tokenizer: Its tokenizer, a fast one or a `WordTokenizer`.
        text: The text. What the model does not read of a long one gets no words.
        label: The number of the label.

    Returns:
        The words in order; parts of one are added up. None for a text without words.

    Raises:
        InputError: The extra `demo` is not installed.
    """
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError as error:
        raise InputError("Explanations need more: pip install 'nlp-transfer[demo]'.") from error
    encoded = tokenizer(text, truncation=True, return_tensors="pt")
    if not encoded["input_ids"].shape[1]:
        return []
    ids, mask = (encoded[name].to(model.device) for name in ("input_ids", "attention_mask"))

    def log_odds(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask.expand_as(ids)).logits
        if logits.shape[1] == 1 or model.config.problem_type == "multi_label_classification":
            return logits[:, label]
        others = [number for number in range(logits.shape[1]) if number != label]
        return logits[:, label] - logits[:, others].logsumexp(1)

    if isinstance(tokenizer, WordTokenizer):
        return _left_out(lambda ids: log_odds(ids, mask), ids, tokenizer, text)
    gradients = LayerIntegratedGradients(log_odds, model.get_input_embeddings())
    attributions = gradients.attribute(
        ids,
        baselines=torch.full_like(ids, cast(int, tokenizer.pad_token_id)),
        additional_forward_args=(mask,),
        n_steps=_STEPS,
        internal_batch_size=_STEPS_AT_ONCE,
    )
    of_tokens = attributions.sum(-1).flatten().tolist()
    return words_of(encoded, of_tokens)


def in_words(text: str, words: Sequence[Word]) -> str:
    """Return the words that mattered most, for those who do not see colours."""
    spoken = [word for word in words if any(map(str.isalnum, text[word.start : word.end]))]
    ranked = sorted(spoken, key=lambda word: -word.attribution)
    for_it = [text[word.start : word.end] for word in ranked if word.attribution > 0]
    against = [text[word.start : word.end] for word in reversed(ranked) if word.attribution < 0]
    named = [", ".join([*dict.fromkeys(found)][:5]) or "none" for found in (for_it, against)]
    return "Most for it: {}\nMost against it: {}".format(*named)


def words_of(encoded: Any, of_tokens: Sequence[float]) -> list[Word]:
    """Sum the attributions of tokens over the words that they are parts of.

    Args:
        encoded: A text as a fast tokenizer gives it.
        of_tokens: The attribution of each token.
    """
    words: dict[int, Word] = {}
    for token, (number, attribution) in enumerate(
        zip(encoded.word_ids(0), of_tokens, strict=False)  # windows end in padding
    ):
        if number is None:  # a special token
            continue
        span = encoded.token_to_chars(token)
        before = words.get(number, Word(span.start, span.end, 0.0))
        words[number] = Word(before.start, span.end, before.attribution + attribution)
    return list(words.values())


def _left_out(
    log_odds: Callable[[torch.Tensor], torch.Tensor],
    ids: torch.Tensor,
    tokenizer: WordTokenizer,
    text: str,
) -> list[Word]:
    """Return what the log-odds of `ids`, `[1, words]`, lose where each word is unknown."""
    texts = ids.repeat(ids.shape[1], 1).fill_diagonal_(cast(int, tokenizer.unk_token_id))
    with torch.no_grad():
        left = torch.cat([log_odds(some) for some in texts.split(_TEXTS_AT_ONCE)])
        lost = (log_odds(ids) - left).tolist()
    spans = _spans(tokenizer.tokenize(text), text)
    return [Word(*span, attribution) for span, attribution in zip(spans, lost, strict=False)]


def _spans(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Return where words of a text in lower case begin and end in that text, without overlaps."""
    lower = text.lower()
    ends = list(accumulate(len(character.lower()) for character in text))  # two for the Turkish İ
    spans = []
    end = 1
    for word in words:
        start = lower.index(word, end - 1)  # pairs of a script without spaces share a character
        end = start + len(word)
        spans.append((bisect_right(ends, start), bisect_right(ends, end - 1) + 1))
    following = [*(start for start, _ in spans[1:]), len(text)]
    return [(start, min(end, next_)) for (start, end), next_ in zip(spans, following, strict=True)]
