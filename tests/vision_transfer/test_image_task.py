"""Labelled images in folders and tables; the broken ones are named and left out."""

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from transformers import ViTImageProcessor

from staged_training import InputError
from vision_transfer.image_task import read_image_task

SHIPPED = Path(__file__).parents[2] / "recipes" / "data" / "pets"


def picture(path, number, size=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path):
    """Ten pictures each in the sub-folders `cat` and `dog`."""
    for number in range(20):
        picture(tmp_path / "pets" / ("cat" if number % 2 else "dog") / f"{number}.png", number)
    return tmp_path / "pets"


def test_the_shipped_pets_have_their_labels_and_folds():
    task = read_image_task(SHIPPED, "species")
    assert (len(task.paths), task.names, task.skipped) == (370, ["cat", "dog"], [])
    assert [int((task.folds == fold).sum()) for fold in task.fold_numbers] == [74] * 5
    assert task.own_folds
    assert len(read_image_task(SHIPPED, "breed").names) == 37


def test_folders_tables_and_metadata_hold_the_same_images(folders):
    task = read_image_task(folders)
    assert task.names == ["cat", "dog"] and len(task.paths) == 20
    assert not task.own_folds
    assert set(task.folds.tolist()) == set(range(5))
    rows = {
        "file_name": [str(path.relative_to(folders)) for path in task.paths],
        "label": [task.names[label] for label in task.labels],
    }
    table = pd.DataFrame(rows)
    table.to_csv(folders / "pets.csv", index=False)
    table.to_parquet(folders / "pets.parquet")
    table.to_json(folders / "pets.jsonl", orient="records", lines=True)
    table["label"] = table["label"].where(table.index % 3 > 0, table["label"] + " ")  # one label
    table.to_excel(folders / "pets.xlsx", index=False)
    table.to_csv(folders / "excel.csv", index=False, sep=";", encoding="utf-16")
    for name in ("pets.csv", "pets.parquet", "pets.jsonl", "pets.xlsx", "excel.csv"):
        read = read_image_task(folders / name)
        assert (read.paths, read.labels) == (task.paths, task.labels)
    table.rename(columns={"label": "animal"}).to_csv(folders / "metadata.csv", index=False)
    assert read_image_task(folders, "animal").labels == task.labels


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_cell_that_names_no_file_or_no_label_is_told_by_its_row(suffix, folders):
    names = [str(path.relative_to(folders)) for path in read_image_task(folders).paths]
    labels = ["01" if name.startswith("cat") else "02" for name in names]
    table = pd.DataFrame({"file_name": names, "label": labels})
    write = {
        "csv": lambda table: table.to_csv(folders / "t.csv", index=False),
        "jsonl": lambda table: table.to_json(folders / "t.jsonl", orient="records", lines=True),
        "parquet": lambda table: table.to_parquet(folders / "t.parquet"),
    }[suffix]
    write(table)
    assert read_image_task(folders / f"t.{suffix}").names == ["01", "02"]
    for column in table:
        write(table.assign(**{column: table[column].where(table.index != 2)}))
        what = "file name" if column == "file_name" else "label in 'label'"
        with pytest.raises(InputError, match=rf"t.{suffix}: row 3 has no {what}"):
            read_image_task(folders / f"t.{suffix}")
    if suffix != "csv":  # in which all is text
        write(table.assign(file_name=range(len(table))))
        with pytest.raises(InputError, match=rf"t.{suffix}: row 1 has no file name"):
            read_image_task(folders / f"t.{suffix}")


def test_copies_of_an_image_fall_into_the_same_fold(folders):
    (folders / "cat" / "copy.png").write_bytes((folders / "cat" / "1.png").read_bytes())
    task = read_image_task(folders)
    fold = {path.name: fold for path, fold in zip(task.paths, task.folds.tolist(), strict=True)}
    assert fold["copy.png"] == fold["1.png"]


def test_broken_images_are_left_out_and_named(folders):
    whole = (folders / "cat" / "1.png").read_bytes()
    (folders / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folders / "dog" / "0.png").write_text("no picture")
    task = read_image_task(folders)
    assert len(task.paths) == 18
    assert [(item.path.name, item.reason.split(" (")[0]) for item in task.skipped] == [
        ("1.png", "is damaged or truncated"),
        ("0.png", "is not an image"),
    ]


