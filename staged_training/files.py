"""Files that are either there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from staged_training.errors import InputError
from staged_training.processes import is_first


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write a file or a folder to; it becomes `path` if all went well.

    The temporary name is beside `path`, so the last step is a rename on one file system: after a
    crash the old content (or nothing) is found under `path`, never half of the new. A folder
    replaces the folder that was there. Of several processes of a run, what the first wrote stays.
    """
    path = Path(path)
    if not is_first():
        with TemporaryDirectory() as elsewhere:
            yield Path(elsewhere) / "new"
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield workspace / "new"
        if path.is_dir():
            path.rename(workspace / "old")
        (workspace / "new").replace(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def check_replaceable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder for a model to be saved in that holds anything but an earlier model.

    Raises:
        InputError: It is a file, or holds something and no `config.json`.
    """
    path = Path(folder)
    is_model = (path / "config.json").exists()
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not is_model):
        raise InputError(f"{path}: holds something that is no model. Give a new or empty folder.")
