"""Finding series: slices by position, and every file that does not belong named with its reason."""

import shutil

import nibabel
import numpy as np
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, SERIES, change, write_series
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
        ({"Modality": "MR"}, "is not CT, but MR"),
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
        ("MR_small.dcm", "is not CT, but MR"),
        ("README.txt", "is not a DICOM file"),
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


def test_folders_that_are_linked_are_read_and_what_programs_hide_is_not(tmp_path):
    files = write_series(tmp_path / "elsewhere")
    (tmp_path / "scans" / ".cache").mkdir(parents=True)
    (tmp_path / "scans" / "one").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "scans")
    for name in ("._slice-1.dcm", ".cache/thumbnail.dcm"):
        (tmp_path / "scans" / name).write_text("no scan")
    found = find_series(tmp_path / "scans")
    assert [part.file.name for part in found.series[0].slices] == [file.name for file in files]
    assert not found.problems


def test_a_file_that_breaks_off_in_its_header_is_damaged(tmp_path):
    file = write_series(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:700])
    assert len(find_series(tmp_path).series[0].slices) == 4
    assert file.name in reasons(find_series(tmp_path))


@pytest.mark.parametrize(
    ("tag", "one", "other"),
    [
        ("AcquisitionNumber", 1, 2),
        ("AcquisitionTime", "101500", "101532.5"),
        ("KVP", "80", "140"),
        ("ConvolutionKernel", "B30f", "B70f"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"]),
    ],
)
@pytest.mark.parametrize("shift", [0.0, 1.0])  # mm, by which the second lies higher
def test_two_acquisitions_of_a_series_are_kept_apart(tmp_path, tag, one, other, shift):
    scans = []
    for prefix, value in (("a", one), ("b", other)):
        scans.append(write_series(tmp_path, 4, prefix=prefix, series=SERIES))
        for number, file in enumerate(scans[-1]):
            place = [-158.1, -179.0, 2.5 * number + (shift if prefix == "b" else 0)]
            change(file, ImagePositionPatient=place, **{tag: value})
    found = find_series(tmp_path)
    read = [[part.file for part in series.slices] for series in found.series]
    assert sorted(read) == sorted(scans)
    assert "holds 2 acquisitions, kept apart" in reasons(found)["."]


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "AcquisitionTime"])
def test_acquisitions_one_above_another_are_one_scan(tmp_path, tag):
    """As of a table that is moved on for each slice."""
    files = write_series(tmp_path, 12)
    for number, file in enumerate(files, start=1):
        change(file, **{tag: number if tag == "AcquisitionNumber" else f"1015{number:02d}"})
    found = find_series(tmp_path)
    assert [part.file for part in found.series[0].slices] == files and not found.problems


@pytest.mark.parametrize(
    "values",
    [
        {"PixelSpacing": [0.661469, 0.661467]},
        {"ImageOrientationPatient": [1, 0, 0.000001, 0, 0.999999, 0]},
        {"SliceThickness": 2.500001},
        {"ImageOrientationPatient": [0.9995, 0.0005, 0, -0.0005, 0.9995, 0]},
    ],
)
def test_jitter_of_the_last_digit_parts_no_series(tmp_path, values):
    files = write_series(tmp_path)
    change(files[1], **values)
    change(files[3], **values)
    found = find_series(tmp_path)
    assert [part.file for part in found.series[0].slices] == files and not found.problems
    assert len({part.spacing for part in found.series[0].slices}) == 1


def test_slices_that_lie_otherwise_are_another_series(tmp_path):
    files = write_series(tmp_path, 6)
    for number, file in enumerate(files[:3]):
        position = [-158.1, 2.5 * number, 0]
        change(file, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=position)
    assert [len(series.slices) for series in find_series(tmp_path).series] == [3, 3]


def place(files, heights):
    for file, height in zip(files, heights, strict=True):
        change(file, ImagePositionPatient=[-158.1, -179.0, height])


@pytest.mark.parametrize(
    ("heights", "lengths"),
    [
        ([0, 5, 10, 15, 25, 35, 45], [4, 3]),
        ([0, 10, 20, 30, 35, 40, 45], [3, 4]),
        ([0, 1, 2, 3, 4, 9, 14], [5, 2]),
    ],
)
def test_a_series_is_parted_where_the_distance_of_slices_changes(tmp_path, heights, lengths):
    files = write_series(tmp_path, 7)
    place(files, heights)
    found = find_series(tmp_path)
    assert [len(series.slices) for series in found.series] == lengths
    (problem,) = found.problems
    assert problem.file == files[lengths[0] - 1].name
    assert "the distance of slices changes" in problem.reason


def test_distances_that_are_a_little_uneven_are_told(tmp_path):
    files = write_series(tmp_path, 4)
    place(files, [0, 5, 11, 17])
    found = find_series(tmp_path)
    assert [len(series.slices) for series in found.series] == [4]
    assert "5.0 to 6.0 mm apart, which is not even" in reasons(found)[files[0].name]


@pytest.mark.parametrize("degrees", [12.0, -20.0])
def test_a_tilted_gantry_is_told(tmp_path, degrees):
    files = write_series(tmp_path)
    slope = float(np.tan(np.radians(degrees)))
    for number, file in enumerate(files):
        change(file, ImagePositionPatient=[-158.1, -179.0 + 2.5 * slope * number, 2.5 * number])
    found = find_series(tmp_path)
    assert [part.file for part in found.series[0].slices] == files
    assert f"sheared by {abs(degrees)} degrees" in reasons(found)[files[0].name]


def test_slices_that_are_oblique_as_a_whole_are_not_tilted(tmp_path):
    files = write_series(tmp_path)
    turn = np.radians(20)
    down = [0, float(np.cos(turn)), float(np.sin(turn))]
    for number, file in enumerate(files):
        above = (number * 2.5 * np.array([0, -np.sin(turn), np.cos(turn)])).tolist()
        change(file, ImageOrientationPatient=[1, 0, 0, *down], ImagePositionPatient=above)
    assert not find_series(tmp_path).problems


def test_a_volume_of_another_shape_or_no_volume_is_told(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5), np.int16), np.eye(4)), tmp_path / "b.nii.gz")
    (tmp_path / "c.nii").write_bytes(b"no volume at all")
    found = find_series(tmp_path)
    assert [part.shape for part in found.series[0].slices] == [(5, 4)] * 6
    assert "2 dimensions" in reasons(found)["b.nii.gz"]
    assert "not a NIfTI file" in reasons(found)["c.nii"]


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
