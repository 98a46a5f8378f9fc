"""Word2Vec and fastText: word vectors learnt from which words stand near which, by gensim."""

import os
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from nlp_transfer.evaluation import require_gensim
from staged_training.runtime.errors import InputError
from staged_training.tables.texts import checked_texts

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

_BATCH_CHARS = 2**18
_MAX_WORDS = 10_000  # gensim cuts off what is longer


def train_word2vec(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    algorithm: Literal["skip-gram", "cbow"] = "skip-gram",
    subwords: bool = False,
    dim: int = 50,
    window: int = 5,
    epochs: int = 5,
    workers: int | None = None,
    seed: int = 0,
) -> "KeyedVectors":
    """Learn a vector for every word of a tokenizer (Mikolov et al. 2013), by negative sampling.

    Tokens that are special or unknown are left out before the window is laid, as Word2Vec does with
    rare words. The texts are tokenized once, into a temporary file that takes about as much room as
    they do; memory grows with the vocabulary alone.

    Args:
        texts: The texts to learn from, read once.
        tokenizer: The vocabulary, from `build_vocabulary`.
        algorithm: Skip-gram predicts the words around a word, CBOW a word from those around it.
        subwords: Whether a word's vector is made of those of its character n-grams too, as in
            fastText (Bojanowski et al. 2017); it takes 8 MB more for each dimension.
        dim: Width of the vectors.
        window: How far away, in words, a context word may stand.
        epochs: How often the texts are learnt from.
        workers: Threads; one for each core by default. With 1, the same seed gives the same
            vectors.
        seed: Of all that is random.

    Returns:
        Every word, the most frequent first. Its attribute `count` says how often it occurs in the
        texts. A vector whose word has the count 0 is random, or made of n-grams only.

    Raises:
        InputError: A number is not positive, the texts hold no word of the vocabulary, or gensim is
            not installed.

    Examples:
        >>> vectors = train_word2vec(texts, tokenizer, dim=20, workers=1)
        >>> len(vectors) == len(tokenizer) - 2  # all but [PAD] and [UNK]
        True
        >>> vectors["you"].shape, int(vectors.get_vecattr("you", "count"))
        ((20,), 11)
    """
    check_counts(dim=dim, window=window, epochs=epochs, workers=workers or 1)
    require_gensim()
    from gensim.models import FastText, Word2Vec

    with TemporaryFile("w+", encoding="utf-8") as file:  # without a name: none is left of it
        counts, sentences = _write_sentences(texts, tokenizer, file)
        total = sum(counts.values())
        if not total:
            raise InputError("The texts hold no word of the vocabulary. Build it from such texts.")
        model = (FastText if subwords else Word2Vec)(
            vector_size=dim,
            window=window,
            sg=int(algorithm == "skip-gram"),
            min_count=1,
            workers=workers or os.cpu_count(),
            seed=seed,
        )
        # gensim has no place for words that do not occur.
        frequencies = {word: max(1, count) for word, count in counts.items()}
        model.build_vocab_from_freq(frequencies, corpus_count=sentences)
        with tqdm(
            total=total * epochs,
            desc="Training",
            unit="word",
            unit_scale=True,
            delay=2,
            dynamic_ncols=True,
        ) as bar:
            model.train(
                _Sentences(file, bar), total_examples=sentences, total_words=total, epochs=epochs
            )
    words = sorted(model.wv.index_to_key, key=lambda word: -counts[word])
    return keyed_vectors(words, model.wv[words], [counts[word] for word in words])


def check_counts(**numbers: int) -> None:
    """Refuse numbers of which there must be one or more.

    Raises:
        InputError: One is less, or no whole number.

    Examples:
        >>> from nlp_transfer.language_models.word2vec import check_counts
        >>> check_counts(dim=50, epochs=1)
    """
    for name, number in numbers.items():
        if not number >= 1 or int(number) != number:
            raise InputError(f"{name} is {number}; give 1 or more, a whole number.", [name])


def keyed_vectors(
    words: Sequence[str], rows: NDArray[np.float32], counts: Sequence[int]
) -> "KeyedVectors":
    """Return vectors as gensim keeps them, with the attribute `count`.

    Args:
        words: The words, the most frequent first.
        rows: Their vectors, `[words, dim]`.
        counts: How often each occurs, `[words]`.

    Examples:
        >>> from nlp_transfer.language_models.word2vec import keyed_vectors
        >>> vectors = keyed_vectors(["call", "noon"], np.eye(2, dtype=np.float32), [7, 2])
        >>> vectors.index_to_key, int(vectors.get_vecattr("noon", "count"))
        (['call', 'noon'], 2)
    """
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(rows.shape[1])
    vectors.add_vectors(list(words), rows)
    for word, count in zip(words, counts, strict=True):
        vectors.set_vecattr(word, "count", int(count))
    return vectors


class _Sentences:
    """The lines of a file as lists of words, again and again, with one progress bar."""

    def __init__(self, file: IO[str], bar: tqdm) -> None:
        self.file, self.bar = file, bar

    def __iter__(self) -> Iterator[list[str]]:
        self.file.seek(0)
        for line in self.file:
            words = line.split()
            yield words
            self.bar.update(len(words))


def _write_sentences(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, file: IO[str]
) -> tuple[dict[str, int], int]:
    """Write the words of each text on a line; return their counts and the number of lines."""
    words = np.array(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))), object)
    # A token with a space of Unicode in it would be read as two.
    used = np.array([word.split() == [word] for word in words])
    used[tokenizer.all_special_ids] = False
    backend = tokenizer.backend_tokenizer  # its truncation holds until it is changed
    backend.no_truncation()
    backend.no_padding()
    counts: NDArray[np.int64] = np.zeros(len(words), np.int64)
    sentences = 0
    bar = tqdm(desc="Tokenizing", unit="text", delay=2, dynamic_ncols=True)
    with bar:
        for batch in _batches(texts):
            for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
                ids = np.array(encoding.ids, np.intp)
                ids = ids[used[ids]]
                np.add.at(counts, ids, 1)
                for start in range(0, len(ids), _MAX_WORDS):
                    file.write(" ".join(words[ids[start : start + _MAX_WORDS]]) + "\n")
                    sentences += 1
            bar.update(len(batch))
    return dict(zip(words[used], counts[used].tolist(), strict=True)), sentences


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in checked_texts(texts):
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch
