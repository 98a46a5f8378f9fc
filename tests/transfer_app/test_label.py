"""`nlp-transfer label` by way of tables: what is asked is filled in, read, and trains a model."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants

from nlp_transfer.text_task import read_task
from recipes.email_urgency import DATA as MAILS
from tests.fuzz.targets import MAILS as RAW_MAIL
from tests.small_data import small_photos
from transfer_app.command_line import main
from transfer_app.label.answers import Answers

MESSAGES = MAILS / "messages.parquet"


@pytest.fixture(autouse=True)
def _features_are_kept_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))


@pytest.fixture
def truth():
    """Who asks for something, of 160 texts; they lie in `mails.csv` without their labels."""
    mails = pd.read_parquet(MESSAGES).groupby("asks_for_action").head(80)
    mails[["id", "text"]].to_csv("mails.csv", index=False)
    return np.where(mails["asks_for_action"], "asks", "tells")


def label(capsys, *arguments):
    assert main(["label", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def by_words(capsys, *arguments):
    return label(capsys, "mails.csv", "--base", "none", *arguments)


def refusal(capsys, *arguments):
    assert main(["label", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def asked(file):
    """The rows, from 0 on, that a table asks for."""
    return [int(name.rpartition("#")[2]) - 1 for name in pd.read_csv(file)["input"]]


def fill(file, truth, save=pd.DataFrame.to_csv):
    table = pd.read_csv(file)
    assert table["label"].isna().all()
    table["label"] = truth[asked(file)]
    save(table, file, index=False)


def test_a_table_is_labelled_in_batches_and_trains_a_model(capsys, truth):
    told = by_words(capsys, "--batch", 70, "--output", "next.csv")
    assert told.endswith("--labels next.csv --batch 70 --output next2.csv --base none\n")
    assert list(pd.read_csv("next.csv")) == ["id", "text", "label", "input"]
    fill("next.csv", truth)
    told = by_words(capsys, "--labels", "next.csv", "--batch", 70, "--output", "next2.csv")
    assert "70 of 160 texts have a label: " in told and "more labels" not in told
    fill("next2.csv", truth)
    assert not {*asked("next.csv")} & {*asked("next2.csv")}
    told = by_words(capsys, "--labels", "next.csv", "next2.csv", "--output", "all.csv")
    assert "were drawn at random. 50 more labels would add" in told
    assert told.endswith("run text-classifier --data all.csv\n")
    task = read_task("all.csv")
    assert len(task.values) == 140 and task.names == ["asks", "tells"]
    rows = asked("all.csv")
    assert rows == sorted(rows)
    assert [task.names[value] for value in task.values] == truth[rows].tolist()


def fill_in_first(file, label="tells"):
    table = pd.read_csv(file).astype({"label": object})
    table.loc[0, "label"] = label
    table.to_csv(file, index=False)


def test_what_cannot_be_told_is_not_asked_again(capsys, truth):
    by_words(capsys, "--batch", 100, "--output", "next.csv")
    line = refusal(
        capsys, "mails.csv", "--base", "none", "--labels", "next.csv", "--output", "none.csv"
    )
    assert "next.csv: no label is filled in" in line
    fill_in_first("next.csv")
    told = by_words(capsys, "--labels", "next.csv", "--batch", 100, "--output", "next2.csv")
    assert "1 of 160 texts have a label: 1 tells. Asked and left without a label: 99." in told
    assert len(asked("next2.csv")) == 60
    assert not {*asked("next.csv")} & {*asked("next2.csv")}
    fill_in_first("next2.csv")
    line = refusal(
        capsys, "mails.csv", "--base", "none", "--labels", "next.csv", "next2.csv",
        "--batch", 5, "--output", "next3.csv",
    )  # fmt: skip
    assert "all was asked" in line
    assert not Path("next3.csv").exists()


@pytest.mark.parametrize("column", ["input", "Input"])
def test_columns_that_are_called_as_ours_stay(capsys, truth, column):
    mails = pd.read_csv("mails.csv")
    mails.assign(**{column: "x"}).to_csv("mails.csv", index=False)
    by_words(capsys, "--batch", 3, "--output", "next.csv")
    table = pd.read_csv("next.csv")
    assert list(table) == ["id", "text", column, "label", "input_"]
    table.assign(label="a").to_csv("next.csv", index=False)
    assert "3 a." in by_words(capsys, "--labels", "next.csv", "--output", "all.csv")


def test_labels_of_all_tables_are_compared(capsys, truth, caplog):
    by_words(capsys, "--batch", 4, "--output", "next.csv")
    table = pd.read_csv("next.csv")
    table[:2].assign(label=["High", 1]).to_csv("first.csv", index=False)
    table[2:].assign(label=["high", 1.0]).to_csv("second.csv", index=False)
    told = by_words(capsys, "--labels", "first.csv", "second.csv", "--output", "all.csv")
    assert "4 of 160 texts have a label: 2 1, 1 High, 1 high." in told
    assert "'High' (1) and 'high' (1) are all but the same" in caplog.text


def test_no_mail_and_no_label_is_a_formula(capsys):
    Path("mail").mkdir()
    for number in range(3):
        Path("mail", f"{number}.eml").write_text(
            f'From: a@b.org\nSubject: =HYPERLINK("http://x","{number}")\n\n=cmd|/C{number}!A0\n'
        )
    label(capsys, "mail", "--base", "none", "--batch", 3, "--output", "next.csv")
    table = pd.read_csv("next.csv")
    assert all(table[name].str.startswith("'=").all() for name in ("subject", "body"))
    table.assign(label=["=a", "=a", "b"]).to_csv("next.csv", index=False)
    told = label(capsys, "mail", "--base", "none", "--labels", "next.csv", "--output", "all.csv")
    assert "3 of 3 texts have a label: 2 =a, 1 b." in told
    assert sorted(pd.read_csv("all.csv")["label"]) == ["'=a", "'=a", "b"]


def test_texts_of_one_word_and_of_none_are_asked(capsys):
    Path("signs.csv").write_text("text\n!!!\n...\n???\n")
    told = label(capsys, "signs.csv", "--base", "none", "--batch", 2, "--output", "next.csv")
    assert "0 of 3 texts have a label." in told


def test_labels_that_the_table_has_count(capsys, truth):
    mails = pd.read_csv("mails.csv")
    mails["kind"] = [name if row % 4 == 0 else None for row, name in enumerate(truth)]
    mails.to_csv("mails.csv", index=False)
    told = by_words(capsys, "--label-column", "kind", "--batch", 30, "--output", "next.csv")
    assert told.startswith("40 of 160 texts have a label: ")
    assert not any(row % 4 == 0 for row in asked("next.csv"))
    table = pd.read_csv("next.csv")
    assert list(table) == ["id", "text", "kind", "input"]
    table["kind"] = truth[asked("next.csv")]
    table.to_excel("next.xlsx", index=False)
    told = by_words(
        capsys, "--label-column", "kind", "--labels", "next.xlsx", "--output", "all.csv"
    )
    assert told.startswith("70 of 160 texts have a label: ")
    assert told.endswith("--data all.csv --label-column kind\n")


def test_photos_are_named_from_the_folder_of_the_table(capsys, tmp_path):
    Path("photos").mkdir()
    truth = small_photos(tmp_path / "photos").set_index("file_name")["species"]
    Path("lists").mkdir()
    label(capsys, "photos", "--batch", 8, "--output", "lists/next.csv")
    table = pd.read_csv("lists/next.csv")
    assert table["file_name"].tolist() == [f"../photos/{name}" for name in table["input"]]
    table["label"] = truth[table["input"]].tolist()
    table.to_csv("lists/next.csv", index=False)
    told = label(capsys, "photos", "--labels", "lists/next.csv", "--output", "all.jsonl")
    assert told.endswith("run image-classifier --data all.jsonl\n")
    table = pd.read_json("all.jsonl", lines=True)
    assert table["label"].tolist() == truth[table["input"]].tolist()
    assert all(Path(name).is_file() for name in table["file_name"])


def test_photos_whose_columns_were_sorted_apart_are_refused(capsys, tmp_path):
    Path("photos").mkdir()
    small_photos(tmp_path / "photos")
    odd = os.fsdecode(b"photos/images/odd\xff.jpg")
    shutil.copyfile(next(Path("photos/images").iterdir()), odd)
    label(capsys, "photos", "--batch", 6, "--output", "next.csv")
    table = pd.read_csv("next.csv").assign(label="a")
    table.assign(input=table["input"][::-1].tolist()).to_csv("next.csv", index=False)
    assert main(["label", "photos", "--labels", "next.csv", "--output", "all.csv"]) == 2
    left_out, line = capsys.readouterr().err.splitlines()
    assert "has a name that is no text" in left_out
    assert "next.csv: row 1 has another image than images/" in line
    line = refusal(capsys, "photos", "--batch", 6, "--output", "photos/metadata.csv")
    assert "photos/metadata.csv: would be taken for the table of all photos" in line


def test_mail_is_asked_by_subject_and_body(capsys):
    label(capsys, RAW_MAIL, "--base", "none", "--batch", 4, "--output", "next.jsonl")
    table = pd.read_json("next.jsonl", lines=True)
    assert list(table) == ["subject", "body", "label", "input"]
    assert all((RAW_MAIL / name).exists() for name in table["input"])
    table["label"] = ["a", "b", "a", "b"]
    table.to_json("next.jsonl", lines=True, orient="records")
    told = label(
        capsys, RAW_MAIL, "--base", "none", "--labels", "next.jsonl", "--output", "all.jsonl"
    )
    assert "have a label: 2 a, 2 b." in told


def test_names_that_begin_as_formulas_are_found_again(capsys):
    folder = Path("mail")
    folder.mkdir()
    for number, file in enumerate(sorted(RAW_MAIL.glob("*.eml"))[:6]):
        (folder / f"=SUM(A{number}).eml").write_bytes(file.read_bytes())
    label(capsys, folder, "--base", "none", "--batch", 3, "--output", "next.csv")
    table = pd.read_csv("next.csv")
    assert all(name.startswith("'=SUM") for name in table["input"])
    table["label"] = ["x", "y", "x"]
    table.to_csv("next.csv", index=False)
    told = label(capsys, folder, "--base", "none", "--labels", "next.csv", "--output", "all.csv")
    assert "have a label: 2 x, 1 y." in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.assign(input="mails.csv#999"), "row 1: 'mails.csv#999' in 'input'"),
        (lambda table: table.assign(input=table["input"][::-1].tolist()), "has another text than"),
        (lambda table: table.drop(columns="input"), "has no column 'input'"),
        (lambda table: table.drop(columns="label"), "has no column 'label'"),
        (
            lambda table: pd.concat([table, table.assign(label="other")]),
            "row 5 says 'other' of mails.csv#",
        ),
    ],
)
def test_a_table_that_was_not_only_filled_in_is_refused(capsys, truth, change, told):
    by_words(capsys, "--batch", 4, "--output", "next.csv")
    fill("next.csv", truth)
    change(pd.read_csv("next.csv")).to_csv("next.csv", index=False)
    line = refusal(
        capsys, "mails.csv", "--base", "none", "--labels", "next.csv", "--output", "all.csv"
    )
    assert line.startswith("nlp-transfer: next.csv") and told in line
    assert not Path("all.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["mails.csv", "--batch", "5", "--output", "mails.csv"], "mails.csv: is there already"),
        (["mails.csv", "--batch", "0", "--output", "next.csv"], "--batch is 0"),
        (["mails.csv", "--batch", "5", "--output", "next.doc"], "tables are written as"),
        (["none.csv", "--batch", "5", "--output", "next.csv"], "none.csv"),
        (["mails.csv", "--labels", "none.csv", "--output", "next.csv"], "none.csv"),
        (
            ["mails.csv", "--text-columns", "body", "--batch", "5", "--output", "next.csv"],
            "has no column 'body'",
        ),
        (
            ["mails.csv", "--label-column", "text", "--batch", "5", "--output", "next.csv"],
            "'text' is read as text",
        ),
    ],
)
def test_what_cannot_be_done_is_told_at_once(capsys, truth, arguments, told):
    before = Path("mails.csv").read_bytes()
    assert told in refusal(capsys, *arguments)
    assert Path("mails.csv").read_bytes() == before
    assert not Path("next.csv").exists()


def test_a_new_answer_takes_the_place_of_the_old():
    answers = Answers([None] * 3)
    for row, name in [(0, "a"), (1, "b"), (2, None), (0, "b"), (2, "a")]:
        answers.put(row, name)
    assert answers == Answers(["b", "b", "a"], [1, 0, 2], [])
    answers.take_back(1)
    assert answers == Answers(["b", None, "a"], [0, 2], [])
    assert answers.names == ["a", "b"]


def test_a_text_that_speaks_of_file_names_is_no_photo(capsys):
    Path("asked.csv").write_text("text\nwhat is the file_name?\nsend it\n")
    told = label(capsys, "asked.csv", "--base", "none", "--batch", 1, "--output", "next.csv")
    assert "0 of 2 texts have a label." in told
