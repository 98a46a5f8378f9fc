"""Videos as a `datasets.Dataset` of small frames, in the order in which they are shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staged_training.experiment.fingerprints import files_of
from staged_training.runtime.errors import InputError, Problem, given_path
from staged_training.runtime.files import state_of
from staged_training.runtime.films import SUFFIXES, Display

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 64  # frames that wait to be written
_EARLY = 0.05  # seconds by which sound may be longer


class _EndsEarlyError(ValueError):
    """A video that breaks off, though what there is of it can be decoded."""


class VideoReading(NamedTuple):
    """Frames of videos, and what was left out or is not as expected."""

    dataset: "Dataset"
    problems: list[Problem]


def read_videos(source: str | Path, size: int = 96, channels: int = 3) -> VideoReading:
    """Read the frames of videos one by one; memory does not grow with their number.

    Frames are rotated as players show them. A video that breaks off is read up to there; damaged
    frames and copies of another video are left out.

    Args:
        source: A video, or a folder of such at any depth.
        size: Height and width of the frames, in pixels: the shorter side is scaled to it, and the
            middle of the longer one is kept.
        channels: 3 for RGB, 1 for grayscale.

    Returns:
        A data set with columns `frame` (`uint8 [channels, size, size]`), `video` (its number),
        `file`, `seconds` (when it is shown) and `motion` (mean change of gray since the frame
        before, of a range of 0 to 1; 0 for the first).

    Raises:
        InputError: There is no such file or folder, or no frame in it.
    """
    from datasets import Array3D, Dataset, Features, Value

    if channels not in (1, 3):
        raise InputError(f"channels is {channels}; give 3 for RGB or 1 for grayscale.")
    if size < 8:
        raise InputError(f"size is {size}; give 8 pixels or more.")
    root, files = _files(given_path(source))
    rows = Dataset.from_generator(
        _rows,
        features=Features(
            {
                "frame": Array3D(shape=(channels, size, size), dtype="uint8"),
                "video": Value("int32"),
                "file": Value("string"),
                "seconds": Value("float64"),
                "motion": Value("float32"),
                "problem": Value("string"),
            }
        ),
        gen_kwargs={
            "files": tuple(files),
            "root": root,
            "size": size,
            "channels": channels,
            # Files that changed are read again, and not taken from the cache of `datasets`.
            "states": tuple(map(state_of, files)),
        },
        writer_batch_size=_BATCH,
    )
    told = list(rows["problem"])
    names = list(rows["file"])
    problems = [Problem(name, why) for name, why in zip(names, told, strict=True) if why]
    kept = rows.select([row for row, why in enumerate(told) if not why]).remove_columns("problem")
    if not len(kept):
        raise InputError(f"{source}: no frame could be read; {problems[0]}.")
    frames, copies = _without_copies(kept)
    return VideoReading(frames, problems + copies)


def _without_copies(frames: "Dataset") -> tuple["Dataset", list[Problem]]:
    """Return the frames without copies of a video, which would be learnt twice, and the copies."""
    columns = frames.with_format("numpy")
    video, motion = np.asarray(columns["video"]), np.asarray(columns["motion"])
    kept: list[int] = []
    copies = []
    first_of: dict[bytes, str] = {}
    for number in np.unique(video):
        rows = np.flatnonzero(video == number)
        first = columns[int(rows[0])]
        shown = first["frame"].tobytes() + motion[rows].tobytes()
        original = first_of.setdefault(shown, first["file"])
        if original == first["file"]:
            kept += rows.tolist()
        else:
            copies.append(Problem(first["file"], f"shows the same as {original}, and is left out"))
    return (frames.select(kept) if copies else frames), copies


def _files(source: Path) -> tuple[Path, list[Path]]:
    """Return the folder that names are relative to, and the videos in it."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path of the videos.")
    if source.is_file():
        return source.parent, [source]
    files = [file for file in files_of(source) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise InputError(f"{source}: no video in it. Known are {', '.join(SUFFIXES)}.")
    return source, files


def _rows(
    files: Sequence[Path], root: Path, size: int, channels: int, states: Sequence[tuple[int, ...]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the data set, and a row with the reason for what could not be read."""
    import av

    nothing = np.zeros((channels, size, size), np.uint8)
    for number, file in enumerate(files):
        row = {"video": number, "file": str(file.relative_to(root)), "problem": ""}
        last, before = -np.inf, None
        problems, damaged = [], 0
        try:
            for seconds, frame in _frames(file, size, channels):
                if frame is None:
                    damaged += 1
                    continue
                if seconds <= last:
                    told = f"has frames out of order at {last:.2f} seconds, which are left out"
                    problems = [told]
                    continue
                gray = frame.mean(0, dtype=np.float32)
                motion = 0.0 if before is None else float(np.abs(gray - before).mean()) / 255
                yield row | {"frame": frame, "seconds": seconds, "motion": motion}
                last, before = seconds, gray
            if before is None and not damaged:
                problems.append("has no frames")
        except _EndsEarlyError as error:
            problems.append(str(error))
        except (av.FFmpegError, ValueError) as error:
            what = str(error).split(":")[0]
            where = f"after {last:.2f} seconds" if before is not None else "at its start"
            problems.append(f"cannot be decoded {where} ({what})")
        if damaged:
            problems.append(f"has {damaged} damaged frames, which are left out")
        if problems:
            told = " and ".join(problems)
            yield row | {"frame": nothing, "seconds": 0.0, "motion": 0.0, "problem": told}


def _frames(
    file: Path, size: int, channels: int
) -> Iterator[tuple[float, NDArray[np.uint8] | None]]:
    """Yield when each frame of a video is shown, in seconds, and the frame; None if damaged.

    Raises:
        _EndsEarlyError: There are fewer than the header says.
    """
    import av

    with av.open(str(file)) as container:
        if not container.streams.video:
            raise ValueError("it has no frames")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        display = Display(stream)
        rate = float(stream.average_rate or 25)
        first, seconds = None, 0.0
        # The decoder gives frames as they are shown, which is not the order they are stored in.
        for number, picture in enumerate(container.decode(stream)):
            seconds = number / rate if picture.time is None else picture.time
            first = seconds if first is None else first
            usable = not picture.is_corrupt
            yield seconds - first, _square(picture, display, size, channels) if usable else None
        length = _length(container, stream, rate)
        ended = seconds - (first or 0.0) + 1 / rate
        if first is not None and length - ended > _EARLY + 1 / rate:
            raise _EndsEarlyError(f"ends after {ended:.2f} of {length:.2f} seconds")


def _length(container: Any, stream: Any, rate: float) -> float:
    """Return how long a video should be, in seconds; 0 where its header does not say so."""
    if stream.duration:
        return max(float(stream.duration * stream.time_base), float(stream.frames) / rate)
    return float(container.duration or 0) / 1_000_000


def _square(picture: Any, display: Display, size: int, channels: int) -> NDArray[np.uint8]:
    """Return the middle of a frame as it is shown, `[channels, size, size]`."""
    scale = size / min(picture.width * display.pixel, picture.height)
    small = display.shown(picture, scale, "rgb24" if channels == 3 else "gray")
    top, left = ((side - size) // 2 for side in small.shape[:2])
    square = small[top : top + size, left : left + size]
    return np.ascontiguousarray(square.transpose(2, 0, 1) if channels == 3 else square[None])