def test_a_dataset_gives_what_the_model_sees_and_tells_when_a_file_changes(folders):
    task = read_image_task(folders)
    processor = ViTImageProcessor(size={"height": 8, "width": 8})
    dataset = task.dataset(range(4), processor)
    assert dataset[3]["pixel_values"].shape == (3, 8, 8)
    assert int(dataset[3]["labels"]) == task.labels[3]
    before = dataset.fingerprint
    assert before == task.dataset(range(4), processor).fingerprint
    other = ViTImageProcessor(size={"height": 9, "width": 9})
    assert before != task.dataset(range(4), other).fingerprint
    assert before != task.dataset([0, 1, 3, 2], processor).fingerprint
    picture(task.paths[2], number=99, size=25)
    assert before != dataset.fingerprint


def test_views_follow_behind_the_images(folders):
    task = read_image_task(folders)
    processor = ViTImageProcessor(size={"height": 24, "width": 24})
    plain, viewed = (task.dataset(range(4), processor, views) for views in (0, 2))
    assert (len(plain), len(viewed)) == (4, 12)
    assert len(list(viewed)) == 12
    assert plain.fingerprint != viewed.fingerprint
    for row in range(4):
        image, *views = (viewed[row + 4 * view] for view in range(3))
        assert torch.equal(image["pixel_values"], plain[row]["pixel_values"])
        assert all(int(view["labels"]) == task.labels[row] for view in views)
        assert not torch.equal(views[0]["pixel_values"], views[1]["pixel_values"])
        assert torch.equal(views[0]["pixel_values"], viewed[row + 4]["pixel_values"])


def test_unusual_images_are_counted(folders):
    Image.open(folders / "cat" / "1.png").convert("L").save(folders / "cat" / "1.png")
    Image.open(folders / "dog" / "2.png").convert("CMYK").save(folders / "dog" / "2.jpg")
    assert read_image_task(folders).unusual == {"grayscale": 1, "CMYK": 1}


def test_a_data_set_with_images_is_read_like_a_folder(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task = read_image_task(folders)
    features = datasets.Features(
        {"photo": datasets.Image(), "animal": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"photo": [str(path) for path in task.paths], "animal": task.labels}
    for split in ("train", "test"):
        dataset = datasets.Dataset.from_dict(rows, features)
        part = dataset.filter(lambda row, split=split: (row["animal"] == 0) == (split == "test"))
        part.to_parquet(tmp_path / "set" / f"{split}-00000.parquet")
    read = read_image_task(tmp_path / "set", "animal")
    assert read.source == tmp_path / "set"
    assert sorted(path.read_bytes() for path in read.paths) == (
        sorted(path.read_bytes() for path in task.paths)
    )
    labels = {
        path.read_bytes(): task.names[label]
        for path, label in zip(task.paths, task.labels, strict=True)
    }
    for path, label in zip(read.paths, read.labels, strict=True):
        assert labels[path.read_bytes()] == read.names[label]
    with pytest.raises(InputError, match="no column 'label'"):
        read_image_task(tmp_path / "set")


def test_what_cannot_be_learnt_from_is_refused(folders, tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_image_task(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in it"):
        read_image_task(tmp_path / "empty")
    (tmp_path / "t.csv").write_text("path,label\na.png,x\n")
    with pytest.raises(InputError, match=r"no column 'file_name'. Its columns are: path, label"):
        read_image_task(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("file_name,label\na.png,x\nb.png,\n")
    with pytest.raises(InputError, match="row 2 has no label in 'label'. Fill or delete it"):
        read_image_task(tmp_path / "t.csv")
    rows = "".join(f"{name}.png,{label}\n" for name, label in zip("abcd", "xyxy", strict=True))
    (tmp_path / "t.csv").write_text(f"file_name,label\n{rows}")
    with pytest.raises(InputError, match=r"no image could be decoded; a\.png does not exist"):
        read_image_task(tmp_path / "t.csv")
    picture(folders / "cow" / "1.png", 77)
    with pytest.raises(InputError, match=r"'cow' occurs only once \(cow/1\.png\)"):
        read_image_task(folders)
    picture(folders / "loose.png", 78)
    with pytest.raises(InputError, match=r"loose\.png lies in no sub-folder"):
        read_image_task(folders)
