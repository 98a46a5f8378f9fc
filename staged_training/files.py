"""Files that are either there whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path to write a file or a folder to; it becomes `path` if all went well.

    The temporary name is beside `path`, so the last step is a rename on one file system: after a
    crash the old content (or nothing) is found under `path`, never half of the new. A folder
    replaces the folder that was there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        yield workspace / "new"
        if path.is_dir():
            path.rename(workspace / "old")
        (workspace / "new").replace(path)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
