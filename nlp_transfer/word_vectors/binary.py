"""Word2Vec's binary format: a line "count dim", then words, a space and float32 numbers each.

As `word2vec.c` (Mikolov et al. 2013, https://code.google.com/archive/p/word2vec) writes it; a line
feed may stand before a word.
"""

import struct
from collections.abc import Collection, Iterator

import numpy as np

from nlp_transfer.word_vectors.base import Matrix, Wanted, WordVectors, check_finite
from nlp_transfer.word_vectors.sources import Source
from staged_training.runtime.errors import InputError

BLOCK_BYTES = 2**20
_LONGEST_WORD = 2**16


class BinaryVectors(WordVectors):
    """Vectors in a Word2Vec binary file.

    Args:
        source: The file.
        dim: Numbers of each vector.
        count: Vectors in the file, as its header says.
    """

    def __init__(self, source: Source, dim: int, count: int) -> None:
        self.name, self.dim = str(source), dim
        self._source, self._count = source, count

    def __iter__(self) -> Iterator[tuple[str, Matrix]]:
        for number, (word, numbers) in enumerate(self._records(), start=1):
            row = np.frombuffer(numbers, "<f4").astype(np.float32)
            check_finite(row[None], [f"{self.name}, vector {number}"])
            yield word.decode("utf-8", "replace"), row

    def lookup(self, words: Collection[str]) -> tuple[list[str], Matrix]:
        """See `WordVectors.lookup`."""
        wanted = Wanted(words, self.dim)
        places: list[str] = []
        for number, (word, numbers) in enumerate(self._records(), start=1):
            if wanted.take(word):
                wanted.rows[len(places)] = np.frombuffer(numbers, "<f4")
                places.append(f"{self.name}, vector {number}")
        found, rows = wanted.found()
        check_finite(rows, places)
        return found, rows

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each word and the bytes of its vector."""
        size = struct.calcsize(f"<{self.dim}f")
        with self._source.open() as stream:
            stream.readline()
            block, start = b"", 0
            for number in range(self._count):
                space = block.find(b" ", start)
                while space < 0 or len(block) - space <= size:
                    more = stream.read(BLOCK_BYTES)
                    if not more or (space < 0 and len(block) - start > _LONGEST_WORD):
                        raise InputError(
                            f"{self.name}: the header says {self._count:,} vectors of {self.dim} "
                            f"numbers and the file holds {number:,}. It is cut off or damaged; "
                            "download or copy it again."
                        )
                    block, start = block[start:] + more, 0
                    space = block.find(b" ")
                end = space + 1 + size
                yield block[start:space].lstrip(b"\n"), block[space + 1 : end]
                start = end
            if (block[start:] + stream.read(2)).strip(b"\n"):
                raise InputError(
                    f"{self.name}: the header says {self._count:,} vectors of {self.dim} numbers "
                    "and more bytes follow them. The header is wrong or the file is damaged; "
                    "download or copy it again."
                )
