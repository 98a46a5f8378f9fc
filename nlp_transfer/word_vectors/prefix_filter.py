"""A quick test which lines of a text cannot begin with a wanted word."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_WIDTH = 8
_EACH_BYTE = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio (Knuth, TAOCP 3, 6.4)


class PrefixFilter:
    """Compares lines to words by a hash of the first eight bytes, up to the first space.

    Lines that pass may still begin with another word; lines that do not pass cannot begin with a
    wanted one. Looking at all lines of a block at once is what makes a look-up fast.

    Args:
        words: The wanted words.
    """

    def __init__(self, words: Iterable[bytes]) -> None:
        prefixes = b"".join(word[:_WIDTH].ljust(_WIDTH) for word in words)
        keys = _up_to_space(np.frombuffer(prefixes, "<u8"))
        # Sixteen places for each word: one line in sixteen of the unwanted ones passes, at most.
        bits = max(10, (16 * len(keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._seen = np.zeros(2**bits, np.bool_)
        self._seen[self._places(keys)] = True

    def __call__(self, block: NDArray[np.uint8], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether each line that starts at one of `starts` may begin with a wanted word."""
        # The last line may be too short for eight bytes to be read from its start.
        inner = starts <= len(block) - _WIDTH
        at_any_byte = np.ndarray(max(0, len(block) - _WIDTH + 1), "<u8", block, strides=(1,))
        matches = np.ones(len(starts), np.bool_)
        matches[inner] = self._seen[self._places(_up_to_space(at_any_byte[starts[inner]]))]
        return matches

    def _places(self, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return (keys * _MULTIPLIER) >> self._shift


def _up_to_space(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Clear the bytes after the first space in each group of eight."""
    difference = keys ^ _SPACES
    # The lowest high bit that this sets is that of the first zero byte, that is, the first space.
    found = (difference - _EACH_BYTE) & ~difference & _HIGH_BITS
    first = found & (~found + np.uint64(1))
    return keys & (first - np.uint64(1))
