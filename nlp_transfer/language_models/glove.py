"""GloVe: word vectors whose products are the logarithms of how often words stand near each other.

Pennington, Socher and Manning, EMNLP 2014.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast

from nlp_transfer.evaluation import require_gensim
from nlp_transfer.language_models.contexts import Ids
from nlp_transfer.language_models.cooccurrence import Cells, Cooccurrences
from nlp_transfer.language_models.window_stream import tokenized
from nlp_transfer.language_models.word2vec import check_counts, keyed_vectors
from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

POWER = 0.75
"""By which rare pairs weigh less, as in the paper."""


class GloVe:
    """Two vectors and two biases of each word, fitted to the logarithms of counts.

    The loss is `sum over cells of f(X) * (w_i . v_j + b_i + c_j - log X_ij)^2`, with
    `f(X) = min(1, (X / x_max)^(3/4))`; AdaGrad takes a step for each cell (equations 8 and 9).

    Args:
        words: How many words there are.
        dim: Width of the vectors.
        x_max: The count from which on a cell weighs in full.
        learning_rate: Of AdaGrad.
        workers: Threads; with more than one the same seed gives other vectors.
        seed: Random seed.

    Attributes:
        parameters: Of each word as itself and as context, the bias last: `[2, words, dim + 1]`.

    Examples:
        >>> from nlp_transfer.language_models.cooccurrence import Cells
        >>> from nlp_transfer.language_models.glove import GloVe
        >>> one = Cells(np.array([0]), np.array([1]), np.array([10.0], np.float32))
        >>> model = GloVe(words=2, dim=3)
        >>> losses = [model.epoch([one]) for _ in range(100)]
        >>> losses[0] > 5, losses[-1] < 0.1, model.vectors().shape
        (True, True, (2, 3))
    """

    def __init__(
        self,
        words: int,
        dim: int,
        *,
        x_max: float = 10.0,
        learning_rate: float = 0.05,
        workers: int = 1,
        seed: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        shape = (2, words, dim + 1)
        self.parameters = (self.rng.random(shape, np.float32) - np.float32(0.5)) / np.float32(dim)
        self.squares = np.ones(shape, np.float32)
        self.x_max, self.learning_rate, self.workers = x_max, learning_rate, workers

    def epoch(self, shards: Iterable[Cells]) -> float:
        """Take a step for each cell, in another order each time.

        Args:
            shards: The cells, in parts.

        Returns:
            The mean loss of a cell, before its step.
        """
        from nlp_transfer.language_models.glove_steps import descend

        loss, steps = 0.0, 0
        for rows, columns, counts in shards:
            weights = np.minimum(1, counts / np.float32(self.x_max)) ** np.float32(POWER)
            cells = rows, columns, np.log(counts), weights
            shared = *cells, self.parameters, self.squares, np.float32(self.learning_rate)
            parts = np.array_split(self.rng.permutation(len(rows)), self.workers)
            # The threads write to the same vectors and do not wait for each other.
            with ThreadPoolExecutor(self.workers) as threads:
                loss += sum(threads.map(descend, parts, *map(repeat, shared)))
            steps += 2 * len(rows) - int((rows == columns).sum())
        return loss / steps

    def vectors(self) -> NDArray[np.float32]:
        """Return the sum of both vectors of each word, `[words, dim]`."""
        total: NDArray[np.float32] = self.parameters[..., :-1].sum(axis=0)
        return total


def train_glove(
    texts: Iterable[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    dim: int = 50,
    window: int = 10,
    epochs: int = 25,
    x_max: float = 10.0,
    workers: int | None = None,
    seed: int = 0,
    on_epoch: Callable[[float], None] | None = None,
) -> "KeyedVectors":
    """Learn a vector for every word of a tokenizer from which words stand near which.

    Tokens that are special or unknown are left out before the window is laid. The counts are in
    memory, and in a temporary folder where they are too many.

    Args:
        texts: The texts to learn from, read once.
        tokenizer: The vocabulary, from `build_vocabulary`.
        dim: Width of the vectors.
        window: How far away, in words, a word may stand to count, on both sides.
        epochs: How often each pair of words is learnt from.
        x_max: The weighted count from which on a pair weighs in full; the paper has 100, for
            billions of words.
        workers: Threads; one for each core by default. With 1, the same seed gives the same
            vectors.
        seed: Of all that is random.
        on_epoch: Called with the mean loss of each epoch.

    Returns:
        Every word, the most frequent first. Its attribute `count` says how often it occurs in the
        texts. A vector whose word has no other word near it is random.

    Raises:
        InputError: A number is not positive, `texts` is a single text or holds something else, no
            text holds two words of the vocabulary, or gensim or numba is not installed.

    Examples:
        >>> from nlp_transfer.language_models.glove import train_glove
        >>> vectors = train_glove(texts, tokenizer, dim=20, epochs=2, workers=1)
        >>> len(vectors) == len(tokenizer) - 2  # all but [PAD] and [UNK]
        True
        >>> vectors["you"].shape, int(vectors.get_vecattr("you", "count"))
        ((20,), 11)
    """
    workers = workers or os.cpu_count() or 1
    check_counts(dim=dim, window=window, epochs=epochs, workers=workers)
    if not x_max > 0:  # nor NaN
        raise InputError(f"x_max is {x_max}; give a positive number.", ["x_max"])
    require_gensim()
    require_numba()
    counts = np.zeros(len(tokenizer), np.int64)
    with TemporaryDirectory() as folder:
        near = Cooccurrences(len(tokenizer), window, Path(folder))
        for ids, lengths in _known_words(texts, tokenizer):
            counts += np.bincount(ids, minlength=len(counts))
            near.add(ids, lengths)
        if near.empty:
            raise InputError("No text holds two words of the vocabulary. Build it from such texts.")
        model = GloVe(len(tokenizer), dim, x_max=x_max, workers=workers, seed=seed)
        with tqdm(total=epochs, desc="GloVe", unit="epoch", delay=2, dynamic_ncols=True) as bar:
            for _ in range(epochs):
                loss = model.epoch(near.shards())
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update()
                if on_epoch:
                    on_epoch(loss)
    order = np.argsort(-counts, kind="stable")
    order = order[~np.isin(order, tokenizer.all_special_ids)]
    words = tokenizer.convert_ids_to_tokens(order.tolist())
    return keyed_vectors(words, model.vectors()[order], counts[order].tolist())


def require_numba() -> None:
    """Refuse to fit GloVe without numba.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("numba") is None:
        raise InputError(
            "GloVe needs numba. Install it with `pip install 'nlp-transfer[embeddings]'`."
        )


def _known_words(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[Ids, Ids]]:
    """Yield the numbers of the known words of a block of texts, and how many each text has."""
    special = np.array(tokenizer.all_special_ids, np.int32)
    for ids, lengths in tokenized(texts, tokenizer, "Counting pairs"):
        known = ~np.isin(ids, special)
        text = np.repeat(np.arange(len(lengths)), lengths)
        yield ids[known], np.bincount(text[known], minlength=len(lengths)).astype(np.int32)
