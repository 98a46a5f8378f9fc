"""Which words of a text a prediction is due to."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from staged_training.runtime.errors import InputError

_STEPS = 32
_STEPS_AT_ONCE = 8


@dataclass(frozen=True)
class Word:
    """A word of a text and what it did.

    Attributes:
        start: Where it begins in the text.
        end: Where it ends.
        attribution: What it added to the log-odds of the label, in nats; negative if it spoke
            against the label.
    """

    start: int
    end: int
    attribution: float


def explain(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str, label: int
) -> list[Word]:
    """Return what each word added to the log-odds of a label, by integrated gradients.

    The gradients of the log-odds (of the label against all others, or of one of several labels
    against its absence; or of the number that a model predicts) with respect to the word
    embedding are summed along the straight line from a text of nothing but padding to this one
    (Sundararajan et al., ICML 2017). Together the words and the special tokens add up to the
    difference between the two, but for the error of a sum of 32 steps.

    Args:
        model: A classifier of texts that has an input embedding.
        tokenizer: Its tokenizer, a fast one.
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

    gradients = LayerIntegratedGradients(log_odds, model.get_input_embeddings())
    attributions = gradients.attribute(
        ids,
        baselines=torch.full_like(ids, cast(int, tokenizer.pad_token_id)),
        additional_forward_args=(mask,),
        n_steps=_STEPS,
        internal_batch_size=_STEPS_AT_ONCE,
    )
    of_tokens = attributions.sum(-1).flatten().tolist()
    return _words(cast(Any, encoded), of_tokens)


def _words(encoded: Any, of_tokens: list[float]) -> list[Word]:
    """Sum the attributions of tokens over the words that they are parts of."""
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
