"""gensim `KeyedVectors` as its `save` writes them: a pickle, and large arrays beside it.

A pickle can run any code. This one is read with nothing allowed in it but plain values, NumPy
arrays and the object itself, which becomes an inert stand-in; gensim need not be installed.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow

from nlp_transfer.word_vectors.arrays import ArrayVectors
from staged_training.errors import InputError

PICKLE_MAGIC = b"\x80"


class _StandIn:
    """Holds the attributes of the saved object and does nothing."""

    index_to_key: list[str]
    vectors: np.ndarray[Any, Any]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("gensim.models.keyedvectors", "KeyedVectors"): _StandIn,
    ("gensim.models.fasttext", "FastTextKeyedVectors"): _StandIn,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "float32"): np.float32,
    **{
        (f"numpy.{core}.multiarray", name): getattr(np._core.multiarray, name)  # type: ignore[attr-defined]
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it holds {module}.{name}") from None


def gensim_vectors(path: Path) -> ArrayVectors:
    """Vectors that gensim 4 saved with `KeyedVectors.save`.

    Raises:
        InputError: The file holds something else, or a part that lay beside it is missing.
    """
    try:
        with path.open("rb") as file:
            saved = _PlainUnpickler(file).load()
        words, rows = saved.index_to_key, getattr(saved, "vectors", None)
        if rows is None:
            rows = np.load(f"{path}.vectors.npy", mmap_mode="r", allow_pickle=False)
        return ArrayVectors(str(path), pyarrow.array(words, pyarrow.string()), rows)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: {error.filename} is missing. gensim wrote it beside {path.name}; copy both."
        ) from error
    # A damaged pickle can fail in any of these ways.
    except (
        pickle.UnpicklingError,
        pyarrow.ArrowException,
        AttributeError,
        EOFError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: not the KeyedVectors of gensim 4 ({error}). Load them in gensim and save "
            "their `.wv` again, or write them with `save_word2vec_format`."
        ) from error
