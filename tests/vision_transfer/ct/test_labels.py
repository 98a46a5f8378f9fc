"""Labels as hospitals have them: of slices, files, folders, series or patients."""

import nibabel
import numpy as np
import pydicom
import pytest

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, write_series
from vision_transfer.ct import read_ct
from vision_transfer.ct.dataset import extent
from vision_transfer.ct.labels import read_labels, split_by_patient

PATIENT = IDENTIFIERS["PatientID"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three series of two patients, each in its folder, and a volume of NIfTI."""
    folder = tmp_path_factory.mktemp("archive")
    write_series(folder / "p1" / "before", 2, patient="one")
    write_series(folder / "p1" / "after", 3, patient="one")
    write_series(folder / "p2", 2, patient="two")
    volume = np.full((128, 128, 4), -500, np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, -3, 1])), folder / "liver_7.nii.gz")
    return folder


@pytest.fixture(scope="module")
def dataset(archive):
    return read_ct(archive).dataset


def labelled(archive, dataset, tmp_path, table, ending="csv"):
    """File, index and label of each row that a table names."""
    (tmp_path / f"labels.{ending}").write_text(table)
    rows, numbers, names, _ = read_labels(tmp_path / f"labels.{ending}", dataset, archive)
    chosen = dataset.select(rows)
    return [
        (file, index, names[number])
        for file, index, number in zip(chosen["file"], chosen["index"], numbers, strict=True)
    ]


BY_FOLDER = [("p1/before", "a", 2), ("p1/after", "b", 3), ("p2", "c", 2), ("liver_7", "d", 4)]


@pytest.mark.parametrize(
    "rows",
    [
        "p1/before,a\np1/after,b\np2,c\nliver_7.nii.gz,d\n",
        "./p1/before/, a\np1\\after,b \np2/,c\nliver_7,d\n",
    ],
)
def test_a_file_or_a_folder_labels_all_slices_in_it(archive, dataset, tmp_path, rows):
    found = labelled(archive, dataset, tmp_path, f"file,label\n{rows}")
    for name, label, count in BY_FOLDER:
        assert [told for file, _, told in found if file.startswith(name)] == [label] * count


def test_slices_of_a_volume_are_labelled_by_the_index_of_the_file(archive, dataset, tmp_path):
    table = "file,index,label\nliver_7.nii.gz,3,lesion\nliver_7.nii.gz,0.0,none\np2,,none\n"
    found = labelled(archive, dataset, tmp_path, table)
    assert found[:2] == [("liver_7.nii.gz", 3, "lesion"), ("liver_7.nii.gz", 0, "none")]
    assert [row[2] for row in found[2:]] == ["none", "none"]


def test_slices_are_labelled_by_patient(archive, dataset, tmp_path):
    table = f"patient,label\n{PATIENT}-one,ill\n{PATIENT}-two,well\nliver_7,unknown\n"
    found = labelled(archive, dataset, tmp_path, table)
    assert len(found) == 11
    assert {(file.split("/")[0], label) for file, _, label in found} == {
        ("p1", "ill"),
        ("p2", "well"),
        ("liver_7.nii.gz", "unknown"),
    }


def test_slices_are_labelled_by_series(archive, dataset, tmp_path):
    first = next((archive / "p1" / "after").iterdir())
    uid = pydicom.dcmread(first).SeriesInstanceUID
    other = pydicom.dcmread(next((archive / "p2").iterdir())).SeriesInstanceUID
    found = labelled(archive, dataset, tmp_path, f"series\tlabel\n{uid}\tx\n{other}\ty\n", "tsv")
    assert [label for file, _, label in found if file.startswith("p1/after")] == ["x"] * 3
    assert len(found) == 5


def test_a_row_that_is_there_twice_counts_once(archive, dataset, tmp_path):
    table = f"patient,label\n{PATIENT}-one,a\n{PATIENT}-two,b\n{PATIENT}-one,a\n"
    assert len(labelled(archive, dataset, tmp_path, table)) == 7


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("name,label\np1,a\n", "no column 'file', 'series' or 'patient'"),
        ("file,label\np1,a\np1/after,b\n", "row 2 names a slice twice"),
        ("file,label\np1,a\np3,b\n", "row 2 names p3, which is not among the slices"),
        ("file,index,label\nliver_7,0,a\nliver_7,4,b\n", "row 2 names liver_7, slice 4"),
        ("file,index,label\nliver_7,top,a\nliver_7,4,b\n", "row 1 has the index 'top'"),
        ("file,label\np1,a\np2,\n", "no empty cell"),
        ("file,label\np1,a\np2,a \n", "there must be two or more"),
    ],
)
def test_a_table_that_cannot_be_used_is_told(archive, dataset, tmp_path, table, said):
    with pytest.raises(InputError, match=said):
        labelled(archive, dataset, tmp_path, table)


def test_a_patient_who_is_not_there_is_told_without_a_name(archive, dataset, tmp_path):
    with pytest.raises(InputError, match="row 2 names a patient that is not") as told:
        labelled(archive, dataset, tmp_path, f"patient,label\n{PATIENT}-one,a\nVanderbilt,b\n")
    assert "Vanderbilt" not in str(told.value)


def test_no_patient_is_in_two_parts(dataset):
    patients = np.repeat(np.arange(15), 4)
    labels = patients % 3
    parts = split_by_patient(labels, patients, ["a", "b", "c"])
    of_part = [set(patients[rows].tolist()) for rows in parts]
    assert list(map(len, of_part)) == [9, 3, 3] and len(set.union(*of_part)) == 15
    assert all(set(labels[rows].tolist()) == {0, 1, 2} for rows in parts)
    with pytest.raises(InputError, match="'c' has slices of 4 patients, and the split is by"):
        split_by_patient(labels[:56], patients[:56], ["a", "b", "c"])
    assert extent(dataset) == "11 slices of 4 scans of 3 patients"
