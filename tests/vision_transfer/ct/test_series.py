"""Finding series: slices by position, and every file that does not belong named with its reason."""

import shutil

import nibabel
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, change, write_series
from vision_transfer.ct import find_series


def reasons(found):
    return {problem.file: problem.reason for problem in found.problems}


def test_slices_are_sorted_by_position_and_not_by_name(tmp_path):
    files = write_series(tmp_path)
    found = find_series(tmp_path)
    assert not found.problems
    assert [part.file for part in found.series[0].slices] == files
    assert np.allclose(np.diff([part.position for part in found.series[0].slices]), 2.5)


def test_a_single_file_is_a_series_of_one_slice(tmp_path):
    file = write_series(tmp_path, count=3)[1]
    (series,) = find_series(file).series
    assert [part.file for part in series.slices] == [file]
    assert series.slices[0].spacing == pytest.approx((0.661468, 0.661468))
    assert series.slices[0].shape == (128, 128)


def test_series_mixed_in_a_folder_are_kept_apart_and_told(tmp_path):
    one, other = write_series(tmp_path, 4), write_series(tmp_path, 3, prefix="other")
    found = find_series(tmp_path)
    assert {tuple(part.file for part in series.slices) for series in found.series} == {
        tuple(one),
        tuple(other),
    }
    assert "holds 2 series, kept apart" in reasons(found)["."]


def test_series_of_the_same_patient_share_a_number(tmp_path):
    write_series(tmp_path / "a", 2, patient="one")
    write_series(tmp_path / "b", 2, patient="two")
    write_series(tmp_path / "c", 2, patient="one")
    series = find_series(tmp_path).series
    assert [(part.patient, part.number) for part in series] == [(0, 0), (1, 1), (0, 2)]


def test_a_series_is_parted_where_a_slice_is_missing(tmp_path):
    files = write_series(tmp_path, 6)
    files[3].unlink()
    found = find_series(tmp_path)
    assert [len(series.slices) for series in found.series] == [3, 2]
    assert {series.number for series in found.series} == {0}
    assert "1 missing" in reasons(found)[files[2].name]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"RescaleSlope": None}, "no rescale slope"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"ImagePositionPatient": None}, "no position"),
        ({"Modality": "MR"}, "is no CT, but MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "is a localizer"),
        ({"ImagePositionPatient": [-158.1, -179.0, -73.2]}, "same position"),
    ],
)
def test_a_slice_that_cannot_be_used_is_left_out_with_its_reason(tmp_path, values, reason):
    file = write_series(tmp_path)[0]
    change(file, **values)
    found = find_series(tmp_path)
    assert file not in [part.file for part in found.series[0].slices]
    assert len(found.series[0].slices) == 4
    assert reason in reasons(found)[file.name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SC_rgb_rle.dcm", "secondary capture"),
        ("test-SR.dcm", "without an image"),
        ("rtplan.dcm", "without an image"),
        ("MR_small.dcm", "is no CT, but MR"),
        ("README.txt", "is no DICOM file"),
    ],
)
def test_other_objects_are_named_for_what_they_are(tmp_path, name, reason):
    write_series(tmp_path)
    shutil.copy(get_testdata_file(name), tmp_path / name)
    found = find_series(tmp_path)
    assert [len(series.slices) for series in found.series] == [5]
    assert reason in reasons(found)[name]


def test_the_same_slice_twice_counts_once(tmp_path):
    files = write_series(tmp_path)
    shutil.copy(files[2], tmp_path / "zz-copy.dcm")
    found = find_series(tmp_path)
    assert len(found.series[0].slices) == 5
    assert reasons(found) == {"zz-copy.dcm": f"is the same slice as {files[2].name}"}


def test_a_file_that_breaks_off_in_its_header_is_damaged(tmp_path):
    file = write_series(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:700])
    assert len(find_series(tmp_path).series[0].slices) == 4
    assert file.name in reasons(find_series(tmp_path))


def test_a_volume_of_another_shape_or_no_volume_is_told(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5), np.int16), np.eye(4)), tmp_path / "b.nii.gz")
    (tmp_path / "c.nii").write_bytes(b"no volume at all")
    found = find_series(tmp_path)
    assert [part.shape for part in found.series[0].slices] == [(5, 4)] * 6
    assert "2 dimensions" in reasons(found)["b.nii.gz"]
    assert "no NIfTI file" in reasons(found)["c.nii"]


def test_nothing_found_says_who_the_patients_are(tmp_path):
    files = write_series(tmp_path)
    change(files[0], RescaleSlope=None)
    change(files[3], SeriesInstanceUID=generate_uid())
    found = repr(find_series(tmp_path))
    assert files[0].name in found
    assert not [value for value in IDENTIFIERS.values() if value in found]


@pytest.mark.parametrize("source", ["nowhere", "."])
def test_a_source_without_slices_is_refused(tmp_path, source):
    with pytest.raises(InputError, match=r"no such file|no slice"):
        find_series(tmp_path / source)
