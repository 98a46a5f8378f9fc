"""Predictions as a table: what was given, untouched, and what is predicted of it beside."""

import csv
import datetime
import io
import json
import os
import resource
import signal
import time
from threading import Thread

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from transformers import AutoTokenizer, set_seed

from nlp_transfer import build_vocabulary
from nlp_transfer.models import RecurrentConfig, RecurrentForSequenceClassification
from staged_training.tables.reading import read_table
from tests.nlp_transfer.odd_mail import NOT_READ, write_odd_mail
from transfer_app.command_line import main
from transfer_app.prediction.answers import Prediction
from transfer_app.prediction.classifiers import TextClassifier
from transfer_app.prediction.inputs import Input, Unread
from transfer_app.prediction.opening import open_predictor
from transfer_app.prediction.output import write_predictions
from vision_transfer.backbones import save_classifier, untrained_backbone

LABELS = ["low", "high", "billing"]
NEW = ["label", "score_low", "score_high", "score_billing", "problem"]
ROWS = pa.table(
    {
        "id": ["007", "008", "009", "010"],
        "text": ["call\nme, now", 'she said "no"', "", "Grüße, 没有水"],
        "count": [1, None, 3, 2**60],
        "share": [0.1, 1 / 3, None, 1e300],
        "sent": [datetime.datetime(2024, 2, 29, 12), None, *2 * [datetime.datetime(2025, 1, 1)]],
        "tags": [["a", "b"], [], None, ["ü"]],
        "raw": [b"\xff", b"", None, b"x"],
    }
)


@pytest.fixture
def save_model(tmp_path):
    """Save a model of texts that was not trained, with more in its configuration."""

    def save(labels=LABELS, **described):
        tokenizer = build_vocabulary(["call me before noon"], min_frequency=1)
        set_seed(0)
        config = RecurrentConfig(vocab_size=len(tokenizer), id2label=dict(enumerate(labels)))
        model = RecurrentForSequenceClassification(config)
        model.config.update(described)
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


@pytest.fixture
def predict(save_model, tmp_path, monkeypatch):
    """Predict of files in a folder with a model that was not trained, and return the status."""
    monkeypatch.chdir(tmp_path)
    model = save_model()
    return lambda *arguments: main(["predict", model, *map(str, arguments)])


def lines_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def json_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_parquet_keeps_the_types_and_values_of_a_table(predict, tmp_path):
    parquet.write_table(ROWS, tmp_path / "t.parquet")
    assert predict("t.parquet", "--output", "out.parquet") == 0
    written = parquet.read_table(tmp_path / "out.parquet")
    assert written.column_names == [*ROWS.column_names, *NEW]
    assert written.select(ROWS.column_names).equals(ROWS)
    answers = written.select(NEW).to_pylist()
    for answer in (answers[0], answers[1], answers[3]):
        assert answer["label"] == max(LABELS, key=lambda label: answer[f"score_{label}"])
        assert sum(answer[f"score_{label}"] for label in LABELS) == pytest.approx(1, abs=1e-3)
        assert answer["problem"] is None
    assert answers[2] == dict.fromkeys(NEW) | {"problem": "has no text in text"}


def test_json_lines_keep_what_json_has(predict, tmp_path):
    nan = pa.array([float("nan"), float("inf"), 0.5, None])
    parquet.write_table(ROWS.append_column("odd", nan), tmp_path / "t.parquet")
    assert predict("t.parquet", "--output", "out.jsonl") == 0
    written = json_of(tmp_path / "out.jsonl")
    assert list(written[0]) == [*ROWS.column_names, "odd", *NEW]
    for name in ("id", "text", "count", "share", "tags"):
        assert [row[name] for row in written] == ROWS[name].to_pylist()
    assert [row["sent"] for row in written[:2]] == ["2024-02-29 12:00:00", None]
    assert [row["raw"] for row in written] == ["/w==", "", None, "eA=="]
    assert [row["odd"] for row in written] == [None, None, 0.5, None]
    assert "没有水" in (tmp_path / "out.jsonl").read_text("utf-8")


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_delimited_text_is_read_again_as_it_was(suffix, predict, tmp_path):
    parquet.write_table(ROWS, tmp_path / "t.parquet")
    assert predict("t.parquet", "--output", f"out.{suffix}") == 0
    assert (tmp_path / f"out.{suffix}").read_bytes().startswith(b"\xef\xbb\xbfid")
    written = read_table(tmp_path / f"out.{suffix}", ["id", "text", "raw"])
    assert written.column_names == [*ROWS.column_names, *NEW]
    for name in ("id", "text", "count", "share", "sent"):
        assert written[name].to_pylist() == ROWS[name].to_pylist()
    assert written["tags"].to_pylist() == ['["a", "b"]', "[]", "", '["ü"]']


