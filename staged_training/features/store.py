"""Where features are kept: in memory while they fit, else in a file that is mapped into memory.

The file is of safetensors, written part by part; its header is written last, when it is known how
many features there are. All else that is kept is small, and is held in memory.
"""

import hashlib
import json
import mmap
import shutil
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.utils.data import Dataset

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import unwritable_reported, written_whole
from staged_training.runtime.memory import free_memory
from staged_training.runtime.processes import is_main_process

Columns = Mapping[str, torch.Tensor]

_LENGTHS = ".lengths"  # suffix of the column with the lengths of another
_SHARE_OF_MEMORY = 1 / 4  # of what is free: features take twice their size while they are joined
_BEFORE_DATA = 4096  # bytes: the length of the header, the header, and blanks
_CHECKSUM = "sha256"  # of the columns, then of their descriptions in the header
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}


class FeatureDataset(Dataset[dict[str, torch.Tensor]]):
    """Features and labels of a data set, in its order.

    Attributes:
        columns: `features`, `[examples, ...]`, and the labels of the data set, if it has some, and
            what else is kept.
            Where examples have unlike numbers of rows, as texts have one for each token, these
            stand behind one another, `[rows of all examples, ...]`, and a column of lengths,
            `[examples]`, says whose they are, see `column`.

    Args:
        columns: See above.
        pages: The memory into which `features` are mapped, where they are in a file.
    """

    def __init__(self, columns: dict[str, torch.Tensor], pages: mmap.mmap | None = None) -> None:
        self.columns = columns
        self._pages = pages
        self._ends = {
            name.removesuffix(_LENGTHS): lengths.cumsum(0).numpy()
            for name, lengths in columns.items()
            if name.endswith(_LENGTHS)
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureDataset, (self.columns,)  # to another process, without what is mapped in this

    def __len__(self) -> int:
        return len(self.columns.get(f"features{_LENGTHS}", self.columns["features"]))

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {n: self._of(n, index) for n in self.columns if not n.endswith(_LENGTHS)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Return the examples of a batch, which `DataLoader` asks for in one go."""
        if self._pages is None:
            return [self[index] for index in indices]
        examples = []
        for index in indices:
            examples.append({name: values.clone() for name, values in self[index].items()})
            # Else memory would fill with what was read, and with what lies around it: Linux maps
            # nearly a megabyte for each example. Windows cannot be told.
            if hasattr(mmap, "MADV_DONTNEED"):
                self._pages.madvise(mmap.MADV_DONTNEED)
        return examples

    def _of(self, name: str, index: int) -> torch.Tensor:
        """Return the value of one example in a column."""
        if name not in self._ends:
            return self.columns[name][index]
        end = int(self._ends[name][index])
        return self.columns[name][end - int(self.columns[f"{name}{_LENGTHS}"][index]) : end]

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> "FeatureDataset":
        """Return some of the examples."""
        chosen = torch.as_tensor(indices)
        return FeatureDataset(
            {
                name: torch.cat([self._of(name, int(index)) for index in chosen])
                if name in self._ends
                else values[chosen]
                for name, values in self.columns.items()
            }
        )


def column(name: str, rows: Sequence[torch.Tensor], *, ragged: bool) -> dict[str, torch.Tensor]:
    """Build a column of a `FeatureDataset`, with lengths where examples differ in rows.

    Args:
        name: Its name.
        rows: Those of each example.
        ragged: Whether their numbers may differ.
    """
    if not ragged:
        return {name: torch.stack(list(rows))}
    lengths = torch.tensor([len(own) for own in rows])
    return {name: torch.cat(list(rows)), f"{name}{_LENGTHS}": lengths}


def collate_features(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Collate examples of a `FeatureDataset`; features of shorter texts end in rows of zeros."""
    columns = {name: [example[name] for example in examples] for name in examples[0]}
    features = columns.pop("features")
    alike = len({some.shape for some in features}) == 1  # then one pass over the memory is enough
    joined = torch.stack(features) if alike else nn.utils.rnn.pad_sequence(features, True)
    return {"features": joined, **{n: torch.stack(v) for n, v in columns.items()}}


def kept(parts: Iterable[Columns], file: Path | None = None) -> FeatureDataset:
    """Store features, the rows of one part after another.

    Args:
        parts: Columns as those of a `FeatureDataset`, with the same names each. Where the features
            go to a file, those of one part are held in memory.
        file: The file. Without one they go to memory, and when they come near a quarter of
            `free_memory`, to a file in the folder for temporary ones (`TMPDIR`, which should be on
            a disk), which is gone when nobody reads it any more.

    Raises:
        InputError: There is no part, or the disk is full.
    """
    if file:
        with written_whole(file) as path, path.open("w+b") as stream:
            _write(stream, parts)
            if not is_main_process():  # whose file stays, and may not be there yet
                return _mapped(stream)
        with file.open("rb") as stream:  # Windows renames no file that is mapped
            return _mapped(stream)
    room = free_memory() * _SHARE_OF_MEMORY
    held: deque[Columns] = deque()
    parts = iter(parts)
    for part in parts:
        held.append(part)
        size = part["features"].nbytes
        room -= size
        del part
        if room < 2 * size:  # what it takes to compute the next part
            folder = Path(tempfile.gettempdir())
            with (
                unwritable_reported(folder / "features"),
                tempfile.TemporaryFile(dir=folder) as stream,
            ):
                _write(stream, chain(_drained(held), parts))
                return _mapped(stream)
    if not held:
        raise InputError("There is no example to compute features of.")
    return FeatureDataset({name: torch.cat([part[name] for part in held]) for name in held[0]})


def read(file: Path) -> FeatureDataset:
    """Read the features of a file that `kept` wrote, or `safetensors`.

    Raises:
        InputError: The file is damaged.
    """
    try:
        with safe_open(file, "pt"):  # refuses a header that is none
            pass
        with file.open("rb") as stream:
            _check(stream)
            return _mapped(stream)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{file}: is not a complete feature file. Delete it.") from error


def room_for_features(folder: Path | None) -> float:
    """Return how many bytes of features fit in a folder, or without one in memory or on disk."""
    there = Path(folder or tempfile.gettempdir()).absolute()
    while not there.exists():
        there = there.parent
    disk = shutil.disk_usage(there).free
    return disk if folder else max(disk, free_memory() * _SHARE_OF_MEMORY)


def _drained(held: deque[Columns]) -> Iterator[Columns]:
    while held:
        yield held.popleft()


def _write(stream: IO[bytes], parts: Iterable[Columns]) -> None:
    """Write the features as they come, then all other columns, and the header last."""
    others: dict[str, list[torch.Tensor]] = {}
    rows, none, checksum = 0, None, hashlib.sha256()

    def write(tensor: torch.Tensor) -> None:
        content = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
        checksum.update(content)
        stream.write(content)

    stream.write(bytes(_BEFORE_DATA))
    for part in parts:
        features = part["features"]
        write(features)
        rows, none = rows + len(features), torch.empty_like(features[:0])
        for name, values in part.items():
            if name != "features":
                others.setdefault(name, []).append(values)
        del part, features  # before the next are computed
    if none is None:
        raise InputError("There is no example to compute features of.")
    header: dict[str, dict[str, object]] = {"features": _described(none, rows, 0)}
    for name, pieces in others.items():
        column = torch.cat(pieces)
        header[name] = _described(column, len(column), stream.tell() - _BEFORE_DATA)
        write(column)
    checksum.update(json.dumps(header).encode())
    header["__metadata__"] = {_CHECKSUM: checksum.hexdigest()}
    stream.seek(0)
    stream.write((_BEFORE_DATA - 8).to_bytes(8, "little"))
    stream.write(json.dumps(header).encode().ljust(_BEFORE_DATA - 8))
    stream.flush()


def _described(like: torch.Tensor, rows: int, start: int) -> dict[str, object]:
    """Describe, for the header, a column whose rows are like those of a tensor."""
    names = {dtype: name for name, dtype in _DTYPES.items()}
    shape = [rows, *like.shape[1:]]
    size = torch.Size(shape).numel() * like.element_size()
    return {"dtype": names[like.dtype], "shape": shape, "data_offsets": [start, start + size]}


def _header(stream: IO[bytes]) -> tuple[dict[str, Any], str | None]:
    """Read the header, up to the data: the columns, and the checksum if there is one."""
    stream.seek(0)
    header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return header, header.pop("__metadata__", {}).get(_CHECKSUM)


def _check(stream: BufferedReader) -> None:
    """Compare a file with its checksum; one written by `safetensors` has none.

    Raises:
        ValueError: It was changed.
    """
    header, expected = _header(stream)
    checksum = hashlib.file_digest(stream, "sha256")
    checksum.update(json.dumps(header).encode())
    if expected not in (None, checksum.hexdigest()):
        raise ValueError("Its content has changed since.")


def _mapped(stream: IO[bytes]) -> FeatureDataset:
    """Map the features of a complete file; it may be removed while they are in use."""
    header, _ = _header(stream)
    before_data = stream.tell()
    pages = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    columns = {}
    for name, described in header.items():
        start, end = (before_data + offset for offset in described["data_offsets"])
        buffer = pages if name == "features" else bytearray(pages[start:end])
        shape = torch.Size(described["shape"])
        with warnings.catch_warnings():  # of memory that cannot be written to
            warnings.simplefilter("ignore", UserWarning)
            column = torch.frombuffer(
                buffer,
                dtype=_DTYPES[described["dtype"]],
                count=shape.numel(),
                offset=start if name == "features" else 0,
            )
        columns[name] = column.view(shape)
    return FeatureDataset(columns, pages)
