"""Videos as a `datasets.Dataset` of small frames, in the order in which they are shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from staged_training.errors import InputError, Problem, given_path

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".ogv")

_BATCH = 64  # frames that wait to be written


class VideoReading(NamedTuple):
    """What was read, and all that was left out or not as expected."""

    dataset: "Dataset"
    problems: list[Problem]


def read_videos(source: str | Path, size: int = 96, channels: int = 3) -> VideoReading:
    """Read the frames of videos one by one; memory does not grow with their number.

    A video that breaks off is read up to there.

    Args:
        source: A video, or a folder of such at any depth.
        size: Height and width of the frames, in pixels: the shorter side is scaled to it, and the
            middle of the longer one is kept.
        channels: 3 for colours, 1 for gray.

    Returns:
        A data set with columns `frame` (`uint8 [channels, size, size]`), `video` (its number),
        `file`, `seconds` (when it is shown) and `motion` (mean change of gray since the frame
        before, of a range of 0 to 1; 0 for the first).

    Raises:
        InputError: There is no such file or folder, or no frame in it.
    """
    from datasets import Array3D, Dataset, Features, Value

    if channels not in (1, 3):
        raise InputError(f"channels is {channels}; give 3 for colours or 1 for gray.")
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
            "states": tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files),
        },
        writer_batch_size=_BATCH,
    )
    told = list(rows["problem"])
    names = list(rows["file"])
    problems = [Problem(name, why) for name, why in zip(names, told, strict=True) if why]
    kept = rows.select([row for row, why in enumerate(told) if not why])
    if not len(kept):
        raise InputError(f"{source}: no frame could be read; {problems[0]}.")
    return VideoReading(kept.remove_columns("problem"), problems)


def _files(source: Path) -> tuple[Path, list[Path]]:
    """The folder that names are given from, and the videos in it."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder. Check the path of the videos.")
    if source.is_file():
        return source.parent, [source]
    files = sorted(file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{source}: no video in it. Known are {', '.join(SUFFIXES)}.")
    return source, files


def _rows(
    files: Sequence[Path], root: Path, size: int, channels: int, states: Sequence[tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    """The rows of the data set, and for what could not be read a row that says why."""
    import av

    nothing = np.zeros((channels, size, size), np.uint8)
    for number, file in enumerate(files):
        row = {"video": number, "file": str(file.relative_to(root)), "problem": ""}
        last, before = -np.inf, None
        problem = ""
        try:
            for seconds, frame in _frames(file, size, channels):
                if seconds <= last:
                    problem = f"has frames out of order at {last:.2f} seconds, which are left out"
                    continue
                gray = frame.mean(0, dtype=np.float32)
                motion = 0.0 if before is None else float(np.abs(gray - before).mean()) / 255
                yield row | {"frame": frame, "seconds": seconds, "motion": motion}
                last, before = seconds, gray
            if before is None:
                problem = "has no frames"
        except (av.FFmpegError, ValueError) as error:
            what = str(error).split(":")[0]
            where = f"after {last:.2f} seconds" if before is not None else "at its start"
            problem = f"cannot be decoded {where} ({what})"
        if problem:
            yield row | {"frame": nothing, "seconds": 0.0, "motion": 0.0, "problem": problem}


def _frames(file: Path, size: int, channels: int) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """The frames of a video and when they are shown, in seconds from its start."""
    import av

    with av.open(str(file)) as container:
        if not container.streams.video:
            raise ValueError("it has no pictures")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        rate = float(stream.average_rate or 25)
        first = None
        # The decoder gives frames as they are shown, which is not the order they are stored in.
        for number, picture in enumerate(container.decode(stream)):
            seconds = number / rate if picture.time is None else picture.time
            first = seconds if first is None else first
            scale = size / min(picture.width, picture.height)
            small = picture.reformat(
                width=max(size, round(picture.width * scale)),
                height=max(size, round(picture.height * scale)),
                format="rgb24" if channels == 3 else "gray",
                interpolation="AREA",
            ).to_ndarray()
            top, left = ((side - size) // 2 for side in small.shape[:2])
            square = small[top : top + size, left : left + size]
            yield (
                seconds - first,
                np.ascontiguousarray(square.transpose(2, 0, 1) if channels == 3 else square[None]),
            )
