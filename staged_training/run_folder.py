"""The output folder of a recipe: what may be in it, what is done already, what is kept."""

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from staged_training.errors import InputError
from staged_training.files import written_whole
from staged_training.processes import by_first
from staged_training.trainer import CURVES


class RunFolder:
    """An output folder in which a recipe's work is kept piece by piece until all is done.

    While the recipe runs, `runs/` holds the finished pieces and the checkpoints of the one at hand,
    and `runs/arguments.json` what was asked for; at the end only the model and `report/` stay.

    Args:
        path: The folder. It is made by `open`, not before, so that input can be checked first.
        arguments: What was asked for; a run is resumed only with the same.
        resume: Go on with a run that was cut off.

    Raises:
        InputError: The folder holds something else, a run that would be lost, or one that was
            asked for with other arguments.
    """

    def __init__(self, path: Path, arguments: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.runs = path / "runs"
        self.report = path / "report"
        self._arguments = json.loads(json.dumps(dict(arguments), default=str))
        by_first(partial(self._check, resume=resume))

    def _check(self, *, resume: bool) -> None:
        path = self.path
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file. Give a folder as --output-dir.")
        if not path.exists() or not any(path.iterdir()):
            return
        if not self._record.exists():
            if (self.report / "results.json").exists():
                raise InputError(
                    f"{path} holds a finished run. Delete it, or give another --output-dir."
                )
            raise InputError(
                f"{path} holds something else ({next(iter(sorted(path.iterdir()))).name}). Give a "
                "new or an empty folder as --output-dir."
            )
        if not resume:
            raise InputError(
                f"{path} holds a run that was cut off. Add --resume to go on with it, or delete it."
            )
        before = json.loads(self._record.read_text())
        differing = [name for name in self._arguments if before.get(name) != self._arguments[name]]
        if differing:
            changes = ", ".join(
                f"--{name.replace('_', '-')} was {before.get(name)!r} and is "
                f"{self._arguments[name]!r}"
                for name in differing
            )
            raise InputError(f"{path} cannot be resumed with other arguments: {changes}.")

    @property
    def _record(self) -> Path:
        return self.runs / "arguments.json"

    def open(self) -> None:
        """Make the folder, if it is not there yet."""
        by_first(self._make)

    def _make(self) -> None:
        if not self._record.exists():
            with written_whole(self._record) as path:
                path.write_text(json.dumps(self._arguments, indent=2))
        self.report.mkdir(exist_ok=True)

    def once(self, name: str, work: Callable[[Path], Any]) -> Any:
        """Do a piece of work in a folder of its own, or return what it returned before.

        All processes of a run do it together; what it returned in the first counts.

        Args:
            name: The name of the folder.
            work: Takes the folder; returns what JSON can hold.
        """
        folder = self.runs / name
        done = folder / "done.json"
        if not by_first(done.exists):
            by_first(partial(folder.mkdir, parents=True, exist_ok=True))
            result = work(folder)
            with written_whole(done) as path:
                path.write_text(json.dumps(result))
        return json.loads(by_first(done.read_text))

    def keep(self, folder: Path, name: str = ".") -> None:
        """Make the files of a piece of work, such as a saved model, those of the output folder.

        Args:
            folder: Where they are.
            name: A folder in the output folder that they go to in its place.
        """
        by_first(partial(self._copy, folder, self.path / name))

    @staticmethod
    def _copy(folder: Path, kept: Path) -> None:
        kept.mkdir(exist_ok=True)
        for file in folder.iterdir():
            shutil.copy2(file, kept / file.name)

    def close(self) -> None:
        """Remove all that was only needed to go on after an interruption; curves are kept.

        It is for the first of several processes alone, after it has told what came of the run.
        """
        for curves in self.runs.rglob(CURVES):
            kept = self.path / CURVES / curves.parent.relative_to(self.runs)
            kept.parent.mkdir(parents=True, exist_ok=True)
            curves.rename(kept)
        shutil.rmtree(self.runs)
