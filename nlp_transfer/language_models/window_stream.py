"""Texts as a stream of batches of windows, each word with its context, in bounded memory."""

import os
from collections.abc import Generator, Iterable, Iterator
from itertools import chain, islice
from operator import length_hint

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from nlp_transfer.language_models.contexts import Context, Ids, windows
from staged_training.runtime.errors import InputError
from staged_training.tables.texts import checked_texts

CHARACTERS_AT_ONCE = 2**20
WINDOWS_TO_SHUFFLE = 2**18

Batch = dict[str, torch.Tensor]


class WindowStream(IterableDataset[Batch]):
    """The windows of texts, in whole batches: `input_ids [batch, context]` and `labels [batch]`.

    The texts are read anew each time, a block of them is tokenized at once, and no more windows
    than a buffer holds are kept. Each worker of a `DataLoader` takes every so many-th text.

    Args:
        texts: What can be iterated over again and again.
        tokenizer: Turns them into words.
        context: What each word is predicted from.
        batch_size: Windows in a batch; the last of each worker may be smaller.
        words: How many words the texts hold, for the length; see `count_words`.
        workers: How many workers will share the texts.
        shuffle: Whether to shuffle the windows within a buffer, in another order each epoch.
        seed: Of what is drawn and shuffled.
    """

    def __init__(
        self,
        texts: Iterable[str],
        tokenizer: PreTrainedTokenizerBase,
        context: Context,
        batch_size: int,
        *,
        words: int = 0,
        workers: int = 0,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        self.texts, self.tokenizer, self.context = texts, tokenizer, context
        self.batch_size, self.words, self.workers = batch_size, words, workers
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0

    def __len__(self) -> int:
        """Return the highest possible number of batches: all but one of each worker are full."""
        return self.words // self.batch_size + max(1, self.workers)

    def set_epoch(self, epoch: int) -> None:
        """Choose what is drawn, and the order; `Trainer` calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork
        rng = np.random.default_rng([self.seed, self.epoch, number])
        pad = self.tokenizer.pad_token_id
        parts: list[tuple[Ids, Ids]] = []
        for ids, lengths in tokenized(islice(self.texts, number, None, step), self.tokenizer):
            parts.append(windows(ids, lengths, self.context, pad, rng))
            if sum(len(words) for _, words in parts) >= WINDOWS_TO_SHUFFLE:
                parts = [(yield from self._batches(parts, rng, last=False))]
        if parts:
            yield from self._batches(parts, rng, last=True)

    def _batches(
        self, parts: list[tuple[Ids, Ids]], rng: np.random.Generator, last: bool
    ) -> Generator[Batch, None, tuple[Ids, Ids]]:
        """Yield whole batches, the last one of all as it is; return the windows left over."""
        contexts, words = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = rng.permutation(len(words)) if self.shuffle else np.arange(len(words))
        end = len(words) if last else len(words) // self.batch_size * self.batch_size
        for start in range(0, end, self.batch_size):
            rows = order[start : min(start + self.batch_size, end)]
            yield {
                "input_ids": torch.from_numpy(contexts[rows]).long(),
                "labels": torch.from_numpy(words[rows]).long(),
            }
        return contexts[order[end:]], words[order[end:]]


def joined(batches: list[Batch]) -> Batch:
    """Join the batches that a device takes in one step: the collator of a `WindowStream`."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def count_words(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """Count the words of texts, and check that a language model can learn from them.

    Args:
        texts: The texts.
        tokenizer: Turns them into words.
        name: What to call them in messages.

    Raises:
        InputError: They can be read only once, are not strings, hold no two words in a row, or none
            that the vocabulary knows; or the tokenizer has no padding token.
    """
    if isinstance(texts, str | Iterator):
        raise InputError(
            f"{name}: expected texts that can be read again and again, such as a list, not "
            f"{'a single text' if isinstance(texts, str) else 'an iterator'}."
        )
    if tokenizer.pad_token_id is None:
        raise InputError("tokenizer: it has no padding token; use one of build_vocabulary.")
    total = known = longest = 0
    for ids, lengths in tokenized(texts, tokenizer, "Counting words"):
        total += len(ids)
        known += int((ids != tokenizer.unk_token_id).sum())
        longest = max(longest, int(lengths.max()))
    if longest < 2:
        raise InputError(
            f"{name}: {total:,} words, and no text of two words or more, so there is nothing to "
            "predict a word from. Give running text."
        )
    if not known:
        raise InputError(
            f"{name}: the vocabulary knows none of the {total:,} words. Build it from these texts."
        )
    return total


def tokenized(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, doing: str | None = None
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the word numbers of a block of texts, `[words]`, and its lengths, `[texts]`.

    Args:
        texts: The texts, which are checked.
        tokenizer: Turns them into words.
        doing: What a progress bar says; without it there is none.

    Raises:
        InputError: It is a single text, or one of them is no string.
    """
    checked: Iterable[str] = checked_texts(texts)
    if doing:
        count = length_hint(texts) or None
        checked = tqdm(checked, doing, count, unit="text", delay=2, dynamic_ncols=True, leave=False)
    for block in _blocks(checked):
        rows = tokenizer(
            block, add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        yield np.fromiter(chain.from_iterable(rows), np.int32, lengths.sum()), lengths


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text) + 1
        if size >= CHARACTERS_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block
