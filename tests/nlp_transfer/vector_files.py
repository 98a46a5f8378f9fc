"""Word-vector files of every format that is read, for tests."""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from hypothesis import strategies as st
from numpy.typing import NDArray

from nlp_transfer.word_vectors import save_vectors

Rows = NDArray[np.float32]


def _zipped(folder: Path, words: Sequence[str], rows: Rows) -> Path:
    save_vectors(folder / "vectors.txt", words, rows)
    with zipfile.ZipFile(folder / "vectors.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "vectors.txt", "vectors.txt")
    return folder / "vectors.zip"


def _native(folder: Path, words: Sequence[str], rows: Rows) -> Path:
    vectors = KeyedVectors(rows.shape[1])
    vectors.add_vectors(list(words), rows)
    vectors.save(str(folder / "vectors.kv"))
    return folder / "vectors.kv"


def _saved(name: str, format: str) -> Callable[[Path, Sequence[str], Rows], Path]:
    def write(folder: Path, words: Sequence[str], rows: Rows) -> Path:
        save_vectors(folder / name, words, rows, format)
        return folder / name

    return write


WRITERS = {
    "GloVe text": _saved("vectors.txt", "glove"),
    "GloVe text, gzip": _saved("vectors.txt.gz", "glove"),
    "GloVe text, zip": _zipped,
    "Word2Vec text": _saved("vectors.vec", "word2vec"),
    "Word2Vec text, gzip": _saved("vectors.vec.gz", "word2vec"),
    "Word2Vec binary": _saved("vectors.bin", "word2vec-binary"),
    "Word2Vec binary, gzip": _saved("vectors.bin.gz", "word2vec-binary"),
    "gensim native": _native,
}

# What no format of lines and spaces can hold: blanks, line ends, and words that read as numbers;
# and what is a character in one version of Unicode and none in another.
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cn", "Zs", "Zl", "Zp"]), min_size=1
).filter(lambda word: word.strip() == word and "\ufeff" not in word)


@st.composite
def vector_sets(draw: st.DrawFn) -> tuple[list[str], Rows]:
    """Words, all different, and a finite vector for each."""
    words = draw(st.lists(WORDS, min_size=1, max_size=30, unique=True))
    dim = draw(st.integers(2, 6))
    number = st.floats(width=32, allow_nan=False, allow_infinity=False)
    rows = draw(
        st.lists(
            st.lists(number, min_size=dim, max_size=dim),
            min_size=len(words),
            max_size=len(words),
        )
    )
    return words, np.array(rows, np.float32)


def write_glove(path: Path, lines: Sequence[str]) -> Path:
    """Write lines as a text, compressed if the name ends in `.gz`."""
    content = "".join(line + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
