"""How often words stand near each other, in memory or, where there is not enough, on disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from nlp_transfer.language_models.contexts import Ids

CELLS_IN_MEMORY = 2**24
"""Cells, of 12 bytes each, after which they are written to disk."""

_PAIRS_AT_ONCE = 2**22
_SHARDS = 64


class Cells(NamedTuple):
    """Pairs of words that stand near each other, each pair once, the smaller word number first.

    Attributes:
        rows: The word of the smaller number, `int32 [cells]`.
        columns: The other one, or the same, `int32 [cells]`.
        counts: How often, weighted, `float32 [cells]`.
    """

    rows: Ids
    columns: Ids
    counts: NDArray[np.float32]


class Cooccurrences:
    """Counts of words that stand near each other, which grow text by text.

    Two words that stand `d` words apart in a text count `1 / d`, in both directions: the matrix X
    of Pennington et al. (EMNLP 2014) with a symmetric window. It is kept as its upper half.

    Args:
        words: How many words there are.
        window: The largest distance.
        folder: For what does not fit into memory.
        most: Cells that are kept in memory.

    Examples:
        >>> from nlp_transfer.language_models.cooccurrence import Cooccurrences
        >>> counts = Cooccurrences(words=3, window=2, folder=Path("cells"))
        >>> counts.add(np.array([0, 1, 2, 1]), np.array([4]))
        >>> [cells] = counts.shards()
        >>> [*zip(*(part.tolist() for part in cells))]
        [(0, 1, 1.0), (0, 2, 0.5), (1, 1, 1.0), (1, 2, 2.0)]
    """

    def __init__(self, words: int, window: int, folder: Path, most: int = CELLS_IN_MEMORY) -> None:
        self.words, self.window, self.folder, self.most = words, window, folder, most
        self._sums = self._summed([])
        self._pairs: list[Cells] = []
        self._on_disk = False

    def add(self, ids: Ids, lengths: Ids) -> None:
        """Count the pairs of some texts.

        Args:
            ids: Word numbers of all texts, one text after the other, `[words]`.
            lengths: How many words each text has, `[texts]`.
        """
        text = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        for distance in range(1, min(self.window, len(ids) - 1) + 1):
            together = text[:-distance] == text[distance:]
            if not together.any():
                break
            one, other = ids[:-distance][together], ids[distance:][together]
            # A word that meets itself is to the left and to the right of it.
            counts = (1 + (one == other)).astype(np.float32) / np.float32(distance)
            self._pairs.append(Cells(np.minimum(one, other), np.maximum(one, other), counts))
            if sum(len(pairs.rows) for pairs in self._pairs) >= _PAIRS_AT_ONCE:
                self._reduce()

    @property
    def empty(self) -> bool:
        """Whether no two words were near each other."""
        return not (self._pairs or self._sums.nnz or self._on_disk)

    def _reduce(self) -> None:
        """Add the pairs up, and write the sums to disk where they are too many."""
        if not self._pairs:  # as in each epoch but the first
            return
        self._sums = self._sums + self._summed(self._pairs)
        self._pairs = []
        if self._sums.nnz > self.most:
            self._spill()

    def _summed(self, parts: list[Cells]) -> csr_array:
        shape = (self.words, self.words)
        if not parts:
            return csr_array(shape, dtype=np.float32)
        rows, columns, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return coo_array((counts, (rows, columns)), shape).tocsr()

    def _spill(self) -> None:
        """Append the sums to files; those of a cell go to the same one, those of a word to all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        cells = _cells(self._sums)
        shard = (cells.rows * np.int64(self.words) + cells.columns) % 2**31 * 40503 // 256 % _SHARDS
        for number in range(_SHARDS):
            for name, values in cells._asdict().items():
                with self._file(number, name).open("ab") as file:
                    values[shard == number].tofile(file)
        self._sums, self._on_disk = self._summed([]), True

    def shards(self) -> Iterator[Cells]:
        """Yield all cells, in parts of which each fits into memory."""
        self._reduce()
        if not self._on_disk:
            yield _cells(self._sums)
            return
        if self._sums.nnz:
            self._spill()
        for number in range(_SHARDS):
            rows = np.fromfile(self._file(number, "rows"), np.int32)
            columns = np.fromfile(self._file(number, "columns"), np.int32)
            counts = np.fromfile(self._file(number, "counts"), np.float32)
            yield _cells(self._summed([Cells(rows, columns, counts)]))

    def _file(self, shard: int, name: str) -> Path:
        return self.folder / f"{shard}.{name}"


def _cells(sums: csr_array) -> Cells:
    cells = sums.tocoo()
    rows, columns = cells.coords
    return Cells(rows.astype(np.int32), columns.astype(np.int32), cells.data)
