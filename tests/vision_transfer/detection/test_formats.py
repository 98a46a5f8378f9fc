"""The same boxes read equal, whichever label tool wrote them; splits that come with them stay."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from staged_training import InputError
from vision_transfer.detection.task import read_detection_task

from .label_tools import (
    BOXES,
    SPLIT,
    WHOLE,
    coco_file,
    coco_of,
    images_in,
    parts_of,
    roboflow_coco,
    roboflow_yolo,
    voc_folder,
    voc_lists,
    voc_of,
    write_image,
    yolo_beside_images,
    yolo_description,
    yolo_folders,
)


def boxes_of(task):
    """By image, the class and the corners of each box."""
    return {
        path.stem: [
            (task.names[label], tuple(box.round(3).tolist()))
            for label, box in zip(labels, boxes, strict=True)
        ]
        for path, labels, boxes in zip(task.paths, task.labels, task.boxes, strict=True)
    }


@pytest.mark.parametrize("write", WHOLE, ids=lambda write: write.__name__)
def test_the_same_boxes_read_equal_whoever_wrote_them(write, tmp_path):
    task = read_detection_task(write(tmp_path))
    assert boxes_of(task) == BOXES
    assert not task.own_folds and not task.skipped and not task.problems
    assert np.bincount(task.folds).min() >= 2


@pytest.mark.parametrize("write", SPLIT, ids=lambda write: write.__name__)
def test_a_split_that_comes_with_boxes_is_used_and_not_mixed(write, tmp_path):
    task = read_detection_task(write(tmp_path))
    assert boxes_of(task) == BOXES
    assert task.own_folds and not task.problems
    split = [{task.paths[row].stem for row in rows} for rows in task.split(0)]
    assert split == [set(names) for names in parts_of().values()]


@pytest.mark.parametrize("write", [roboflow_coco, roboflow_yolo], ids=lambda write: write.__name__)
def test_an_export_without_a_test_part_is_tested_on_its_validation_part(write, tmp_path):
    source = write(tmp_path)
    (source / "test").rename(tmp_path.parent / f"away of {write.__name__}")
    task = read_detection_task(source)
    train, validation, test = ({task.paths[row].stem for row in rows} for rows in task.split(0))
    parts = parts_of()
    assert test == set(parts["valid"])
    assert train | validation == set(parts["train"]) and validation
    told = [str(problem) for problem in task.problems]
    assert any("`test` is ../test/images, which is not there" in t for t in told) == (
        write is roboflow_yolo
    )


def test_versions_that_roboflow_made_of_a_photo_stay_together(tmp_path):
    names = [f"{n}_jpg.rf.{version:032x}" for n in range(10) for version in (n, n + 7)]
    for seed, name in enumerate(names):
        write_image(tmp_path / "train" / f"{name}.jpg", seed)
        (tmp_path / "train" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2")
    (tmp_path / "train" / "_darknet.labels").write_text("cat")
    task = read_detection_task(tmp_path)
    folds = dict(zip([path.stem for path in task.paths], task.folds, strict=True))
    assert all(folds[a] == folds[b] for a, b in zip(names[::2], names[1::2], strict=True))
    assert np.bincount(task.folds).tolist() == [4] * 5


def test_copies_in_several_parts_of_a_split_are_told(tmp_path):
    source = roboflow_coco(tmp_path)
    copy = (source / "train" / "photo 0.jpg").read_bytes()
    (source / "valid" / "photo 7.jpg").write_bytes(copy)
    (problem,) = map(str, read_detection_task(source).problems)
    assert "1 examples have copies in several parts: test examples may have been" in problem


def test_boxes_are_those_that_pycocotools_reads(tmp_path, capsys):
    content = coco_of(BOXES)
    content["annotations"][2]["iscrowd"] = 1
    content["annotations"][3]["bbox"] = [0.5, 1.25, 30.75, 2.5]
    images_in(tmp_path)
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    task = read_detection_task(tmp_path)
    other = COCO(tmp_path / "boxes.json")
    capsys.readouterr()
    for image, labels, boxes in zip(other.dataset["images"], task.labels, task.boxes, strict=True):
        marks = other.loadAnns(other.getAnnIds(image["id"], iscrowd=False))
        assert [task.names[label] for label in labels] == [
            other.loadCats(mark["category_id"])[0]["name"] for mark in marks
        ]
        corners = np.array([mark["bbox"] for mark in marks]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_array_equal(boxes, corners)
    (problem,) = task.problems
    assert "1 of 12 annotations were left out: they are marked as crowds" in str(problem)


@pytest.mark.parametrize(
    "filename",
    ["photo 1", "photo 1.png", "C:\\Users\\ann\\photo 1.jpg", "/home/ann/x.jpg", "", "other.jpg"],
)
def test_the_name_of_the_xml_file_names_the_image(filename, tmp_path):
    source = voc_folder(tmp_path)
    for name in BOXES:
        named = filename.replace("photo 1", name)
        (source / "Annotations" / f"{name}.xml").write_text(voc_of(name, named))
    task = read_detection_task(source)
    assert boxes_of(task) == BOXES and not task.skipped


def test_an_image_is_also_found_by_what_the_xml_file_says(tmp_path):
    source = voc_folder(tmp_path)
    for number, name in enumerate(BOXES):
        file = source / "Annotations" / f"{name}.xml"
        file.write_text(voc_of(name, f"D:\\set\\{name}.JPG"))
        file.rename(file.with_name(f"{number:06}.xml"))
    assert boxes_of(read_detection_task(source)) == BOXES


def test_strays_of_a_mac_are_no_annotations_and_upper_case_endings_are(tmp_path):
    source = voc_folder(tmp_path)
    for file in list((source / "Annotations").iterdir()):
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
        (source / "JPEGImages" / f"._{file.stem}.jpg").write_bytes(b"\0\5\x16\7")
        file.rename(file.with_suffix(".XML"))
    (source / "Annotations" / ".ipynb_checkpoints").mkdir()
    (source / "Annotations" / ".ipynb_checkpoints" / "a.xml").write_text("<annotation/>")
    (source / "Annotations" / "tracks.xml").write_text("<annotations/>")
    task = read_detection_task(source)
    assert boxes_of(task) == BOXES
    (problem,) = task.problems
    assert "tracks.xml was left out: <annotations> is not of VOC" in str(problem)


def test_images_in_no_list_of_voc_are_left_out_and_counted(tmp_path):
    source = voc_lists(tmp_path)
    (source / "ImageSets" / "Main" / "test.txt").unlink()
    task = read_detection_task(source)
    assert len(task.paths) == 9
    (problem,) = task.problems
    assert "3 of 12 .xml files were left out: they stand in no list" in str(problem)


def test_lists_of_voc_may_name_files_put_parts_together_or_lie_deeper(tmp_path):
    voc_lists(tmp_path / "VOC2007")
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    for part in ("train", "val", "test"):
        names = (lists / f"{part}.txt").read_text().splitlines()
        (lists / f"{part}.txt").write_text("".join(f"{name}.jpg\n" for name in names))
    split = read_detection_task(tmp_path).split(0)
    assert [len(rows) for rows in split] == [6, 3, 3]
    (lists / "trainval.txt").write_text("\n".join(f"photo {n}" for n in range(9)))
    assert [len(rows) for rows in read_detection_task(tmp_path).split(0)] == [6, 3, 3]
    (lists / "train.txt").unlink()
    (lists / "val.txt").unlink()
    task = read_detection_task(tmp_path)
    assert len(task.split(0).test) == 3 and len(task.paths) == 12 and not task.problems


def test_a_description_may_call_its_parts_otherwise(tmp_path):
    source = roboflow_yolo(tmp_path)
    file = source / "data.yaml"
    file.write_text(file.read_text().replace("val:", "valid:"))
    assert [len(rows) for rows in read_detection_task(source).split(0)] == [6, 3, 3]


def test_a_description_may_lie_one_folder_below(tmp_path):
    task = read_detection_task(roboflow_yolo(tmp_path / "export").parent)
    assert boxes_of(task) == BOXES
    assert [len(rows) for rows in task.split(0)] == [6, 3, 3]


def test_linked_folders_are_read_whatever_the_format(tmp_path):
    for write in (voc_folder, yolo_folders):
        source = write(tmp_path / write.__name__)
        folders = [folder for folder in source.iterdir() if folder.is_dir()]
        for folder in folders:
            away = tmp_path / f"{write.__name__} away" / folder.name
            away.parent.mkdir(exist_ok=True)
            folder.rename(away)
            folder.symlink_to(away)
        assert boxes_of(read_detection_task(source)) == BOXES


def test_pixels_count_from_zero_where_a_zero_or_a_fraction_shows_it(tmp_path):
    source = voc_folder(tmp_path)
    for name in BOXES:
        file = source / "Annotations" / f"{name}.xml"
        text = voc_of(name)
        for _, (x1, y1, _, _) in BOXES[name]:
            text = text.replace(f"<xmin>{x1 + 1}<", f"<xmin>{x1}.0<")
            text = text.replace(f"<ymin>{y1 + 1}<", f"<ymin>{y1}.00<")
        file.write_text(text)
    first = source / "Annotations" / "photo 1.xml"
    first.write_text(first.read_text().replace("<xmin>1.0<", "<xmin>0.5<"))
    expected = BOXES | {"photo 1": [("zebra", (0.5, 4, 41, 51))]}
    assert boxes_of(read_detection_task(source)) == expected


def test_polygons_key_points_and_confidences_of_yolo_give_boxes(tmp_path):
    source = yolo_beside_images(tmp_path)
    (source / "photo 0.txt").write_text("2 0.1 0.2 0.5 0.1 0.3 0.75\n")
    (source / "photo 3.txt").write_text("2.0 0.5 0.5 0.2 0.5 0.87\n\n")
    expected = {"photo 0": [("dog", (12, 8, 60, 60))], "photo 3": [("dog", (48, 20, 72, 60))]}
    assert boxes_of(read_detection_task(source)) == BOXES | expected
    for file in source.glob("photo*.txt"):
        lines = [f"{line} 0.1 0.1 2 0.9 0.9 2\n" for line in file.read_text().splitlines() if line]
        file.write_text("".join(lines[:1]))
    (source / "data.yaml").write_text("names: [no, cat, dog]\nkpt_shape: [2, 3]\n")
    found = boxes_of(read_detection_task(source))
    assert found["photo 1"] == [("no", BOXES["photo 1"][0][1])]  # no truth value of YAML


def test_images_and_files_of_yolo_without_the_other_are_told(tmp_path):
    source = yolo_folders(tmp_path)
    (source / "labels" / "photo 5.txt").rename(source / "labels" / "photo 99.txt")
    write_image(source / "logo.png")
    task = read_detection_task(source)
    assert boxes_of(task) == BOXES | {"photo 5": []}
    told = [str(problem) for problem in task.problems]
    assert len(told) == 2
    assert "1 images, such as photo 5.jpg, have no file of boxes: they show nothing" in told[0]
    assert "1 files of boxes, such as photo 99.txt, were left out: they have no image" in told[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.2", r"photo 1.txt: line 1: has 4 numbers. A box takes 5, its class first"),
        ("1 60 40 20 10", r"line 1: takes shares of the image, from 0 to 1, and not pixels"),
        ("7 0.5 0.5 0.2 0.2", r"there is no class 7. The classes are 0 \(zebra\), 1 \(cat\)"),
        ("cat 0.5 0.5 0.2 0.2", r"'cat 0.5 0.5 0.2 0.2' is not made of numbers"),
        ("1 nan 0.5 0.2 0.2", r"photo 1.txt: line 1: .* is not four numbers"),
        ("1 0.5 0.5 -0.2 0.2", r"photo 1.txt: line 1: .* ends before it begins"),
    ],
)
def test_a_line_that_is_no_box_is_refused_by_file_and_line(line, message, tmp_path):
    source = yolo_beside_images(tmp_path)
    (source / "photo 1.txt").write_text(line)
    with pytest.raises(InputError, match=message):
        read_detection_task(source)


def test_yolo_without_names_or_with_an_image_in_two_parts_is_refused(tmp_path):
    source = yolo_folders(tmp_path)
    (source / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"nothing names its classes. Add a data.yaml"):
        read_detection_task(source)
    (source / "train.txt").write_text("images/photo 1.jpg\nimages/photo 2.jpg\n")
    (source / "val.txt").write_text("images/photo 2.jpg\n")
    (source / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [a, b, c]\n")
    with pytest.raises(InputError, match=r"photo 2.jpg is in `train` and in `val`"):
        read_detection_task(source)
    (source / "data.yaml").write_text("names: 3\n")
    with pytest.raises(InputError, match=r"data.yaml: takes `names`, a list of the classes"):
        read_detection_task(source)
    (source / "data.yaml").write_text("names:\n  0: cat\n  0: dog\n")
    with pytest.raises(InputError, match=r"data.yaml, line 3: 0 stands twice"):
        read_detection_task(source)
    (source / "data.yaml").write_text("names: [a\n")
    with pytest.raises(InputError, match=r"data.yaml is not YAML"):
        read_detection_task(source)


def test_images_may_be_elsewhere_whatever_the_format(tmp_path):
    for write in (coco_file, voc_folder, yolo_folders, yolo_description):
        source = write(tmp_path / write.__name__)
        folder = source if source.is_dir() else source.parent
        photos = next(folder.rglob("photo 1.jpg")).parent
        elsewhere = tmp_path / f"photos of {write.__name__}"
        elsewhere.mkdir()
        for file in photos.glob("*.jpg"):
            file.rename(elsewhere / file.name)
        assert boxes_of(read_detection_task(source, elsewhere)) == BOXES


def test_a_rare_class_refuses_nothing_and_is_named(tmp_path):
    source = coco_file(tmp_path)
    content = json.loads(source.read_text())
    content["categories"].append({"id": 9, "name": "okapi"})
    content["annotations"][0]["category_id"] = content["annotations"][-1]["category_id"] = 9
    source.write_text(json.dumps(content))
    task = read_detection_task(source)
    assert "okapi" in task.names and set(task.folds) == set(range(5))
    told = [str(problem) for problem in task.problems if "okapi" in str(problem)]
    assert told[0].endswith("'okapi' is in 2 of 12 images, and 3 of 5 parts have none of it")
    rows = [row for row, labels in enumerate(task.labels) if task.names.index("okapi") in labels]
    assert len(set(task.folds[rows])) == 2


def test_a_class_that_only_stands_beside_rarer_ones_refuses_nothing(tmp_path):
    for seed in range(10):
        write_image(tmp_path / f"{seed}.jpg", seed)
        lines = [f"{label} 0.5 0.5 0.2 0.2" for label in range(3) if seed >= 5 * (label == 1)]
        (tmp_path / f"{seed}.txt").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    task = read_detection_task(tmp_path)
    assert np.bincount(task.folds).tolist() == [2] * 5 and not task.problems


def test_a_box_in_each_row_of_a_table_is_one_image_with_all_of_them(tmp_path):
    images_in(tmp_path)
    rows = [
        {"file_name": f"{name}.jpg", "box": corners, "kind": label, "split": part}
        for part, names in parts_of().items()
        for name in names
        for label, corners in BOXES[name] or [("cat", None)]
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = read_detection_task(tmp_path, box_column="box", label_column="kind")
    assert boxes_of(task) == BOXES
    assert [len(rows) for rows in task.split(0)] == [6, 3, 3]
    rows[-1] |= {"file_name": rows[0]["file_name"]}
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"row 16 puts photo 0.jpg into fold test, and one before"):
        read_detection_task(tmp_path, box_column="box", label_column="kind")


def test_files_and_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no boxes in a format that is known"):
        read_detection_task(tmp_path)
    source = coco_file(tmp_path)
    (tmp_path / "more.json").write_text(source.read_text())
    with pytest.raises(InputError, match=r"boxes.json and more.json .* Give one of them"):
        read_detection_task(tmp_path)
    content = json.loads(source.read_text())
    content["images"][1]["id"] = content["images"][0]["id"]
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match="1 of the `images` have the id of another"):
        read_detection_task(source)


@pytest.mark.parametrize("prefix", ["sub/", "sub\\", "C:\\sub\\", "/home/ann/sub/", "./"])
def test_images_of_coco_are_found_whatever_path_they_had(prefix, tmp_path):
    source = coco_file(tmp_path)
    content = json.loads(source.read_text())
    for image in content["images"]:
        image["file_name"] = prefix + image["file_name"]
    source.write_text(json.dumps(content))
    assert boxes_of(read_detection_task(source)) == BOXES
    content["images"][1]["file_name"] = content["images"][2]["file_name"].replace("sub", "other")
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"1 images stand in it more than once, such as photo 2"):
        read_detection_task(source)
