"""Digests of what a run depends on: the content of files, the versions of libraries."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

_LIBRARIES = (
    *("nlp-transfer", "torch", "transformers", "tokenizers", "datasets", "timm"),
    *("scikit-learn", "numpy"),
)
_OF_TOOLS = (
    *("__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
    *("#snapshot", "~snapshot"),
)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that influence the result of a training."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of an extra
            continue
    return found


def is_there(path: Path) -> bool:
    """Return whether a file or a folder can be read; a text that is no path counts as absent."""
    try:
        return path.is_file() or path.is_dir()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def given_files(path: Path, but: Path | None = None) -> list[Path]:
    """Return the files at a path; none where it is only a name.

    They are those of a folder, see `files_of`; or a file, the archive that a member is of, and what
    lies beside a file as a part of it: `words.kv.vectors.npy` of `words.kv`, the tokenizer of
    safetensors.

    Args:
        path: What was given.
        but: As for `files_of`.
    """
    if is_there(path) and path.is_dir():
        return files_of(path, but)
    for file in (path, *path.parents):
        if is_there(file):
            return [file, *_parts_of(file)] if file.is_file() else []
    return []


def _parts_of(file: Path) -> list[Path]:
    companion = "tokenizer.json" if file.suffix == ".safetensors" else None
    beside = (other for other in file.parent.iterdir() if other.is_file())
    return sorted(f for f in beside if f.name.startswith(f"{file.name}.") or f.name == companion)


def digest(files: Iterable[Path], folder: Path | None = None, values: object = None) -> str:
    """Return a digest of the names and the content of files, in their order.

    Args:
        files: The files.
        folder: Where they are, if the folders below it are part of their names, as labels may be.
        values: What was read of them, such as labels: what JSON or NumPy hold, or dataclasses.
    """
    total = hashlib.sha256(json.dumps(values, default=_plain).encode())
    for file in tqdm(files, "Checking whether the data have changed", delay=2, unit="file"):
        with file.open("rb") as content:
            of_file = hashlib.file_digest(content, "sha256").hexdigest()
        name = file.relative_to(folder) if folder else file.name
        total.update(f"{name} {of_file}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def listing_digest(path: Path, but: Collection[Path] = ()) -> str:
    """Return a digest of the names, sizes and times of a file, or of all files of a folder.

    It takes a moment where the content would take hours; times change with the content, and when
    files are copied without them.

    Args:
        path: The file or the folder.
        but: Files and folders that do not count.
    """
    total, entered = hashlib.sha256(), set[str]()
    left_out = {file.absolute() for file in but}

    def add(file: Path) -> None:
        state = file.stat()
        told = f"{os.path.relpath(file, path)} {state.st_size} {state.st_mtime_ns}\n"
        total.update(told.encode(errors="surrogateescape"))

    if path.is_file():
        add(path)
    for name, folders, names in os.walk(path.absolute(), followlinks=True):
        folder = Path(name)
        if folder in left_out or os.path.realpath(folder) in entered:  # a link to above
            folders.clear()
            continue
        entered.add(os.path.realpath(folder))
        folders.sort()
        for file in (folder / name for name in sorted(names)):
            if file not in left_out and file.is_file():
                add(file)
    return total.hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else vars(value)


def files_of(path: Path, but: Path | None = None) -> list[Path]:
    """Return a file, or the files of a folder in order, also of linked folders.

    Hidden files do not count, see `is_hidden`.

    Args:
        path: The file or the folder.
        but: A folder within it that does not count, if any.
    """
    if path.is_file():
        return [path]
    found, seen = [], {*path.resolve().parents}
    if but:
        seen.add(but.resolve())
    for name, folders, names in os.walk(path, followlinks=True):
        folder = Path(name)
        if folder.resolve() in seen:  # a link to where it is, or a folder above
            folders.clear()
            continue
        seen.add(folder.resolve())
        folders[:] = [name for name in folders if not is_hidden(name)]
        found += [folder / name for name in names if not is_hidden(name)]
    return sorted(file for file in found if file.is_file())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden, or an artefact of a file server or a system.

    Examples:
        >>> from staged_training.experiment.fingerprints import is_hidden
        >>> is_hidden(".DS_Store"), is_hidden("@eaDir"), is_hidden("cat")
        (True, True, False)
    """
    return name.startswith((".", "@")) or name.lower() in _OF_TOOLS
