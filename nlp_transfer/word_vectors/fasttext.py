"""fastText vectors as gensim keeps them: a word's vector is made of its own and its n-grams'."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow
from numpy.typing import NDArray

from nlp_transfer.word_vectors.arrays import ArrayVectors
from nlp_transfer.word_vectors.base import Matrix, check_finite
from staged_training.runtime.errors import InputError


class FastTextVectors(ArrayVectors):
    """Words, and n-grams of characters that other words are made of (Bojanowski et al. 2017).

    Args:
        name: Where they come from.
        words: The words.
        rows: What is learnt of each word beside its n-grams, `[len(words), dim]`.
        ngrams: What is learnt of the n-grams, by the number that they hash to, `[buckets, dim]`.
        lengths: Characters of the shortest and of the longest n-gram.

    Raises:
        InputError: The arrays do not fit together.
    """

    def __init__(
        self,
        name: str,
        words: pyarrow.Array,
        rows: NDArray[np.floating],
        ngrams: NDArray[np.floating],
        lengths: tuple[int, int],
    ) -> None:
        super().__init__(name, words, rows)
        if ngrams.ndim != 2 or ngrams.shape[1] != self.dim or ngrams.dtype.kind != "f":
            raise InputError(
                f"{name}: vectors of n-grams of shape {ngrams.shape} and type {ngrams.dtype} do "
                f"not fit words of {self.dim} numbers. The files are damaged or from different "
                "sets; copy them again."
            )
        self._ngrams, self._lengths = ngrams, lengths

    def compose(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.compose`: the mean of the n-grams, as fastText has it."""
        parts = {word: self._buckets(word) for word in words}
        found = [word for word, buckets in parts.items() if buckets]
        rows = np.empty((len(found), self.dim), np.float32)
        for row, word in zip(rows, found, strict=True):
            row[:] = self._ngrams[parts[word]].mean(axis=0)
        check_finite(rows, [f"{self.name}, the word {word!r}" for word in found])
        return found, rows

    def _take(self, numbers: Sequence[int] | NDArray[np.intp]) -> Matrix:
        rows = super()._take(numbers)
        for row, number in zip(rows, numbers, strict=True):
            buckets = self._buckets(self._words[int(number)].as_py())
            row[:] = np.concatenate([row[None], self._ngrams[buckets]]).mean(axis=0)
        return rows

    def _buckets(self, word: str) -> list[int]:
        count = len(self._ngrams)
        return [code % count for code in _hashes(word, *self._lengths)] if count else []


def _hashes(word: str, shortest: int, longest: int) -> Iterator[int]:
    """Yield the hash of each n-gram: FNV-1a, which fastText computes with signed bytes."""
    characters = [character.encode() for character in f"<{word}>"]
    for start in range(len(characters)):
        code = 2166136261
        for length, character in enumerate(characters[start : start + longest], start=1):
            for byte in character:
                code = (code ^ (byte | 0xFFFFFF00 * (byte > 127))) * 16777619 % 2**32
            bracket = length == 1 and start in (0, len(characters) - 1)
            if length >= shortest and not bracket:
                yield code
