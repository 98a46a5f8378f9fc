"""Cameras: their newest frame, whatever happens to the connection."""

import logging
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.films import Display
from transfer_app.camera.addresses import shown, with_password
from transfer_app.camera.films import Frame, decoded, image_of, opened_video, skip_frames

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "tcp", "udp")
PASSWORD = "NLP_TRANSFER_CAMERA_PASSWORD"
"""The variable of the environment that has the password of a camera."""

_DEVICES = "/dev/"
_OPTIONS = {"rtsp_flags": "prefer_tcp"}  # what comes by UDP may come damaged
_LONGEST_PAUSE = 60.0  # seconds between two attempts to connect
_PATIENCE = 3.0  # seconds that a thread gets to end, which may wait for a frame
_TICK = 1.0  # seconds after which it is said that no frame has come

_logger = logging.getLogger(__name__)


class Camera:
    """A camera that is watched until the program ends; frames not taken in time are dropped.

    Args:
        source: A device such as `/dev/video0`, or an address such as `rtsp://host/stream`.
        rate: How many frames to take of each second at most.
        threads: How many threads decode it.

    Raises:
        InputError: It is not there, gives no video, or ends.
    """

    def __init__(self, source: str, rate: float, threads: int = 1) -> None:
        self._source, self._rate, self._threads = source, rate, threads
        self._name = shown(source)
        self._address = source if is_device(source) else with_password(source, PASSWORD)
        self._due = 0.0
        self._newest: tuple[float, VideoFrame, Display] | None = None
        self._news = threading.Condition()
        self._is_over = threading.Event()
        self._container = self._opened()
        if source.startswith("http") and self._container.duration:
            raise InputError(f"{self._name}: is a film. Save it to a file, and give that.")

    def __iter__(self) -> Iterator[Frame]:
        """Yield the newest frame, again and again; no image where none has come for a second."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._newest, timeout=_TICK)
                    newest, self._newest = self._newest, None
                if newest is None:
                    yield Frame(time.monotonic(), None)
                else:
                    now, picture, display = newest
                    yield Frame(now, image_of(picture, display))
        finally:
            self._is_over.set()
            reader.join(_PATIENCE)  # a program that ends while FFmpeg is at work may crash

    def _opened(self) -> "InputContainer":
        format = "v4l2" if is_device(self._source) else None
        options = {} if format else _OPTIONS
        container = opened_video(self._address, self._name, self._threads, format, **options)
        skip_frames(container, self._rate)
        return container

    def _read(self) -> None:
        """Keep the newest frame; connect again when the camera stops, after growing pauses."""
        import av

        container: InputContainer | None = self._container
        pause = 1.0
        while not self._is_over.is_set():
            try:
                with container or self._opened() as opened:
                    display = Display(opened.streams.video[0])
                    for picture in decoded(opened, self._is_needed):
                        if self._is_over.is_set():
                            return
                        if picture is not None and not picture.is_corrupt:
                            self._offer(picture, display)
                            pause = 1.0
                problem = f"{self._name}: the picture has stopped."
            except av.FFmpegError as error:
                problem = f"{self._name}: the picture has stopped ({error.strerror})."
            except InputError as error:
                problem = first_line(error)
            _logger.warning("%s Trying again in %d s.", problem, pause)
            self._is_over.wait(pause)
            container, pause = None, min(2 * pause, _LONGEST_PAUSE)

    def _is_needed(self, packet: "Packet[VideoStream]") -> bool:
        """Return whether other frames need a packet, or it is time for another one."""
        codec = packet.stream.codec_context.codec
        return not codec.intra_only or time.monotonic() >= self._due

    def _offer(self, picture: "VideoFrame", display: Display) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = max(self._due + 1 / self._rate, now)
        with self._news:
            self._newest = now, picture, display
            self._news.notify()


def is_device(source: str) -> bool:
    """Return whether a source is a camera of this computer."""
    return source.startswith(_DEVICES)
