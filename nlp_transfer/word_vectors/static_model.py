"""Static models: a matrix in safetensors beside a `tokenizer.json`, with a row for each token.

So model2vec and sentence-transformers (`StaticEmbedding`) write them. A text is the mean of its
tokens there, and so is a word of several. The embedding of a language model of ours is read alike.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from nlp_transfer.word_vectors.base import Matrix, WordVectors, check_finite
from staged_training.runtime.errors import InputError, first_line

TOKENIZER = "tokenizer.json"

EMBEDDINGS = ("embedding.weight", "recurrent.embedding.weight")
"""What the word embedding is called in models of which it is a part, as those that we save."""

_CONTEXT = "a"


class StaticVectors(WordVectors):
    """The tokens of a static model that are whole words, and words that its tokens make.

    Args:
        matrix: Its file of safetensors; `tokenizer.json` lies beside it.

    Raises:
        InputError: The files are damaged, or hold something else.
    """

    def __init__(self, matrix: Path) -> None:
        folder, tokenizer = matrix.parent, matrix.with_name(TOKENIZER)
        self.name = str(folder)
        for file in (matrix, tokenizer):
            if not file.is_file():
                raise InputError(
                    f"{file}: no such file. A static model is a file of safetensors and "
                    f"{TOKENIZER} beside it; check the path, or copy both."
                )
        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._no_words = _no_words(self._tokenizer)
            self._rows, self._row_of, self._weights, self._is_of_model = _tensors(matrix)
        except Exception as error:  # either library raises a bare one on damage
            raise InputError(
                f"{folder}: no static model could be read ({first_line(error)}). Give one that "
                "model2vec or sentence-transformers wrote, or copy it again."
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)
        rows = len(self._rows if self._row_of is None else self._row_of)
        if self._size > rows or (self._is_of_model and self._size < rows):
            raise InputError(
                f"{matrix}: has vectors of {rows:,} tokens and {TOKENIZER} knows {self._size:,}. "
                "They are from different models; copy both again."
            )
        self.dim = self._rows.shape[1]

    def __iter__(self) -> Iterator[tuple[str, Matrix]]:
        """See `WordVectors.__iter__`: the tokens that are whole words."""
        alone = [[token] for token in range(self._size)]
        words = [word.strip() for word in self._tokenizer.decode_batch(alone)]
        for token, (word, pieces) in enumerate(zip(words, self._pieces(words), strict=True)):
            if word and pieces == [token]:
                yield word, self._mean(word, pieces)

    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.lookup`: the words that are one token."""
        return self._of(words, whole=True)

    def compose(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.compose`: the mean of the tokens, if all of them are known."""
        return self._of(words, whole=False)

    def _of(self, words: Collection[str], *, whole: bool) -> tuple[list[str], Matrix]:
        asked = list(words)
        pieces = dict(zip(asked, self._pieces(asked), strict=True))
        found = [word for word in asked if (len(pieces[word]) == 1 if whole else pieces[word])]
        rows = np.empty((len(found), self.dim), np.float32)
        for row, word in zip(rows, found, strict=True):
            row[:] = self._mean(word, pieces[word])
        return found, rows

    def _pieces(self, words: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each word, none where one is unknown: within a text, else alone."""
        before = len(self._encoded([_CONTEXT])[0])
        within = self._encoded([f"{_CONTEXT} {word}" for word in words])
        both = zip(within, self._encoded(words), strict=True)
        choices = (sorted((inner[before:], alone), key=len) for inner, alone in both)
        return [
            next((ids for ids in pair if ids and self._no_words.isdisjoint(ids)), [])
            for pair in choices
        ]

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        # A lone surrogate can be no token.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _mean(self, word: str, tokens: list[int]) -> Matrix:
        chosen = tokens if self._row_of is None else self._row_of[tokens].tolist()
        rows = self._rows[chosen].float()
        if self._weights is not None:
            rows *= self._weights[tokens].float()[:, None]
        mean: Matrix = rows.mean(0).numpy()
        check_finite(mean[None], [f"{self.name}, the word {word!r}"])
        return mean


def _no_words(tokenizer: Tokenizer) -> set[int | None]:
    """Return the special tokens, and the one for unknown words."""
    model = json.loads(tokenizer.to_str())["model"]
    unknown = model.get("unk_id")
    if "unk_token" in model:
        unknown = tokenizer.token_to_id(model["unk_token"] or "")
    added = tokenizer.get_added_tokens_decoder().items()
    return {unknown, *(number for number, token in added if token.special)}


def _tensors(
    file: Path,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, bool]:
    """Return the matrix, memory-mapped, and the row and the weight of each token, where given.

    And whether it is the embedding of a larger model, which has a row for each of its tokens.

    Raises:
        ValueError: There is something else in the file.
    """
    with safe_open(file, "pt") as content:
        names = content.keys()
        shapes = {name: content.get_slice(name).get_shape() for name in names}
        matrices = [name for name, shape in shapes.items() if len(shape) == 2]
        others = shapes.keys() - {*matrices, "mapping", "weights"}
        embeddings = [name for name in EMBEDDINGS if name in matrices]
        is_of_model = bool(embeddings and others | {*matrices} - {*embeddings})
        if is_of_model:
            matrices, others = embeddings, set()
        if len(matrices) != 1 or others:
            raise ValueError(f"{file.name} holds {len(shapes)} tensors, expected one matrix")
        rows = content.get_tensor(matrices[0])
        row_of, weights = (
            content.get_tensor(name).flatten() if name in shapes else None
            for name in ("mapping", "weights")
        )
    if not rows.is_floating_point():
        raise ValueError(f"its numbers are of type {rows.dtype}, expected floating ones")
    if row_of is not None and (row_of.min() < 0 or row_of.max() >= len(rows)):
        raise ValueError("its mapping names rows that are not there")
    if weights is not None and len(weights) != len(rows if row_of is None else row_of):
        raise ValueError("it has not as many weights as tokens")
    return rows, row_of, weights, is_of_model
