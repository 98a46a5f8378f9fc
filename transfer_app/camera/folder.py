"""A folder into which a camera puts pictures and clips."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageOps

from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.films import SUFFIXES as FILMS
from transfer_app.camera.films import LONGEST, Film, Frame

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")  # others run programs

_POLL = 1.0  # seconds
_STILL = 2.0  # seconds after which a file that does not grow is complete

_logger = logging.getLogger(__name__)

_State = tuple[int, int]  # size and time of change, in nanoseconds


class Folder:
    """A folder, at any depth, whose pictures and clips are taken in the order of their names.

    Args:
        folder: The folder.
        rate: How many frames to take of each second of a clip.
        threads: How many threads decode it.
        new: Leave out what is there at the start.
        once: Stop after what is there at the start.

    Raises:
        InputError: Nothing is there, and nothing is waited for.
    """

    def __init__(
        self, folder: Path, rate: float, threads: int = 1, *, new: bool = False, once: bool = False
    ) -> None:
        self._folder, self._rate, self._threads, self._once = folder, rate, threads, once
        self._done = self._states() if new else {}
        self._still: dict[Path, tuple[_State, float]] = {}
        self._now = -math.inf
        if once and not self._states():
            raise InputError(f"{folder}: no picture or clip in it. Check the path.")

    def __iter__(self) -> Iterator[Frame]:
        """Yield pictures, at the times when they were written, and the frames of clips.

        A file that changes is read again. What cannot be read is told and left out.
        """
        while True:
            for file, state in self._complete():
                self._done[file] = state
                try:
                    yield from self._frames(file)
                except InputError as error:
                    _logger.warning("Left out: %s", error)
            if self._once:
                return
            yield self._live(time.monotonic() - _STILL - 2 * _POLL)  # what is older was yielded
            time.sleep(_POLL)

    def _states(self) -> dict[Path, _State]:
        """Return the pictures and clips with what changes when they do."""
        found = {}
        for file in files_of(self._folder):
            if file.suffix.lower() in (*PICTURES, *FILMS):
                with suppress(OSError):  # it is gone
                    state = file.stat()
                    found[file] = state.st_size, state.st_mtime_ns
        return found

    def _complete(self) -> list[tuple[Path, _State]]:
        """Return what was not read yet and does not grow any more."""
        now, before = time.monotonic(), self._still
        self._still = {
            file: before[file] if file in before and before[file][0] == state else (state, now)
            for file, state in self._states().items()
            if self._done.get(file) != state
        }
        return [
            (file, state)
            for file, (state, since) in self._still.items()
            if self._once or (state[0] and max(now - since, _age(state)) >= _STILL)
        ]

    def _frames(self, file: Path) -> Iterator[Frame]:
        if file.suffix.lower() in FILMS:
            yield from Film(file, self._rate, self._threads)
            return
        try:
            with Image.open(file, formats=_FORMATS) as opened:
                opened.draft("RGB", (LONGEST, LONGEST))
                image = ImageOps.exif_transpose(opened).convert("RGB")
            taken = time.monotonic() - _age((0, file.stat().st_mtime_ns))
        except Exception as error:  # Pillow raises errors of many kinds
            raise InputError(f"{file}: is no picture ({first_line(error)}).") from error
        image.thumbnail((LONGEST, LONGEST))
        yield self._live(taken, image)

    def _live(self, taken: float, image: Image.Image | None = None) -> Frame:
        """Return a frame of the clock, which does not go back."""
        self._now = max(self._now, taken)
        return Frame(self._now, image)


def _age(state: _State) -> float:
    """Return the seconds since a file was changed."""
    return time.time() - state[1] / 1e9
