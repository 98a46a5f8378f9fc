"""`nlp-transfer review` on real texts and photos with labels that were made wrong."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import constants

from recipes.email_urgency import DATA as MAILS
from tests.small_data import small_photos
from transfer_app.command_line import main

MESSAGES = MAILS / "messages.parquet"


@pytest.fixture(autouse=True)
def _features_are_kept_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))


def asking(count=30):
    """Texts that ask for something and others, and a formula in a column of their own."""
    texts = pd.read_parquet(MESSAGES).groupby("asks_for_action").head(count)
    label = np.where(texts["asks_for_action"], "asks", "=tells")
    return pd.DataFrame({"text": texts["text"], "label": label, "note": "=1+A1"})


def review(capsys, *arguments):
    assert main(["review", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refusal(capsys, *arguments):
    assert main(["review", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_table_comes_back_whole_the_most_suspicious_first(capsys):
    mails = asking()
    twin = mails.iloc[[4]].assign(
        label=np.where(mails["label"].iloc[4] == "asks", "=tells", "asks")
    )
    mails = pd.concat([mails, twin, twin.assign(text=" ")], ignore_index=True)
    mails.to_csv("mails.csv", index=False)
    told = review(capsys, "mails.csv", "--base", "none", "--output", "review.csv")
    assert "61 texts, of which" in told
    assert told.endswith("run text-classifier --data review.csv --label-column label\n")
    written = Path("review.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(written, newline="")))
    assert list(rows[0]) == [*mails.columns, "input", "suspicion", "predicted", "why"]
    number = [int(row["input"].rpartition("#")[2]) - 1 for row in rows]
    assert sorted(number) == list(range(62))
    for column in mails:
        assert [row[column] for row in rows] == mails[column].iloc[number].tolist()
    suspicion = [float(row["suspicion"]) for row in rows[:-1]]
    assert suspicion == sorted(suspicion, reverse=True)
    assert rows[-1]["suspicion"] == "" and rows[-1]["why"] == "no text in text"
    assert {row["predicted"] for row in rows} == {"asks", "'=tells", ""}  # no formula of ours
    twins = [row for row in rows if row["input"] in ("mails.csv#5", "mails.csv#61")]
    assert all("a copy" in row["why"] and float(row["suspicion"]) >= 0.5 for row in twins)


def test_features_are_computed_once(capsys, tmp_path):
    asking(15).to_csv("mails.csv", index=False)
    first = review(capsys, "mails.csv")
    (kept,) = (tmp_path / "home").rglob("*.safetensors")
    computed = kept.stat().st_mtime_ns
    assert review(capsys, "mails.csv") == first
    assert kept.stat().st_mtime_ns == computed


def test_photos_with_several_labels(capsys, tmp_path):
    rows = small_photos(tmp_path).drop(columns="fold")
    rows["tags"] = [
        [species, "pet"] if n % 2 else [species] for n, species in enumerate(rows["species"])
    ]
    rows.iloc[5, rows.columns.get_loc("tags")] = ["cat", "dog"]
    (tmp_path / "broken.jpg").write_text("no photo")
    broken = {"file_name": "broken.jpg", "tags": ["dog"]}
    pd.concat([rows, pd.DataFrame([broken])]).to_json(
        "metadata.jsonl", orient="records", lines=True
    )
    review(capsys, tmp_path, "--label-column", "tags", "--output", "review.jsonl")
    found = [json.loads(line) for line in Path("review.jsonl").read_text("utf-8").splitlines()]
    assert len(found) == 37 and found[-1]["why"] == "cannot be decoded"
    assert sorted(row["file_name"] for row in found[:-1]) == sorted(rows["file_name"])
    assert all(set(row["predicted"]) <= {"cat", "dog", "pet"} for row in found[:-1])
    suspicious = [row["file_name"] for row in found].index(rows["file_name"].iloc[5])
    assert suspicious < 18


def test_a_folder_of_mail_is_named_by_file(capsys, tmp_path):
    for number, (text, label) in enumerate(
        zip(*(asking(8)[c] for c in ("text", "label")), strict=True)
    ):
        file = tmp_path / "mail" / label.strip("=") / f"{number}.eml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"Subject: {number}\n\n{text}")
    review(capsys, "mail", "--base", "none", "--output", "review.tsv")
    found = pd.read_csv("review.tsv", sep="\t")
    assert list(found) == ["input", "label", "suspicion", "predicted", "why"]
    assert all(found["input"].str.split("/").str[0] == found["label"])


def test_two_readers_are_compared_as_on_the_card(capsys):
    told = review(
        capsys, MESSAGES, "--readers", "label_first", "label_second", "--output", "differ.csv"
    )
    assert "Cohen's kappa is 0.809 (95 % interval 0.747 to 0.862)" in told
    assert "They differ on 41, such as:" in told
    found = pd.read_csv("differ.csv")
    assert len(found) == 2000
    assert found["differ"].tolist() == [True] * 41 + [False] * 1959
    assert (found["label_first"] != found["label_second"])[:41].all()


def test_what_cannot_be_reviewed_is_refused(capsys):
    asking().assign(size=np.arange(60) / 7).to_csv("mails.csv", index=False)
    assert "Labels are reviewed, not numbers" in refusal(
        capsys, "mails.csv", "--label-column", "size"
    )
    assert "Is it 'label'" in refusal(capsys, "mails.csv", "--label-column", "lable")
    assert "it is what is reviewed" in refusal(capsys, "mails.csv", "--output", "mails.csv")
    assert "tables are written as" in refusal(capsys, "mails.csv", "--output", "mails.xls")
    assert "--readers" in refusal(capsys, "mails.csv", "--readers", "label", "label")
    assert "no column 'b'" in refusal(capsys, "mails.csv", "--readers", "label", "b")


def test_what_is_shown_obeys_nothing(capsys):
    mails = asking(15)
    mails.iloc[0, 0] = "\x1b[2Jcall me today\x1b]0;title\x07"
    mails.iloc[0, 1] = "=tells" if mails["label"].iloc[0] == "asks" else "asks"
    mails.to_json("mails.jsonl", orient="records", lines=True)
    assert "\x1b" not in review(capsys, "mails.jsonl", "--base", "none")


def test_the_arguments_are_read_without_pytorch():
    code = "import sys, transfer_app.review.command; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
