"""gensim `KeyedVectors` as its `save` writes them: a pickle, and large arrays beside it.

A pickle can run any code. This one is read with nothing allowed in it but plain values; the object
itself and NumPy's arrays become inert stand-ins, whose numbers are taken from the bytes they hold.
gensim need not be installed.
"""

import mmap
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, cast

import numpy as np
import pyarrow
from numpy.typing import NDArray

from nlp_transfer.word_vectors.arrays import ArrayVectors
from nlp_transfer.word_vectors.fasttext import FastTextVectors
from staged_training.runtime.errors import InputError

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

PICKLE_MAGIC = b"\x80"


class _Saved:
    """Holds the attributes of the saved object and does nothing."""

    index_to_key: list[str]


class _Array:
    """Holds what an array, its type or a number of NumPy is made of, and makes nothing of it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


_ALLOWED: dict[tuple[str, str], Any] = {
    ("gensim.models.keyedvectors", "KeyedVectors"): _Saved,
    ("gensim.models.fasttext", "FastTextKeyedVectors"): _Saved,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Array,
    ("numpy", "float32"): _Array,
    **{
        (f"numpy.{core}.multiarray", name): _Array
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
}


# The one in Python: that in C makes room for as many values as a number in the file says.
class _PlainUnpickler(pickle._Unpickler):
    # Of a `bytearray`, which gensim does not write, even this one makes room for what is claimed.
    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds {module}.{name}") from None


def _numbers(array: _Array) -> NDArray[np.floating]:
    """Return the array that a stand-in was saved as."""
    _, shape, kind, by_column, content = array.state
    if kind.arguments[0] not in ("f2", "f4", "f8"):
        raise ValueError(f"its numbers are of type {kind.arguments[0]}")
    dtype = np.dtype(kind.arguments[0]).newbyteorder(">" if kind.state[1] == ">" else "<")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_column else "C")


def gensim_vectors(path: Path) -> ArrayVectors:
    """Read vectors that gensim 4 saved with `KeyedVectors.save`.

    Raises:
        InputError: The file holds something else, or a part that lay beside it is missing.
    """

    def array(name: str) -> NDArray[np.floating]:
        inside = getattr(saved, name, None)
        if inside is None:
            apart: NDArray[np.floating] = np.load(
                f"{path}.{name}.npy", mmap_mode="r", allow_pickle=False
            )
            return apart
        return _numbers(inside)

    try:
        # Mapped, so that no more is read than there is, however much the pickle asks for.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
            saved = _PlainUnpickler(cast(BinaryIO, content)).load()
        words = saved.index_to_key
        if len({*words, None}) <= len(words):  # a word that is referred to often would take room
            raise ValueError("it holds a word twice, or none in place of one")
        return _vectors(str(path), saved, array)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: {error.filename} is missing. gensim wrote it beside {path.name}; copy both."
        ) from error
    except InputError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise InputError(
            f"{path}: not the KeyedVectors of gensim 4 ({error}). Load them in gensim and save "
            "their `.wv` again, or write them with `save_word2vec_format`."
        ) from error


def in_memory(keyed: "KeyedVectors") -> ArrayVectors:
    """Wrap the `KeyedVectors` of gensim as they are in memory."""
    return _vectors(type(keyed).__name__, keyed, partial(getattr, keyed))


def _vectors(name: str, keyed: Any, array: Callable[[str], NDArray[np.floating]]) -> ArrayVectors:
    words = pyarrow.array(keyed.index_to_key, pyarrow.string())
    if not hasattr(keyed, "bucket"):
        return ArrayVectors(name, words, array("vectors"))
    # What fastText's words are made of is saved; the vectors that come of it are not.
    lengths = (int(keyed.min_n), int(keyed.max_n))
    return FastTextVectors(name, words, array("vectors_vocab"), array("vectors_ngrams"), lengths)
