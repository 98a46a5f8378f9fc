"""The scene at rest, as a camera that stands still shows it, and where in it something is new."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

_WIDTH = 64  # of the small image in which changes are looked for, which averages noise out
_DARK = 16  # mean level, of 255, below which there is nothing to be seen
_CHANGE = 16  # levels by which a pixel differs where something is there
_NEAR = 2  # pixels of the small image: what is nearer than twice as many is one thing
_LEAST = 0.01  # share of the image that something fills
_BESIDE = 0.25  # of the largest thing, that another one has to fill
_MOST = 3  # things that are looked at
_OTHER = 0.75  # share of the image that differs where the scene is another one
_FOLLOWED = 0.02  # of a change of light, with each frame
_FIRST, _NEXT, _FURNITURE = 1, 10, 120  # seconds at rest
_MOST_SCENES = 4


class Box(NamedTuple):
    """A part of an image, in shares of its width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """The share of the image that it covers."""
        return (self.right - self.left) * (self.bottom - self.top)

    def of(self, image: Image.Image) -> Image.Image:
        """Return this part of an image."""
        width, height = image.size
        corner = math.floor(self.left * width), math.floor(self.top * height)
        return image.crop((*corner, math.ceil(self.right * width), math.ceil(self.bottom * height)))


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def small_image(image: Image.Image) -> NDArray[np.float32]:
    """Return an image in which a scene looks for changes, `[height, 64, 3]`."""
    height = max(1, round(image.height * _WIDTH / image.width))
    return np.asarray(image.resize((_WIDTH, height), Image.Resampling.BOX), np.float32)


class Scene:
    """What a camera that stands still shows while nobody is there.

    It follows the light, and knows several states, such as by day and by infrared light. What is
    new, is not recognised and does not move, such as a chair, becomes a part of it in the end.
    Images are small ones, all of one size.
    """

    def __init__(self) -> None:
        self._known: list[NDArray[np.float32]] = []  # the one that was seen last comes first
        self._resting: NDArray[np.float32] | None = None  # may become known
        self._since = 0.0

    def changes(self, image: NDArray[np.float32]) -> list[Box] | None:
        """Return where something is new: nothing, too, in the dark; None if all of it is new."""
        if image.mean() < _DARK:
            return []
        nearest = None
        for number, known in enumerate(self._known):
            if known.shape != image.shape:
                continue
            changed = _changed(image, known)
            if not (boxes := _boxes(changed)):
                known += _FOLLOWED * (image - known)
                self._known.insert(0, self._known.pop(number))
                self._resting = None
                return []
            if nearest is None or changed.mean() < nearest[0]:
                nearest = changed.mean(), boxes
        return None if nearest is None or nearest[0] > _OTHER else nearest[1]

    def learn(
        self, image: NDArray[np.float32], time: float, *, recognised: bool, new: bool
    ) -> None:
        """Take what has not changed for a while for the scene at rest.

        Args:
            image: What is seen.
            time: When, in seconds.
            recognised: Whether somebody is there.
            new: Whether all of it is new.
        """
        at_rest = (
            self._resting is not None
            and self._resting.shape == image.shape
            and not _boxes(_changed(image, self._resting))
        )
        if not at_rest or (recognised and self._known):
            self._resting, self._since = image, time
        elif time - self._since >= self._patience(recognised, new):
            self._known = [image, *self._known][:_MOST_SCENES]
            self._resting = None

    def restart(self) -> None:
        """Go on at another time, as in another film of the same scene."""
        self._resting = None

    def _patience(self, recognised: bool, new: bool) -> float:
        """Return the seconds after which something at rest is taken for the scene."""
        if self._known:
            return _NEXT if new else _FURNITURE
        return _FURNITURE if recognised else _FIRST


def _changed(image: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where two images differ by more than the light, `[height, width]`."""
    light = np.median((image + 1) / (known + 1), axis=(0, 1))
    changed: NDArray[np.bool_] = np.abs(image - light * known).max(axis=2) > _CHANGE
    return changed


def _boxes(changed: NDArray[np.bool_]) -> list[Box]:
    """Return boxes around the largest things that have changed, the largest first."""
    things, count = ndimage.label(ndimage.binary_dilation(changed, iterations=_NEAR))
    shares = ndimage.sum_labels(changed, things, range(1, count + 1)) / changed.size
    things[~changed] = 0
    least = max([_LEAST, *(_BESIDE * shares)])
    height, width = changed.shape
    found = [
        (share, Box(x.start / width, y.start / height, x.stop / width, y.stop / height))
        for share, (y, x) in zip(shares, ndimage.find_objects(things), strict=True)
        if share >= least
    ]
    return [box for _, box in sorted(found, reverse=True)[:_MOST]]
