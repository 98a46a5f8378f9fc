"""A run that was cut off is not resumed on other data, wherever these were read from."""

import os
import re
import shutil

import pandas as pd
import pytest
from PIL import Image, ImageOps

from staged_training.experiment.run_folder import RunFolder
from tests.small_data import small_photos
from transfer_app.command_line import main


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photos, the table of them."""
    folder = tmp_path_factory.mktemp("photos")
    return folder, small_photos(folder)


def mails(folder, _):
    """Mails in folders of labels, within which a Maildir keeps hidden ones."""
    for number in range(24):
        file = folder / ("urgent", "fine")[number % 2] / ".Old" / "cur" / f"{number}.eml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Subject: number {number}\n\nword{number} other{number * 7}\n")
    return ["email-urgency", "--data", folder]


def change_mail(folder):
    file = next(folder.rglob("*.eml"))
    file.write_text(file.read_text().replace("other", "others"))


def boxes(folder, photos):
    """A data.yaml, with the boxes in folders beside its own."""
    of, rows = photos
    for name in rows["file_name"]:
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(of / name, folder / "images" / name)
        label = (folder / "labels" / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 .5 .5 .4 .4\n")
    (folder / "yaml").mkdir()
    (folder / "yaml" / "data.yaml").write_text("train: ../images\nnames: [head]\n")
    return ["pet-detector", "--data", folder / "yaml" / "data.yaml"]


def captions(folder, photos):
    """A table of captions, with folds in the table of the photos that lies beside it."""
    of, rows = photos
    rows[["file_name", "fold"]].to_json(folder / "metadata.jsonl", orient="records", lines=True)
    rows[["file_name"]].assign(caption="a pet").to_csv(folder / "pets.csv", index=False)
    return ["pet-captioner", "--data", folder / "pets.csv", "--images", of]


def change_folds(folder):
    table = pd.read_json(folder / "metadata.jsonl", lines=True)
    table["fold"] = (table["fold"] + 1) % 3
    table.to_json(folder / "metadata.jsonl", orient="records", lines=True)


def change_pixels(folder):
    """Mirror a photo; its name, size and time of writing stay."""
    file = next((folder / "images").rglob("*.jpg"))
    before = file.stat()
    with Image.open(file) as photo:
        ImageOps.mirror(photo).save(file, "jpeg", quality=10)
    with file.open("ab") as end:
        end.write(bytes(before.st_size - file.stat().st_size))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def change_box(folder):
    next((folder / "labels").rglob("*.txt")).write_text("0 .5 .5 .3 .3\n")


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (mails, change_mail),
        (boxes, change_box),
        (boxes, change_pixels),
        (captions, change_folds),
    ],
)
def test_it_is_refused_by_name(make, change, photos, tmp_path, monkeypatch, capsys):
    def cut_off(*_):
        raise KeyboardInterrupt

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(RunFolder, "run_cached", cut_off)
    flags = [*map(str, make(tmp_path / "data", photos)), "--quick"]
    flags = ["run", *flags, "--output-dir", str(tmp_path / "out")]
    for resumed in ([], ["--resume"]):
        with pytest.raises(KeyboardInterrupt):
            main([*flags, *resumed])
    change(tmp_path / "data")
    assert main([*flags, "--resume"]) == 2
    assert re.search("the content of (the data|--data) has changed", capsys.readouterr().err)
