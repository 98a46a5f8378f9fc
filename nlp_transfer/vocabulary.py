"""The task vocabulary: a tokenizer whose words are those of the texts at hand."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Literal

import numpy as np
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from staged_training.runtime.errors import InputError
from staged_training.tables.texts import checked_texts
from staged_training.tables.words import UNSPACED

logger = logging.getLogger(__name__)

_UNLIMITED = 2**31
_MODELS: dict[str, tuple[Any, Any]] = {
    "wordlevel": (models.WordLevel, trainers.WordLevelTrainer),
    "wordpiece": (models.WordPiece, trainers.WordPieceTrainer),
}

_UNSPACED_SHARE = 0.05  # of the letters; fewer are names and quotes

# Lower case is made character by character: what becomes so of the Turkish capital İ and of a Greek
# sigma at the end of a word, and what it ought to be.
_LOWER: list[tuple[Any, str]] = [("i\u0307", "i"), (Regex("(?<=\\w)\u03c3(?!\\w)"), "\u03c2")]

# Numbers, times and dates stay whole, clitics come off (do|n't, we|'ll), as in GloVe's own tokens.
_TOKEN = Regex(
    r"\d+(?:[.,:/]\d+)*"
    r"|[^\W\d_]+(?=n't\b)|n't\b|'(?:s|m|re|ve|ll|d)\b"
    r"|\w+(?:[\u200c\u200d]\w+)*|\.\.\.|--|[^\w\s]"
)


def build_vocabulary(
    texts: Iterable[str],
    *,
    min_frequency: int = 2,
    max_size: int | None = None,
    lowercase: bool = True,
    model: Literal["wordlevel", "wordpiece"] = "wordlevel",
    max_length: int = 512,
) -> PreTrainedTokenizerFast:
    """Build a tokenizer from texts; they are read once and need not fit into memory.

    A word is what spaces and punctuation part. Texts in scripts without spaces give a warning.

    Args:
        texts: The texts of the task, training part only.
        min_frequency: Words (or pieces) that are rarer become `[UNK]`.
        max_size: Words at the most, the most frequent ones; `None` for no limit.
        lowercase: Whether `Today` and `today` are one word.
        model: `wordlevel`, or `wordpiece` (Schuster and Nakajima 2012), which splits what is rare
            into pieces that begin with `##`; it needs a `max_size`.
        max_length: Tokens after which `truncation=True` cuts a text.

    Returns:
        A tokenizer with `[PAD]` as 0 and `[UNK]` as 1. Its `init_kwargs["token_counts"]` hold how
        often each token occurs in `texts`, by token number; they are saved with it.

    Raises:
        InputError: There is no word in `texts`, or none as frequent as `min_frequency`; `texts` is
            a single text, or holds something else.
        ValueError: `wordpiece` without `max_size`.

    Examples:
        >>> tokenizer = build_vocabulary(["Don't call today", "Call at 9:30!"], min_frequency=1)
        >>> tokenizer.tokenize("Don't call at noon")
        ['do', "n't", 'call', 'at', '[UNK]']
        >>> call = tokenizer.convert_tokens_to_ids("call")
        >>> tokenizer.init_kwargs["token_counts"][call]
        2
    """
    if model == "wordpiece" and max_size is None:
        raise ValueError("model='wordpiece' needs max_size, the number of pieces to learn.")
    special = ["[PAD]", "[UNK]"]
    kind, trainer_of = _MODELS[model]
    tokenizer = Tokenizer(kind(unk_token="[UNK]"))
    trainer = trainer_of(
        special_tokens=special,
        vocab_size=_UNLIMITED if max_size is None else max_size + len(special),
        min_frequency=min_frequency,
        show_progress=False,
    )
    steps: list[Any] = [normalizers.NFC(), normalizers.Replace("\u2019", "'")]
    if lowercase:
        steps += [normalizers.Lowercase(), *(normalizers.Replace(*pair) for pair in _LOWER)]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_TOKEN, behavior="removed", invert=True)
    tokenizer.train_from_iterator(checked_texts(texts), trainer)
    words = _word_counts(trainer)
    if _is_unspaced(words):
        _warn_of_unspaced()
    if tokenizer.get_vocab_size() == len(special):
        raise InputError(
            f"No word occurs {min_frequency} times or more in the texts. Give more texts, or a "
            "lower `min_frequency`.",
            ["min_frequency"],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        padding_side="right",
        truncation_side="right",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        token_counts=_token_counts(tokenizer, words),
    )


def add_bounds(tokenizer: PreTrainedTokenizerFast) -> None:
    """Add `[BOS]` and `[EOS]`, between which a model generates a text, to a vocabulary.

    `[BOS]` begins every text from now on; `[EOS]` is added where a text is to be learnt. Texts are
    padded on the left, so that a model can go on with them, and decoded ones have their clitics
    back (`do n't` becomes `don't`).
    """
    tokenizer.add_special_tokens({"bos_token": "[BOS]", "eos_token": "[EOS]"})
    begin = ("[BOS]", tokenizer.bos_token_id)
    backend = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing("[BOS] $A", special_tokens=[begin])
    backend.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.padding_side = "left"


def _word_counts(trainer: trainers.Trainer) -> Mapping[str, int]:
    """Count each word in the training texts, rare ones too."""
    (state,) = json.loads(trainer.__getstate__()).values()
    counts: dict[str, int] = state["words"] if "words" in state else state["bpe_trainer"]["words"]
    return counts


def _token_counts(tokenizer: Tokenizer, words: Mapping[str, int]) -> list[int]:
    """Count each token, by its number, in the training texts."""
    counts: Counter[int] = Counter()
    for word, count in words.items():
        for token in tokenizer.model.tokenize(word):
            counts[token.id] += count
    return [counts[number] for number in range(tokenizer.get_vocab_size())]


def _is_unspaced(words: Mapping[str, int]) -> bool:
    letters = sum(len(word) * count for word, count in words.items())
    unspaced = sum(
        len(UNSPACED.findall(word)) * count for word, count in words.items() if not word.isascii()
    )
    return unspaced > _UNSPACED_SHARE * letters


@cache  # once a process: a vocabulary is built for each part of a split
def _warn_of_unspaced() -> None:
    logger.warning(
        "Some texts are in Chinese, Japanese, Thai or another language without spaces between "
        "words: what stands between two punctuation marks counts as one word here, which word "
        "vectors hardly ever know. Use an encoder, which brings a tokenizer of its own, or put "
        "spaces between the words first, by a segmenter such as jieba, fugashi or PyThaiNLP."
    )


def corpus_vocabulary(
    corpus: Iterable[str], task_texts: Sequence[str], min_frequency: int
) -> PreTrainedTokenizerFast:
    """Build a tokenizer of the frequent words of a corpus and of all words of a task.

    Args:
        corpus: The texts to learn from, read once.
        task_texts: The texts whose words are kept, however rare they are in the corpus.
        min_frequency: How often other words must occur in the corpus.

    Returns:
        A tokenizer as of `build_vocabulary`. Its counts are those of the corpus alone, zero for
        words that only the task has.

    Raises:
        InputError: No word is as frequent as `min_frequency`.
    """
    often_enough = [text for text in task_texts for _ in range(min_frequency)]
    tokenizer = build_vocabulary(chain(corpus, often_enough), min_frequency=min_frequency)
    ids = tokenizer(list(task_texts), add_special_tokens=False, verbose=False)["input_ids"]
    of_task = np.bincount(np.fromiter(chain(*ids), np.intp), minlength=len(tokenizer))
    counts = np.array(tokenizer.init_kwargs["token_counts"]) - min_frequency * of_task
    tokenizer.init_kwargs["token_counts"] = counts.tolist()
    return tokenizer
