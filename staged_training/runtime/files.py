"""Files that are either there whole or not at all, and errors where none can be written."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import Any

from staged_training.runtime.errors import InputError, given_path

PARTIAL = ".partial"
"""How hidden names end of what is being written; after a crash that is of no use to anyone."""

_UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
}
_NOT_THERE = {
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE),
}
_PROBE = 2**20  # bytes


class UnwritableError(InputError):
    """The disk is full or may not be written to; what was written whole before is there."""


@contextmanager
def written_whole(path: str | os.PathLike[str], mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder, which becomes `path` if all goes well.

    The temporary path has the same last name, and its folder is beside `path`, so the last step is
    a rename on one file system: after a crash the old content (or nothing) is found under `path`,
    never half of the new. A folder replaces the folder that was there. Of several processes of a
    run, what the first wrote stays.

    Args:
        path: Where it is to be.
        mode: The permissions of files, by default the usual ones. Nobody but the owner can read
            what is under the temporary path.

    Raises:
        InputError: The disk is full or may not be written to.
    """
    path = Path(path)
    if not _is_main_process():
        with TemporaryDirectory() as elsewhere:
            yield Path(elsewhere) / path.name
        return
    with unwritable_reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        workspace = Path(mkdtemp(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent))
    try:
        with unwritable_reported(path):
            yield workspace / path.name
            _set_permissions(workspace, mode)
            if path.is_dir():
                path.rename(workspace / f"{path.name}.old")
            (workspace / path.name).replace(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _set_permissions(workspace: Path, mode: int | None) -> None:
    """Give files the usual permissions; safetensors lets nobody but the owner read its files."""
    usual = workspace / PARTIAL
    usual.touch()
    mode = usual.stat().st_mode if mode is None else mode
    for file in workspace.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)


def put_on_disk(file: Path) -> None:
    """Wait until what was written to a file would survive a power cut."""
    with file.open("rb+") as content:
        os.fsync(content.fileno())


def state_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is changed or replaced, even with the same size and date."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def remove_partial(folder: Path) -> None:
    """Remove the partial files, at any depth, of a process that was killed."""
    for path in list(folder.rglob(f".*{PARTIAL}")):
        shutil.rmtree(path, ignore_errors=True)


def read_json(file: Path, kind: type = object) -> Any:
    """Read a JSON file that was written whole.

    Args:
        file: The file.
        kind: What it holds: a list, a dictionary.

    Raises:
        InputError: It is damaged.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(value, kind):
            return value
        problem: Exception | None = None
    except (ValueError, RecursionError) as error:
        problem = error
    raise damaged(file) from problem


def damaged(file: Path) -> InputError:
    """Return the error of a damaged file in the folder of a piece of work."""
    return InputError(f"{file} is damaged. Delete {file.parent} to run that part again.")


@contextmanager
def unwritable_reported(path: Path | None = None) -> Iterator[None]:
    """Raise an `InputError` for an invalid path, or a full or read-only disk.

    Args:
        path: What is being written; by default the file that the error names.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = _why_unwritable(error, path)
        if reason is None:
            raise
        what = f"{path} cannot be written"
        if path is None:
            what = f"{getattr(error, 'filename', None) or 'A file'} cannot be read or written"
        if reason in map(os.strerror, _NOT_THERE):
            advice = "Check the path, and that nothing on it is moved or removed meanwhile."
            raise InputError(f"{what} ({reason}). {advice}") from error
        advice = "Free some space, or allow writing."
        raise UnwritableError(f"{what} ({reason}). {advice}") from error


def _why_unwritable(error: Exception, path: Path | None) -> str | None:
    """Return why nothing could be written, if that is what an error is about."""
    if isinstance(error, OSError):
        return error.strerror if error.errno in _UNWRITABLE | _NOT_THERE else None
    of_rust = re.search(r"\(os error (\d+)\)", str(error))  # as safetensors and tokenizers have
    if of_rust and int(of_rust[1]) in _UNWRITABLE | _NOT_THERE:
        return os.strerror(int(of_rust[1]))
    if path is None:
        return None
    try:  # PyTorch does not say; the disk does
        with TemporaryFile(dir=path.parent) as file:
            file.write(bytes(_PROBE))
    except OSError as refused:
        return refused.strerror
    return None


def check_replaceable(folder: str | os.PathLike[str]) -> None:
    """Refuse to replace a folder that holds anything but an earlier model.

    Raises:
        InputError: It is a file, or holds something and no `config.json`.
    """
    path = Path(folder)
    is_model = (path / "config.json").exists()
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not is_model):
        raise InputError(f"{path}: holds something other than a model. Give a new or empty folder.")


def existing_path(source: str | os.PathLike[str]) -> Path:
    """Return the path of an existing file or folder.

    Raises:
        InputError: There is none, it cannot be opened, or it is an empty file.
    """
    path = given_path(source)
    try:
        is_empty = path.stat().st_size == 0
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file or folder. Check the path.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be opened ({error}). Check the path.") from error
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: neither a file nor a folder. Save what it gives to a file.")
    if path.is_file() and is_empty:
        raise InputError(f"{path}: the file is empty.")
    return path


def file_of_model(name: str, file: str) -> Path | None:
    """Return a file of a saved model; `None` if it has no such file.

    Args:
        name: Folder or Hub name of the model.
        file: The name of the file. In a folder it may be a broken link.
    """
    if Path(name).is_dir():
        path = Path(name, file)
        return path if os.path.lexists(path) else None
    from transformers.utils import cached_file  # takes half a second

    found = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _is_main_process() -> bool:
    """Return whether this process is the one that writes; without PyTorch it is the only one."""
    if "torch" not in sys.modules:
        return True
    from staged_training.runtime.processes import is_main_process

    return is_main_process()
