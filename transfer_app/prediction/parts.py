"""Predictions that are not complete yet: a file for each so many of them, beside the output."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import BaseFileLock

from staged_training.experiment.fingerprints import digest, listing_digest, versions
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import (
    PARTIAL,
    UnwritableError,
    file_of_model,
    put_on_disk,
    read_json,
    remove_partial,
    unwritable_reported,
)
from staged_training.runtime.locks import lock
from staged_training.runtime.printable import one_line
from staged_training.runtime.processes import is_main_process, on_main_process
from staged_training.runtime.seal import read_seal
from staged_training.runtime.stopping import close_progress_bars
from transfer_app.prediction.text_inputs import STDIN

_OF_MODEL = (".json", ".safetensors", ".bin", ".txt", ".model")
_OWN = re.compile(rf"\.(lock|asked\.json|\d+\.arrow|.*{re.escape(PARTIAL)})")  # names in the folder
_SEEN = b"seen"  # in the metadata of a part
_OTHER = {
    "model": "another model",
    "inputs": "another input",
    "options": "another value of",
    "libraries": "another version of",
}


class Parts:
    """The folder `FILE.parts`, which holds what was predicted until `FILE` is written.

    Each part is written whole, and is on disk before it counts: after a crash, what is there stays.
    The files in it are hidden, as the folder may lie among the inputs. Of several processes the
    first makes and removes it, and all write parts.

    Args:
        output: The file that the parts are for.
        asked: What they belong to, see `asked_of`.

    Attributes:
        folder: The folder.
        done: The numbers of the parts that were there when it was opened.
    """

    def __init__(self, output: Path, asked: Mapping[str, Mapping[str, Any]]) -> None:
        self.folder = output.with_name(f"{output.name}.parts")
        self.done: frozenset[int] = frozenset()
        self._output = output
        self._asked = json.loads(json.dumps({name: asked.get(name, {}) for name in _OTHER}))
        self._record = self.folder / ".asked.json"
        self._lock: BaseFileLock | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, or go on with one that is there; keep others out meanwhile.

        It is kept where the work was stopped or the disk is full, if there are parts in it.

        Raises:
            InputError: It belongs to something else, or holds it, or another process writes to
                it.
        """
        self.done = on_main_process(self._open)
        try:
            yield
        except BaseException as error:
            if is_main_process():
                self._leave(error)
            raise
        finally:
            if self._lock:
                self._lock.release(force=True)

    def _open(self) -> frozenset[int]:
        self._check_own()
        with unwritable_reported(self._output):
            self.folder.mkdir(exist_ok=True)
            self._lock = lock(self.folder / ".lock")
        if not self._lock:
            raise InputError(
                f"{self._output}: is being written by another process. Wait until it has ended, "
                "or name another file.",
                ["output"],
            )
        remove_partial(self.folder)  # of a process that was killed as it joined the parts
        (self.folder / self._output.name).unlink(missing_ok=True)
        done = frozenset(int(file.stem[1:]) for file in self.folder.glob(".*.arrow"))
        if done and self._record.exists():
            self._check(read_json(self._record, dict))
            if STDIN not in self._asked["inputs"]:
                print(f"Goes on where it was stopped, with what is in {self.folder}.", flush=True)
                return done
            print("Begins anew: nobody knows whether standard input is the same.", flush=True)
        try:
            asked = json.dumps(self._asked)
            self._write(self._record, lambda file: file.write_text(asked, encoding="utf-8"))
        except BaseException as error:
            self._leave(error)
            raise
        return frozenset()

    def _check_own(self) -> None:
        """Refuse a folder that holds something else, which would be removed with it."""
        folder, own = self.folder, self._output.name
        names = (file.name for file in folder.iterdir()) if folder.is_dir() else ()
        is_file = folder.exists() and not folder.is_dir()
        if is_file or any(name != own and not _OWN.fullmatch(name) for name in names):
            raise InputError(
                f"{folder}: is where predictions lie until all are there, and something else is "
                "there. Move that, or name another file.",
                ["output"],
            )

    def _check(self, before: dict[str, Any]) -> None:
        """Refuse parts that belong to something else."""
        for part, other in _OTHER.items():
            then, now = before.get(part, {}), self._asked[part]
            for name in {**then, **now}:
                if then.get(name) != now.get(name):
                    told = f"{other} {name}".strip()
                    raise InputError(
                        f"{self.folder}: what is predicted there was begun with {told}. Delete the "
                        "folder to begin anew, or name another file.",
                        ["output"],
                    )

    def _leave(self, error: BaseException) -> None:
        in_vain = isinstance(error, InputError) and not isinstance(error, UnwritableError)
        if in_vain or not any(self.folder.glob(".*.arrow")):
            self.remove()
        else:
            close_progress_bars()
            told = f"What is done is kept in {self.folder}: the same command goes on with it."
            print(one_line(told), file=sys.stderr)

    def remove(self) -> None:
        """Remove the folder and all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def save(self, number: int, rows: pa.Table, seen: Sequence[float]) -> None:
        """Write a part.

        Args:
            number: Its place among the parts, from 0 on.
            rows: What was predicted.
            seen: What a `Watch` has taken of its inputs.

        Raises:
            InputError: The disk is full.
        """
        rows = rows.replace_schema_metadata({_SEEN: json.dumps(seen)})

        def write(file: Path) -> None:
            with pa.ipc.new_file(str(file), rows.schema) as writer:
                writer.write_table(rows)

        self._write(self._file(number), write)

    def read(self, number: int) -> tuple[pa.Table, list[float]]:
        """Return what was predicted in a part, and what was seen of its inputs, see `save`.

        Raises:
            InputError: It is damaged or gone.
        """
        file = self._file(number)
        try:
            with pa.ipc.open_file(str(file)) as reader:
                rows = reader.read_all()
            return rows.replace_schema_metadata(), json.loads(rows.schema.metadata[_SEEN])
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: is damaged or gone. Run the same command anew.") from error

    def _file(self, number: int) -> Path:
        return self.folder / f".{number:09}.arrow"

    def _write(self, file: Path, write: Callable[[Path], object]) -> None:
        unfinished = file.with_name(file.name + PARTIAL)
        with unwritable_reported(self._output):
            write(unfinished)
            put_on_disk(unfinished)
            unfinished.replace(file)


def asked_of(
    model: str, sources: Sequence[str], output: Path, **options: Any
) -> dict[str, dict[str, Any]]:
    """Return what predictions depend on: model, inputs, options and versions of libraries.

    Args:
        model: Folder or Hub name of the model, whose files are as `check_seal` asks for.
        sources: Its inputs, of which names, sizes and times count, see `listing_digest`.
        output: Where predictions are written, which may lie among the inputs.
        options: What JSON can hold.
    """
    config, sealed = file_of_model(model, "config.json"), read_seal(model)
    files = config.parent.iterdir() if config else ()
    unsealed = (file for file in files if file.suffix in _OF_MODEL and file.name not in sealed)
    but = [output, Parts(output, {}).folder]
    return {
        "model": {"": digest(sorted(unsealed), values=sealed)},
        "inputs": {
            name: None if name == STDIN else listing_digest(Path(name), but) for name in sources
        },
        "options": options,
        "libraries": versions(),
    }
