"""Boxes drawn before a photo was turned or scaled lie where they should; shares are told apart."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from staged_training import InputError
from staged_training.runtime.photos import load_rgb
from vision_transfer.detection.task import read_detection_task

SIZE = (90, 60)
BOX = (12, 9, 48, 30)  # white in the image as it is stored


def write_photo(path, orientation=1, size=SIZE, **options):
    """A black photo that is white within the box, which is turned by its EXIF data."""
    image = Image.new("RGB", SIZE)
    image.paste("white", BOX)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.resize(size, Image.Resampling.NEAREST).save(path, exif=exif, **options)


def white_in(path):
    """Where the upright photo is white."""
    rows, columns = np.nonzero(np.asarray(load_rgb(path).convert("L")) > 128)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def read(folder, box, frame=SIZE, write="coco", ending="png"):
    """Read photos that all have this box, drawn on a frame of this size."""
    names = [f"{name}.{ending}" for name in "abcde"]
    for seed, name in enumerate(names):
        if not (folder / name).exists():
            Image.new("RGB", SIZE, (40 * seed, 0, 0)).save(folder / name)
    x1, y1, x2, y2 = box
    if write == "voc":
        for name in names:
            (folder / name).with_suffix(".xml").write_text(
                f"<annotation><size><width>{frame[0]}</width><height>{frame[1]}</height></size>"
                f"<object><name>x</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
                f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object></annotation>"
            )
        return read_detection_task(folder)
    others = [(0, 0, 1, 1) if max(box) <= 1 else (0, 0, 20, 20)] * 4
    boxes = [box, *others]
    size = {"width": frame[0], "height": frame[1]} if frame else {}
    content = {
        "images": [{"id": 0, "file_name": names[0], **size}]
        + [{"id": n, "file_name": names[n]} for n in range(1, 5)],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [
            {"image_id": n, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for n, (x1, y1, x2, y2) in enumerate(boxes)
        ],
    }
    (folder / "boxes.json").write_text(json.dumps(content))
    return read_detection_task(folder / "boxes.json")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
def test_boxes_of_the_stored_photo_are_turned_with_it(orientation, ending, tmp_path):
    write_photo(tmp_path / f"a.{ending}", orientation)
    task = read(tmp_path, BOX, ending=ending)
    np.testing.assert_allclose(task.boxes[0][0], white_in(task.paths[0]), atol=1e-4)
    assert task.sizes[0] == load_rgb(task.paths[0]).size
    assert len(task.problems) == (orientation != 1)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_the_upright_photo_stay(orientation, tmp_path):
    write_photo(tmp_path / "a.tif", orientation)
    box = white_in(tmp_path / "a.tif")
    task = read(tmp_path, tuple(map(int, box)), SIZE[::-1], ending="tif")
    assert task.boxes[0].tolist() == [box]
    assert task.sizes[0] == SIZE[::-1] and not task.problems


@pytest.mark.parametrize("write", ["coco", "voc"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(180, 120), (45, 30), (91, 60), (3000, 2000)])
def test_boxes_of_another_size_are_scaled_and_told(size, orientation, write, tmp_path):
    write_photo(tmp_path / "a.png", orientation, size)
    task = read(tmp_path, BOX, write=write)
    np.testing.assert_allclose(task.boxes[0][0], white_in(tmp_path / "a.png"), atol=max(size) / 60)
    (problem,) = (str(p) for p in task.problems)
    assert "1 images, such as a.png, are annotated at another size" in problem


@pytest.mark.parametrize("frame", [(60, 90), (90, 90), (416, 416), (90, 70)])
def test_boxes_of_another_shape_are_refused(frame, tmp_path):
    with pytest.raises(
        InputError, match=r"boxes.json: annotation 1 .* was drawn on \d+ x \d+ pixels"
    ):
        read(tmp_path, BOX, frame)


@pytest.mark.parametrize("frame", [None, (0, 0), ("", ""), (None, 60)])
def test_a_size_that_is_not_said_changes_nothing(frame, tmp_path):
    task = read(tmp_path, BOX, frame)
    assert task.boxes[0].tolist() == [list(BOX)] and not task.problems


@pytest.mark.parametrize("write", ["coco", "voc"])
def test_numbers_from_0_to_1_are_shares(write, tmp_path):
    shares = (0.1, 0.25, 0.5, 1.0)
    if write == "voc":  # whose pixels would count from 1
        shares = (0.1 - 1, 0.25 - 1, 0.5, 1.0)
    task = read(tmp_path, shares, write=write)
    np.testing.assert_allclose(task.boxes[0], [[9, 15, 45, 60]], rtol=1e-6)
    (problem,) = map(str, task.problems)
    assert "its boxes are made of numbers from 0 to 1: they were read as shares" in problem


def test_shares_in_a_table_are_told_from_pixels(tmp_path):
    for seed, name in enumerate("abcde"):
        Image.new("RGB", SIZE, (40 * seed, 0, 0)).save(tmp_path / f"{name}.png")
    rows = [{"file_name": f"{name}.png", "box": [0.1, 0.25, 0.5, 1]} for name in "abcde"]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = read_detection_task(tmp_path, box_column="box")
    np.testing.assert_allclose(task.boxes[4], [[9, 15, 45, 60]], rtol=1e-6)
    rows[0]["box"] = [9, 15, 45, 60]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = read_detection_task(tmp_path, box_column="box")
    assert list(map(len, task.boxes)) == [1, 0, 0, 0, 0]
    assert "row 2 was left out" in str(task.problems[0])
    assert "lies in its first pixel. Are its coordinates relative?" in str(task.problems[0])


@pytest.mark.parametrize(
    ("orientation", "size"), [(3, SIZE), (2, SIZE), (6, (60, 60)), (8, (60, 60))]
)
def test_turned_photos_whose_size_does_not_tell_are_told(orientation, size, tmp_path):
    write_photo(tmp_path / "a.png", orientation, size)
    task = read(tmp_path, (0, 0, 30, 30), size)
    assert task.boxes[0].tolist() == [[0, 0, 30, 30]]
    (problem,) = map(str, task.problems)
    assert "1 images, such as a.png, are turned by their EXIF data, and nothing says" in problem
    assert read(tmp_path, (0, 0, 30, 30), None).problems == task.problems


def test_shares_of_yolo_in_a_turned_photo_are_told(tmp_path):
    for n in range(5):
        write_photo(tmp_path / f"{n}.jpg", 6 if n == 3 else 1, (90 + n, 60))
        (tmp_path / f"{n}.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "classes.txt").write_text("x")
    (problem,) = map(str, read_detection_task(tmp_path).problems)
    assert "1 images, such as 3.jpg, are turned by their EXIF data, and nothing says" in problem


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_once_as_other_files_are(orientation, compression, tmp_path):
    write_photo(tmp_path / "a.png", orientation)
    write_photo(tmp_path / "a.tif", orientation, compression=compression)
    task = read(tmp_path, (0, 0, 5, 5), None, ending="tif")
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    assert np.array_equal(load_rgb(tmp_path / "a.tif"), upright)
    assert task.sizes[0] == upright.size
