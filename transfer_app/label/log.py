"""Answers on disk: a line for each, which is there before the next example is shown."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from filelock import lock_descriptor, unlock_descriptor
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import unwritable_reported
from staged_training.runtime.printable import one_line

if TYPE_CHECKING:
    from transfer_app.label.pool import Pool


class Entry(NamedTuple):
    """What was done with an example.

    Attributes:
        row: Its number in the pool.
        label: The label that it got; None for "not sure".
        window: The window that asked.
        undone: Whether the answer was taken back.
    """

    row: int
    label: str | None
    window: str
    undone: bool = False


class _Line(BaseModel):
    """A line of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str
    key: str
    answer: Literal["label", "not sure", "undone"]
    label: str | None
    window: str
    time: str

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.answer == "label") != bool(self.label):
            raise ValueError("a label, and only that, has a name")
        return self


def log_of(output: Path) -> Path:
    """Return the log beside a table, and of no other: `labels.csv.answers.jsonl`."""
    return output.with_name(f"{output.name}.answers.jsonl")


def has_labels(file: Path) -> bool:
    """Return whether a log, if it is there, holds a label; only then its table was written."""
    return file.exists() and b'"answer":"label"' in file.read_bytes()


def keys_of(pool: "Pool") -> list[str]:
    """Return what tells each example from all others, and from others of that name.

    A table that was sorted has other texts in its rows; a name of a photo is all that it is.
    """
    contents = pool.contents if pool.kind == "text" else [""] * len(pool.names)
    named = zip(pool.names, contents, strict=True)
    texts = (f"{name}\0{content}".encode("utf-8", "surrogatepass") for name, content in named)
    return [sha256(text).hexdigest()[:16] for text in texts]


class AnswerLog:
    """The file of answers, which one server at a time has open, and which is there if it holds one.

    A line that was not written whole, as the server was killed, is cut off: nobody was told that it
    was kept.

    Args:
        file: The file, which is made if it is not there.
        pool: The examples.

    Raises:
        InputError: Another server has it open, it cannot be written, or a line of it is damaged or
            about no example of the pool.

    Attributes:
        file: The file.
        keys: See `keys_of`.
        entries: What it held when it was opened.
    """

    def __init__(self, file: Path, pool: "Pool") -> None:
        self.file, self._pool, self.keys = file, pool, keys_of(pool)
        with unwritable_reported(file):
            self._stream = file.open("a+b", buffering=0)
        try:
            self._keep_others_out()
            self.entries = [*self._read()]
            with unwritable_reported(file):
                self._keep()
                _keep_name(file)
        except BaseException:
            self._stream.close()
            raise

    def append(self, entry: Entry) -> None:
        """Write what was done; it is on disk when this returns, or not in the file.

        Raises:
            InputError: The disk is full, or may not be written to.
        """
        end = self._stream.seek(0, os.SEEK_END)
        line = _Line(
            input=one_line(self._pool.names[entry.row]),
            key=self.keys[entry.row],
            answer="undone" if entry.undone else "not sure" if entry.label is None else "label",
            label=entry.label,
            window=entry.window,
            time=f"{datetime.now(UTC):%FT%TZ}",
        )
        rest = line.model_dump_json().encode() + b"\n"
        try:
            with unwritable_reported(self.file):
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[self._stream.write(rest) or 0 :]
                self._keep()
        except InputError:
            self._stream.truncate(end)
            raise

    def close(self) -> None:
        """Let others open it; a file without an answer is removed."""
        if self._stream.closed:
            return
        if not self._stream.seek(0, os.SEEK_END):
            with suppress(PermissionError):  # Windows removes no file that is open
                self.file.unlink(missing_ok=True)
        unlock_descriptor(self._stream.fileno())  # for a process that was forked has it, too
        self._stream.close()

    def _keep(self) -> None:
        os.fsync(self._stream.fileno())

    def _keep_others_out(self) -> None:
        """Lock the file until it is closed, or this process ends, however it does."""
        is_locked = lock_descriptor(self._stream.fileno(), blocking=False)
        if not is_locked or not os.fstat(self._stream.fileno()).st_nlink:  # removed meanwhile
            raise InputError(
                f"{self.file} is in use: another `nlp-transfer label` writes to it. Go on in its "
                "page, or end it first."
            )

    def _read(self) -> Iterator[Entry]:
        """Yield what the file holds, of which a torn last line is cut off."""
        self._stream.seek(0)
        content = self._stream.read()
        whole = content.rfind(b"\n") + 1
        row_of = {key: row for row, key in enumerate(self.keys)}
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
            yield self._entry(line, f"{self.file}: line {number}", row_of)
        if whole < len(content):
            self._stream.truncate(whole)
            told = f"{self.file}: the last line was not written whole, and is cut off."
            print(one_line(told), file=sys.stderr)

    def _entry(self, line: bytes, place: str, row_of: dict[str, int]) -> Entry:
        try:
            read = _Line.model_validate_json(line)
        except ValidationError as error:
            raise InputError(f"{place} is damaged. Correct or delete that line.") from error
        row = row_of.get(read.key)
        if row is None:
            is_there = read.input in map(one_line, self._pool.names)
            what = "about another text than is there now" if is_there else "no example"
            raise InputError(
                f"{place}: '{read.input}' is {what} in {self._pool.source}. Give the data as they "
                "were, or another `output`.",
                ["output"],
            )
        return Entry(row, read.label, read.window, read.answer == "undone")


def _keep_name(file: Path) -> None:
    """Have the name of a new file on disk, too."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    folder = os.open(file.resolve().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
