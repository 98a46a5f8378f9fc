"""Splits that come with captions are used; the layouts of Flickr and of COCO as they are found."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from staged_training import InputError
from vision_transfer.captioning.task import read_caption_task, words

PARTS = {"train": range(5), "val": range(5, 7), "test": range(7, 9)}
NAMES = [f"{number}.jpg" for number in range(9)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "my training set"


def write_images(folder, numbers=range(9)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / NAMES[number])


def caption(number):
    return f"A dog | jumps, {number} times"


def part_of(number):
    return next(part for part, numbers in PARTS.items() if number in numbers)


def karpathy(folder):
    write_images(folder / "val2014")
    parts = {0: "restval"}
    images = [
        {
            "filepath": "val2014",
            "filename": name,
            "split": parts.get(number, part_of(number)),
            "sentences": [{"raw": caption(number), "tokens": ["a", "dog"], "sentid": number}],
        }
        for number, name in enumerate(NAMES)
    ]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    return folder


def karpathy_in_one_folder(folder):
    karpathy(folder)
    (folder / "val2014").rename(folder / "images")
    return folder / "dataset_coco.json"


def flickr8k(folder):
    write_images(folder / "Flicker8k_Dataset")
    lines = [f"{name}#0\t{caption(n)}\n" for n, name in enumerate(NAMES)]
    (folder / "Flickr8k.token.txt").write_text("".join(lines))
    for part, numbers in PARTS.items():
        file = folder / f"Flickr_8k.{part.replace('val', 'dev')}Images.txt"
        file.write_text("\n".join(NAMES[number] for number in numbers))
    return folder


def flickr30k(folder):
    write_images(folder / "flickr30k_images")
    lines = [f"{name}| 0| {caption(n)}\n" for n, name in enumerate(NAMES)]
    lines[4] = lines[4].replace("0|", "0  ")  # as one row of the original
    header = "image_name| comment_number| comment\n"
    (folder / "results.csv").write_text("\ufeff" + header + "".join(lines))
    for part, numbers in PARTS.items():
        (folder / f"{part}.txt").write_text("\n".join(str(number) for number in numbers))
    return folder


def coco(folder):
    (folder / "annotations").mkdir(parents=True)
    for part, numbers in PARTS.items():
        write_images(folder / f"{part}2014", numbers)
        content = {
            "images": [{"id": n, "file_name": NAMES[n]} for n in numbers],
            "annotations": [{"id": n, "image_id": n, "caption": caption(n)} for n in numbers],
        }
        file = folder / "annotations" / f"captions_{part}2014.json"
        file.write_text(json.dumps(content))
        instances = {**content, "annotations": [], "categories": []}
        file.with_name(f"instances_{part}2014.json").write_text(json.dumps(instances))
    return folder / "annotations"


def table(folder):
    write_images(folder)
    rows = [
        {"file_name": name, "text": caption(n), "split": part_of(n).replace("val", "validation")}
        for n, name in enumerate(NAMES)
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def tables(folder):
    for part, numbers in PARTS.items():
        write_images(folder / part, numbers)
        rows = [{"file_name": NAMES[n], "text": caption(n)} for n in numbers]
        (folder / part / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.parametrize(
    "write",
    [karpathy, karpathy_in_one_folder, flickr8k, flickr30k, coco, table, tables],
    ids=lambda write: write.__name__,
)
def test_a_split_that_comes_with_captions_is_used_and_not_mixed(write, folder):
    task = read_caption_task(write(folder))
    assert not task.problems and not task.skipped and task.own_folds
    said = {path.name: captions for path, captions in zip(task.paths, task.captions, strict=True)}
    assert said == {name: [words(caption(n))] for n, name in enumerate(NAMES)}
    split = [{int(task.paths[row].stem) for row in rows} for rows in task.split(0)]
    assert split == [set(numbers) for numbers in PARTS.values()]
    assert task.fold_numbers == [0]


def test_the_folder_above_the_annotations_of_coco_serves_too(folder):
    source = coco(folder)
    above, own = read_caption_task(source.parent), read_caption_task(source)
    assert (above.paths, above.captions) == (own.paths, own.captions)
    assert above.folds.tolist() == own.folds.tolist()


def test_copies_in_several_parts_of_a_split_are_told(folder):
    source = table(folder)
    (folder / "8.jpg").write_bytes((folder / "0.jpg").read_bytes())
    (problem,) = map(str, read_caption_task(source).problems)
    assert "1 examples have copies in several parts: test examples may have been" in problem


def test_a_file_of_one_part_is_dealt_into_folds(folder):
    source = coco(folder)
    content = json.loads((source / "captions_train2014.json").read_text())
    task = read_caption_task(source / "captions_train2014.json")
    assert (len(task.paths), task.own_folds) == (5, False)
    assert task.paths[0] == folder / "train2014" / "0.jpg"
    (source / "captions_train.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="no file of captions in it that is known"):
        read_caption_task(source)


def test_captions_of_images_in_no_list_are_left_out_and_counted(folder):
    source = flickr8k(folder)
    (source / "Flickr_8k.testImages.txt").write_text("7.jpg\n\n")
    task = read_caption_task(source)
    assert len(task.paths) == 8
    (problem,) = map(str, task.problems)
    assert "1 of 9 captions were left out: their images are in no list" in problem


def test_captions_are_those_that_pycocotools_reads(folder, capsys):
    source = coco(folder) / "captions_train2014.json"
    task, other = read_caption_task(source), COCO(source)
    capsys.readouterr()
    for path, captions in zip(task.paths, task.captions, strict=True):
        (image,) = (image for image in other.dataset["images"] if image["file_name"] == path.name)
        marks = other.loadAnns(other.getAnnIds(image["id"]))
        assert captions == [words(mark["caption"]) for mark in marks]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filename": None}, "image 2 has no 'filename' or no 'sentences'"),
        ({"sentences": []}, "image 2 has no 'filename' or no 'sentences'"),
        ({"sentences": [{"tokens": ["a"]}]}, r"image 2: a sentence of 1\.jpg has no 'raw'"),
        ({"split": "other"}, r"1 of 9 rows, the first of them row 2, are in no part of the split"),
    ],
)
def test_what_is_missing_in_the_splits_of_karpathy_is_told(changes, message, folder):
    file = karpathy(folder) / "dataset_coco.json"
    content = json.loads(file.read_text())
    content["images"][1] |= changes
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_caption_task(file)