def test_cells_of_a_csv_are_not_taken_for_numbers_or_dates(predict, tmp_path):
    cells = [
        ["id", "text", "price", "day", "flag", "empty", "label"],
        ["007", "call\r\nme", "1.50", "01.02.2024", "NA", "", "=1+1"],
        ["1e5", "no, “later”", "2,0", "2024-2-1", "true", "", "-x"],
        ["", "", "", "", "", "", ""],
    ]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(cells)
    assert predict("t.csv", "--output", "out.csv") == 0
    assert [line[:7] for line in lines_of(tmp_path / "out.csv")] == cells
    assert predict("t.csv", "--output", "out.jsonl") == 0
    assert json_of(tmp_path / "out.jsonl")[0]["id"] == "007"
    assert json_of(tmp_path / "out.jsonl")[2]["empty"] is None


def test_columns_whose_names_are_taken_get_a_prefix(predict, tmp_path):
    rows = [{"text": "call", "Label": "a", "predicted_label": "b", "score_low": 1, "problem": "c"}]
    pd.DataFrame(rows).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    assert predict("t.jsonl", "--output", "out.jsonl") == 0
    (written,) = json_of(tmp_path / "out.jsonl")
    assert rows[0].items() <= written.items()
    assert list(written)[5:] == [
        *("predicted_predicted_label", "predicted_score_low", "score_high", "score_billing"),
        "predicted_problem",
    ]


def test_scores_stand_beside_the_names_of_their_labels(predict, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text\ncall me\nbefore noon\nnoon\n")
    assert predict("t.csv", "--json") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert predict("t.csv", "--output", "out.parquet") == 0
    assert capsys.readouterr().out == "Wrote out.parquet: 3 rows.\n"
    for row, one in zip(parquet.read_table("out.parquet").to_pylist(), printed, strict=True):
        scores = {label: row[f"score_{label}"] for label in LABELS}
        assert (row["label"], scores) == (one["label"], one["scores"])


def test_texts_have_the_scores_that_the_pipeline_gives_them(save_model):
    texts = [" ".join(["call", "her", "before", "noon"] * n)[: 7 * n] for n in range(1, 41)]
    predictor = open_predictor(save_model())
    predicted = predictor.predict(Input(text, text) for text in texts)
    found = [answer.rank for _, answer in predicted]
    options = {"top_k": 1, "truncation": True, "batch_size": 32}
    expected = predictor.pipeline((text for text in texts), **options)
    assert len({*found}) > 8
    assert found == [score["score"] for (score,) in expected]


def test_many_rows_keep_their_order(predict, tmp_path):
    numbers = np.random.default_rng(0).permutation(25_000)
    texts = np.where(numbers % 1000, "", "call me")  # few are predicted
    pd.DataFrame({"n": numbers, "text": texts}).to_parquet(tmp_path / "t.parquet")
    assert predict("t.parquet", "--output", "out.parquet") == 0
    written = pd.read_parquet(tmp_path / "out.parquet")
    assert (written["n"] == numbers).all()
    assert (written["label"].isna() == (numbers % 1000 != 0)).all()


def test_texts_that_a_spreadsheet_would_run_are_texts(save_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = save_model(['=HYPERLINK("http://a.example")', "-1"])
    (tmp_path / "t.csv").write_text("text,own\n" + "call me,=1+A1\n" * 2)
    assert main(["predict", model, "t.csv", "--output", "out.csv"]) == 0
    assert main(["predict", model, "t.csv", "--output", "out.jsonl"]) == 0
    labels = {row["label"] for row in json_of(tmp_path / "out.jsonl")}
    expected = {label if label == "-1" else f"'{label}" for label in labels}
    _, *lines = lines_of(tmp_path / "out.csv")
    assert {line[2] for line in lines} == expected and {line[1] for line in lines} == {"=1+A1"}


def test_messages_that_cannot_be_read_have_a_row_with_the_reason(predict, tmp_path, caplog):
    count = write_odd_mail(tmp_path / "mail")
    assert predict("mail", "--output", "out.jsonl") == 0
    written = json_of(tmp_path / "out.jsonl")
    assert list(written[0]) == ["input", *NEW]
    unread = {row["input"]: row["problem"] for row in written if row["problem"]}
    assert len(written) - len(unread) == count
    assert set(unread) == {name.decode() for name in NOT_READ}
    assert all((row["label"] is None) == (row["input"] in unread) for row in written)
    assert f"{len(unread)} of {len(written)} messages skipped" in caplog.text


def test_lines_of_standard_input_have_a_row_each(predict, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("call me\n\nnoon\n"))
    assert predict("-", "--output", "out.tsv") == 0
    assert "3 rows, 1 of them unread, see `problem`." in capsys.readouterr().out
    written = pd.read_csv(tmp_path / "out.tsv", sep="\t")
    assert written["input"].tolist() == ["-#1", "-#2", "-#3"]
    assert written["problem"].fillna("").tolist() == ["", "has no text", ""]


def test_photos_that_cannot_be_decoded_have_a_row_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_classifier(*untrained_backbone("test_resnet", ["b", "a"], 32), tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for name in ("1.png", "3.png"):
        Image.effect_noise((40, 40), 90).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "2.png").write_text("no photo")
    (tmp_path / "photos" / "3.png").rename(tmp_path / "photos" / os.fsdecode(b"3\xe9.png"))
    assert main(["predict", "model", "photos", "--output", "out.csv"]) == 0
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written) == ["input", "label", "score_b", "score_a", "problem"]
    assert written["input"].tolist() == ["photos/1.png", "photos/2.png", r"photos/3\xe9.png"]
    assert written["label"].isna().tolist() == [False, True, False]
    assert written["problem"][1] == "is not an image"


def test_a_table_of_texts_is_no_photo(tmp_path, capsys):
    save_classifier(*untrained_backbone("test_resnet", ["b", "a"], 32), tmp_path / "model")
    (tmp_path / "t.csv").write_text("text\na\n")
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "t.csv")]) == 2
    assert "no image that can be decoded. Give photos" in capsys.readouterr().err


