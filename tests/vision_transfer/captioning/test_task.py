"""Captions in the layouts that people have; what cannot be used is refused or told, by its row."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from staged_training import InputError
from vision_transfer.captioning.task import MOST_WORDS, read_caption_task, words

SHIPPED = Path(__file__).parents[3] / "recipes" / "data" / "pets"
LAYOUTS = ["pets", "imagefolder", "csv", "parquet", "flickr", "flickr tokens", "coco"]
LAYOUTS += ["flickr30k", "flickr30k tokens", "flickr30k commas", "karpathy"]
COUNT = 6


def captions_of(number):
    return [f"A picture of {number} dots.", f'Dots, "{number}" of them, on a wall']


@pytest.fixture
def images(tmp_path):
    """Six pictures in a folder of a data set."""
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "set" / f"{number}.png")
    return tmp_path / "set"


def write(layout, folder, rows):
    """Write captions of the pictures; returns what to read."""
    names = [f"{number}.png" for number, _ in rows]
    table = pd.DataFrame({"file_name": names, "caption": [text for _, text in rows]})
    if layout == "pets":
        grouped = {name: list(part) for name, part in table.groupby("file_name")["caption"]}
        lines = [json.dumps({"file_name": n, "captions": c}) for n, c in grouped.items()]
        (folder / "captions.jsonl").write_text("\n".join(lines))
        return folder
    if layout == "imagefolder":
        renamed = table.rename(columns={"caption": "text"})
        renamed.to_json(folder / "metadata.jsonl", orient="records", lines=True)
        return folder
    if layout == "csv":
        table.to_csv(folder / "mine.csv", index=False)
        return folder / "mine.csv"
    if layout == "parquet":
        table.groupby("file_name")["caption"].apply(list).reset_index(name="captions").to_parquet(
            folder / "mine.parquet"
        )
        return folder / "mine.parquet"
    if layout == "flickr":
        table.rename(columns={"file_name": "image"}).to_csv(folder / "captions.txt", index=False)
        return folder
    if layout == "flickr tokens":
        lines = [f"{name}#{i % 2}\t{text}" for i, (name, text) in enumerate(table.to_numpy())]
        (folder / "Flickr8k.token.txt").write_text("\n".join(lines))
        return folder
    if layout == "flickr30k tokens":
        lines = [f"{name}#{i % 2}\t{text}" for i, (name, text) in enumerate(table.to_numpy())]
        (folder / "results_20130124.token").write_text("\n".join(lines))
        return folder
    if layout.startswith("flickr30k"):
        bar = "," if layout == "flickr30k commas" else "| "
        lines = [
            f"{name}{bar}{i % 2}{bar}{text}" for i, (name, text) in enumerate(table.to_numpy())
        ]
        file = folder / ("results.csv" if bar == "| " else "captions.txt")
        file.write_text("\n".join([bar.join(("image_name", "comment_number", "comment")), *lines]))
        return folder
    if layout == "karpathy":
        grouped = table.groupby("file_name")["caption"]
        content = [
            {
                "filename": name,
                "imgid": n,
                "sentences": [{"raw": text, "imgid": n} for text in part],
            }
            for n, (name, part) in enumerate(grouped)
        ]
        (folder / "dataset_set.json").write_text(json.dumps({"images": content, "dataset": "set"}))
        return folder
    content = {
        "images": [{"id": 10 + n, "file_name": f"{n}.png"} for n in range(COUNT)],
        "annotations": [{"id": i, "image_id": 10 + n, "caption": c} for i, (n, c) in rows_of(rows)],
    }
    (folder / "captions_val.json").write_text(json.dumps(content))
    return folder / "captions_val.json"


def rows_of(rows):
    return list(enumerate(rows))


def usual_rows():
    return [(number, text) for number in range(COUNT) for text in captions_of(number)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_captions(layout, images):
    task = read_caption_task(write(layout, images, usual_rows()))
    assert [path.name for path in task.paths] == [f"{number}.png" for number in range(COUNT)]
    assert task.captions[3] == ["a picture of 3 dots", "dots 3 of them on a wall"]
    assert not task.skipped and not task.problems and not task.own_folds
    assert np.bincount(task.folds).tolist() == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("caption", ["", "  ", "..."])
def test_an_empty_caption_is_refused_by_file_and_row(layout, caption, images):
    rows = usual_rows()
    rows[5] = (2, caption)
    source = write(layout, images, rows)
    place = {"pets": "row 3", "parquet": "row 3", "flickr": "line 7", "flickr tokens": "line 6"}
    place |= {"coco": "annotation 6", "karpathy": "image 3", "flickr30k tokens": "line 6"}
    place |= {"flickr30k": "line 7", "flickr30k commas": "line 7"}
    with pytest.raises(InputError, match=r"2\.png .*(empty|no caption).*Fill or delete") as error:
        read_caption_task(source)
    assert f": {place.get(layout, 'row 6')}" in str(error.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_caption_of_300_words_is_left_out_and_told(layout, images):
    rows = usual_rows()
    rows[5] = (2, "dot " * 300)
    task = read_caption_task(write(layout, images, rows))
    (problem,) = task.problems
    assert f"2.png has 300 words, and more than {MOST_WORDS} are left out" in str(problem)
    assert task.captions[2] == ["a picture of 2 dots"]
    task = read_caption_task(write(layout, images, [*rows[:4], rows[5], *rows[6:]]))
    assert len(task.paths) == COUNT - 1  # an image is left out with its last caption


def test_missing_and_broken_images_are_left_out_and_told(images):
    source = write("coco", images, usual_rows())
    (images / "1.png").write_bytes((images / "1.png").read_bytes()[:200])
    task = read_caption_task(source)
    assert [path.name for path in task.paths] == ["0.png", "2.png", "3.png", "4.png", "5.png"]
    assert str(task.skipped[0]).startswith("1.png is damaged or truncated")
    (images / "4.png").unlink()
    with pytest.raises(InputError, match="4 images with captions can be used, and 5 are"):
        read_caption_task(source)


def test_ids_and_images_of_coco_that_have_no_counterpart(images):
    source = write("coco", images, usual_rows())
    content = json.loads(source.read_text())
    content["images"].append({"id": 99, "file_name": "99.png"})
    source.write_text(json.dumps(content))
    assert [str(item) for item in read_caption_task(source).problems] == ["99.png has no caption"]
    content["annotations"][4]["image_id"] = 7
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"captions_val\.json: annotation 5 is about image_id 7"):
        read_caption_task(source)
    del content["annotations"][0]["caption"]
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"annotation 1 has no 'caption'\. Give the file of cap"):
        read_caption_task(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "[1, 2]", "is not JSON as COCO has it"),
        ("x.json", '{"images": []', "is not JSON as COCO has it"),
        ("x.json", '{"images": [], "annotations": [1]}', "annotation 1 has no 'caption'"),
        ("captions.txt", "0.png A dot", r"line 1 is not image,caption: '0.png A dot'"),
        ("captions.jsonl", '{"file_name": "0.png"}', "needs a column 'file_name' and one of"),
        ("captions.jsonl", '{"file_name": "0.png", "captions": []}', "row 1: 0.png has no caption"),
        ("captions.jsonl", '{"file_name": "", "caption": "x"}', "row 1 has no file name"),
        ("captions.txt", "image,caption\n", "has no captions"),
        ("notes.md", "x", "no file of captions in it that is known"),
    ],
)
def test_files_that_hold_no_captions_are_refused(name, content, message, images):
    (images / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_caption_task(images)


def test_images_may_be_in_a_sub_folder_or_elsewhere(images, tmp_path):
    source = write("flickr", images, usual_rows())
    (images / "Images").mkdir()
    for path in images.glob("*.png"):
        path.rename(images / "Images" / path.name)
    assert read_caption_task(source).paths[0] == images / "Images" / "0.png"
    (images / "Images").rename(tmp_path / "photos")
    assert len(read_caption_task(source, tmp_path / "photos").paths) == COUNT
    with pytest.raises(InputError, match=r"0 images with captions .*0\.png does not exist"):
        read_caption_task(source)
    with pytest.raises(InputError, match="no such folder"):
        read_caption_task(source, tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such file or folder"):
        read_caption_task(tmp_path / "nowhere")


def test_copies_of_an_image_are_dealt_into_one_fold(images):
    for number in range(COUNT, 30):
        (images / f"{number}.png").write_bytes((images / f"{number % 6}.png").read_bytes())
    rows = [(number, text) for number in range(30) for text in captions_of(number)]
    task = read_caption_task(write("pets", images, rows))
    folds = {int(path.stem): fold for path, fold in zip(task.paths, task.folds, strict=True)}
    assert all(folds[number] == folds[number % 6] for number in range(30))
    assert set(folds.values()) == set(range(5))


def test_folds_come_with_the_images_or_beside_them(images):
    source = write("pets", images, usual_rows())
    table = pd.DataFrame({"file_name": [f"{n}.png" for n in range(COUNT)], "fold": [0, 1, 2] * 2})
    table.to_json(images / "metadata.jsonl", orient="records", lines=True)
    task = read_caption_task(source)
    assert task.own_folds and task.folds.tolist() == [0, 1, 2] * 2
    assert [part.tolist() for part in task.split(2)] == [[1, 4], [0, 3], [2, 5]]
    twice = pd.concat([table, pd.DataFrame({"file_name": ["1.png"], "fold": [2]})])
    twice.to_json(images / "metadata.jsonl", orient="records", lines=True)
    with pytest.raises(InputError, match=r"row 7 puts 1\.png into fold 2, and a row before it"):
        read_caption_task(source)


def test_the_shipped_pets_have_two_captions_each_and_their_folds():
    task = read_caption_task(SHIPPED)
    assert [len(captions) for captions in task.captions] == [2] * 370
    assert np.bincount(task.folds).tolist() == [74] * 5
    assert task.own_folds and not task.skipped and not task.problems


def test_words_are_lower_case_without_punctuation_and_stay_what_they_are():
    text = "A short-haired dog's toys — they don\u2019t lie there; 2.5 cm, \u00c9t\u00e9!"
    assert words(text) == "a short haired dog 's toys they do n't lie there 2 5 cm \u00e9t\u00e9"
    assert words(words(text)) == words(text)
