"""Files as streams of bytes: plain, gzip, or one member of a zip archive."""

import codecs
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from staged_training.runtime.errors import InputError
from staged_training.runtime.unpacking import bounded, open_unpacked

_ZIP = b"PK\x03\x04"
# What `gzip` and `zipfile` raise on damage; RuntimeError and NotImplementedError on an encrypted
# member and on an unknown compression.
_DAMAGE = (
    EOFError,
    IndexError,
    OSError,
    UnicodeError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
)


class Source:
    """A file that can be opened again and again as uncompressed bytes.

    Raises:
        InputError: `path` does not exist or is a folder, or an archive whose member is not clear.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.member = path, ""
        archive = next((parent for parent in path.parents if parent.is_file()), None)
        if archive:
            self.path, self.member = archive, path.relative_to(archive).as_posix()
        elif not path.exists():
            raise InputError(f"{path}: no such file. Check the path.")
        elif path.is_dir():
            raise InputError(f"{path}: is a folder, expected a file of word vectors.")
        with self.path.open("rb") as file:
            self._magic = file.read(4)
        if self._magic == _ZIP:
            with self._failures_named():
                self.member = self._zip_member()
        elif self.member:
            raise InputError(f"{path}: {self.path} is not a zip archive, so nothing lies below it.")

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Yield the uncompressed bytes; damage found while reading is an `InputError`."""
        with self._failures_named():
            if self._magic == _ZIP:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                    yield _after_mark(bounded(cast(BinaryIO, stream), self.path))
            else:
                with open_unpacked(self.path) as stream:
                    yield _after_mark(stream)

    def _zip_member(self) -> str:
        with zipfile.ZipFile(self.path) as archive:
            members = [info.filename for info in archive.infolist() if not info.is_dir()]
        if self.member in members:
            return self.member
        texts = [member for member in members if member.endswith(".txt")]
        candidates = texts if len(texts) == 1 else members
        if not self.member and len(candidates) == 1:
            return candidates[0]
        problem = f"no member {self.member}" if self.member else "which member to read is not clear"
        raise InputError(
            f"{self.path}: {problem}. Name one as {self.path}/MEMBER; the archive holds: "
            f"{', '.join(members) or 'nothing'}."
        )

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise InputError(
                f"{self}: cannot be unpacked ({error}); the file is damaged or incomplete. "
                "Download or copy it again."
            ) from error


def _after_mark(stream: BufferedReader) -> BinaryIO:
    """Skip the byte order mark that some programs write before a text."""
    if stream.peek(3).startswith(codecs.BOM_UTF8):
        stream.read(3)
    return stream
