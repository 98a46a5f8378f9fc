"""SIMULATED lesions on real CT slices: a small labelled set and an archive without labels.

No lesion here was ever in a patient. Each is drawn into a real slice: a smooth, round one is called
benign, an irregular one with spicules malignant, as radiologists tell solid nodules apart (margin
categories of the LIDC-IDRI, Armato et al. 2011). Size and contrast have the same distribution for
both, and the ranges of irregularity meet. A model that separates them has learnt to see a margin,
and nothing about cancer.

The slices, of four people, come with the packages pydicom and pydicom-data: heads, a spine with
what is before it, and an abdomen. Every scan shows one of some 48,000 places in them, where there
is soft tissue all around; training, test and archive differ in places, lesions and noise, not in
people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm.auto import tqdm

from staged_training.runtime.errors import InputError
from vision_transfer.ct.dataset import read_ct

Array = NDArray[np.float32]

SIDE = 64
"""Height and width of a scan, in pixels."""

SPACING = 0.7
"""Width of a pixel, in mm."""

LABELS = ("benign", "malignant")

NOTICE = (
    "**The lesions are simulated.** Each was drawn into a slice of a real scan of one of four "
    "people: smooth and round ones are called benign, irregular ones with spicules malignant. What "
    "separates them says nothing about cancer, and the model is of no use in a clinic."
)
"""What everyone must know who sees results on simulated scans."""

_FINE = 3  # how many times finer a lesion is drawn than it is seen


@dataclass(frozen=True)
class Shape:
    """The outline of a lesion.

    Attributes:
        radius: Mean radius, in mm.
        lobes: Amplitude of the waves of its outline, as a share of the radius.
        spicules: Number of thin strands that run outwards from it.
        reach: Length of these, in mm.
        mottling: Standard deviation of the density inside, in HU.
    """

    radius: float
    lobes: float
    spicules: int
    reach: float
    mottling: float


def random_shape(malignant: bool, random: np.random.Generator) -> Shape:
    """Draw a shape; benign ones have few, short strands or none, and a uniform inside."""
    radius = random.uniform(4.0, 8.0)
    if malignant:
        return Shape(
            radius,
            lobes=random.uniform(0.10, 0.30),
            spicules=int(random.integers(5, 13)),
            reach=random.uniform(3.0, 8.0),
            mottling=random.uniform(2.0, 12.0),
        )
    return Shape(
        radius,
        lobes=random.uniform(0.02, 0.12),
        spicules=int(random.integers(0, 4)),
        reach=random.uniform(1.0, 3.0),
        mottling=random.uniform(0.0, 7.0),
    )


def draw_lesion(shape: Shape, random: np.random.Generator) -> tuple[Array, Array]:
    """Draw a lesion: its share of each pixel, 0 to 1, and its mottling in HU.

    It is drawn finer than it is seen and averaged, which gives the partial volumes at its margin.

    Returns:
        Two arrays, `float32 [SIDE, SIDE]`.
    """
    fine = SIDE * _FINE
    step = SPACING / _FINE
    axis = (np.arange(fine) - fine / 2 + 0.5) * step
    dy, dx = random.uniform(-3.0, 3.0, 2)
    y, x = np.meshgrid(axis - dy, axis - dx, indexing="ij")
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    angles = np.linspace(-np.pi, np.pi, 721)
    outline = np.full_like(angles, shape.radius)
    orders = np.arange(2, 9)
    amplitudes = random.normal(0, 1, len(orders)) / orders**0.5
    amplitudes *= shape.lobes * shape.radius / np.linalg.norm(amplitudes)
    for order, amplitude in zip(orders, amplitudes, strict=True):
        outline += amplitude * np.cos(order * angles + random.uniform(0, 2 * np.pi))
    share = (distance < np.interp(angle, angles, outline)).astype(np.float32)
    for _ in range(shape.spicules):
        direction = random.uniform(-np.pi, np.pi)
        length = shape.reach * random.uniform(0.6, 1.4)
        width = random.uniform(0.5, 1.1)  # of half a strand at its root, in mm
        along = y * np.sin(direction) + x * np.cos(direction)
        across = np.abs(-y * np.cos(direction) + x * np.sin(direction))
        left = 1 - (along - shape.radius) / length  # of the strand, 1 at its root
        share[(along > 0) & (left > 0) & (across < width * np.minimum(left + 0.3, 1))] = 1
    seen = share.reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))
    noise = ndimage.gaussian_filter(random.normal(0, 1, (SIDE, SIDE)), 2.0)
    mottling = seen * noise / noise.std() * shape.mottling
    return seen.astype(np.float32), mottling.astype(np.float32)


def simulate(background: Array, malignant: bool | None, random: np.random.Generator) -> Array:
    """Return a scan with a lesion, or without: Hounsfield units, `float32 [SIDE, SIDE]`.

    Args:
        background: What it is drawn into, of the same shape.
        malignant: Whether the lesion is; None for no lesion.
        random: What draws it.
    """
    lesion: Any = 0.0
    if malignant is not None:
        share, mottling = draw_lesion(random_shape(malignant, random), random)
        contrast = random.uniform(40, 90) * random.choice([-1, 1])
        blur = random.uniform(0.5, 0.9)  # of the scanner, in pixels
        lesion = ndimage.gaussian_filter(share * contrast + mottling, blur)
    noise = ndimage.gaussian_filter(random.normal(0, 1, background.shape), 0.6)
    noise *= random.uniform(3, 9) / noise.std()
    scan: Array = (background + lesion + noise).astype(np.float32)
    return scan


class Scans(NamedTuple):
    """Scans and their labels.

    Attributes:
        hounsfield: `int16 [scans, 1, height, width]`.
        labels: Numbers of labels, `int64 [scans]`.
    """

    hounsfield: NDArray[np.int16]
    labels: NDArray[np.int64]


def simulated_scans(count: int, seed: int) -> Scans:
    """Simulate scans, half of them benign; the same seed gives the same ones.

    Raises:
        InputError: The real slices that they are made of are not installed.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(LABELS))
    return Scans(_simulated([bool(label) for label in labels], random), labels)


