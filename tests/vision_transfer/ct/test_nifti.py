"""NIfTI as tools write it: the file's own indices, masks apart, and nothing of an older file."""

import os

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt

from staged_training import InputError
from vision_transfer.ct import find_series, read_ct

SHAPE = (10, 9, 8)  # along the axes of the file


def volume(seed=0, affine=None, kind=np.int16):
    values = np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(kind)
    return nibabel.Nifti1Image(values, np.diag([-1, -1, 2.5, 1]) if affine is None else affine)


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def turned(codes):
    """The volume with its axes in the order and the directions of three letters."""
    image = volume()
    return image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), axcodes2ornt(codes)
        )
    )


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LPI", "IAR", "PSL", "ARI", "SLA"])
def test_an_index_is_that_of_the_file_whatever_its_orientation(tmp_path, codes):
    image = turned(codes)
    rows = read_ct(save(image, tmp_path / "a.nii.gz")).dataset.with_format("numpy")
    axis = next(number for number, code in enumerate(codes) if code in "SI")
    by_hand = np.asarray(image.dataobj)
    for row in rows:
        own = np.take(by_hand, row["index"], axis)
        assert sorted(own.ravel()) == sorted(row["hounsfield"].ravel())
    assert sorted(rows["index"][:]) == list(range(8))
    assert np.allclose(np.diff(rows["position"][:]), 2.5)  # from feet to head


def test_a_file_that_is_replaced_is_read_anew_though_name_size_and_date_stay(tmp_path):
    path = save(volume(0), tmp_path / "a.nii")
    state = path.stat()

    def replaced_by(image):
        path.unlink()
        save(image, path)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        return read_ct(path).dataset.with_format("numpy")

    first = read_ct(path).dataset.with_format("numpy")["hounsfield"][:]
    other = replaced_by(volume(1))["hounsfield"][:]
    assert not np.array_equal(first, other)
    upside_down = replaced_by(volume(1, np.diag([-1, -1, -5.0, 1])))
    assert np.array_equal(upside_down["hounsfield"][:], other[::-1])
    assert np.allclose(np.diff(upside_down["position"][:]), 5)


@pytest.mark.parametrize(
    "name",
    [
        "labelsTr/liver_0.nii.gz",
        "labelsTs/liver_0.nii.gz",
        "case/segmentations/liver.nii.gz",
        "gt_segmentations/liver_0.nii.gz",
        "segmentation-0.nii",
        "case_seg.nii.gz",
        "Case-Mask.NII.GZ",
    ],
)
def test_masks_are_not_read_as_scans(tmp_path, name):
    save(volume(), tmp_path / "imagesTr" / "liver_0_0000.nii.gz")
    save(volume(1), tmp_path / name)
    found = find_series(tmp_path)
    assert [series.slices[0].file.name for series in found.series] == ["liver_0_0000.nii.gz"]
    (problem,) = found.problems
    assert problem.file == name and "mask" in problem.reason


def test_masks_without_a_name_are_known_by_their_header(tmp_path):
    meant = volume()
    meant.header.set_intent("label")
    save(meant, tmp_path / "a" / "one.nii.gz")
    small = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    save(nibabel.Nifti1Image(small, np.eye(4)), tmp_path / "a" / "two.nii.gz")
    with pytest.raises(InputError, match="mask"):
        read_ct(tmp_path / "a")
    save(volume(), tmp_path / "labelled-ct.nii.gz")
    save(volume(), tmp_path / "gtv" / "segments.nii.gz")
    assert len(find_series(tmp_path).series) == 2  # words that only begin so are none of a mask


@pytest.mark.parametrize("more", [(1,), (1, 1)])
def test_axes_of_length_one_are_none(tmp_path, more):
    image = volume()
    wide = nibabel.Nifti1Image(np.asarray(image.dataobj).reshape(*SHAPE, *more), image.affine)
    expected = read_ct(save(image, tmp_path / "a.nii")).dataset["hounsfield"][:]
    assert read_ct(save(wide, tmp_path / "b.nii")).dataset["hounsfield"][:] == expected
    series = np.zeros((*SHAPE, 2), np.int16)
    with pytest.raises(InputError, match="4 dimensions"):
        read_ct(save(nibabel.Nifti1Image(series, image.affine), tmp_path / "c.nii"))


@pytest.mark.parametrize("name", ["A.NII.GZ", "A.NII"])
def test_capital_letters_in_an_ending_do_not_matter(tmp_path, name):
    expected = read_ct(save(volume(), tmp_path / "b" / "b.nii")).dataset["hounsfield"][:]
    assert read_ct(save(volume(), tmp_path / name)).dataset["hounsfield"][:] == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_take_their_slice_with_them_and_are_counted(tmp_path, value):
    values = np.asarray(volume().dataobj).astype(np.float32)
    values[2, 3:6, 4] = value
    values[0, 0, 5:7] = value
    reading = read_ct(save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz"))
    assert reading.dataset["index"][:] == [0, 1, 2, 3, 7]
    assert [str(problem) for problem in reading.problems] == [
        "a.nii.gz has 3 voxels that are no numbers (NaN or infinite), in slice 4",
        "a.nii.gz has 1 voxels that are no numbers (NaN or infinite), in 2 slices from 5 to 6",
    ]


def test_numbers_that_lost_their_sign_get_it_back(tmp_path):
    values = np.asarray(volume().dataobj)
    expected = read_ct(save(volume(), tmp_path / "a.nii")).dataset["hounsfield"][:]
    unsigned = nibabel.Nifti1Image(values.astype(np.uint16), volume().affine)
    assert read_ct(save(unsigned, tmp_path / "b.nii")).dataset["hounsfield"][:] == expected


def test_a_sheared_volume_is_told(tmp_path):
    affine = np.diag([-1, -1, 2.5, 1.0])
    assert not read_ct(save(volume(affine=affine), tmp_path / "a.nii")).problems
    affine[1, 2] = 2.5 * np.tan(np.radians(15))
    (problem,) = read_ct(save(volume(affine=affine), tmp_path / "b.nii")).problems
    assert "sheared by 15.0 degrees" in problem.reason
    turn = np.radians(20)  # as a whole, which shears nothing
    cos, sin = np.cos(turn), np.sin(turn)
    affine[:3, :3] = [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ np.diag([-1, -1, 2.5])
    assert not read_ct(save(volume(affine=affine), tmp_path / "c.nii")).problems
