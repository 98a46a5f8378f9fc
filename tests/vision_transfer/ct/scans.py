"""Series of DICOM files for tests, made of the small real slice that comes with pydicom."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from vision_transfer.ct.simulated import LABELS, simulated_patients, simulated_scans

IDENTIFIERS = {
    "PatientName": "Vanderbilt^Wilhelmina",
    "PatientID": "MRN-4711-0815",
    "PatientBirthDate": "19320417",
    "InstitutionName": "Saint Elsewhere Infirmary",
    "ReferringPhysicianName": "Zebediah^Quartermaine",
    "AccessionNumber": "ACC-99887766",
    "StudyDate": "20041119",
}
"""Made up, and of words that come up nowhere else."""


SERIES = "1.2.826.0.1.3680043.8.498.1"
"""A series for files that are to belong together wherever they are written."""


def small_slice() -> FileDataset:
    """The slice: 128 x 128 pixels of the abdomen."""
    return pydicom.dcmread(get_testdata_file("CT_small.dcm"))


def write_series(
    folder: Path,
    count: int = 5,
    step: float = 2.5,
    patient: str = "one",
    prefix: str = "slice",
    series: str = "",
) -> list[Path]:
    """Write a series whose files are named against the order of its slices.

    The slice at z mm is brighter by its number, so that it can be told from the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = series or generate_uid()
    files = []
    for number in range(count):
        data = small_slice()
        for name, value in IDENTIFIERS.items():
            setattr(data, name, value)
        data.PatientID = f"{IDENTIFIERS['PatientID']}-{patient}"
        data.SeriesInstanceUID = series
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.ImagePositionPatient = [-158.1, -179.0, -75.7 + number * step]
        data.PixelData = (data.pixel_array + number).tobytes()
        files.append(folder / f"{prefix}-{count - number}.dcm")
        data.save_as(files[-1])
    return files


def write_hospital(folder: Path) -> None:
    """Write 80 simulated scans, two of each patient, to `scans/`; their labels to `labels.csv`."""
    (folder / "scans").mkdir()
    scans = simulated_scans(80, seed=5)
    for number, pixels in enumerate(scans.hounsfield[:, 0]):
        data = simulated_slice(pixels, patient=number // 2)
        data.SeriesInstanceUID, data.SOPInstanceUID = f"1.2.{number}", f"1.2.{number}.1"
        data.save_as(folder / "scans" / f"{number}.dcm")
    table = {"file": [f"{n}.dcm" for n in range(80)], "label": [LABELS[i] for i in scans.labels]}
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)


def write_patients(folder: Path, count: int = 20, slices: int = 4) -> None:
    """Write a series of each simulated patient to `scans/`; the patients' labels to `labels.csv`.

    Half of the slices of a patient show a lesion.
    """
    scans = simulated_patients(count, 5, slices, slices // 2)
    for row, pixels in enumerate(scans.hounsfield[:, 0]):
        patient, number = divmod(row, slices)
        data = simulated_slice(pixels, patient)
        data.SeriesInstanceUID, data.SOPInstanceUID = f"1.2.{patient}", f"1.2.{patient}.{number}"
        data.ImagePositionPatient = [0, 0, 3.0 * number]
        (folder / "scans" / str(patient)).mkdir(parents=True, exist_ok=True)
        data.save_as(folder / "scans" / str(patient) / f"{number}.dcm")
    labels = [LABELS[number] for number in scans.labels[::slices]]
    names = [patient_id(number) for number in range(count)]
    pd.DataFrame({"patient": names, "label": labels}).to_csv(folder / "labels.csv", index=False)


def patient_id(number: int) -> str:
    """Return what the hospital calls a patient."""
    return f"{IDENTIFIERS['PatientID']}-{number}"


def simulated_slice(pixels: NDArray[np.int16], patient: int) -> FileDataset:
    """Return a slice of DICOM with such Hounsfield units."""
    data = small_slice()
    for name, value in IDENTIFIERS.items():
        setattr(data, name, value)
    data.PatientID = patient_id(patient)
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.7, 0.7]
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = (pixels + 1024).astype(np.uint16).tobytes()
    return data


def change(file: Path, **values: object) -> None:
    """Set tags of a file; `None` removes one."""
    data = pydicom.dcmread(file)
    for name, value in values.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(file)