def test_a_model_reads_the_columns_that_it_was_trained_on(save_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text,Title,Body\n,call me,noon\n")
    model = save_model(text_columns=["Title", "Body"])
    assert main(["predict", model, "t.csv", "--output", "own.csv"]) == 0
    model = save_model()
    columns = ["--text-columns", "Title", "Body"]
    assert main(["predict", model, "t.csv", "--output", "given.csv", *columns]) == 0
    assert (tmp_path / "own.csv").read_bytes() == (tmp_path / "given.csv").read_bytes()


def test_a_table_without_the_columns_of_the_model_is_refused(save_model, tmp_path, capsys):
    model = save_model(text_columns=["Title", "Body"])
    (tmp_path / "t.csv").write_text("text,title\na,b\n")
    (tmp_path / "model" / "model.safetensors").unlink()  # it is not looked at
    assert main(["predict", model, str(tmp_path / "t.csv")]) == 2
    assert capsys.readouterr().err.endswith(
        "t.csv: has no columns 'Title', 'Body'. Its columns are: text, title. Is it 'title' for "
        "'Title'? Choose columns by --text-columns. The model was trained on: Title, Body.\n"
    )


@pytest.mark.parametrize("trained_on", [["text"], ["subject", "body"]])
@pytest.mark.parametrize("header", ["text,x", "subject,body"])
def test_a_text_and_a_mail_are_the_same_to_a_model(
    trained_on, header, save_model, tmp_path, capsys
):
    model = save_model(text_columns=trained_on)
    (tmp_path / "t.csv").write_text(f"{header}\ncall me,noon\n")
    assert main(["predict", model, str(tmp_path / "t.csv")]) == 0
    (tmp_path / "t.csv").write_text("a,b\ncall me,noon\n")
    assert main(["predict", model, str(tmp_path / "t.csv")]) == 2
    assert f"The model was trained on: {', '.join(trained_on)}." in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["text", [1], {"text": 1}])
