"""Word-vector files of every format that is read, for tests."""

import gzip
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from gensim.models import KeyedVectors
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models

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


def _tabs(folder: Path, words: Sequence[str], rows: Rows) -> Path:
    lines = ["\t".join([word, *row.astype(str)]) for word, row in zip(words, rows, strict=True)]
    return write_glove(folder / "vectors.tsv", lines)


def write_static_model(
    folder: Path, tokenizer: Tokenizer, rows: Rows, name: str = "embeddings", **others: Rows
) -> Path:
    """Write a static model: a matrix, and what belongs to it, beside a tokenizer."""
    folder.mkdir(exist_ok=True, parents=True)
    save_file({name: rows, **others}, folder / "model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _static(folder: Path, words: Sequence[str], rows: Rows) -> Path:
    vocabulary = {word: number for number, word in enumerate(words)} | {"[unknown]": len(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[unknown]"))
    return write_static_model(folder / "static", tokenizer, np.vstack([rows, 0 * rows[:1]]))


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
    "text with tabs": _tabs,
    "static model": _static,
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