class ScansOfPatients(NamedTuple):
    """Scans of patients, of each as many, and what is known of them.

    Attributes:
        hounsfield: `int16 [slices, 1, height, width]`, those of a patient one after another.
        labels: Numbers of labels, `int64 [slices]`: that of the patient, also of slices that do not
            show why.
        patients: Number of the patient of each slice, `int64 [slices]`.
        shown: Which slices show a lesion, `bool [slices]`.
    """

    hounsfield: NDArray[np.int16]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]
    shown: NDArray[np.bool_]


def simulated_patients(
    count: int, seed: int, slices: int = 12, lesions: int = 2
) -> ScansOfPatients:
    """Simulate patients with several slices, of which a few show a lesion of the patient's label.

    Half of the patients have benign lesions; no patient has both kinds. Slices of a patient are as
    unlike one another as those of `simulated_scans`, and in random order.

    Args:
        count: Number of patients.
        seed: Random seed; the same one gives the same patients.
        slices: Number of slices of each.
        lesions: How many of them show a lesion.

    Raises:
        InputError: The real slices that they are made of are not installed.

    Examples:
        >>> from vision_transfer.ct.simulated import simulated_patients
        >>> scans = simulated_patients(4, seed=0, slices=3, lesions=1)
        >>> scans.hounsfield.shape, scans.patients.tolist(), int(scans.shown.sum())
        ((12, 1, 64, 64), [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 4)
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % len(LABELS)).repeat(slices)
    shown = np.concatenate([random.permutation(slices) < lesions for _ in range(count)])
    kinds = [bool(label) if seen else None for label, seen in zip(labels, shown, strict=True)]
    patients = np.arange(count).repeat(slices)
    return ScansOfPatients(_simulated(kinds, random), labels, patients, shown)


def _simulated(kinds: Sequence[bool | None], random: np.random.Generator) -> NDArray[np.int16]:
    """Return a scan of each kind, see `simulate`, each in a place of a real slice."""
    slices = _backgrounds()
    scans = np.empty((len(kinds), 1, SIDE, SIDE), np.int16)
    for number, malignant in enumerate(tqdm(kinds, "scans", unit="scan", leave=False)):
        chosen = slices[random.integers(len(slices))]
        row, column = chosen.places[random.integers(len(chosen.places))] - SIDE // 2
        background = chosen.hounsfield[row : row + SIDE, column : column + SIDE]
        background = np.rot90(background, int(random.integers(4)))
        if random.random() < 0.5:
            background = background[:, ::-1]
        scans[number, 0] = simulate(background, malignant, random).round()
    return scans


class _Background(NamedTuple):
    """A real slice, and the rows and columns of pixels with soft tissue around, `[places, 2]`."""

    hounsfield: Array
    places: NDArray[np.int64]


_SLICES = {
    "data_store": (
        "data/693_UNCR.dcm",
        "data/bad_sequence.dcm",
        "data/explicit_VR-UN.dcm",
    ),
    "pydicom": ("data/test_files/J2K_pixelrep_mismatch.dcm",),
}
_SOFT = -20.0, 150.0  # HU, of soft tissue
_AROUND, _SHARE = 13, 0.97  # pixels around a place, and how much of them is such


@lru_cache(maxsize=1)
def _backgrounds() -> list[_Background]:
    missing = [package for package in _SLICES if not find_spec(package)]
    if missing:
        raise InputError(
            "The real CT slices come with packages that are not installed: pip install "
            "'nlp-transfer[ct]' pydicom-data. Or give scans of your own."
        )
    files = [
        resources.files(package).joinpath(name)
        for package, names in _SLICES.items()
        for name in names
    ]
    axis = np.arange(-_AROUND, _AROUND + 1)
    disc = (np.hypot(*np.meshgrid(axis, axis)) <= _AROUND).astype(np.float32)
    slices = []
    for file in files:
        reading = read_ct(str(file), spacing=SPACING).dataset.with_format("numpy")
        units = reading[0]["hounsfield"][0].astype(np.float32)
        soft = ((units > _SOFT[0]) & (units < _SOFT[1])).astype(np.float32)
        inside = np.zeros(units.shape, bool)
        inside[SIDE // 2 : -SIDE // 2, SIDE // 2 : -SIDE // 2] = True
        share = ndimage.convolve(soft, disc / disc.sum(), mode="constant")
        slices.append(_Background(units, np.argwhere((share > _SHARE) & inside)))
    return slices
