"""What every source of word vectors offers: a name, a width, iteration, a look-up in one pass."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors
    from pandas import DataFrame

Matrix = NDArray[np.float32]

VectorSource: TypeAlias = "str | Path | WordVectors | KeyedVectors | DataFrame"
"""What word vectors are opened from, see `open_vectors`."""


class WordVectors(ABC):
    """Words and their vectors, read from disk each time they are asked for; nothing is kept.

    Attributes:
        name: Where the vectors come from, for messages and reports.
        dim: Width of the vectors.

    Examples:
        >>> from nlp_transfer import open_vectors
        >>> vectors = open_vectors("glove-6b-50d")  # makes one of a name or a file
        >>> word, row = next(iter(vectors))
        >>> vectors.title, vectors.dim, word, row.shape, row.dtype
        ('glove-6b-50d', 50, 'the', (50,), dtype('float32'))
    """

    name: str
    dim: int

    @property
    def title(self) -> str:
        """The name without folders, for tables."""
        return Path(self.name).name

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[str, Matrix]]:
        """Yield every word with its vector, `float32 [dim]`, in the order of the file.

        Raises:
            InputError: a damaged file, or a vector that is not finite.
        """

    @abstractmethod
    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """Return those of `words` that have a vector, and their vectors `float32 [found, dim]`.

        The file is read once, from its beginning to its end; memory grows with `words` alone. Where
        the file holds a word twice the first vector counts. The shape of the whole file is checked;
        numbers are read, and checked to be finite, only for the words asked for.

        Raises:
            InputError: a damaged file, or a vector that is not finite.
        """

    def compose(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """Return those of `words` whose vector can be composed of word pieces, and these vectors.

        For words that have none of their own. Only subwords can: fastText and static models.
        """
        return [], np.empty((0, self.dim), np.float32)


class Wanted:
    """The words of one look-up that are still to be found, and the rows found so far."""

    def __init__(self, words: Collection[str], dim: int) -> None:
        # A lone surrogate cannot stand in a UTF-8 file: it is encoded so that nothing equals it.
        self.by_bytes = {word.encode("utf-8", "surrogatepass"): word for word in words}
        self.words: list[str] = []
        # Never touched rows take no memory, so a row for each word asked for costs nothing.
        self.rows: Matrix = np.empty((len(self.by_bytes), dim), np.float32)

    def take(self, word: bytes) -> bool:
        """Return whether `word` is wanted and new; its row is the next one."""
        found = self.by_bytes.pop(word, None)
        if found is None:
            return False
        self.words.append(found)
        return True

    def found(self) -> tuple[list[str], Matrix]:
        """Return the words found and their rows."""
        return self.words, self.rows[: len(self.words)]


def check_finite(rows: Matrix, places: Sequence[str]) -> None:
    """Refuse NaN and infinity; the `InputError` names the first place."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise InputError(
            f"{places[bad[0]]}: the vector holds NaN or infinity, expected finite numbers. "
            "Remove the word from the file or train the vectors again."
        )
