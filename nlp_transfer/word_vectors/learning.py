"""Learn word vectors from texts without labels, for a task that has few labels."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerFast

from nlp_transfer.language_models import train_window_model
from nlp_transfer.language_models.glove import train_glove
from nlp_transfer.language_models.word2vec import train_word2vec
from nlp_transfer.word_vectors import FILE_NAME, save_vectors
from nlp_transfer.word_vectors.base import Matrix
from staged_training.runtime.processes import on_main_process
from staged_training.tables.corpus import Corpus

Method = Literal["skip-gram", "cbow", "fasttext", "glove", "window"]

EPOCHS = 5
EPOCHS_OF_GLOVE = 25
"""An epoch is cheap: it has each pair of words once, however often they stand near each other."""


@dataclass(frozen=True, kw_only=True)
class VectorLearning:
    """How word vectors are learnt.

    Attributes:
        model: What learns them.
        dim: Width of the vectors.
        epochs: Passes over the corpus, or of GloVe over the pairs of words in it; by default see
            `passes`.
        workers: Threads of all but the window model; with more than one the same seed gives other
            vectors.
        seed: Random seed.
    """

    model: Method
    dim: int
    epochs: int | None = None
    workers: int = 1
    seed: int = 0

    def train(self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, folder: Path) -> float:
        """Learn vectors and write them to `folder/vectors`, the most frequent words first.

        Words that the corpus lacks are left out, except by fastText, which composes their vectors.

        Args:
            corpus: The texts.
            tokenizer: The vocabulary, from `corpus_vocabulary`.
            folder: For checkpoints and the vectors.

        Returns:
            The seconds that it took.
        """
        start = time.perf_counter()
        train = self._by_window_model if self.model == "window" else self._by_counts
        words, rows = train(corpus, tokenizer, folder)
        save_vectors(folder / "vectors" / FILE_NAME, words, rows)
        return time.perf_counter() - start

    @property
    def passes(self) -> int:
        """The epochs that were asked for, or else those of the model."""
        return self.epochs or (EPOCHS_OF_GLOVE if self.model == "glove" else EPOCHS)

    def _by_window_model(
        self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, folder: Path
    ) -> tuple[Sequence[str], Matrix]:
        model = train_window_model(
            corpus,
            tokenizer,
            output_dir=folder / "model",
            embedding_size=self.dim,
            epochs=self.passes,
            seed=self.seed,
        )
        counts = word_counts(tokenizer)
        words = sorted(counts, key=lambda word: -counts[word])
        return words, model.embedding_matrix()[tokenizer.convert_tokens_to_ids(words)]

    def _by_counts(
        self, corpus: Corpus, tokenizer: PreTrainedTokenizerFast, folder: Path
    ) -> tuple[Sequence[str], Matrix]:
        options: dict[str, Any] = {
            "dim": self.dim,
            "epochs": self.passes,
            "workers": self.workers,
            "seed": self.seed,
        }
        train = partial(train_glove, corpus, tokenizer, **options)
        if self.model != "glove":
            algorithm = "cbow" if self.model == "cbow" else "skip-gram"
            options |= {"algorithm": algorithm, "subwords": self.model == "fasttext"}
            train = partial(train_word2vec, corpus, tokenizer, **options)
        vectors = on_main_process(train)
        words = vectors.index_to_key
        if self.model != "fasttext":
            words = [word for word in words if vectors.get_vecattr(word, "count")]
        return words, vectors.vectors[: len(words)]


def word_counts(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return how often each word of a vocabulary occurs in its texts, if it does at all."""
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    counts = zip(words, tokenizer.init_kwargs["token_counts"], strict=True)
    special = set(tokenizer.all_special_tokens)
    return {word: count for word, count in counts if count and word not in special}