def test_columns_of_a_model_that_are_none_are_refused(columns, save_model, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text\ncall\n")
    assert main(["predict", save_model(text_columns=columns), str(tmp_path / "t.csv")]) == 2
    told = capsys.readouterr().err
    assert "no names of columns" in told and told.count("\n") == 1


@pytest.mark.parametrize("config", ["[]", "1", "{", '{"text_columns": ["text"]}'])
def test_a_damaged_configuration_is_told_after_the_columns(config, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(config)
    for content, told in {"a": "has no column 'text'", "text": "no model could be loaded"}.items():
        (tmp_path / "t.csv").write_text(f"{content}\ncall\n")
        assert main(["predict", str(tmp_path / "model"), str(tmp_path / "t.csv")]) == 2
        assert told in capsys.readouterr().err


def test_labels_that_are_no_text_are_refused(save_model, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text\ncall\n")
    table = ["--output", str(tmp_path / "out.csv")]
    assert main(["predict", save_model(["a", "\ud800"]), str(tmp_path / "t.csv"), *table]) == 2
    assert "each needs a name of its own" in capsys.readouterr().err


def test_a_model_that_cannot_pad_is_refused_before_its_inputs_are_read(
    save_model, tmp_path, capsys
):
    model = save_model()
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(model)
    (tmp_path / "t.csv").write_text("text\ncall\ncall me\n")
    assert main(["predict", model, str(tmp_path / "t.csv")]) == 2
    told = capsys.readouterr().err
    assert "does not have a padding token" in told and told.count("\n") == 1


class Tagger(TextClassifier):
    """A model that gives a text several labels, and a number."""

    def predict(self, inputs):
        for number, item in enumerate(inputs):
            yield item, Prediction({"labels": ["a", "b"][:number], "value": number / 2}, [])


def test_several_labels_and_numbers_are_columns_too(save_model, tmp_path):
    inputs = [Input(str(number), "call") for number in range(3)]
    for suffix in ("csv", "jsonl"):
        write_predictions(Tagger(save_model()), Unread.of(inputs), tmp_path / f"out.{suffix}")
    assert lines_of(tmp_path / "out.csv") == [
        *(["input", "labels", "value", "problem"], ["0", "", "0.0", ""]),
        *(["1", "a", "0.5", ""], ["2", "a;b", "1.0", ""]),
    ]
    assert [row["labels"] for row in json_of(tmp_path / "out.jsonl")] == [[], ["a"], ["a", "b"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["t.csv", "--output", "out.xlsx"], "tables are written as .csv, .tsv, .jsonl, .parquet."),
        (["t.csv", "--output", "none/out.csv"], "there is no folder none. Make it first."),
        (["t.csv", "--output", "folder.csv"], "is a folder. Name a file."),
        (["t.csv", "--output", "./t.csv"], "is an input, and would be replaced."),
        (["t.csv", "t.csv", "--output", "out.csv"], "--output keeps the columns of a table"),
        (["blank.csv", "--output", "out.csv"], "row 1 has no text in text, and 1 more like it."),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_model_is_loaded(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("text\ncall\n")
    (tmp_path / "blank.csv").write_text("text,n\n,1\n ,2\n")
    (tmp_path / "folder.csv").mkdir()
    assert main(["predict", ".", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "blank.csv", "folder.csv"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_full_disk_leaves_the_earlier_file(suffix, predict, tmp_path, capsys):
    numbers = np.random.default_rng(0).permutation(20_000)
    texts = np.where(numbers, "", "call me")
    pd.DataFrame({"n": numbers, "text": texts}).to_parquet(tmp_path / "t.parquet")
    (tmp_path / f"out.{suffix}").write_text("earlier")
    before = {path.name for path in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        assert predict("t.parquet", "--output", f"out.{suffix}") == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"out.{suffix} cannot be written" in capsys.readouterr().err
    assert (tmp_path / f"out.{suffix}").read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == before


def test_predictions_that_are_stopped_leave_the_earlier_file(predict, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("text\n" + "call me before noon\n" * 200_000)  # for a minute
    (tmp_path / "out.csv").write_text("earlier")

    def stop():
        while not (tmp_path / "out.csv.parts" / ".000000000.arrow").exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=stop, daemon=True).start()
    assert predict("t.csv", "--output", "out.csv") == 128 + signal.SIGTERM
    told = capsys.readouterr().err
    assert "kept in out.csv.parts: the same command goes on with it.\n" in told
    assert told.endswith("nlp-transfer: stopped\n")
    assert (tmp_path / "out.csv").read_text() == "earlier"
    left = {"model", "t.csv", "out.csv", "out.csv.parts"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_predictions_that_are_stopped_at_their_start_leave_nothing_else(
    predict, tmp_path, monkeypatch
):
    (tmp_path / "t.csv").write_text("text\ncall me\n")
    signalled = lambda *_: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(TextClassifier, "predict", signalled)
    assert predict("t.csv", "--output", "out.csv") == 128 + signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"model", "t.csv"}
