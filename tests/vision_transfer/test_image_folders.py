"""Folders of photos as they come: parts of a data set, hidden folders, links, other files."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from staged_training import InputError
from staged_training.tables.parts import part_of
from transfer_app.prediction.photo_inputs import images
from vision_transfer.image_folders import find_images
from vision_transfer.image_task import read_image_task

SIZES = {"train": 12, "val": 3, "test": 4}


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def fill(folder, layout, parts=("train", "val", "test"), labels=("cat", "dog")):
    """Pictures in `layout`, such as `{part}/{label}`, as many as `SIZES` says."""
    number = 0
    for part in parts:
        for label in labels:
            for _ in range(SIZES.get(part_of(part)[:5].replace("valid", "val"), 3)):
                number += 1
                picture(folder / layout.format(part=part, label=label) / f"{number}.png", number)
    return folder


def parts_in(task):
    """The part of each image, by the folder or name it lies in."""
    split = task.split(0)
    return {task.paths[r].parts[-3]: n for n, rows in split._asdict().items() for r in rows}


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("training_set", "valid", "test_set"),
        ("train", "dev", "test1"),
        ("seg_train", "seg_valid", "seg_test"),
        ("TrainImages", "ValImages", "TestImages"),
    ],
)
def test_folders_of_parts_give_the_split_and_those_below_the_labels(parts, tmp_path):
    task = read_image_task(fill(tmp_path, "{part}/{label}", parts))
    assert task.names == ["cat", "dog"]
    assert parts_in(task) == dict(zip(parts, ("train", "validation", "test"), strict=True))
    assert [len(rows) for rows in task.split(0)] == [24, 6, 8]
    assert task.fold_numbers == [0]
    assert task.notes == [
        "The parts that came with the images are used: 24 images to train on, 6 to validate on, 8 "
        "to test on."
    ]


def test_parts_within_labels_and_repeated_folders_are_parts_too(tmp_path):
    within = read_image_task(fill(tmp_path / "within", "{label}/{part}"))
    assert within.names == ["cat", "dog"]
    assert [len(rows) for rows in within.split(0)] == [24, 6, 8]
    twice = read_image_task(fill(tmp_path / "twice", "{part}/{part}/{label}/breed"))
    assert twice.names == ["cat", "dog"]
    assert [len(rows) for rows in twice.split(0)] == [24, 6, 8]
    around = read_image_task(fill(tmp_path / "around", "archive/flowers/{part}/{label}"))
    assert around.names == ["cat", "dog"]
    assert [len(rows) for rows in around.split(0)] == [24, 6, 8]


@pytest.mark.parametrize("other", ["val", "test"])
def test_of_two_parts_a_fifth_of_the_training_part_validates(other, tmp_path):
    task = read_image_task(fill(tmp_path, "{part}/{label}", ("train", other)))
    train, validation, test = task.split(0)
    assert {task.paths[row].parts[-3] for row in test} == {other}
    assert {task.paths[row].parts[-3] for row in [*train, *validation]} == {"train"}
    assert len(validation) == 6  # of 24, 3 of each label


def test_few_examples_of_a_label_stay_to_be_learnt(tmp_path):
    fill(tmp_path, "{part}/{label}", ("train", "test"))
    for number in range(2):
        picture(tmp_path / "train" / "fox" / f"{number}.png", 90 + number)
        picture(tmp_path / "train" / "ape" / f"{number}.png", 80)  # copies
    task = read_image_task(tmp_path)
    counts = [[task.names[task.labels[row]] for row in rows] for rows in task.split(0)]
    assert [part.count("fox") for part in counts] == [1, 1, 0]
    assert [part.count("ape") for part in counts] == [2, 0, 0]
    assert [part.count("cat") for part in counts] == [9, 3, 4]


def test_copies_across_parts_and_folds_are_counted(tmp_path):
    told = "1 examples have copies in several parts: test examples may have been trained on."
    fill(tmp_path, "{part}/{label}")
    shutil.copy(tmp_path / "train" / "cat" / "1.png", tmp_path / "test" / "cat" / "z.png")
    used, copies = read_image_task(tmp_path).notes
    assert used.endswith("9 to test on.") and copies.endswith(told)
    names = [str(file.relative_to(tmp_path)) for file in find_images(tmp_path).files]
    labels = [name.split("/")[1] for name in names]
    write_table(tmp_path, names, label=labels, fold=[n % 3 for n in range(len(names))])
    (copies,) = read_image_task(tmp_path).notes
    assert copies.endswith(told)


def test_a_single_part_is_dealt_into_folds(tmp_path):
    task = read_image_task(fill(tmp_path, "{part}/{label}", ("train",)))
    assert (task.names, task.fold_numbers, task.notes) == (["cat", "dog"], list(range(5)), [])


def test_parts_without_labels_or_beside_others_are_refused_with_advice(tmp_path):
    fill(tmp_path / "loose", "{part}/{label}", ("train",))
    picture(tmp_path / "loose" / "test1" / "1.png", 77)
    with pytest.raises(InputError, match=r"test1/1.png lies in no sub-folder of a label.* alone"):
        read_image_task(tmp_path / "loose")
    for part in ("train", "test1"):
        picture(tmp_path / "kaggle" / part / "cat.0.png", 78)
    with pytest.raises(InputError, match=r"test1/cat.0.png lies in no sub-folder of a label"):
        read_image_task(tmp_path / "kaggle")
    fill(tmp_path / "mixed", "{part}/{label}")
    picture(tmp_path / "mixed" / "extra" / "cat" / "1.png", 79)
    with pytest.raises(InputError, match=r"like parts .*\(test, train, val\), .*\(extra\)"):
        read_image_task(tmp_path / "mixed")


def test_labels_that_are_called_like_parts_stay_labels(tmp_path):
    for number, label in enumerate(("train", "bus", "car") * 6):
        picture(tmp_path / label / f"{number}.png", number)
    assert read_image_task(tmp_path).names == ["bus", "car", "train"]
    for number, label in enumerate(("test tube", "test strip") * 6):
        picture(tmp_path / "b" / label / f"{number}.png", number)
    assert read_image_task(tmp_path / "b").names == ["test strip", "test tube"]
    for number, label in enumerate(("positive test/ann", "negative test/ben") * 6):
        picture(tmp_path / "c" / label / f"{number}.png", number)
    assert read_image_task(tmp_path / "c").names == ["negative test", "positive test"]
    for number, label in enumerate(("steam train", "freight train") * 6):
        picture(tmp_path / "d" / label / f"{number}.png", number)
    assert read_image_task(tmp_path / "d").names == ["freight train", "steam train"]


@pytest.mark.parametrize("parts", [("trn", "tst"), ("Schulung", "Probe"), ("fold1", "fold2")])
def test_labels_that_hold_the_same_folders_are_told(parts, tmp_path, caplog):
    for number in range(24):
        label = f"{parts[number % 2]}/{('cat', 'dog')[number // 12]}"
        picture(tmp_path / label / f"{number}.png", number)
    assert read_image_task(tmp_path).names == sorted(parts)
    assert "each holds the same folders (cat, dog). If these are the labels" in caplog.text


def test_parts_with_a_label_that_is_not_learnt_are_told_and_dealt_anew(tmp_path):
    fill(tmp_path, "{part}/{label}", ("train",))
    for number in range(10):
        picture(tmp_path / "test" / "fox" / f"{number}.png", 100 + number)
    task = read_image_task(tmp_path)
    assert task.fold_numbers == list(range(5))
    assert task.notes == [
        "The parts that came with the images are not used: no image to train on has the label "
        "'fox'. They were dealt anew."
    ]


def write_table(folder, names, **columns):
    rows = [{"file_name": n} | {k: v[i] for k, v in columns.items()} for i, n in enumerate(names)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_table_in_each_part_is_read_with_its_labels(tmp_path):
    fill(tmp_path, "{part}/{label}")
    for part in SIZES:
        names = [str(f.relative_to(tmp_path / part)) for f in find_images(tmp_path / part).files]
        write_table(tmp_path / part, names, label=[n[:3].upper() for n in names])
    task = read_image_task(tmp_path)
    assert task.names == ["CAT", "DOG"]
    assert [len(rows) for rows in task.split(0)] == [24, 6, 8]
    (tmp_path / "test" / "metadata.jsonl").unlink()
    with pytest.raises(InputError, match=r"train.metadata.jsonl describes.* test has no such"):
        read_image_task(tmp_path)


def test_a_column_of_parts_is_used_and_one_of_other_words_refused(tmp_path):
    fill(tmp_path, "{label}", ("train",))
    names = [str(file.relative_to(tmp_path)) for file in find_images(tmp_path).files]
    labels = [name[:3] for name in names]
    parts = ["Train", "train ", "TEST", "validation"] * 6
    write_table(tmp_path, names, label=labels, split=parts)
    task = read_image_task(tmp_path)
    assert [len(rows) for rows in task.split(0)] == [12, 6, 6]
    assert task.split(0).test.tolist() == list(range(2, 24, 4))
    assert "6 to test on" in task.notes[0]
    write_table(tmp_path, names, label=labels, split=parts, fold=[0, 1, 2] * 8)
    assert read_image_task(tmp_path).fold_numbers == [0, 1, 2]
    write_table(tmp_path, names, label=labels, split=["train", "b", *parts[2:]])
    with pytest.raises(InputError, match=r"row 2: the column 'split' says 'b'. Write train"):
        read_image_task(tmp_path)


def test_a_photo_under_two_labels_is_told(tmp_path):
    fill(tmp_path, "{label}", ("train",))
    shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "dog" / "z.png")
    shutil.copy(tmp_path / "cat" / "1.png", tmp_path / "cat" / "z.png")
    assert read_image_task(tmp_path).notes == [
        "1 images are there under several labels, such as cat/1.png (cat), a copy of "
        "dog/z.png (dog). Correct the labels."
    ]
    rows = {"file_name": ["cat/1.png", "cat/1.png", "cat/2.png", "dog/13.png", "dog/14.png"] * 3}
    labels = ["cat", "dog", "cat", "dog", "dog"] * 3
    folds = [0] * 5 + [1] * 5 + [2] * 5
    pd.DataFrame(rows | {"label": labels, "fold": folds}).to_csv(tmp_path / "t.csv", index=False)
    assert (
        "cat/1.png (cat), a copy of cat/1.png (dog)"
        in (read_image_task(tmp_path / "t.csv").notes[0])
    )


def test_hidden_folders_and_files_are_no_labels_and_are_told(tmp_path, capsys):
    fill(tmp_path, "{label}", ("train",))
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "cat/@eaDir", "#Recycle"):
        picture(tmp_path / name / "1.png", 50)
    picture(tmp_path / "cat" / "._1.png", 51)
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "dog" / "film.mp4").write_text("")
    (tmp_path / "dog" / "notes.txt").write_text("")
    task = read_image_task(tmp_path)
    assert (task.names, len(task.paths), task.skipped) == (["cat", "dog"], 24, [])
    hidden, others = task.notes
    assert hidden.startswith("Left out: 6 hidden or of a tool (")
    assert others == "Left out: 2 files of other kinds (.mp4, .txt)."
    assert len([*images(tmp_path).read()]) == 24
    assert capsys.readouterr().err.splitlines() == task.notes


def test_photos_of_all_endings_are_read_and_those_of_phones_told(tmp_path):
    image = Image.effect_noise((16, 16), 90).convert("RGB")
    endings = ["jfif", "JPE", "avif", "jp2", "j2k", "apng", "ppm", "tga", "mpo", "dib", "TIF"]
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number, ending in enumerate(endings):
            shade = image.point(lambda value, n=number, d=label: (value + 9 * n + len(d)) % 256)
            shade.save(tmp_path / label / f"{number}.{ending}")
    (tmp_path / "cat" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    task = read_image_task(tmp_path)
    assert len(task.paths) == 22
    assert list(map(str, task.skipped)) == [
        "phone.HEIC is HEIC, which cannot be read: save it as JPEG"
    ]


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    fill(tmp_path / "store", "{label}", ("train",))
    for label in ("cat", "dog"):
        (tmp_path / "pets").mkdir(exist_ok=True)
        (tmp_path / "pets" / label).symlink_to(tmp_path / "store" / label)
    (tmp_path / "store" / "cat" / "up").symlink_to(tmp_path / "pets")
    (tmp_path / "store" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    task = read_image_task(tmp_path / "pets")
    assert task.names == ["cat", "dog"]
    assert [str(item) for item in task.skipped] == ["gone.png does not exist"] * len(task.skipped)
    assert {path.name for path in task.paths} == {f"{n}.png" for n in range(1, 25)}
