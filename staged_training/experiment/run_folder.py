"""The output folder of a recipe: what may be in it, what is done already, what is kept."""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock
from transformers.utils.logging import disable_progress_bar

from staged_training.experiment.fingerprints import digest, files_of, given_files, versions
from staged_training.recipe import RunArguments, run_config
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import PARTIAL, damaged, read_json, remove_partial, written_whole
from staged_training.runtime.locks import lock
from staged_training.runtime.precision import mixed_precision
from staged_training.runtime.processes import join, leave, on_main_process
from staged_training.trainer import CURVES, STAGES

if TYPE_CHECKING:
    from staged_training.reporting.hub import Destination


class RunFolder:
    """An output folder in which a recipe's work is kept piece by piece until all is done.

    While the recipe runs, `runs/` holds the finished pieces and the checkpoints of the one at hand,
    and `runs/arguments.json` what was asked for and read; at the end only the model and `report/`
    stay.

    Args:
        path: The folder. It is made by `open`, not before, so that input can be checked first.
        arguments: What was asked for; a run is resumed only with the same. Of those that name a
            file or a folder, the content counts, too.
        resume: Go on with a run that was cut off.

    Raises:
        InputError: The folder holds something else, a run that would be lost, one that was asked
            for with other arguments, read other data or ran on other libraries, or one that is at
            work.

    Attributes:
        arguments: What was asked for.
        name: What made the run, such as a recipe.
        destination: Where on the Hub the model goes, if it does.

    Examples:
        >>> run = RunFolder("out", {"seed": 0})
        >>> run.open()
        >>> run.run_cached("part", lambda folder: len(list(folder.iterdir())))
        0
        >>> run.run_cached("part", lambda folder: 1)  # it was done before
        0
    """

    def __init__(
        self,
        path: str | Path,
        arguments: Mapping[str, Any] = MappingProxyType({}),
        *,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.runs = self.path / "runs"
        self.report = self.path / "report"
        self.name = self.path.name
        self.destination: Destination | None = None
        self.arguments = json.loads(json.dumps(dict(arguments), default=str))
        self._resume = resume
        self._lock: BaseFileLock | None = None
        on_main_process(self._look)

    def _look(self) -> None:
        """Refuse a path that is no folder for this run, or that another run is writing to."""
        path = self.path
        if path.exists() and not path.is_dir():
            raise _refused(f"{path} is a file. Give a folder as `output_dir`.")
        if self._lock_file.exists():
            self._keep_others_out()
        self._check()

    def _check(self) -> None:
        """Refuse a folder whose content does not match the arguments."""
        path = self.path
        if self._is_new():
            return
        if not self._record.exists():
            if (self.report / "results.json").exists():
                shutil.rmtree(self.runs, ignore_errors=True)  # if `close` did not get to its end
                raise _refused(
                    f"{path} holds a finished run. Delete it, or give another `output_dir`."
                )
            raise _refused(
                f"{path} holds something else ({next(iter(sorted(path.iterdir()))).name}). Give a "
                "new or an empty folder as `output_dir`."
            )
        if not self._resume:
            raise _refused(
                f"{path} holds an interrupted run. Add `resume` to continue it, or delete it."
            )
        before = read_json(self._record, dict)
        asked = before.get("asked", {})
        differing = [name for name in self.arguments if asked.get(name) != self.arguments[name]]
        if differing:
            changes = ", ".join(
                f"`{name}` was {asked.get(name)!r} and is {self.arguments[name]!r}"
                for name in differing
            )
            told = f"{path} cannot be resumed with other arguments: {changes}."
            raise InputError(told, differing)
        self._check_same("libraries", before, versions(), "{} has another version now")
        self._check_same("read", before, self._read, "the content of {} has changed")

    def _check_same(
        self, part: str, before: Mapping[str, Any], now: Mapping[str, str], change: str
    ) -> None:
        """Refuse to resume a run with other data or versions."""
        then = before.get(part, {})
        differing = [name for name in now if then.get(name) != now[name]]
        if differing:
            named = [f"`{name}`" if name in self.arguments else name for name in differing]
            changes = ", ".join(map(change.format, named))
            raise InputError(
                f"{self.path} cannot be resumed: {changes}. Its results would mix both. Give "
                "the same data and versions, or another `output_dir`, or delete that folder.",
                ["output_dir", *differing],
            )

    @cached_property
    def _read(self) -> dict[str, str]:
        """Digests of what the arguments name."""
        paths = {n: Path(v) for n, v in self.arguments.items() if v and isinstance(v, str)}
        return {
            name: digest(files, path if path.is_dir() else None)
            for name, path in paths.items()
            if (files := given_files(path, self.path))
        }

    def _is_new(self) -> bool:
        """Return whether the folder is empty, or left by a run that was killed at its start."""
        if not self.path.exists():
            return True
        of_runs = self.runs.iterdir() if self.runs.is_dir() else ()
        return not any(
            file not in (self.runs, self._lock_file) and not file.name.endswith(PARTIAL)
            for file in (*self.path.iterdir(), *of_runs)
        )

    def _keep_others_out(self) -> None:
        """Lock the folder; of several processes that make one run, the first does this."""
        self._lock = lock(self._lock_file)
        if not self._lock:
            raise _refused(
                f"{self.path} is in use: another run writes to it. Wait until it has ended, or "
                "give another `output_dir`."
            )

    @property
    def reference(self) -> str:
        """What the model is loaded by: its name on the Hub, or its folder."""
        return self.destination.repo_id if self.destination else str(self.path)

    def __getstate__(self) -> dict[str, Any]:  # a worker does pieces of work, and holds no lock
        return self.__dict__ | {"_lock": None}

    @property
    def _record(self) -> Path:
        return self.runs / "arguments.json"

    @property
    def _lock_file(self) -> Path:
        return self.runs / "lock"

    def open(self, files: Iterable[Path] = (), *values: object) -> None:
        """Create the folder if needed, and lock it against other runs.

        Args:
            files: What the arguments name may be a table of files that lie elsewhere: these.
            *values: What else was read, from wherever it is: labels, folds. See `digest`.

        Raises:
            InputError: Another run came first, the data are others than those of the run that was
                cut off, or the folder cannot be written to.
        """
        on_main_process(partial(self._make, files, values))

    def _make(self, files: Iterable[Path], values: Sequence[object]) -> None:
        self._read["the data"] = digest(files, values=values)
        if not self._lock:
            self.runs.mkdir(parents=True, exist_ok=True)
            self._keep_others_out()
        self._check()  # again: another run may have come and gone
        remove_partial(self.path)
        if not self._record.exists():
            with written_whole(self._record) as path:
                record = {"asked": self.arguments, "libraries": versions(), "read": self._read}
                path.write_text(json.dumps(record, indent=2))
        self.report.mkdir(exist_ok=True)

    def run_cached(self, name: str, work: Callable[[Path], Any]) -> Any:
        """Run work in a folder of its own, or return the result of an earlier run.

        All processes of a run do it together; what it returned in the first counts. That is written
        before the stages of its training are removed, so that no moment is left at which all of it
        would have to be done again.

        Args:
            name: The name of the folder.
            work: Takes the folder; returns what JSON can hold.

        Raises:
            InputError: What was done before is damaged, or the output folder is gone.
        """
        folder = self.runs / name
        done = folder / "done.json"
        on_main_process(self._check_there)
        if on_main_process(done.exists):
            on_main_process(partial(_check_whole, done))
        else:
            on_main_process(partial(folder.mkdir, parents=True, exist_ok=True))
            result = work(folder)
            on_main_process(self._check_there)
            with written_whole(done) as path:
                record = {"result": result, "digest": _digest_of(folder, result)}
                path.write_text(json.dumps(record))
        on_main_process(partial(_remove_stages, folder))
        return on_main_process(partial(read_json, done))["result"]

    def publish(self, folder: Path, name: str = ".") -> None:
        """Put the files of a piece of work, such as a saved model, into the output folder.

        Args:
            folder: Where they are.
            name: A folder in the output folder that they go to in its place.
        """
        on_main_process(self._check_there)
        on_main_process(partial(self._copy, folder, self.path / name))

    def _check_there(self) -> None:
        """Refuse to go on if the folder was removed or replaced since it was opened."""
        if not self._record.exists():
            raise self._vanished()

    def _vanished(self) -> InputError:
        return _refused(
            f"{self.path} was removed or replaced while a run wrote to it. Delete what is left of "
            "it, and run again; or run again with another `output_dir`."
        )

    @staticmethod
    def _copy(folder: Path, kept: Path) -> None:
        kept.mkdir(exist_ok=True)
        for file in folder.iterdir():
            with written_whole(kept / file.name) as path:
                shutil.copy2(file, path)

    def close(self) -> None:
        """Remove all that only resuming needed; curves are kept.

        The main process alone calls it, after it has reported the results.
        """
        self._check_there()
        for curves in self.runs.rglob(CURVES):
            kept = self.path / CURVES / curves.parent.relative_to(self.runs)
            kept.parent.mkdir(parents=True, exist_ok=True)
            curves.rename(kept)
        self._record.unlink()  # from here on the run counts as finished
        if self._lock:  # Windows removes no file that is open
            self._lock.release(force=True)
        shutil.rmtree(self.runs)
        if not self.report.exists():
            raise self._vanished()


def _check_whole(done: Path) -> None:
    """Refuse cached work whose files are missing or changed."""
    record = read_json(done, dict)
    if record.get("digest") != _digest_of(done.parent, record.get("result")):
        raise damaged(done)


def _digest_of(folder: Path, result: Any) -> str:
    """Return a digest of a result and its files, without those that only training needed."""
    passing = {STAGES, CURVES, "done.json"}
    files = [f for f in files_of(folder) if passing.isdisjoint(f.relative_to(folder).parts)]
    return digest(files, folder, values=result)


@contextmanager
def start_run(arguments: RunArguments, name: str) -> Iterator[RunFolder]:
    """Begin a run of a recipe, in all of its processes if there are several.

    Args:
        arguments: What it was asked for.
        name: The name of the recipe.

    Raises:
        InputError: Its output folder cannot be used, see `RunFolder`, an upload cannot work, or no
            device computes in the precision, see `mixed_precision`.
    """
    disable_progress_bar()  # of loading and saving, which take no time here
    with mixed_precision(arguments.precision):
        join()
        run = RunFolder(arguments.output_dir, run_config(arguments), resume=arguments.resume)
        run.name, run.destination = name, arguments.destination()
        yield run
        leave()


def _refused(message: str) -> InputError:
    return InputError(message, ["output_dir", "resume"])


def _remove_stages(folder: Path) -> None:
    for stages in list(folder.rglob(STAGES)):
        shutil.rmtree(stages)
