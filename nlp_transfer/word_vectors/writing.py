"""Writing word vectors in the formats that other tools read."""

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nlp_transfer.word_vectors.text_lines import count_numbers
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole

Format = Literal["glove", "word2vec", "word2vec-binary"]


def save_vectors(
    path: str | Path, words: Iterable[str], rows: ArrayLike, format: Format = "glove"
) -> None:
    """Write word vectors so that reading them gives the same float32 numbers.

    Args:
        path: The file; compressed if its name ends in `.gz`.
        words: The words.
        rows: `float32 [len(words), dim]`.
        format: GloVe text, Word2Vec text (with a header) or Word2Vec binary.

    Raises:
        InputError: A number is not finite, words and rows do not fit together, or the format
            cannot hold a word.

    Examples:
        >>> from nlp_transfer import open_vectors
        >>> save_vectors("vectors.txt.gz", ["mail", "call"], [[0.1, 0.2], [0.3, 0.4]])
        >>> open_vectors("vectors.txt.gz").lookup(["call"])
        (['call'], array([[0.3, 0.4]], dtype=float32))
    """
    path, words = Path(path), list(words)
    matrix = np.asarray(rows, np.float32)
    if matrix.ndim != 2 or len(words) != len(matrix) or not matrix.size:
        raise InputError(f"{len(words)} words do not fit an array of shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        word = words[int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])]
        raise InputError(f"The vector of {word!r} holds NaN or infinity and is not written.")
    for word in words:
        _check_word(word, format)
    with written_whole(path) as temporary:
        compressed = path.suffix == ".gz"
        with gzip.open(temporary, "wb") if compressed else temporary.open("wb") as file:
            if format != "glove":
                file.write(b"%d %d\n" % matrix.shape)
            for word, row in zip(words, matrix, strict=True):
                if format == "word2vec-binary":
                    file.write(word.encode() + b" " + row.astype("<f4").tobytes() + b"\n")
                else:
                    # NumPy writes the shortest digits that give back a float32.
                    file.write(f"{word} {' '.join(row.astype(str))}\n".encode())


def _check_word(word: str, format: Format) -> None:
    if format == "glove":
        # A word such as "windows 95" would look like one number more.
        unreadable = "\n" in word or word != word.strip(" \r") or count_numbers(word.encode()) > 0
    else:
        unreadable = any(space in word for space in " \n\r")
    if unreadable or not word:
        raise InputError(f"The word {word!r} cannot be written in the format {format}.")
