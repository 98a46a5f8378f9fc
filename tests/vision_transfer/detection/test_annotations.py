"""Boxes are read as people have them; what cannot be a box is refused by file and row."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from staged_training import InputError
from vision_transfer.detection.annotations import read_annotations
from vision_transfer.detection.task import read_detection_task

from .conftest import PETS

WHOLE = [0, 0, 100, 80]
VOC = """<annotation><filename>{name}</filename>{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>
<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"""


def rows_of(box, fold=0, name="a.jpg"):
    """The row of a box, and rows that make a task of it."""
    others = [
        {"file_name": f"{n}.jpg", "head_box": WHOLE, "fold": f} for n, f in (("b", 1), ("c", 2))
    ]
    return [{"file_name": name, "head_box": box, "fold": fold}, *others]


def read(path):
    return read_detection_task(path, box_column="head_box")


def test_the_shipped_heads_are_read_with_their_folds():
    task = read_detection_task(PETS, box_column="head_box")
    assert task.names == ["head"]
    assert (len(task.paths), task.own_folds) == (370, True)
    assert task.problems == []
    np.testing.assert_allclose(task.boxes[0], [[44.2, 29.4, 260.9, 192.2]], rtol=1e-6)
    assert task.sizes[0] == (368, 256)
    (shares,) = task.true_boxes([0])
    np.testing.assert_allclose(shares.corners[0, 0], 44.2 / 368, rtol=1e-6)


def test_a_column_of_classes_gives_them_to_the_boxes():
    task = read_detection_task(PETS, box_column="head_box", label_column="species")
    assert task.names == ["cat", "dog"]
    assert sum(labels == [0] for labels in task.labels) == 120


def test_coco_files_are_read_and_crowds_left_out(coco):
    path = coco(
        [
            {"id": 1, "image_id": 0, "category_id": 9, "bbox": [10, 20, 30, 40]},
            {"id": 2, "image_id": 0, "category_id": 7, "bbox": [0, 0, 5, 5]},
            {"id": 3, "image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5], "iscrowd": 1},
        ]
    )
    a, b, c = read_annotations(path, None, "objects", None)
    assert [(m.label, tuple(m.corners)) for m in a.boxes] == [
        ("dog", (10, 20, 40, 60)),
        ("cat", (0, 0, 5, 5)),
    ]
    assert (b.boxes, c.boxes) == ([], [])
    assert a.file == path.parent / "a.jpg"


def test_voc_folders_are_read_their_pixels_counted_from_one(folder):
    (folder / "Annotations").mkdir()
    (folder / "JPEGImages").mkdir()
    box = OBJECT.format(label="cat", x1=1, y1=11, x2=100, y2=80)
    for name in "abc":
        (folder / f"{name}.jpg").rename(folder / "JPEGImages" / f"{name}.jpg")
        objects = box if name == "a" else ""
        text = VOC.format(name=f"{name}.jpg", objects=objects)
        (folder / "Annotations" / f"{name}.xml").write_text(text)
    a, b, _ = read_annotations(folder, None, "objects", None)
    assert [(m.label, tuple(m.corners)) for m in a.boxes] == [("cat", (0, 10, 100, 80))]
    assert b.boxes == []
    (folder / "Annotations" / "b.xml").write_text("<annotation>")
    with pytest.raises(InputError, match=r"b.xml: cannot be read as annotations of VOC"):
        read_annotations(folder, None, "objects", None)


def test_objects_of_datasets_are_read_and_images_without_boxes_kept(table):
    path = table(
        {"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": ["x"]}, "fold": 0},
        {"file_name": "b.jpg", "objects": {"bbox": [], "categories": []}, "fold": 1},
        {"file_name": "c.jpg", "objects": None, "fold": 2},
    )
    task = read_detection_task(path)
    assert [boxes.tolist() for boxes in task.boxes] == [[[1, 2, 4, 6]], [], []]
    assert task.names == ["x"]


def test_what_stands_out_of_its_image_is_cut_and_told(table):
    task = read(table(*rows_of([-20, 10, 50, 90.5])))
    assert task.boxes[0].tolist() == [[0, 10, 50, 80]]
    (problem,) = task.problems
    assert "metadata.jsonl: row 1 was cut" in str(problem)
    assert "extends beyond it by 20 pixels" in str(problem)


def test_a_box_without_area_is_left_out_and_told(table):
    task = read(table(*rows_of([10, 10, 10, 30])))
    assert task.labels[0] == []
    assert "row 1 was left out: the box [10, 10, 10, 30] of a.jpg has no area" in str(
        task.problems[0]
    )


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([50, 10, 20, 40], r"row 1: the box \[50, 10, 20, 40\] of a.jpg ends before it begins"),
        ([100, 0, 120, 20], r"row 1: .* lies outside it; the image is 100 x 80 pixels"),
        ([10, 10, 20], r"row 1: .* is not four numbers"),
        ([10, 10, 20, None], r"row 1: .* is not four numbers"),
        ("10 10 20 20", r"row 2: 'head_box' is of another kind than in the rows above"),
    ],
)
def test_what_cannot_be_a_box_is_refused_by_file_and_row(box, message, table):
    with pytest.raises(InputError, match=f"metadata.jsonl: {message}"):
        read(table(*rows_of(box)))


def test_a_text_that_is_no_box_is_refused_by_its_row(table):
    rows = [row | {"head_box": "10 10 20 20"} for row in rows_of(WHOLE)]
    with pytest.raises(InputError, match=r"row 1: '10 10 20 20' is not a box. Write \[x1, y1"):
        read(table(*rows))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            {"image_id": 0, "category_id": 8},
            r"of category 8, which is not in `categories`: 7 \(cat\)",
        ),
        ({"image_id": 5, "category_id": 7}, "is of image 5, which is not in `images`"),
        ({"image_id": [0], "category_id": 7}, r"is of image \[0\], which is not in `images`"),
        ({"image_id": 0, "category_id": 7, "bbox": [1, 2]}, r"\[1, 2\] is not a box"),
    ],
)
def test_coco_annotations_of_unknown_things_are_refused_by_number(annotation, message, coco):
    item = {"id": 3, "bbox": [0, 0, 5, 5]} | annotation
    with pytest.raises(InputError, match=rf"boxes.json: annotation 1 \(id 3\).*{message}"):
        read_annotations(coco([item]), None, "objects", None)


def test_other_files_and_images_that_are_not_there_are_told(folder, coco, table):
    (folder / "boxes.json").write_text("{}")
    with pytest.raises(InputError, match="is not in COCO's format"):
        read_annotations(folder / "boxes.json", None, "objects", None)
    with pytest.raises(InputError, match=r"has no column 'objects'\. Its columns are: file_name"):
        read_detection_task(table(*rows_of(WHOLE)))
    with pytest.raises(InputError, match="there are no boxes"):
        read(table(*({**row, "head_box": None} for row in rows_of(WHOLE))))
    task = read(table(*rows_of(WHOLE), {"file_name": "d.jpg", "head_box": WHOLE, "fold": 0}))
    assert [str(item) for item in task.skipped] == ["d.jpg does not exist"]


def test_boxes_are_those_of_the_upright_image(folder, table):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (100, 80)).save(folder / "a.jpg", exif=exif)
    task = read(table(*rows_of([0, 0, 80, 100])))
    assert (task.sizes[0], task.problems) == ((80, 100), [])


@given(
    st.lists(st.floats(-50, 150, allow_nan=False), min_size=4, max_size=4),
)
def test_a_box_that_is_taken_lies_within_its_image(tmp_path_factory, box):
    folder = tmp_path_factory.mktemp("any")
    for name in "abc":
        Image.new("RGB", (100, 80)).save(folder / f"{name}.png")
    rows = [{**row, "file_name": row["file_name"][0] + ".png"} for row in rows_of(box)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    try:
        task = read(folder)
    except InputError as error:
        assert "row 1" in str(error)
        return
    for x1, y1, x2, y2 in task.boxes[0]:
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 80
