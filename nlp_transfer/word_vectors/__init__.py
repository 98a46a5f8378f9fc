"""Word vectors on disk: one reader per format, all lazy, and the writer of what was learnt here."""

import re
from pathlib import Path

from nlp_transfer.word_vectors.arrays import glove_6b_50d, in_table
from nlp_transfer.word_vectors.base import VectorSource, WordVectors
from nlp_transfer.word_vectors.binary import BinaryVectors
from nlp_transfer.word_vectors.gensim_native import PICKLE_MAGIC, gensim_vectors, in_memory
from nlp_transfer.word_vectors.sources import Source
from nlp_transfer.word_vectors.static_model import TOKENIZER, StaticVectors
from nlp_transfer.word_vectors.text import TextVectors
from nlp_transfer.word_vectors.text_lines import BLOCK_BYTES, count_numbers
from nlp_transfer.word_vectors.writing import save_vectors
from staged_training.runtime.errors import InputError

PACKAGED = {"glove-6b-50d": glove_6b_50d}
"""Sets of vectors that are known by name."""

FILE_NAME = "vectors.txt"
"""What vectors are called in a folder."""

MOST_NUMBERS = 2**14
"""Of a vector; a file that claims more is refused before room is made for them."""


_FASTTEXT_MAGIC = (793712314).to_bytes(4, "little")


def open_vectors(name_or_path: VectorSource) -> WordVectors:
    """Open word vectors without reading them, in the format that their content shows.

    Args:
        name_or_path: `glove-6b-50d`, or a file: GloVe text, Word2Vec text or binary, either also
            as `.gz` or in a `.zip` (as `archive.zip/member.txt` where it has several members), or
            the file that gensim's `KeyedVectors.save` wrote; or a folder that holds a
            `vectors.txt`, a static model of model2vec or sentence-transformers, or a model of this
            package that has a word embedding, such as a language model; or gensim's `KeyedVectors`
            themselves, or a `DataFrame` with a row for each word, which is its index or its only
            column of texts. What was opened before is returned as it is.

    Returns:
        Vectors with a `name`, a `dim`, iteration over `(word, vector)` and `lookup(words)`.

    Raises:
        InputError: There is no such name or file, or the file is not one of word vectors.

    Examples:
        >>> vectors = open_vectors("glove-6b-50d")
        >>> words, rows = vectors.lookup(["deadline", "dead-line-ish"])
        >>> words, rows.shape
        (['deadline'], (1, 50))
    """
    if isinstance(name_or_path, WordVectors):
        return name_or_path
    if hasattr(name_or_path, "index_to_key"):
        return in_memory(name_or_path)
    if hasattr(name_or_path, "set_index"):
        return in_table(name_or_path)
    if not isinstance(name_or_path, str | Path):
        raise InputError(
            f"Word vectors cannot be opened from a {type(name_or_path).__name__}. Give a name, a "
            "file, `KeyedVectors` or a `DataFrame`; of a model the folder that it was saved in, "
            "with its tokenizer."
        )
    if str(name_or_path) in PACKAGED:
        return PACKAGED[str(name_or_path)]()
    path = Path(name_or_path)
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        raise InputError(
            f"{path}: neither a file nor the name of a set of vectors. The names are "
            f"{', '.join(PACKAGED)}."
        )
    if path.is_dir():
        return _of_folder(path)
    if path.suffix == ".safetensors":
        return StaticVectors(path)
    source = Source(path)
    with source.open() as stream:
        first = stream.readline(BLOCK_BYTES)
        beginning = stream.read(BLOCK_BYTES)
    if not first.strip():
        raise InputError(f"{source}: is empty, expected word vectors. Copy or download it again.")
    if first.startswith(PICKLE_MAGIC):
        return gensim_vectors(path)
    if first.startswith(_FASTTEXT_MAGIC):
        raise InputError(
            f"{source}: is a model of fastText. Give the .vec that lies beside it, or write one: "
            "gensim.models.fasttext.load_facebook_vectors(FILE).save_word2vec_format('vectors.vec')"
        )
    if header := re.fullmatch(rb"(\d{1,18})[ \t]+(\d{1,18})\s*", first):
        count, dim = map(int, header.groups())
        if count and dim:
            _check_width(source, dim)
            return (TextVectors if _is_text(beginning, dim) else BinaryVectors)(source, dim, count)
    dim = count_numbers(first)
    if not dim:
        raise InputError(
            f"{source}, line 1: found no numbers after the word, expected a line such as "
            "'the 0.418 0.24968 -0.41242', or a header 'count dim'. Is this a file of word vectors?"
        )
    _check_width(source, dim)
    return TextVectors(source, dim)


def _check_width(source: Source, dim: int) -> None:
    if dim > MOST_NUMBERS:
        raise InputError(
            f"{source}, line 1: says that a vector has {dim:,} numbers; more than {MOST_NUMBERS:,} "
            "are not read. Is this a file of word vectors?"
        )


def _of_folder(path: Path) -> WordVectors:
    if (path / FILE_NAME).exists():
        vectors = open_vectors(path / FILE_NAME)
        vectors.name = str(path)
        return vectors
    saved = path / "model.safetensors"
    if saved.exists() and (path / "config.json").exists():  # beside it may be what else it knows
        return StaticVectors(saved)
    # sentence-transformers keeps each part of a model in a folder of its own.
    files = [*path.glob("*.safetensors"), *path.glob("*/*.safetensors")]
    matrices = sorted(file for file in files if file.with_name(TOKENIZER).exists())
    if len(matrices) == 1:
        return StaticVectors(matrices[0])
    if matrices:
        names = ", ".join(str(file.relative_to(path)) for file in matrices)
        raise InputError(f"{path}: which file to read is not clear. Name one of: {names}.")
    raise InputError(
        f"{path}: is a folder without {FILE_NAME}, or {TOKENIZER} and the safetensors of a static "
        "model. Give one that holds them, or a file of word vectors."
    )


def _is_text(beginning: bytes, dim: int) -> bool:
    """Return whether what follows a header is text: binary numbers hold control characters.

    A word of a text may hold such a character too, but then its lines still hold numbers.
    """
    lines = [line for line in beginning.split(b"\n", 2)[:2] if line]
    if lines and all(count_numbers(line) >= dim for line in lines):
        return True
    of_numbers = bool(lines) and count_numbers(lines[0]) >= len(lines[0].split()) - 1 > 0
    return of_numbers and not re.search(rb"[\x00-\x08\x0e-\x1f]", beginning)


__all__ = ["WordVectors", "save_vectors"]
