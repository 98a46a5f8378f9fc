"""What a film shows, in captions with times: WebVTT, which players and browsers read."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import tee
from pathlib import Path

from tqdm.auto import tqdm

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import written_whole
from staged_training.runtime.films import SUFFIXES
from staged_training.runtime.printable import shell_path
from transfer_app.camera.films import Film, Frame
from transfer_app.prediction.inputs import Input
from transfer_app.prediction.photos import Captioner

SUFFIX = ".vtt"

_RATE = 1.0  # frames of a second that are described


@dataclass
class Cue:
    """A caption, and the seconds of the film from which and until which it is shown."""

    begin: float
    end: float
    caption: str


def write_subtitles(captioner: Captioner, sources: Sequence[str], file: Path) -> str:
    """Describe a frame of each second of a film and write the captions as WebVTT.

    A caption that stays the same is shown without a break. The file is written whole or not at all.

    Args:
        captioner: The model.
        sources: The film.
        file: The file to write.

    Returns:
        What was written, in words.

    Raises:
        InputError: It is not one film that can be decoded, or the disk is full.
    """
    film, *others = sources
    if others or Path(film).suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{file}: subtitles are of one film, and the input is {' and '.join(sources)}. Give a "
            "film, such as an .mp4; captions of photos go to a table, or to a .json."
        )
    if not Path(film).exists():
        raise InputError(f"{film}: no such file. Check the path.")
    frames = tqdm(Film(Path(film), _RATE), unit="frame", delay=2, dynamic_ncols=True)
    cues = cues_of(_described(captioner, frames), 1 / _RATE)
    with written_whole(file) as temporary:
        temporary.write_text(webvtt(cues), encoding="utf-8", newline="\n")
    count = f"{len(cues):,} caption{'s' if len(cues) > 1 else ''}"
    return f"Wrote {shell_path(file)}: {count} of {cues[-1].end:,.0f} seconds."


def cues_of(captions: Iterable[tuple[float, str]], seconds: float) -> list[Cue]:
    """Join the captions of frames that say the same one after the other.

    Args:
        captions: The time of each frame in seconds, and its caption.
        seconds: For how long each is shown.
    """
    cues: list[Cue] = []
    for begin, caption in captions:
        last = cues[-1] if cues else None
        if last and last.caption == caption and begin <= last.end:
            last.end = begin + seconds
        else:
            cues.append(Cue(begin, begin + seconds, caption))
    return cues


def webvtt(cues: Iterable[Cue]) -> str:
    """Return cues as WebVTT (W3C 2019).

    Nothing in a caption is taken for a time or a tag, and none ends before its text does, as it
    would at an empty line; without any text it is left out.
    """
    texts = ((cue, escape(" ".join(cue.caption.split()), quote=False)) for cue in cues)
    parts = [f"{_time(cue.begin)} --> {_time(cue.end)}\n{text}\n" for cue, text in texts if text]
    return "\n".join(["WEBVTT\n", *parts])


def _described(captioner: Captioner, frames: Iterable[Frame]) -> Iterator[tuple[float, str]]:
    shown, ahead = tee(frames)
    found = captioner.predict(Input(frame.film, frame.image) for frame in ahead)
    for frame, (_, prediction) in zip(shown, found, strict=True):
        yield frame.time, prediction.fields["caption"]


def _time(seconds: float) -> str:
    minutes, thousandths = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"
