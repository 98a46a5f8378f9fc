"""Slices of DICOM files: what their headers say of where they belong, and their pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_transfer.ct.slices import AIR, BrokenSliceError, LeftOutError

# What distinguishes acquisitions of a series, in the order of time where they are of a kind.
_ACQUISITION = (
    "AcquisitionNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "KVP",
    "ConvolutionKernel",
    "ImageType",
)
_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    *_ACQUISITION,
]
# The first bytes of a file without preamble: a group of the header, in either order of bytes.
_FIRST_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")
# Jitter of what a scanner writes for each slice anew: of a cosine, and as a share of a pixel.
_JITTER = 5e-3


@dataclass(frozen=True)
class Header:
    """A slice of DICOM, and what it belongs to.

    Attributes:
        file: Where it is.
        name: The same, from the folder that is read.
        patient: What the hospital calls the patient.
        series: The series' UID, and rows and columns.
        acquisition: Which of the acquisitions of a series it is from.
        identity: The slice's UID.
        spacing: Height and width of a pixel, in mm.
        placed: Whether it is known where it lies.
        origin: Where its first pixel lies, in mm.
        orientation: Cosines of its rows and its columns.
    """

    file: Path
    name: str
    patient: str
    series: tuple[str, tuple[int, int]]
    acquisition: tuple[str, ...]
    identity: str
    spacing: tuple[float, float]
    placed: bool
    origin: NDArray[np.float64]
    orientation: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.series[1]

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction at right angles to the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def lies_like(self, other: "Header") -> bool:
        """Return whether both could be slices of one scan, by their pixels and orientation."""
        return (
            len(self.orientation) == len(other.orientation)
            and np.allclose(self.orientation, other.orientation, rtol=0, atol=_JITTER)
            and np.allclose(self.spacing, other.spacing, rtol=_JITTER, atol=0)
        )


def is_dicom(file: Path) -> bool:
    """Return whether a file begins as DICOM does, with its preamble or without."""
    with file.open("rb") as opened:
        start = opened.read(132)
    return start[128:] == b"DICM" or start[:2] in _FIRST_GROUPS


def read_header(file: Path, name: str) -> Header:
    """Read the identity and position of a slice.

    Raises:
        LeftOutError: It is none of CT, or lacks what makes Hounsfield units of it.
    """
    import pydicom
    from pydicom.config import disable_value_validation

    try:
        if not is_dicom(file):
            raise LeftOutError("is not a DICOM file")
        with disable_value_validation():  # its warnings quote what the header says
            data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            return _checked_header(data, file, name)
    except LeftOutError:
        raise
    except Exception as error:  # what a parser meets in a damaged file
        raise LeftOutError(f"is damaged ({type(error).__name__})") from error


def _checked_header(data: Any, file: Path, name: str) -> Header:
    if "Rows" not in data or "Columns" not in data:
        raise LeftOutError("is an object without an image")
    if data.get("SamplesPerPixel", 1) != 1:
        raise LeftOutError("is a picture in colours, a secondary capture")
    if data.get("Modality") != "CT":
        raise LeftOutError(f"is not CT, but {data.get('Modality') or 'of no modality'}")
    if "LOCALIZER" in (data.get("ImageType") or ()):
        raise LeftOutError("is a localizer, which looks through the body, not a slice")
    if int(data.get("NumberOfFrames") or 1) != 1:
        raise LeftOutError("has several frames in one file, which is not read")
    if data.get("RescaleSlope") is None or data.get("RescaleIntercept") is None:
        raise LeftOutError("has no rescale slope and intercept, so that its units are unknown")
    if not data.get("PixelSpacing"):
        raise LeftOutError("has no pixel spacing")
    height, width = map(float, data.PixelSpacing)
    orientation = tuple(map(float, data.get("ImageOrientationPatient") or ()))
    origin = data.get("ImagePositionPatient")
    placed = bool(origin) and len(orientation) == 6
    uid = str(data.get("SeriesInstanceUID", ""))
    return Header(
        file=file,
        name=name,
        patient=str(data.get("PatientID") or uid),
        series=(uid, (int(data.Rows), int(data.Columns))),
        # So that 9 comes before 10.
        acquisition=tuple(str(data.get(tag) or "").rjust(12) for tag in _ACQUISITION),
        identity=str(data.get("SOPInstanceUID", "")),
        spacing=(height, width),
        placed=placed,
        origin=np.array(origin if placed else np.zeros(3), np.float64),
        orientation=orientation,
    )


def header_value(file: Path, tag: str) -> str:
    """Return the value of a DICOM field in the header of a file that `read_header` could read."""
    import pydicom
    from pydicom.config import disable_value_validation

    with disable_value_validation():  # its warnings quote what the header says
        data = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=[tag])
        return str(data.get(tag) or "").strip()


def pixels_of_dicom(file: Path) -> NDArray[Any]:
    """Decode a file that `read_header` could read: Hounsfield units, padding as air.

    Raises:
        BrokenSliceError: It is compressed, and does not say how.
    """
    import pydicom
    from pydicom.config import disable_value_validation
    from pydicom.uid import JPEG2000TransferSyntaxes

    with disable_value_validation():  # its warnings quote what the header says
        data = pydicom.dcmread(file, force=True)
        slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
        if _syntax(data) in JPEG2000TransferSyntaxes:
            data.pixel_array_options(decoding_plugin="pylibjpeg")  # GDCM may end the process
        stored = data.pixel_array
        padded = _is_padding(data, stored)
    if slope.is_integer() and intercept.is_integer():  # nearly always, and far faster
        values = stored.astype(np.int32) * int(slope) + int(intercept)
    else:
        values = np.asarray((stored * slope + intercept).round())
    values[padded] = AIR
    return values


def _syntax(data: Any) -> str:
    """Return how the pixels are encoded; if the file does not say so, as its header is."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in data.file_meta:
        if data["PixelData"].is_undefined_length:
            raise BrokenSliceError("is compressed, and does not say how")
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return str(data.file_meta.TransferSyntaxUID)


def _is_padding(data: Any, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where pixels stand for no tissue; a file may give their value signed or unsigned."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limits = np.array([value, data.get("PixelPaddingRangeLimit", value)]).astype(stored.dtype)
    padded: NDArray[np.bool_] = (stored >= limits.min()) & (stored <= limits.max())
    return padded
