"""Films: what they show at even times, whatever their own rate is."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.films import Display

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

LONGEST = 1280  # pixels of the longer side of an image; larger ones are made smaller
_LONGEST_GAP = 3600  # seconds between two frames that are bridged
_MANY = 4  # times as many frames as are taken, from which on some need not be decoded
_ENDS_EARLY = 1.0  # seconds
_TIMEOUT = 10.0  # seconds, of a camera that does not answer

_logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    """What a source shows.

    Attributes:
        time: Seconds of the film; of the clock of `time.monotonic` if it is live.
        image: The image, RGB; the same object as before if the film still shows it; None if time
            passes and no image comes.
        film: The film it is of; empty if it is live.
    """

    time: float
    image: Image.Image | None
    film: str = ""


class Film:
    """A film in a file, from its beginning to its end.

    Args:
        file: The file.
        rate: How many frames to take of each second.
        threads: How many threads decode it.

    Raises:
        InputError: It is no film, or no frame of it can be decoded.
    """

    def __init__(self, file: Path, rate: float, threads: int = 1) -> None:
        self._file, self._rate, self._threads = file, rate, threads
        if next(iter(self), None) is None:
            raise InputError(f"{file}: no frame of it can be decoded. Give a film.")

    def __iter__(self) -> Iterator[Frame]:
        """Yield what it shows at even times; what is damaged is left out, and told."""
        name, number = str(self._file), 0
        with opened_video(name, name, self._threads, protocol_whitelist="file") as container:
            skip_frames(container, self._rate)
            display = Display(container.streams.video[0])
            for begin, end, picture in self._spans(container):
                image = None
                number = max(number, math.ceil(begin * self._rate))
                while number < min(end, begin + _LONGEST_GAP) * self._rate:
                    image = image or image_of(picture, display)
                    yield Frame(number / self._rate, image, name)
                    number += 1

    def _spans(self, container: "InputContainer") -> Iterator[tuple[float, float, "VideoFrame"]]:
        """Yield each frame with the seconds from which and until which it is shown."""
        import av

        each = 1 / float(container.streams.video[0].average_rate or 25)
        shown, left_out = None, 0
        first = begin = 0.0
        with suppress(av.FFmpegError):  # it breaks off
            for picture in decoded(container):
                now = begin + each if picture is None or picture.time is None else picture.time
                if picture is None or picture.is_corrupt or (shown and now <= begin):
                    left_out += 1
                    continue
                if shown:
                    yield begin - first, now - first, shown
                else:
                    first = now
                begin, shown = now, picture
        if shown:
            end = begin + each - first
            yield begin - first, end, shown
            self._tell(container, end, left_out)

    def _tell(self, container: "InputContainer", end: float, left_out: int) -> None:
        """Tell what could not be shown."""
        stream = container.streams.video[0]
        length = float(container.duration or 0) / 1_000_000
        if stream.duration and stream.time_base:
            length = float(stream.duration * stream.time_base)
        if end + _ENDS_EARLY < length:
            _logger.warning("%s ends after %.1f of %.1f seconds.", self._file, end, length)
        if left_out:
            _logger.warning("%s: left out %d damaged or misplaced frames.", self._file, left_out)


def opened_video(
    source: str, name: str, threads: int, format: str | None = None, **options: str
) -> "InputContainer":
    """Open a film or a camera.

    Args:
        source: What FFmpeg opens.
        name: What it is called in messages.
        threads: How many threads decode it.
        format: Its format, where it cannot be told from the content.
        **options: For FFmpeg.

    Raises:
        InputError: It cannot be opened, or has no video.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("PyAV is missing: pip install 'nlp-transfer[camera]'.") from error
    try:
        container = av.open(
            source,
            format=format,
            options=options,
            metadata_errors="replace",
            timeout=_TIMEOUT,
        )
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{name}: no video can be opened ({reason}). Check it.") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{name}: has no video. Give a film or a camera.")
    container.streams.video[0].codec_context.thread_count = threads
    return container


def skip_frames(container: "InputContainer", rate: float) -> None:
    """Leave those frames undecoded that no other needs, if there are many more than asked for."""
    stream = container.streams.video[0]
    if (stream.average_rate or 0) >= _MANY * rate:
        stream.codec_context.skip_frame = "NONREF"


def decoded(
    container: "InputContainer", is_needed: Callable[["Packet[VideoStream]"], bool] = lambda _: True
) -> Iterator["VideoFrame | None"]:
    """Yield the frames of a video in the order in which they are shown; None for a damaged one.

    Args:
        container: The video.
        is_needed: Whether to decode a packet.

    Raises:
        av.FFmpegError: It breaks off.
    """
    import av

    stream = container.streams.video[0]
    for packet in container.demux(stream):
        if not is_needed(packet):
            continue
        try:
            yield from stream.codec_context.decode(packet)
        except av.InvalidDataError:
            yield None


def image_of(picture: "VideoFrame", display: Display) -> Image.Image:
    """Return a frame as players show it, at most 1280 pixels long.

    Raises:
        InputError: It is of a kind that cannot be converted.
    """
    import av

    scale = min(1.0, LONGEST / max(picture.width * display.pixel, picture.height))
    try:
        return Image.fromarray(display.shown(picture, scale))
    except (av.FFmpegError, ValueError) as error:
        kind = picture.format.name
        raise InputError(
            f"Frames of the format {kind} cannot be shown. Convert the film."
        ) from error
