"""Whatever can be watched: a film, a camera, a folder."""

from collections.abc import Iterable

from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path
from transfer_app.camera.addresses import shown
from transfer_app.camera.films import Film, Frame
from transfer_app.camera.folder import Folder
from transfer_app.camera.live import SCHEMES, Camera, is_device

RATE = 2.0  # frames a second


def open_source(
    source: str, rate: float, threads: int = 1, *, new: bool = False, once: bool = False
) -> Iterable[Frame]:
    """Open what is to be watched.

    Args:
        source: A film, a folder, a device or an address.
        rate: How many frames to take of each second.
        threads: How many threads decode it.
        new: Leave out what is in a folder at the start.
        once: Stop after that.

    Raises:
        InputError: It is not there or cannot be watched, or a number is out of range.
    """
    if not 0.01 <= rate <= 100:
        raise InputError(f"`rate` is {rate:g}; give 0.01 to 100 frames a second.", ["rate"])
    if not 1 <= threads <= 64:
        raise InputError(f"`threads` is {threads}; give 1 to 64.", ["threads"])
    scheme, colon, _ = source.partition("://")
    is_camera = is_device(source) or bool(colon)
    if colon and scheme.lower() not in SCHEMES:
        raise InputError(f"{shown(source)}: is of no known kind. Known are {', '.join(SCHEMES)}.")
    path = None if is_camera else existing_path(source)
    if path and path.is_dir():
        return Folder(path, rate, threads, new=new, once=once)
    if new or once:
        raise InputError("`new` and `once` are for a folder. Leave them out.", ["new", "once"])
    return Film(path, rate, threads) if path else Camera(source, rate, threads)
