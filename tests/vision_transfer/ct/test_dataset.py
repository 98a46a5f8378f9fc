"""Reading CT: true Hounsfield units, one summary of all that is wrong, and flat memory."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_rescale

from staged_training import InputError
from tests.vision_transfer.ct.scans import IDENTIFIERS, change, small_slice, write_series
from vision_transfer.ct import read_ct


def pixels(reading):
    return reading.dataset.with_format("numpy")["hounsfield"][:]


def test_slices_are_in_hounsfield_units_in_order_of_position(tmp_path):
    files = write_series(tmp_path)
    reading = read_ct(tmp_path)
    expected = [apply_rescale(d.pixel_array, d) for d in map(pydicom.dcmread, files)]
    assert np.array_equal(pixels(reading)[:, 0], np.stack(expected).clip(-1024))
    assert reading.dataset["file"][:] == [file.name for file in files]
    assert np.allclose(np.diff(reading.dataset["position"][:]), 2.5)


def test_a_slope_that_is_no_whole_number_is_applied(tmp_path):
    change(write_series(tmp_path, 1)[0], RescaleSlope="0.5", RescaleIntercept="-100.25")
    expected = (small_slice().pixel_array * 0.5 - 100.25).round()
    assert np.array_equal(pixels(read_ct(tmp_path))[0, 0], expected)


def test_slices_compressed_by_runs_read_the_same(tmp_path):
    file = write_series(tmp_path, 1)[0]
    plain = pixels(read_ct(file))
    data = pydicom.dcmread(file)
    data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    data.save_as(file)
    assert np.array_equal(pixels(read_ct(file)), plain)


def test_slices_compressed_by_jpeg_2000_read_the_same():
    compressed, plain = (get_testdata_file(f"693_{way}.dcm") for way in ("J2KR", "UNCR"))
    assert np.array_equal(pixels(read_ct(compressed)), pixels(read_ct(plain)))


def test_a_volume_of_nifti_reads_like_the_same_slices_of_dicom(tmp_path):
    files = write_series(tmp_path / "dicom")
    slices = np.stack([apply_rescale(d.pixel_array, d) for d in map(pydicom.dcmread, files)], -1)
    # DICOM counts columns to the left and rows to the back, which are the minus of NIfTI's axes.
    affine = np.diag([-0.661468, -0.661468, 2.5, 1])
    turned = nibabel.Nifti1Image(slices.transpose(1, 0, 2).astype(np.int16), affine)
    expected = pixels(read_ct(tmp_path / "dicom"))
    for name, image in {
        "same.nii": turned,
        "canonical.nii.gz": nibabel.as_closest_canonical(turned),
        "sagittal.nii": turned.as_reoriented([[1, 1], [2, -1], [0, -1]]),
    }.items():
        nibabel.save(image, tmp_path / name)
        reading = read_ct(tmp_path / name)
        assert np.array_equal(pixels(reading), expected)
        assert np.allclose(np.diff(reading.dataset["position"][:]), 2.5)


@pytest.mark.parametrize("value", [63536, -2000, 0, 40000])
@pytest.mark.parametrize("unsigned", [False, True])
def test_padding_is_air_with_a_sign_or_without(tmp_path, value, unsigned):
    file = write_series(tmp_path, 1)[0]
    expected = pixels(read_ct(file))[0, 0]
    data = small_slice()
    stored = data.pixel_array.copy()
    stored[:5] = np.array(value).astype(np.int16)
    data.PixelRepresentation = int(not unsigned)
    data.PixelData = stored.tobytes()
    if value == 63536:  # untold
        del data.PixelPaddingValue
    else:
        kind = np.uint16 if unsigned else np.int16
        data["PixelPaddingValue"].VR = "US" if unsigned else "SS"
        data["PixelPaddingValue"].value = int(np.array(value).astype(kind))
    for implicit in (False, True):
        data.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
        data.save_as(file)
        seen = pixels(read_ct(file))[0, 0]
        assert (seen[:5] == -1024).all()
        assert np.array_equal(seen[5:], expected[5:])


@pytest.mark.parametrize("encoding", [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("bare", [True, False])
def test_files_without_a_preamble_or_a_transfer_syntax_read_the_same(tmp_path, bare, encoding):
    files = write_series(tmp_path, 2)
    expected = pixels(read_ct(tmp_path))
    for file in files:
        data = pydicom.dcmread(file)
        data.PixelData = data.pixel_array.astype("<i2" if encoding[1] else ">i2").tobytes()
        data.remove_private_tags()
        del data.file_meta.TransferSyntaxUID
        if bare:
            data.preamble, data.file_meta = None, pydicom.dataset.FileMetaDataset()
        written = pydicom.Dataset(data)
        if not bare:
            written.preamble, written.file_meta = data.preamble, data.file_meta
        pydicom.dcmwrite(file, written, implicit_vr=encoding[0], little_endian=encoding[1])
        assert (file.read_bytes()[128:132] == b"DICM") is not bare
        assert "TransferSyntaxUID" not in pydicom.dcmread(file, force=True).file_meta
    reading = read_ct(tmp_path)
    assert np.array_equal(pixels(reading), expected) and not reading.problems


def test_a_compressed_slice_that_does_not_say_how_is_told(tmp_path):
    files = write_series(tmp_path)
    data = pydicom.dcmread(files[2])
    data.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    data.save_as(files[2])
    content = files[2].read_bytes()
    length = int.from_bytes(content[140:144], "little")  # of the meta information
    files[2].write_bytes(content[144 + length :])
    reading = read_ct(tmp_path)
    assert len(reading.dataset) == 4
    assert list(map(str, reading.problems)) == [
        f"{files[2].name} is compressed, and does not say how"
    ]


def test_what_only_begins_like_dicom_is_named_and_never_quoted(tmp_path, capfd, caplog):
    write_series(tmp_path)
    name = IDENTIFIERS["PatientName"].encode()
    (tmp_path / "a.bin").write_bytes(b"\x08\x00" + name * 99)
    (tmp_path / "b.dcm").write_bytes(b"\x08\x00\x60\x00CS\x0a\x00" + name)
    (tmp_path / "c.dcm").write_bytes(b"")
    reading = read_ct(tmp_path)
    assert len(reading.dataset) == 5
    assert {problem.file for problem in reading.problems} == {"a.bin", "b.dcm", "c.dcm"}
    told = [*capfd.readouterr(), caplog.text, reading.summary()]
    assert not [text for text in told if "Vanderbilt" in text]


def test_everything_wrong_with_a_folder_is_named_in_one_summary(tmp_path):
    files = write_series(tmp_path, 7)
    other = write_series(tmp_path, 2, prefix="other")
    files[4].unlink()  # a missing slice
    change(files[6], RescaleSlope=None)
    data = pydicom.dcmread(files[0])
    data.PixelData = data.PixelData[:1000]
    data.save_as(files[0])
    for name in ("SC_rgb_rle.dcm", "test-SR.dcm"):
        shutil.copy(get_testdata_file(name), tmp_path / name)
    reading = read_ct(tmp_path)
    kept = {file.name for file in (*files[1:4], files[5], *other)}
    assert set(reading.dataset["file"]) == kept
    summary = reading.summary().splitlines()
    assert summary[0] == "6 slices of 2 series of 1 patients"
    for file, reason in {
        "SC_rgb_rle.dcm": "secondary capture",
        "test-SR.dcm": "without an image",
        files[6].name: "no rescale slope",
        ".": "holds 2 series, kept apart",
        files[3].name: "1 missing",
        files[0].name: "cannot be decoded",
    }.items():
        assert [line for line in summary if line.startswith(file + " ") and reason in line]
    assert len(summary) == 1 + 6


def test_neighbours_are_stacked_in_order_and_never_over_a_gap(tmp_path):
    files = write_series(tmp_path, 7)
    single = pixels(read_ct(tmp_path))[:, 0]
    files[3].unlink()
    reading = read_ct(tmp_path, neighbours=1)
    assert reading.dataset["file"][:] == [files[1].name, files[5].name]
    assert np.array_equal(pixels(reading), [single[0:3], single[4:7]])


def test_a_broken_slice_takes_the_stacks_that_it_is_in_with_it(tmp_path):
    files = write_series(tmp_path, 6)
    data = pydicom.dcmread(files[0])
    data.PixelData = data.PixelData[:1000]
    data.save_as(files[0])
    reading = read_ct(tmp_path, neighbours=1)
    assert reading.dataset["file"][:] == [file.name for file in files[2:5]]
    assert [problem.file for problem in reading.problems] == [files[0].name]


def test_slices_are_interpolated_to_equal_steps(tmp_path):
    write_series(tmp_path, 3, step=2.0)
    reading = read_ct(tmp_path, step=1.0)
    whole = pixels(read_ct(tmp_path))[:, 0].astype(float)
    between = (whole[:-1] + whole[1:]) / 2
    seen = pixels(reading)[:, 0]
    assert np.array_equal(seen[::2], whole)
    assert np.abs(seen[1::2] - between).max() <= 0.5
    assert np.allclose(np.diff(reading.dataset["position"][:]), 1.0)


def test_pixels_are_resampled_to_equal_spacing_and_cut_to_size(tmp_path):
    write_series(tmp_path, 1)
    plain = pixels(read_ct(tmp_path))[0, 0]
    coarse = pixels(read_ct(tmp_path, spacing=4 * 0.661468))[0, 0]
    assert coarse.shape == (32, 32)
    assert abs(coarse.mean() - plain.mean()) < 2
    assert np.array_equal(pixels(read_ct(tmp_path, size=64))[0, 0], plain[32:96, 32:96])
    padded = pixels(read_ct(tmp_path, size=160))[0, 0]
    assert np.array_equal(padded[16:-16, 16:-16], plain)
    assert (padded[:16] == -1024).all()


def test_series_of_different_shapes_need_a_size(tmp_path):
    write_series(tmp_path / "a", 1)
    data = small_slice()
    data.Rows, data.PixelData = 64, data.PixelData[: len(data.PixelData) // 2]
    data.SOPInstanceUID = "1.2.3"
    (tmp_path / "b").mkdir()
    data.save_as(tmp_path / "b" / "half.dcm")
    with pytest.raises(InputError, match="Give a size"):
        read_ct(tmp_path)
    assert len(read_ct(tmp_path, size=64).dataset) == 2


def test_nothing_that_is_kept_says_who_the_patients_are(tmp_path, capfd, caplog, recwarn):
    files = write_series(tmp_path / "scans", 4)
    change(files[2], RescaleSlope=None)
    change(files[1], SOPInstanceUID=IDENTIFIERS["PatientID"])  # pydicom tells what is no UID
    caplog.clear()
    recwarn.clear()
    with caplog.at_level("DEBUG"):
        reading = read_ct(tmp_path / "scans")
    print(reading.summary())
    reading.dataset.save_to_disk(str(tmp_path / "saved"))
    cached = [Path(entry["filename"]) for entry in reading.dataset.cache_files]
    told = capfd.readouterr()
    warned = " ".join(str(warning.message) for warning in recwarn)
    texts = [told.out, told.err, caplog.text, warned, repr(reading.dataset.features)]
    kept = [file.read_bytes() for file in [*cached, *tmp_path.glob("saved/*")]]
    for value in IDENTIFIERS.values():
        assert not [text for text in texts if value in text]
        assert not [content for content in kept if value.encode() in content]


@pytest.mark.parametrize(
    "arguments", [{"size": 0}, {"spacing": -1.0}, {"step": 0.0}, {"neighbours": -1}]
)
def test_arguments_out_of_range_are_told_before_reading(tmp_path, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        read_ct(tmp_path / "nowhere", **arguments)


_PEAK = """
import resource, sys
from vision_transfer.ct import read_ct
read_ct(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def large_series(folder, count, way):
    """A series of a real slice of 512 x 512 pixels, plain (UNCR) or as JPEG 2000 (J2KR)."""
    folder.mkdir()
    data = pydicom.dcmread(get_testdata_file(f"693_{way}.dcm"))
    for number in range(count):
        data.SOPInstanceUID = f"1.2.3.{number}"
        data.ImagePositionPatient = [0.0, 0.0, 2.0 * number]
        data.save_as(folder / f"{number}.dcm")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    peaks = []
    for count in (20, 300):
        large_series(tmp_path / str(count), count, "UNCR")
        environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", _PEAK, str(tmp_path / str(count))]
        peaks.append(int(subprocess.check_output(command, env=environment)))
    few, many = peaks  # in KiB; the slices themselves are 150,000 of them
    assert many - few < 40_000


@pytest.mark.slow
def test_reading_compressed_slices_is_about_as_fast_as_decoding_them(tmp_path):
    large_series(tmp_path / "scans", 300, "J2KR")
    ratios = []
    for _ in range(3):
        start = time.perf_counter()
        for file in (tmp_path / "scans").iterdir():
            assert pydicom.dcmread(file).pixel_array.size
        decoded = time.perf_counter()
        assert len(read_ct(tmp_path / "scans").dataset) == 300
        ratios.append((time.perf_counter() - decoded) / (decoded - start))
        for file in (tmp_path / "scans").iterdir():
            file.touch()  # so that it is read again
    assert min(ratios) < 1.5
